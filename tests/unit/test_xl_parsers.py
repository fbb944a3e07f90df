"""What xl prints, as recorded on a real host, and what it may never be mistaken for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import load_recording
from xenbackup.dom0 import xl_parsers as xl
from xenbackup.errors import UnexpectedOutput
from xenbackup.model.domain import Disk, GuestKind, ShutdownReason, VcpuPinning

WEB_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
LINUX_UUID = "66afb5c9-37b1-4244-86b8-765ada17fb18"
HEADER = (
    "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    "   UUID                            Reason-Code\tSecurity Label\n"
)


def row(name: str, state: str = "-b----", tail: str = "        -                -") -> str:
    return f"{name:<40}     6    96     1     {state}      11.8 {WEB_UUID}{tail}\n"


def list_text(config: object, domid: int = 6) -> str:
    return json.dumps([{"domid": domid, "config": config}])


def make_config(**parts: object) -> dict[str, object]:
    base: dict[str, object] = {
        "c_info": {"type": "hvm", "name": "web", "uuid": WEB_UUID},
        "b_info": {"max_memkb": 98304},
    }
    return base | parts


def test_the_recorded_table_has_three_domains() -> None:
    rows = xl.parse_domain_table(load_recording("xl-list-v").stdout)
    assert [("Domain-0", 0, 1536, 2), ("linux01", 4, 96, 1), ("web", 6, 96, 1)] == [
        (row.name, row.domid, row.memory_mib, row.vcpus) for row in rows
    ]
    assert [LINUX_UUID, WEB_UUID] == [row.uuid for row in rows[1:]]
    assert (True, True) == (rows[1].state.running, rows[2].state.blocked)


@pytest.mark.parametrize(
    "name",
    [
        "web server",
        "a  b",
        "x 6 96 1 r----- 1.0",
        "(null)",
        "-rf",
        "ünïcode",
        "n" * 63,
        f"{WEB_UUID} -",
    ],
)
def test_names_are_read_from_the_right_whatever_they_hold(name: str) -> None:
    (found,) = xl.parse_domain_table(HEADER + row(name))
    assert (name, 6, WEB_UUID) == (found.name, found.domid, found.uuid)


def test_a_reason_code_of_a_shut_down_domain_is_read_over() -> None:
    (found,) = xl.parse_domain_table(HEADER + row("web", "---ss-", "        2                -"))
    assert found.state.suspended


@pytest.mark.parametrize(
    ("letters", "reason", "alive"),
    [
        ("------", None, True),
        ("r-----", None, True),
        ("--p---", None, False),
        ("---s--", ShutdownReason.POWEROFF, False),
        ("---sr-", ShutdownReason.REBOOT, False),
        ("---ss-", ShutdownReason.SUSPEND, False),
        ("--pss-", ShutdownReason.SUSPEND, False),
        ("---sc-", ShutdownReason.CRASH, False),
        ("---sw-", ShutdownReason.WATCHDOG, False),
        ("---sS-", ShutdownReason.SOFT_RESET, False),
        ("---s?-", None, False),
        ("-----d", None, False),
    ],
)
def test_state_letters(letters: str, reason: ShutdownReason | None, alive: bool) -> None:
    state = xl.parse_state("xl list", letters)
    assert (reason, alive) == (state.shutdown_reason, state.alive)


@pytest.mark.parametrize("letters", ["", "r----", "b-----", "r------", "rrrrrr", "---x--"])
def test_unknown_state_letters_are_refused(letters: str) -> None:
    with pytest.raises(UnexpectedOutput, match="state letters"):
        xl.parse_state("xl list", letters)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        HEADER + "web 6 96",
        HEADER + row("web").replace(WEB_UUID, "no-uuid"),
        load_recording("xl-list").stdout,
    ],
)
def test_tables_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xl list -v"):
        xl.parse_domain_table(text)


def test_the_recorded_configurations_leave_dom0_out() -> None:
    linux, web = xl.parse_configurations(load_recording("xl-list-l").stdout)
    assert (4, "linux01", LINUX_UUID, GuestKind.PV, 96) == (
        linux.domid,
        linux.name,
        linux.uuid,
        linux.kind,
        linux.maximum_memory_mib,
    )
    assert (
        Disk(vdev="xvda", target="/dev/xenvols/web_root"),
        Disk(vdev="xvdb", target="/dev/xenvols/web_data"),
    ) == web.disks
    original = json.loads(load_recording("xl-list-l").stdout)[2]["config"]
    assert original == json.loads(web.configuration_json)


def test_disks_of_every_sort_are_read() -> None:
    disks = [
        {"vdev": "hdc", "format": "empty", "is_cdrom": 1, "removable": 1},
        {"vdev": "xvdb", "pdev_path": "/img/a.qcow2", "format": "qcow2", "backend": "qdisk"},
        {"vdev": "xvdc", "pdev_path": "/dev/x", "readwrite": 1, "backend_domname": "storage"},
        {"vdev": "xvdd", "pdev_path": "/dev/y", "readwrite": 1, "backend_domid": 3},
        {"vdev": "xvde", "pdev_path": "iqn.x", "script": "block-iscsi", "removable": 1},
    ]
    (found,) = xl.parse_configurations(list_text(make_config(disks=disks)))
    assert (
        Disk(vdev="hdc", target="", format="empty", writable=False, cdrom=True),
        Disk(vdev="xvdb", target="/img/a.qcow2", format="qcow2", writable=False),
        Disk(vdev="xvdc", target="/dev/x", backend="storage"),
        Disk(vdev="xvdd", target="/dev/y", backend="3"),
        Disk(vdev="xvde", target="iqn.x", writable=False, script="block-iscsi"),
    ) == found.disks


def test_pci_devices_are_spelled_in_full() -> None:
    devices = [{"bus": 3, "dev": 1, "func": 0}, {"domain": 1, "bus": 255, "dev": 31, "func": 7}]
    (found,) = xl.parse_configurations(list_text(make_config(pcidevs=devices)))
    assert ("0000:03:01.0", "0001:ff:1f.7") == found.pci_devices


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[{}]",
        "[" * 100_000,
        list_text({}),
        list_text(make_config(c_info={"type": "vmware", "name": "x", "uuid": WEB_UUID})),
        list_text(make_config(c_info={"type": "pv", "name": "", "uuid": WEB_UUID})),
        list_text(make_config(c_info={"type": "pv", "name": "x", "uuid": "1"})),
        list_text(make_config(disks={})),
        list_text(make_config(disks=[{"vdev": "../x"}])),
        list_text(make_config(disks=[{"vdev": "xvda", "readwrite": "perhaps"}])),
        list_text(make_config(disks=[{"vdev": "xvda", "pdev_path": 5}])),
        list_text(make_config(pcidevs=[{"bus": 300}])),
        list_text(make_config(b_info={"max_memkb": "much"})),
        list_text(make_config(b_info={"max_memkb": True})),
    ],
)
def test_configurations_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xl list -l"):
        xl.parse_configurations(text)


def test_recorded_facts_of_the_host() -> None:
    facts = xl.parse_info("xl info", load_recording("xl-info").stdout)
    assert ("lab", "4.17.7", (4, 17, 7), 2420, 4095, 2) == (
        facts.hostname,
        facts.xen_version,
        facts.version_tuple,
        facts.free_memory_mib,
        facts.total_memory_mib,
        facts.cpus,
    )
    assert ("2596.120", "credit2", "dom0_mem=1536M,max:1536M console=com1 com1=115200,8n1") == (
        facts.cpu_mhz,
        facts.scheduler,
        facts.xen_command_line,
    )
    assert facts.hardware_capabilities.startswith("178bf3fd:80802001:")


def test_versions_without_a_patch_number_are_known_by_two() -> None:
    text = load_recording("xl-info").stdout.replace(": .7", ": -unstable")
    assert (4, 17) == xl.parse_info("xl info", text).version_tuple


def test_info_without_memory_is_refused() -> None:
    with pytest.raises(UnexpectedOutput, match="free_memory"):
        xl.parse_info("xl info", "host : lab\n")


def test_recorded_pinning_is_told_before_and_lost_after_a_restore() -> None:
    lines = load_recording("vcpu-pin-lost").stdout.splitlines()
    before, after = "\n".join(lines[0:2]), "\n".join(lines[4:6])
    assert (VcpuPinning(vcpu=0, hard="1", soft="all"),) == xl.parse_vcpu_table(before, 6)
    assert (VcpuPinning(vcpu=0, hard="all", soft="all"),) == xl.parse_vcpu_table(after, 10)


def test_the_whole_vcpu_table_is_filtered_by_domain() -> None:
    text = load_recording("xl-vcpu-list").stdout
    assert 2 == len(xl.parse_vcpu_table(text, 0))
    assert (VcpuPinning(vcpu=0, hard="all", soft="all"),) == xl.parse_vcpu_table(text, 6)


def test_offline_processors_and_lists_of_cpus_are_read() -> None:
    text = (
        "Name                    ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n"
        "a b 7                                6     0    3   -b-      72.8  0-1,3 / 0-3\n"
        "a b 7                                6     1    -   --p       0.0  all\n"
    )
    assert (
        VcpuPinning(vcpu=0, hard="0-1,3", soft="0-3"),
        VcpuPinning(vcpu=1, hard="all", soft="all"),
    ) == xl.parse_vcpu_table(text, 6)


@pytest.mark.parametrize("line", ["nonsense", "web  6  0  0  -b-  1.0  some / all"])
def test_vcpu_lines_of_another_shape_are_refused(line: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xl vcpu-list"):
        xl.parse_vcpu_table(line, 6)


def test_recorded_weights_and_caps() -> None:
    whole = xl.parse_credit_table("xl sched-credit2", load_recording("xl-sched-credit2").stdout)
    assert [(0, 256, 0), (4, 256, 0), (6, 256, 0)] == [
        (share.domid, share.weight, share.cap) for share in whole
    ]
    one = load_recording("xl-sched-credit2-set").stdout
    assert (xl.CreditShare(domid=2, weight=128, cap=0),) == xl.parse_credit_table("xl", one)
    assert () == xl.parse_credit_table("xl", load_recording("xl-sched-credit").stdout)


def test_an_unknown_scheduler_line_is_refused() -> None:
    with pytest.raises(UnexpectedOutput, match="weight and cap"):
        xl.parse_credit_table("xl sched-credit2", "linux01 2 heavy 0\n")


def test_no_pci_device_is_an_empty_list() -> None:
    assert () == xl.parse_pci_list(load_recording("xl-pci-list").stdout)


def test_pci_devices_of_a_guest() -> None:
    text = "Vdev Device\n05.0 0000:03:01.0\n06.0 0000:0A:1f.3\n"
    assert ("0000:03:01.0", "0000:0a:1f.3") == xl.parse_pci_list(text)
    with pytest.raises(UnexpectedOutput, match="PCI"):
        xl.parse_pci_list("05.0 03:01.0\n")


def test_recorded_progress_lines_count_frames() -> None:
    lines = load_recording("save-restore-progress").stderr.splitlines()
    steps = [progress for line in lines if (progress := xl.parse_progress(line))]
    assert ((2048, 24576), (24576, 24576), 12) == (steps[0], steps[-1], len(steps))


PARSERS: dict[str, Callable[[str], object]] = {
    "state": lambda text: xl.parse_state("xl", text),
    "table": xl.parse_domain_table,
    "table-rows": lambda text: xl.parse_domain_table(HEADER + text),
    "configurations": xl.parse_configurations,
    "info": lambda text: xl.parse_info("xl info", text),
    "vcpus": lambda text: xl.parse_vcpu_table(text, 6),
    "credit": lambda text: xl.parse_credit_table("xl", text),
    "pci": xl.parse_pci_list,
    "progress": xl.parse_progress,
}
SAMPLES = [
    load_recording(name).stdout
    for name in ("xl-list-v", "xl-list-l", "xl-info", "xl-vcpu-list", "xl-sched-credit2")
]


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200))
def test_parsers_return_or_refuse_any_text(name: str, text: str) -> None:
    check(PARSERS[name], text)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    position=st.integers(0, 4000),
    insert=st.text(alphabet="0123456789-:/.,()[]{}\"' \n\t٣abz\x00\udcff", max_size=12),
    remove=st.integers(0, 40),
)
def test_parsers_return_or_refuse_damaged_output(
    name: str, sample: str, position: int, insert: str, remove: int
) -> None:
    check(PARSERS[name], sample[:position] + insert + sample[position + remove :])


@settings(max_examples=100, deadline=None)
@given(
    config=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["c_info", "b_info", "disks", "pcidevs", "vdev", "type", "name", "uuid", "bus"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_configurations_of_any_json_are_read_or_refused(config: object) -> None:
    check(xl.parse_configurations, list_text(config))
    check(xl.parse_configurations, json.dumps(config))


def check(parser: Callable[[str], object], text: str) -> None:
    try:
        parser(text)
    except UnexpectedOutput as error:
        assert error.hint
