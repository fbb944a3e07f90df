"""The simulated xl prints what the recorded one printed, to the column."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import (
    THINNY,
    WEB,
    WEB_UUID,
    call,
    letters,
    look,
    make_host,
    must,
)
from xenbackup.dom0.simulated import DiskSpec, GuestSpec, SimulatedHost
from xenbackup.dom0.simulated.state import MIB

ROUTER = GuestSpec(
    name="router",
    kind="hvm",
    disks=(DiskSpec(volume="router_root", size_bytes=MIB),),
    memory_mib=64,
    pci=("0000:03:01.0",),
)


def shape(text: str) -> list[str]:
    """Lines with every digit, letter of state and run of blanks made alike."""
    return [re.sub(r"[0-9]+", "9", line) for line in text.splitlines()]


def test_list_is_aligned_as_recorded(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = load_recording("xl-list").stdout.splitlines()
    mine = must(host, "xl", "list").splitlines()
    assert recorded[0] == mine[0]
    assert len(recorded[1]) == len(mine[1])
    for line in mine[1:]:
        assert re.fullmatch(
            r"(.{40}) ( *\d+) ( *\d+) ( *\d+)     [rbpscwSd-]{6}  [ \d]{6}\.\d", line
        )


def test_verbose_list_is_aligned_as_recorded(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = load_recording("xl-list-v").stdout.splitlines()
    mine = must(host, "xl", "list", "-v").splitlines()
    assert recorded[0] == mine[0]
    assert recorded[1][40:47] == mine[1][40:47]
    assert recorded[1][-62:] == mine[1][-62:]
    assert f" {WEB_UUID}        -                -" == mine[2][-63:]


def test_long_list_has_the_recorded_keys(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    text = must(host, "xl", "list", "-l", "web")
    recorded = json.loads(load_recording("xl-list-l-one").stdout)
    (mine,) = json.loads(text)
    assert recorded[0]["config"].keys() == mine["config"].keys()
    assert recorded[0]["config"]["c_info"].keys() == mine["config"]["c_info"].keys()
    assert recorded[0]["config"]["b_info"].keys() == mine["config"]["b_info"].keys()
    assert recorded[0]["config"]["disks"] == mine["config"]["disks"]
    assert '                "type.pv": {\n\n                },\n' in text
    assert text.endswith("\n]\n\n")


def test_long_list_of_domain_zero_is_the_recorded_one(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = json.loads(load_recording("xl-list-l").stdout)
    assert recorded[0] == json.loads(must(host, "xl", "list", "-l"))[0]


def test_facts_have_the_recorded_keys_in_order(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = load_recording("xl-info").stdout.splitlines()
    mine = must(host, "xl", "info").splitlines()
    assert [line[:25] for line in recorded] == [line[:25] for line in mine]


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ("xl-vcpu-list", ("vcpu-list",)),
        ("xl-sched-credit2", ("sched-credit2",)),
        ("xl-uptime", ("uptime",)),
        ("xl-vm-list", ("vm-list",)),
    ],
)
def test_tables_have_the_recorded_columns(
    tmp_path: Path, recording: str, words: tuple[str, ...]
) -> None:
    host = make_host(tmp_path)
    recorded = load_recording(recording).stdout.splitlines()
    mine = must(host, "xl", *words).splitlines()
    header = next(n for n, line in enumerate(recorded) if line.startswith(("Name", "UUID")))
    assert recorded[: header + 1] == mine[: header + 1]
    wanted, row = recorded[header + 1], mine[header + 1]
    for match in re.finditer(r"\S+", wanted):
        if match.group() in ("Domain-0", "0", "all"):
            assert match.group() == row[match.start() : match.end()]


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ("list-nonexistent", ("list", "nosuch")),
        ("save-nonexistent", ("save", "nosuch", "/data/x.sav")),
        ("save-dir-missing", ("save", "web", "/nosuch/x.sav")),
        ("xl-pci-list", ("pci-list", "web")),
        ("xl-sched-credit", ("sched-credit",)),
        ("xl-create-missing-file", ("create", "/etc/xen/nosuch.cfg")),
        ("xl-unpause-running", ("unpause", "web")),
    ],
)
def test_refusals_are_the_recorded_ones(
    tmp_path: Path, recording: str, words: tuple[str, ...]
) -> None:
    recorded = load_recording(recording)
    result = call(make_host(tmp_path), "xl", *words)
    # The recorder ends an empty stream with a newline.
    wanted = recorded.stdout if recorded.stdout.strip() else ""
    assert (recorded.exit_code, wanted, recorded.stderr) == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


def test_creating_a_name_twice_is_refused_as_recorded(tmp_path: Path) -> None:
    recorded = load_recording("xl-create-twice")
    result = call(make_host(tmp_path, THINNY), "xl", "create", "/etc/xen/thinny.cfg")
    assert recorded.exit_code == result.exit_code
    wanted = recorded.stderr.replace("linux01", "thinny").replace("Domain 7:", "Domain 2:")
    assert wanted == result.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("frobnicate",), 1, "command not implemented"),
        (("resume", "web"), 1, "command not implemented"),
        (("new", "web"), 1, "command not implemented"),
        (("list", "--frob"), 2, "not supported"),
        (("save", "-z", "web", "/x"), 2, "not supported"),
        (("save", "web"), 2, "requires at least"),
        (("pause",), 2, "requires at least"),
        (("domid", "nosuch"), 1, "Can't get domid"),
        (("list", "77"), 1, "Error: Domain '77' does not exist."),
        (("destroy", "77"), 1, "destroy failed (rc=-21)"),
        (("destroy", "0"), 1, "Not destroying domain 0"),
        (("save", "77", "/x"), 1, "unable to retrieve domain configuration"),
        (("vcpu-pin", "web", "0", "9"), 1, "Invalid argument 9 as pcpu"),
        (("sched-credit2", "-d", "web", "-w", "0"), 1, "out of range"),
        (("mem-set", "web", "nonsense"), 1, "invalid memory size"),
        (("sysrq", "web", "two"), 1, "Invalid sysrq"),
    ],
)
def test_what_xl_does_not_know_is_refused(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = call(make_host(tmp_path), "xl", *words)
    assert exit_code == result.exit_code
    assert said in result.stderr


def test_number_that_is_no_domain_is_paused_in_vain(tmp_path: Path) -> None:
    result = call(make_host(tmp_path), "xl", "pause", "77")
    assert 0 == result.exit_code
    assert "Domain 77:Pausing domain: No such process" in result.stderr


def test_fresh_uuid_at_every_creation_without_one_in_the_configuration(tmp_path: Path) -> None:
    host = make_host(tmp_path, THINNY)
    first = look(host, "thinny").uuid
    must(host, "xl", "destroy", "thinny")
    must(host, "xl", "create", "/etc/xen/thinny.cfg")
    assert first != look(host, "thinny").uuid
    assert 2 == look(host, "thinny").domid


def test_created_paused_it_boots_when_it_is_unpaused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    must(host, "xl", "create", "-p", "/etc/xen/web.cfg")
    assert ("--p---", None) == (letters(host), look(host).ram)
    must(host, "xl", "unpause", "web")
    assert look(host).ram is not None


def test_disk_of_another_guest_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    config = 'name = "thief"\nmemory = 32\ndisk = [ "/dev/xenvols/web_root,raw,xvda,rw" ]\n'
    host.place("/etc/xen/thief.cfg").write_text(config)
    result = call(host, "xl", "create", "/etc/xen/thief.cfg")
    assert 3 == result.exit_code
    assert "mounted in a guest domain" in result.stderr


def test_passed_through_card_is_listed(tmp_path: Path) -> None:
    host = make_host(tmp_path, ROUTER)
    assert "Vdev Device\n05.0 0000:03:01.0\n" == must(host, "xl", "pci-list", "router")
    assert "" == must(host, "xl", "pci-assignable-list")
    must(host, "xl", "destroy", "router")
    assert "0000:03:01.0\n" == must(host, "xl", "pci-assignable-list")


def test_guest_without_pv_drivers_never_connects_its_front_ends(tmp_path: Path) -> None:
    host = make_host(tmp_path, ROUTER)
    must(host, "xl", "destroy", "router")
    path = host.place("/etc/xen/router.cfg")
    path.write_text(path.read_text() + "xen_platform_pci = 0\n")
    must(host, "xl", "create", "/etc/xen/router.cfg")
    host.sleep(3.0)
    router = look(host, "router")
    assert [(1, 2)] == [(vbd.frontend, vbd.backend) for vbd in router.vbds]
    assert router.ram is not None
    assert 20 < router.ram.counter


def test_memory_of_guests_is_taken_from_xen(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)

    def free() -> int:
        facts = must(host, "xl", "info")
        return int(facts.split("free_memory            : ")[1].split()[0])

    before = free()
    must(host, "xl", "destroy", "web")
    assert before + 33 == free()


def test_configuration_is_checked_without_creating(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    for words in (("-N", "create"), ("create", "-n")):
        printed = json.loads(must(host, "xl", *words, "/etc/xen/web.cfg"))
        assert "web" == printed["c_info"]["name"]
    host.place("/etc/xen/bad.cfg").write_text('name = "x"\nmemory = = 3\n')
    assert 1 == call(host, "xl", "-N", "create", "/etc/xen/bad.cfg").exit_code


def test_dying_domain_has_no_name(tmp_path: Path) -> None:
    seen: list[str] = []

    def look_at(name: str) -> None:
        if name == "xl-destroy:dying":
            seen.append(must(SimulatedHost(host.directory), "xl", "list"))

    host = make_host(tmp_path, on_boundary=look_at)
    must(host, "xl", "destroy", "web")
    assert seen[0].splitlines()[2].startswith("(null)  ")


def test_small_guest_dies_when_too_much_of_its_memory_is_taken(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "mem-set", "web", "20m")
    assert "absent" == letters(host)


def test_host_without_a_tool_says_so(tmp_path: Path) -> None:
    from xenbackup.errors import CommandFailed

    host = make_host(tmp_path)
    for tool in ("xm", "virsh"):
        with pytest.raises(CommandFailed, match="not installed"):
            call(host, tool, "list")
