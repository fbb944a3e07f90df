"""The administration manual on memory and processors, row by row.

The tables are set as a manual sets them: blank ids, odd states and spaces, stray characters.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import make_domain
from tests.recorded import Answer, answer, load_recording
from tests.unit.placed_host import PlacedHost
from tests.unit.simulated.hosts import WEB, make_host, must
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xl_parsers import parse_info, parse_vcpu_rows
from xenbackup.dom0.xm import Xm
from xenbackup.dom0.xm_parsers import parse_xm_list, parse_xm_vcpu_rows
from xenbackup.inventory.resources import read_resources
from xenbackup.model.domain import Tuning, VcpuPinning
from xenbackup.model.resources import DOM0_FLOOR_MIB, Resources
from xenbackup.planning.memory import find_dom0_memory_faults, predict_restore_memory

FACTS = parse_info("xl info", load_recording("xl-info").stdout)
# As in grub's menu of the manual: on the kernel's line instead of the hypervisor's.
LINUX_LINE = "root=/dev/sda2 resume=/dev/sda1 splash=silent dom0_mem=512M\n"
LISTS = {
    "wide": """\
Name                                      ID Mem(MiB) VCPUs State   Time(s)
Domain-0                                   0      512     2 r-----   1234.5
linux01                                    3      256     1 -b----     46.2
linux02                                           256     1             0.0
""",
    "short states": """\
Name                              ID Mem(MiB) VCPUs State  Time(s)
Domain-0                           0      512     2 r---    1234.5
linux01                            3      256     1 -b----     46.2 \u00b6
linux02                                   256     1            0.0
""",
    "odd spaces": """\
Name                                      ID\u00a0Mem(MiB) VCPUs State   Time(s)
Domain-0                                   0      512     2 r\u2013\u2013\u2013\u2013\u2013   1234.5
linux01                                    3\u00a0     256     1 -b----     46.2
linux02                                           256     1             0.0
\f
""",
}
VCPUS = """\
Name                              ID  VCPUs   CPU State   Time(s) CPU Affinity
Domain-0                           0     0     0   r--      87.0 any cpu
Domain-0                           0     1     1   -b-      91.9 any  cpu
linux01                            2     0     1   -b-      14.6 1
linux01                            2     1     0\u00a0  ---       0.4 0-1,3
linux02                                  0     -   ---       0.0
"""


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    return PlacedHost(
        {
            "xl list -v": load_recording("xl-list-v"),
            "xl vcpu-list": load_recording("xl-vcpu-list"),
            "xl sched-credit2": load_recording("xl-sched-credit2"),
            "xl cpupool-list": answer(exit_code=1, stderr="not asked here"),
        },
        root=tmp_path,
    )


def read(host: PlacedHost, xen_line: str) -> Resources:
    return read_resources(host, Xl(host), replace(FACTS, xen_command_line=xen_line), (), ())


def codes(resources: Resources) -> list[str]:
    return [finding.code for finding in find_dom0_memory_faults(resources.dom0)]


@pytest.mark.parametrize(
    ("xen_line", "expected"),
    [
        ("dom0_mem=512M", []),
        ("dom0_mem=1536M,max:1536M console=com1", []),
        ("console=com1", ["dom0-mem-missing"]),
        ("dom0_mem=256M", ["dom0-mem-small"]),
        ("dom0_mem=max:512M", []),
        ("dom0_mem=max:511M", ["dom0-mem-small"]),
        ("dom0_mem=max:", ["dom0-mem-no-size"]),
    ],
)
def test_dom0_keeps_at_least_512_mib(host: PlacedHost, xen_line: str, expected: list[str]) -> None:
    assert 512 == DOM0_FLOOR_MIB
    assert expected == codes(read(host, xen_line))


def test_dom0_mem_on_the_linux_line_does_nothing(host: PlacedHost) -> None:
    host.write("/proc/cmdline", LINUX_LINE)
    resources = read(host, "console=com1")
    assert ["dom0-mem-missing", "dom0-mem-linux"] == codes(resources)
    assert ("512M", "", None) == (
        resources.dom0.on_linux_line,
        resources.dom0.on_xen_line,
        resources.dom0.limit_mib,
    )


def test_mem_set_and_mem_max_are_seen_in_the_list(tmp_path: Path) -> None:
    host = make_host(tmp_path, replace(WEB, memory_mib=256))
    must(host, "xl", "mem-max", "web", "512M")
    must(host, "xl", "mem-set", "web", "240M")
    toolstack = open_toolstack(host)
    facts, domains = toolstack.read_facts(), toolstack.list_domains()
    resources = read_resources(host, toolstack, facts, domains, ())
    (web,) = resources.domains
    assert (240, 240, 512) == (web.memory_mib, web.target_mib, web.maximum_mib)
    assert predict_restore_memory(web, resources).fits


@pytest.mark.parametrize("name", sorted(LISTS))
def test_xm_list_with_blank_ids_odd_states_and_stray_characters(name: str) -> None:
    rows = parse_xm_list(LISTS[name])
    assert [("Domain-0", 0, 512, 2), ("linux01", 3, 256, 1), ("linux02", None, 256, 1)] == [
        (row.name, row.domid, row.memory_mib, row.vcpus) for row in rows
    ]
    assert [True, False, False] == [row.state.running for row in rows]
    assert [False, True, False] == [row.state.blocked for row in rows]


def test_dom0s_memory_stands_in_the_list_of_xm(tmp_path: Path) -> None:
    host = PlacedHost({"xm list": LISTS["short states"]}, root=tmp_path)
    assert 512 == Xm(host).read_dom0_memory_mib()


def test_priorities_by_weight_and_cap(tmp_path: Path) -> None:
    replies: dict[str, Answer | list[Answer]] = {
        "xm sched-credit": answer(exit_code=1, stderr="Error: -d is needed"),
        "xm list": LISTS["wide"],
        "xm sched-credit -d 0": "{'cap': 0, 'weight': 256}\n",
        # What `xm sched-credit -d 3` prints after `-w 128 -c 200`.
        "xm sched-credit -d 3": "{'cap': 200, 'weight': 128}\n",
    }
    shares = Xm(PlacedHost(replies, root=tmp_path)).list_shares("credit")
    assert [(0, 256, 0), (3, 128, 200)] == [
        (share.domid, share.weight, share.cap) for share in shares
    ]
    tuned = Tuning(scheduler="credit", weight=128, cap=200)
    assert (
        "scheduler weight: 128 before, 256 now",
        "scheduler cap: 200 before, 0 now",
    ) == compare_tuning(tuned, replace(tuned, weight=256, cap=0))


def test_priorities_under_todays_credit2(host: PlacedHost) -> None:
    assert [(0, 256, 0), (4, 256, 0), (6, 256, 0)] == [
        (share.domid, share.weight, share.cap) for share in Xl(host).list_shares("credit2")
    ]


def test_the_printed_vcpu_list_with_any_cpu_and_odd_spacing() -> None:
    rows = parse_xm_vcpu_rows(VCPUS)
    assert [(0, 0, "all"), (0, 1, "all"), (2, 0, "1"), (2, 1, "0-1,3")] == [
        (row.domid, row.pinning.vcpu, row.pinning.hard) for row in rows
    ]


def test_todays_vcpu_list() -> None:
    rows = parse_vcpu_rows(load_recording("xl-vcpu-list").stdout)
    assert [(0, 0), (0, 1), (4, 0), (6, 0)] == [(row.domid, row.pinning.vcpu) for row in rows]


def test_pinning_is_recorded_for_every_guest_and_its_loss_is_told(host: PlacedHost) -> None:
    host.answers["xl vcpu-list"] = load_recording("xl-vcpu-list").stdout.replace(
        "12.9  all / all", "12.9  1 / all"
    )
    found = read_resources(host, Xl(host), FACTS, (make_domain(),), ()).domains[0].tuning
    assert (VcpuPinning(vcpu=0, hard="1", soft="all"),) == found.pinning
    lost = replace(found, pinning=(VcpuPinning(vcpu=0, hard="all", soft="all"),))
    assert ("pinning of virtual CPU 0: 1 / all before, all / all now",) == compare_tuning(
        found, lost
    )


def test_vcpu_set_that_came_to_nothing_is_told_with_both_values() -> None:
    wanted = Tuning(vcpus=4)
    assert ("virtual CPUs: 4 before, 1 now",) == compare_tuning(wanted, Tuning(vcpus=1))
