"""The older toolstack: S-expressions, tables as old manuals print them, and its own limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import Answer, RecordedHost, answer
from xenbackup.dom0 import xm_parsers as xm
from xenbackup.dom0.sexpressions import Expression, compose_expression, parse_expressions
from xenbackup.dom0.xm import Xm
from xenbackup.errors import CommandFailed, UnexpectedOutput, UsageError
from xenbackup.model.domain import Disk, GuestKind, ShutdownReason, Tuning, VcpuPinning

RUN = "20261122T023000Z-k3f9qa"
UUID = "66afb5c9-37b1-4244-86b8-765ada17fb18"
STOPPED_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
# Composed after the formats of xend 3.x (main.py of xm): the lab's Xen has no xm to record.
LIST = """\
Name                                        ID   Mem VCPUs      State   Time(s)
Domain-0                                     0  1024     2     r-----   1234.5
linux01                                      3   512     1     -b----     46.2
linux02                                          256     1                 0.0
"""
LONG = f"""\
(domain
    (domid 0)
    (uuid 00000000-0000-0000-0000-000000000000)
    (vcpus 2)
    (name Domain-0)
    (state r-----)
)
(domain
    (domid 3)
    (on_crash restart)
    (uuid {UUID})
    (bootloader_args )
    (vcpus 2)
    (name linux01)
    (on_poweroff destroy)
    (on_reboot restart)
    (bootloader '')
    (maxmem 1024)
    (memory 512)
    (shadow_memory 0)
    (cpus ((0 1) (0 1)))
    (image
        (linux
            (kernel /boot/vmlinuz-2.6.18-xen)
            (args 'root=/dev/xvda1 ro')
            (notes (HV_START_LOW 18446603336221196288) (FEATURES '!writable|pae'))
        )
    )
    (state -b----)
    (device
        (vbd
            (uuid 8a1f)
            (bootable 1)
            (dev xvda:disk)
            (uname phy:/dev/xenvols/linux01_root)
            (mode w)
            (backend 0)
            (VDI )
        )
    )
    (device (tap (dev xvdb:disk) (uname tap:aio:/srv/disk2.img) (mode w)))
    (device (vbd (dev hdc:cdrom) (uname file:/isos/cdrom.iso) (mode r)))
    (device (vif (bridge xenbr0) (mac 00:16:3e:00:00:01) (script vif-bridge)))
    (device (pci (dev (slot 0x01) (domain 0x0) (bus 0x03) (vslt 0x100) (func 0x0))))
    (device (console (protocol vt100)))
)
(domain
    (on_xend_start ignore)
    (uuid {STOPPED_UUID})
    (name linux02)
    (memory 256.0)
    (vcpus 1)
    (image (hvm (kernel /usr/lib/xen/boot/hvmloader)))
)
"""
INFO = """\
host                   : dom0
release                : 2.6.18-xen
version                : #1 SMP Fri Jan  1 00:00:00 UTC 2010
nr_cpus                : 2
cpu_mhz                : 2400
hw_caps                : 178bf3ff:ebd3fbff:00000000:00000010
total_memory           : 4095
free_memory            : 512
xen_major              : 3
xen_minor              : 4
xen_extra              : .2
xen_caps               : xen-3.0-x86_64 xen-3.0-x86_32p
                         hvm-3.0-x86_32
xen_scheduler          : credit
cc_compiler            : gcc version 4.1.2
xend_config_format     : 4
"""
VCPUS = """\
Name                                ID  VCPU   CPU State   Time(s) CPU Affinity
Domain-0                             0     0     0   r--     612.3 any cpu
linux01                              3     0     1   -b-      14.6 any cpu
linux01                              3     1     0   -b-      10.1 0-1
linux02                                    0     -   ---       0.0 any cpu
"""


def make_host(answers: dict[str, Answer] | None = None) -> RecordedHost:
    host = RecordedHost(
        {
            "xm": answer(),
            "xm list": LIST,
            "xm list --long": LONG,
            "xm info": INFO,
            "xm vcpu-list": VCPUS,
            "xm sched-credit -d 3": "{'cap': 0, 'weight': 256}\n",
        }
    )
    host.answers.update(answers or {})
    return host


def test_running_domains_have_the_state_and_memory_of_the_table() -> None:
    (linux,) = Xm(make_host()).list_domains()
    assert ("linux01", 3, UUID, GuestKind.PV, "-b----", 512, 1024, 1) == (
        linux.name,
        linux.domid,
        linux.uuid,
        linux.kind,
        linux.state.letters,
        linux.memory_mib,
        linux.maximum_memory_mib,
        linux.vcpus,
    )
    assert ("0000:03:01.0",) == linux.pci_devices
    assert "" == linux.configuration_json


def test_disks_of_a_domain_are_read_with_their_sort() -> None:
    (linux,) = Xm(make_host()).list_domains()
    assert (
        Disk(vdev="xvda", target="/dev/xenvols/linux01_root", backend="0"),
        Disk(vdev="xvdb", target="/srv/disk2.img"),
        Disk(vdev="hdc", target="/isos/cdrom.iso", writable=False, cdrom=True),
    ) == linux.disks


def test_domains_that_are_shut_off_are_known_to_xend() -> None:
    (stopped,) = Xm(make_host()).list_stopped()
    assert ("linux02", xm.STOPPED_DOMID, GuestKind.HVM, 256) == (
        stopped.name,
        stopped.domid,
        stopped.kind,
        stopped.memory_mib,
    )


def test_a_domain_is_found_by_uuid_while_it_exists() -> None:
    toolstack = Xm(make_host())
    found = toolstack.find_domain(UUID.upper())
    assert found is not None
    assert 3 == found.domid
    assert toolstack.find_domain(STOPPED_UUID) is None


def test_abilities_of_the_old_toolstack() -> None:
    toolstack = Xm(make_host())
    assert (False, False) == (toolstack.can_save_paused(), toolstack.monitors_die_on_suspend())
    with pytest.raises(UsageError, match="save -p"):
        toolstack.save_paused(3, Path("/x"), run_id=RUN)
    with pytest.raises(UsageError, match="configuration"):
        toolstack.restore_paused(Path("/x"), run_id=RUN, configuration_path=Path("/y"))


def test_facts_of_the_host_without_a_whole_version() -> None:
    facts = Xm(make_host()).read_facts()
    assert ("3.4.2", (3, 4, 2), 512, "credit") == (
        facts.xen_version,
        facts.version_tuple,
        facts.free_memory_mib,
        facts.scheduler,
    )


@pytest.mark.parametrize("told", ["2", "suspend"])
def test_suspended_domain_is_known_by_the_reason_in_the_long_form(told: str) -> None:
    long = LONG.replace("(state -b----)", f"(state ---s--) (shutdown_reason {told})")
    (linux,) = Xm(
        make_host({"xm list": LIST.replace("-b----", "---s--"), "xm list --long": long})
    ).list_domains()
    assert linux.state.suspended
    running = LONG.replace("(state -b----)", f"(state -b----) (shutdown_reason {told})")
    (linux,) = Xm(make_host({"xm list --long": running})).list_domains()
    assert not linux.state.shutdown


def test_expression_that_a_domain_is_created_from_has_nothing_of_its_last_life() -> None:
    long = LONG.replace("(state -b----)", "(state -b----) (cpu_time 46.2) (store_mfn 77)")
    (linux,) = Xm(make_host({"xm list --long": long})).list_domains()
    (again,) = parse_expressions("xm", linux.configuration_sexp)
    heads = {child.head for child in again.children}
    assert set() == heads & {"domid", "state", "cpu_time", "store_mfn"}
    assert ("linux01", UUID, "512") == tuple(map(again.word, ("name", "uuid", "memory")))
    image = again.find("image")
    assert image is not None
    assert "root=/dev/xvda1 ro" == image.children[0].word("args")
    assert 6 == len(list(again.find_all("device")))


def test_domain_is_created_from_a_file_of_either_kind() -> None:
    host = make_host({"xm create": answer()})
    Xm(host).create(Path("/spool/web.sxp"), run_id=RUN, paused=True)
    Xm(host).create(Path("/etc/xen/web"), run_id=RUN)
    assert ["xm create -p --config=/spool/web.sxp", "xm create /etc/xen/web"] == host.lines


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5))
def test_expressions_come_back_from_their_text(words: list[str]) -> None:
    inner = Expression("in ner", tuple(words), ())
    written = compose_expression(Expression("a", tuple(words), (inner,)))
    (found,) = parse_expressions("xm", written)
    assert ("a", tuple(words), (inner,)) == (found.head, found.words, found.children)


def test_acts_have_the_same_verbs() -> None:
    host = make_host({"xm save": answer(), "xm create": answer()})
    toolstack = Xm(host)
    toolstack.pause(3)
    toolstack.save(3, Path("/spool/x"), run_id=RUN)
    toolstack.save_continue(3, Path("/spool/x"), run_id=RUN)
    toolstack.restore_paused(Path("/spool/x"), run_id=RUN, own_unit="unit")
    toolstack.create(Path("/etc/xen/linux01"), run_id=RUN)
    toolstack.check_configuration(Path("/etc/xen/linux01"))
    assert [
        "xm pause 3",
        "xm save 3 /spool/x",
        "xm save -c 3 /spool/x",
        "xm restore --paused /spool/x",
        "xm create /etc/xen/linux01",
        "xm create --dryrun /etc/xen/linux01",
    ] == host.lines


def test_tuning_is_read_from_either_form_of_the_scheduler() -> None:
    expected = Tuning(
        pinning=(
            VcpuPinning(vcpu=0, hard="all", soft="all"),
            VcpuPinning(vcpu=1, hard="0-1", soft="all"),
        ),
        scheduler="credit",
        weight=256,
        cap=0,
        vcpus=1,
    )
    table = "Name                                ID Weight Cap\nlinux01      3    256   0\n"
    for shown in ("{'cap': 0, 'weight': 256}\n", "{'weight': 256L, 'cap': 0L}", table):
        toolstack = Xm(make_host({"xm sched-credit -d 3": shown}))
        assert expected == toolstack.read_tuning(toolstack.list_domains()[0])


def test_tuning_is_set_again_in_the_manuals_form() -> None:
    host = make_host({"xm vcpu-pin": answer(), "xm sched-credit -d 3 -w": answer()})
    wanted = Tuning(
        pinning=(VcpuPinning(vcpu=0, hard="1", soft="all"),),
        scheduler="credit",
        weight=128,
        cap=200,
        vcpus=4,
    )
    problems = Xm(host).apply_tuning(3, wanted)
    acts = [line for line in host.lines if "-set" in line or "pin" in line or "-w" in line]
    assert [
        "xm vcpu-set 3 4",
        "xm vcpu-pin 3 0 1",
        "xm sched-credit -d 3 -w 128 -c 200",
    ] == acts
    # Nothing took on this host: every wish is told with both values.
    assert 4 == len(problems)
    with pytest.raises(CommandFailed, match="gone"):
        Xm(host).apply_tuning(9, wanted)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("linux01      3   512   1 r---    46.2", ("linux01", 3, "r---")),
        ("linux01      3   512   1 -b----  46.2", ("linux01", 3, "-b----")),
        ("linux01      3   512   1  46.2", ("linux01", 3, "")),
        ("linux01          512   1   0.0", ("linux01", None, "")),
        ("web 2            512   1   0.0", ("web 2", None, "")),
        ("web 2        7   512   1 ------ 0.0", ("web 2", 7, "------")),
        ("linux01      3   512   1 –b––––  46.2", ("linux01", 3, "-b----")),
        ("linux01\u00a0     3   512   1 -b----  46.2\u00ac|", ("linux01", 3, "-b----")),
        ("linux01\t3\t512\t1\t-b----\t46.2", ("linux01", 3, "-b----")),
        ("\x1b[1mlinux01\x1b[0m      3   512   1 -b----  46.2", ("linux01", 3, "-b----")),
        ("n" * 45 + " 3   512   1 -b----  46.2", ("n" * 45 + " 3", None, "-b----")),
    ],
)
def test_rows_of_old_manuals(line: str, expected: tuple[str, int | None, str]) -> None:
    header = "Name              ID Mem(MiB) VCPUs State  Time(s)\n"
    (row,) = xm.parse_xm_list(header + line)
    assert expected == (row.name, row.domid, row.state.letters)


def test_a_long_name_is_parted_from_its_number_where_the_headers_id_ends() -> None:
    header = "Name" + " " * 40 + "ID   Mem VCPUs      State   Time(s)\n"
    line = "n" * 43 + " 12   512     1     -b----     46.2"
    assert header.index("ID") + 2 == 46 == line.index(" 12") + 3
    (row,) = xm.parse_xm_list(header + line)
    assert ("n" * 43, 12) == (row.name, row.domid)


@pytest.mark.parametrize("text", ["", "no header", LIST + "broken", LIST + "a 1 2 3 xyz 1.0"])
def test_tables_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xm list"):
        xm.parse_xm_list(text)


@pytest.mark.parametrize(
    ("letters", "shutdown", "reason", "dying"),
    [
        ("r-----", False, None, False),
        ("---s--", True, None, False),
        ("----c-", True, ShutdownReason.CRASH, False),
        ("-----d", False, None, True),
        ("", False, None, False),
    ],
)
def test_states(letters: str, shutdown: bool, reason: ShutdownReason | None, dying: bool) -> None:
    state = xm.parse_xm_state("xm list", letters)
    assert (shutdown, reason, dying) == (state.shutdown, state.shutdown_reason, state.dying)


@pytest.mark.parametrize("letters", ["b-----", "rr----", "r------", "x"])
def test_letters_in_the_wrong_place_are_refused(letters: str) -> None:
    with pytest.raises(UnexpectedOutput, match="state letters"):
        xm.parse_xm_state("xm list", letters)


@pytest.mark.parametrize(
    ("uname", "expected"),
    [
        ("phy:/dev/x", ("/dev/x", "raw", "")),
        ("phy:system/mainserver", ("/dev/system/mainserver", "raw", "")),
        ("file:/img/a", ("/img/a", "raw", "")),
        ("tap:aio:/img/a", ("/img/a", "raw", "")),
        ("tap:tapdisk:aio:/img/a", ("/img/a", "raw", "")),
        ("tap:qcow:/img/a", ("/img/a", "qcow", "")),
        ("tap2:vhd:/img/a", ("/img/a", "vhd", "")),
        ("iscsi:iqn.2001-04.x:d", ("iscsi:iqn.2001-04.x:d", "raw", "block-iscsi")),
        ("drbd:r0", ("drbd:r0", "raw", "block-drbd")),
        ("/dev/x", ("/dev/x", "raw", "")),
        ("", ("", "raw", "")),
    ],
)
def test_names_of_disks(uname: str, expected: tuple[str, str, str]) -> None:
    assert expected == xm.split_uname(uname)


def test_expressions_keep_words_quotes_and_nesting() -> None:
    (found,) = parse_expressions("xm", "(a 'b c' \"d\\\"e\" (f) (f 1 (g)) () 'it\\'s')")
    assert ("a", ("b c", 'd"e', "it's")) == (found.head, found.words)
    assert ["f", "f", ""] == [child.head for child in found.children]
    assert ("1", "x", "") == (found.word("f", "1"), found.word("zz", "x"), found.word("zz"))


@pytest.mark.parametrize("text", ["(", ")", "(a))", "word", "('a", "(" * 100 + ")" * 100])
def test_broken_expressions_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput):
        parse_expressions("xm list --long", text)


@pytest.mark.parametrize(
    "text",
    [
        "(host (name x))",
        "(domain (domid 3))",
        "(domain (domid x) (name a))",
        "(domain (domid 3) (name a) (uuid nonsense))",
        "(domain (domid 3) (name a) (memory much))",
        "(domain (domid 3) (name a) (device (vbd (dev ../x) (mode w))))",
        "(domain (domid 3) (name a) (device (vbd (dev xvda) (mode q))))",
        "(domain (domid 3) (name a) (device (pci (dev (slot bad)))))",
    ],
)
def test_domains_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xm list --long"):
        xm.parse_xm_domains(text)


@pytest.mark.parametrize("text", ["{'weight': 256}", "{'weight': __import__('os')}", "{", "x y"])
def test_scheduler_output_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xm sched-credit"):
        xm.parse_xm_credit(text, 3)


PARSERS: tuple[Callable[[str], object], ...] = (
    xm.parse_xm_list,
    xm.parse_xm_domains,
    lambda text: xm.parse_xm_vcpu_table(text, 3),
    lambda text: xm.parse_xm_credit(text, 3),
    lambda text: parse_expressions("xm", text),
)


@settings(max_examples=200, deadline=None)
@given(
    sample=st.sampled_from(["", LIST, LONG, VCPUS, "{'cap': 0, 'weight': 256}"]),
    position=st.integers(0, 1700),
    insert=st.text(max_size=15) | st.text(alphabet="0123456789(:) \n-'\"\\Ls٣/", max_size=15),
    remove=st.integers(0, 60),
)
def test_damaged_output_is_read_or_refused(
    sample: str, position: int, insert: str, remove: int
) -> None:
    for parser in PARSERS:
        try:
            parser(sample[:position] + insert + sample[position + remove :])
        except UnexpectedOutput as error:
            assert error.hint
