"""What the verbs of the simulated xl do beyond the plain case, and how they refuse."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import (
    SPOOL,
    THINNY,
    WEB,
    WEB_UUID,
    call,
    complaints,
    counter,
    letters,
    look,
    make_host,
    must,
)
from xenbackup.dom0.memory_image import compose_memory_image, inspect_memory_image
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.processes import register_child

IMAGE = f"{SPOOL}/image"


def configure(host: SimulatedHost, name: str, *lines: str) -> str:
    path = f"/etc/xen/{name}.cfg"
    host.place(path).write_text("\n".join((f'name = "{name}"', *lines)) + "\n")
    return path


def xl_fails(host: SimulatedHost, *words: str) -> tuple[int, str]:
    result = call(host, "xl", *words)
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        ((), 1, "Usage xl"),
        (("-v",), 1, "Usage xl"),
        (("-Q", "list"), 1, "xl: invalid option -- 'Q'"),
        (("create",), 2, "'xl create' requires at least 1 argument."),
        (("shutdown",), 2, "You must specify -a or a domain id."),
        (("shutdown", "77"), 1, "shutdown failed (rc=-6)"),
        (("reboot", "77"), 1, "Domain 77:Shutting down: No such process"),
        (("rename", "77", "x"), 1, "Can't rename domain '77'."),
        (("rename", "web", "thinny"), 1, "Can't rename domain 'web'."),
        (("domname", "web"), 1, "Invalid domain ID: 'web'"),
        (("domname", "77"), 1, "Can't get domain name of domain id '77'"),
        (("vcpu-list", "77"), 1, "Domain 77:No such process"),
        (("vcpu-pin", "web", "1", "0"), 1, "Could not set affinity for vcpu `1'"),
        (("vcpu-pin", "web", "first", "0"), 1, "Invalid argument first as VCPU."),
        (("vcpu-pin", "web", "0", "0-9"), 1, "Invalid argument 0-9 as pcpu"),
        (("vcpu-set", "web", "2"), 1, "exceed the domain's maximum"),
        (("vcpu-set", "web", "0"), 1, "exceed the domain's maximum"),
        (("sched-credit2", "-w", "128"), 1, "Must specify a domain."),
        (("sched-credit2", "-d", "web", "-c", "101"), 1, "Cpu cap out of range"),
        (("mem-set", "web", "64m"), 1, "memory_dynamic_max must be less than or equal"),
        (("mem-max", "web", "16m"), 1, "cannot set domid 1 static max to : 16m"),
        (("restore", "/nosuch"), 1, "Can't open /nosuch for reading: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    code, told = xl_fails(host, *words)
    assert exit_code == code
    assert said in told
    assert ["web", "thinny"] == [
        row.split()[0] for row in must(host, "xl", "list").split("\n")[2:4]
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("unpause", "77"), "libxl_domain.c:688:domain_unpause_done: Domain 77:Unpausing domain"),
        (("sysrq", "77", "s"), "libxl_domain.c:1600:libxl_send_sysrq: Domain 77:Sending sysrq"),
    ],
)
def test_number_that_is_no_domain_is_asked_in_vain(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, told = xl_fails(make_host(tmp_path), *words)
    assert (0, f"libxl: error: {said}: No such process\n") == (code, told)


def test_global_options_change_nothing(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert must(host, "xl", "domid", "web") == must(host, "xl", "-vvv", "-t", "domid", "web")


def test_names_and_numbers_are_told_as_recorded(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = load_recording("xl-domid").stdout.split()
    assert recorded[1:] == must(host, "xl", "domname", "0").split()
    assert "1\n" == must(host, "xl", "domid", "web")
    assert "web\n" == must(host, "xl", "domname", "1")
    assert "0\n" == must(host, "xl", "domid", "Domain-0")
    assert "Domain-0" in must(host, "xl", "list", "Domain-0")


def test_host_without_pciback_says_so_as_recorded(tmp_path: Path) -> None:
    create_host(tmp_path / "host", guests=(), pci=())
    recorded = load_recording("xl-pci-assignable-list-without-pciback")
    result = call(SimulatedHost(tmp_path / "host"), "xl", "pci-assignable-list")
    assert (recorded.exit_code, recorded.stderr) == (result.exit_code, result.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-a",), ["Shutting down domain 1", "Shutting down domain 2"]),
        (("-w", "web"), ["Shutting down domain 1"]),
    ],
)
def test_guests_that_answer_power_off(
    tmp_path: Path, words: tuple[str, ...], said: list[str]
) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    assert said == must(host, "xl", "shutdown", *words).splitlines()
    assert 2 - len(said) == len(must(host, "xl", "list").splitlines()) - 2


def test_guest_that_is_paused_does_not_hear_the_request(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    must(host, "xl", "pause", "web")
    must(host, "xl", "shutdown", "--all")
    assert ("--p---", "absent") == (letters(host), letters(host, "thinny"))


def test_older_log_of_the_same_name_is_renamed(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    (first,) = host.list_processes()
    host.signal_process(first, signal.SIGSTOP)
    must(host, "xl", "destroy", "web")
    must(host, "xl", "create", "/etc/xen/web.cfg")
    logs = [process.log_path for process in host.list_processes()]
    assert ["/var/log/xen/xl-web.log.1", "/var/log/xen/xl-web.log"] == logs
    host.signal_process(first, signal.SIGCONT)
    assert ["/var/log/xen/xl-web.log"] == [p.log_path for p in host.list_processes()]


def test_monitor_minds_no_signal_that_means_nothing_to_it(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    (watching,) = host.list_processes()
    assert host.signal_process(watching, signal.SIGUSR2)
    assert (watching,) == host.list_processes()
    assert host.signal_process(watching, signal.SIGTERM)
    assert () == host.list_processes()


def test_real_process_that_ends_just_before_its_signal_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)
    with host.machine() as machine:
        register_child(machine, ["xl", "save"])
        machine.commit()
    child = host.list_processes()[-1]
    sent: list[tuple[int, int]] = []

    def send(pid: int, number: int) -> None:
        sent.append((pid, number))
        if len(sent) > 1:
            raise ProcessLookupError

    monkeypatch.setattr("xenbackup.dom0.simulated.processes.os.kill", send)
    assert host.signal_process(child, signal.SIGTERM)
    assert not host.signal_process(child, signal.SIGTERM)
    assert [(child.pid, signal.SIGTERM)] * 2 == sent


def test_pinning_changes_what_is_given_and_keeps_the_rest(tmp_path: Path) -> None:
    host = make_host(tmp_path)

    def affinity() -> str:
        return must(host, "xl", "vcpu-list", "web").splitlines()[1].split("  ")[-1].strip()

    recorded = load_recording("xl-vcpu-pin").stdout.splitlines()[1].split("  ")[-1].strip()
    must(host, "xl", "vcpu-pin", "web", "0", "1")
    assert recorded == affinity()
    must(host, "xl", "vcpu-pin", "web", "all", "-", "0-1")
    assert "1 / 0-1" == affinity()


def test_processors_are_taken_and_given_back(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = configure(host, "big", "memory = 64", "vcpus = 2")
    must(host, "xl", "create", path)
    must(host, "xl", "vcpu-set", "big", "1")
    assert 1 == look(host, "big").vcpus
    must(host, "xl", "vcpu-set", "big", "2")
    assert 2 == len(must(host, "xl", "vcpu-list", "big").splitlines()) - 1


def test_weight_and_cap_are_set_one_by_one_as_recorded(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    recorded = load_recording("xl-sched-credit2-set").stdout.split()
    must(host, "xl", "sched-credit2", "-d", "web", "-w", "128")
    must(host, "xl", "sched-credit2", "-d", "web", "-c", "50")
    listed = must(host, "xl", "sched-credit2", "-d", "web").split()
    assert [*recorded[:4], "web", "1", recorded[6], "50"] == listed


def test_memory_is_raised_up_to_a_new_maximum(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "mem-max", "web", "65536k")
    must(host, "xl", "mem-set", "web", "64")
    assert (64, 64) == (look(host).memory_mib, look(host).maximum_memory_mib)
    must(host, "xl", "mem-set", "web", "60mb")
    host.sleep(1.0)
    assert "absent" != letters(host)


def test_creation_short_of_memory_takes_no_number(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = configure(host, "hog", "memory = 4000")
    assert (3, "failed to free memory for the domain\n") == (
        xl_fails(host, "create", path)[0],
        xl_fails(host, "create", path)[1].split("\n", 1)[1],
    )
    must(host, "xl", "create", configure(host, "small", "memory = 32"))
    assert 2 == look(host, "small").domid


def test_uuid_that_is_taken_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    code, said = xl_fails(host, "create", configure(host, "twin", f'uuid = "{WEB_UUID}"'))
    assert 3 == code
    assert "domain creation fail: File exists" in said
    assert "absent" == letters(host, "twin")


@pytest.mark.parametrize(
    ("disk", "exit_code", "said"),
    [
        (",raw,xvda,w", 3, "no target for a disk"),
        (",raw,hdc:cdrom,r", 0, ""),
        ("/dev/xenvols/web_root,raw,hdc:cdrom,r", 0, ""),
    ],
)
def test_only_a_drive_may_be_empty_or_show_what_another_writes(
    tmp_path: Path, disk: str, exit_code: int, said: str
) -> None:
    host = make_host(tmp_path)
    code, told = xl_fails(host, "create", configure(host, "other", f"disk = [ '{disk}' ]"))
    assert exit_code == code
    assert said in told
    assert (letters(host, "other") == "absent") == bool(exit_code)


# Saving and restoring


def test_image_of_an_older_xen_is_written_and_restored(tmp_path: Path) -> None:
    host = make_host(tmp_path, xen_version=(4, 4))
    must(host, "xl", "save", "web", IMAGE)
    image = inspect_memory_image(host.place(IMAGE))
    assert (True, "web", "") == (image.complete, image.domain_name, image.xen_version)
    restored = call(host, "xl", "restore", IMAGE)
    assert f"Loading new save file {IMAGE} (new xl fmt info 0x0/0x0/" in restored.stderr
    assert WEB_UUID == look(host).uuid
    host.sleep(2.0)
    assert [] == complaints(host)


def test_memory_that_is_not_ours_is_told_of(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    (entry,) = json.loads(must(host, "xl", "list", "-l", "web"))
    must(host, "xl", "destroy", "web")
    content = compose_memory_image(json.dumps(entry["config"]), b"short")
    length_at = content.index((5).to_bytes(8, "little") + b"short")
    foreign = content[:length_at] + b"\xff" * 8 + content[length_at + 8 :]
    host.place(IMAGE).write_bytes(foreign)
    must(host, "xl", "restore", IMAGE)
    assert ["resume: the memory image does not hold what was saved"] == complaints(host)


def test_image_without_a_usable_configuration_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    configuration = {"c_info": {"type": "pv", "name": "x", "uuid": "1"}, "b_info": 1}
    host.place(IMAGE).write_bytes(compose_memory_image(json.dumps(configuration), b"x"))
    code, said = xl_fails(host, "restore", IMAGE)
    assert 1 == code
    assert said.endswith("libxl: error: configuration is not usable\n")
    assert "absent" == letters(host, "x")


def test_head_of_an_image_that_is_damaged_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    content = host.place(IMAGE).read_bytes()
    host.place(IMAGE).write_bytes(content.replace(b'"c_info"', b'"c_info~', 1))
    assert (1, "libxl: error: yajl error: parse error\n") == xl_fails(host, "restore", IMAGE)


def test_restore_without_its_disk_leaves_no_domain(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    must(host, "lvremove", "-y", "xenvols/web_data")
    code, said = xl_fails(host, "restore", IMAGE)
    assert 1 == code
    assert "failed to stat: /dev/xenvols/web_data: No such file or directory" in said
    assert "absent" == letters(host)


def test_save_into_nothing_is_no_file_that_a_power_cut_takes(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-c", "web", "/dev/null")
    assert () == host.cut_power()


def test_request_that_somebody_withdraws_fails_the_save(tmp_path: Path) -> None:
    host = make_host(tmp_path)

    def withdraw(name: str) -> None:
        if name == "xl-save:requested":
            beside = SimulatedHost(host.directory)
            must(beside, "xenstore-rm", "/local/domain/1/control/shutdown")

    host.on_boundary = withdraw
    code, said = xl_fails(host, "save", "web", IMAGE)
    assert 1 == code
    assert "domain did not respond to suspend request" in said
    at = counter(host)
    host.sleep(1.0)
    assert at < counter(host)


def test_guest_that_is_destroyed_meanwhile_ends_its_save(tmp_path: Path) -> None:
    host = make_host(tmp_path)

    def destroy(name: str) -> None:
        if name == "xl-save:requested":
            must(SimulatedHost(host.directory), "xl", "destroy", "web")

    host.on_boundary = destroy
    code, said = xl_fails(host, "save", "web", IMAGE)
    assert 1 == code
    assert said.endswith("libxl: error: Domain 1:Domain vanished\n")
