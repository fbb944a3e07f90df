"""Memory and processors of a host, read once, and what becomes of questions it does not answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_domain
from tests.recorded import Answer, answer, load_recording
from tests.unit.placed_host import PlacedHost
from tests.unit.simulated.hosts import THINNY, WEB, make_host
from xenbackup.dom0.guest_configuration import (
    ConfigurationFile,
    find_configurations,
    parse_configuration,
)
from xenbackup.dom0.resource_tables import (
    CpuPool,
    parse_assignable_list,
    parse_pool_table,
    read_configured_sizes,
    read_expression_sizes,
)
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xl_parsers import (
    CreditShare,
    parse_credit_table,
    parse_info,
    parse_vcpu_rows,
)
from xenbackup.dom0.xm import Xm
from xenbackup.dom0.xm_parsers import parse_xm_credit_rows, parse_xm_vcpu_rows
from xenbackup.errors import UnexpectedOutput
from xenbackup.inventory.resources import read_resources
from xenbackup.model.domain import Domain, DomainState, GuestKind, VcpuPinning
from xenbackup.model.resources import Dom0Memory, Resources

FACTS = parse_info("xl info", load_recording("xl-info").stdout)
# Laid out as xl_cpupool.c prints it: %-19s, %3d, %9s, y, %4d.
POOLS = (
    "Name               CPUs   Sched     Active   Domain count\n"
    "Pool-0               2   credit2       y          3\n"
)
XM_LIST = """\
Name                                        ID   Mem VCPUs      State   Time(s)
Domain-0                                     0  1024     2     r-----   1234.5
linux01                                      3   512     2     -b----     46.2
linux02                                          256     1                 0.0
"""
XM_VCPUS = """\
Name                                ID  VCPU   CPU State   Time(s) CPU Affinity
Domain-0                             0     0     0   r--     612.3 any cpu
linux01                              3     0     1   -b-      14.6 any cpu
linux01                              3     1     0   -b-      10.1 0-1
"""


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    return PlacedHost(
        {
            "xl list -v": load_recording("xl-list-v"),
            "xl list -l": load_recording("xl-list-l"),
            "xl vcpu-list": load_recording("xl-vcpu-list"),
            "xl sched-credit2": load_recording("xl-sched-credit2"),
            "xl cpupool-list": POOLS,
        },
        root=tmp_path,
    )


def read(host: PlacedHost, *domains: Domain) -> Resources:
    xl = Xl(host)
    return read_resources(host, xl, FACTS, domains or xl.list_domains(), ())


def test_the_recorded_host_is_read_whole(host: PlacedHost) -> None:
    resources = read(host)
    assert (4095, 2420, 2, "credit2", 1, ("Pool-0",), ()) == (
        resources.total_mib,
        resources.free_mib,
        resources.cpus,
        resources.scheduler,
        resources.numa_nodes,
        resources.pools,
        resources.problems,
    )
    assert Dom0Memory(current_mib=1536, on_xen_line="1536M,max:1536M", limit_mib=1536) == (
        resources.dom0
    )
    web = resources.find("web")
    assert web is not None
    assert (6, 96, 96, 96, 1, "Pool-0", 0, GuestKind.PV) == (
        web.domid,
        web.memory_mib,
        web.maximum_mib,
        web.target_mib,
        web.vcpus,
        web.pool,
        web.numa_nodes,
        web.kind,
    )
    assert ("credit2", 256, 0, 1) == (
        web.tuning.scheduler,
        web.tuning.weight,
        web.tuning.cap,
        web.tuning.vcpus,
    )
    assert (VcpuPinning(vcpu=0, hard="all", soft="all"),) == web.tuning.pinning


def test_one_command_a_question_whatever_the_number_of_guests(host: PlacedHost) -> None:
    domains = tuple(make_domain(name=f"g{number}", domid=number) for number in range(1, 40))
    read(host, *domains)
    assert sorted(host.lines) == [
        "xl cpupool-list",
        "xl list -v",
        "xl sched-credit2",
        "xl vcpu-list",
    ]


@pytest.mark.parametrize(
    "command", ["xl list -v", "xl vcpu-list", "xl sched-credit2", "xl cpupool-list"]
)
@pytest.mark.parametrize(
    "reply",
    [
        answer(exit_code=1, stderr="libxl: error: it broke"),
        answer(exit_code=0, stdout="garbage\n"),
        answer(timed_out=True, exit_code=-9),
    ],
)
def test_each_question_is_optional(host: PlacedHost, command: str, reply: Answer) -> None:
    web = make_domain()
    host.answers[command] = reply
    resources = read(host, web)
    (problem,) = resources.problems
    assert command in problem
    assert "web" == resources.domains[0].domain


def test_a_host_without_its_toolstack_has_problems_only(tmp_path: Path) -> None:
    host = PlacedHost(root=tmp_path)
    resources = read(host, make_domain())
    assert 4 == len(resources.problems)
    assert 0 == resources.dom0.current_mib
    assert 1536 == resources.dom0.limit_mib


def test_a_linux_line_that_wants_to_set_dom0s_memory_is_kept(host: PlacedHost) -> None:
    host.write("/proc/cmdline", "root=/dev/sda1 dom0_mem=512M ro\n")
    assert "512M" == read(host).dom0.on_linux_line


@pytest.mark.parametrize(
    ("line", "limit_mib", "problems"),
    [
        ("console=com1", None, 0),
        ("dom0_mem=max:1G", 1024, 0),
        ("dom0_mem=1G dom0_mem=max:512M", 512, 0),
        ("dom0_mem=plenty", None, 1),
    ],
)
def test_the_rule_on_xens_line(
    host: PlacedHost, line: str, limit_mib: int | None, problems: int
) -> None:
    xl = Xl(host)
    facts = replace(FACTS, xen_command_line=line)
    resources = read_resources(host, xl, facts, (), ())
    assert (limit_mib, problems) == (resources.dom0.limit_mib, len(resources.problems))


def test_a_ballooned_guest_with_virtual_nodes_in_its_pool(host: PlacedHost) -> None:
    config = {
        "c_info": {"pool_name": "fast"},
        "b_info": {"target_memkb": 65536, "vnuma_nodes": [{"memkb": 1}, {"memkb": 1}]},
    }
    web = replace(make_domain(), maximum_memory_mib=128, configuration_json=json.dumps(config))
    host.answers["xl sched-credit2"] = ""
    found = read(host, web).domains[0]
    assert (96, 128, 64, 2, "fast") == (
        found.memory_mib,
        found.maximum_mib,
        found.target_mib,
        found.numa_nodes,
        found.pool,
    )


def test_a_guest_that_is_shut_off_is_known_from_its_file(host: PlacedHost) -> None:
    text = (
        "name = 'db'\nmemory = 512\nvcpus = 2\ncpu_weight = 512\ncap = '50'\npool = 'fast'\n"
        "vnuma = [ [ 'pnode=0', 'size=256' ], [ 'pnode=1', 'size=256' ] ]\n"
    )
    known = parse_configuration(text, "/etc/xen/db.cfg")
    db = Domain(
        name="db",
        domid=-1,
        uuid="",
        kind=GuestKind.PV,
        state=DomainState(letters=""),
        memory_mib=512,
        maximum_memory_mib=512,
        vcpus=2,
    )
    file = ConfigurationFile(path="/etc/xen/db.cfg", configuration=known)
    found = read_resources(host, Xl(host), FACTS, (db,), (file,)).domains[0]
    assert (-1, 512, 512, 2, 512, 50, "fast", 2, None) == (
        found.domid,
        found.memory_mib,
        found.maximum_mib,
        found.vcpus,
        found.tuning.weight,
        found.tuning.cap,
        found.pool,
        found.numa_nodes,
        found.target_mib,
    )


def test_weights_come_from_the_table_of_the_hosts_own_scheduler(host: PlacedHost) -> None:
    host.answers["xl sched-credit"] = (
        "Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n"
        "Name                                ID Weight  Cap\n"
        "web                                  6    128   50\n"
    )
    facts = replace(FACTS, scheduler="credit")
    found = read_resources(host, Xl(host), facts, (make_domain(),), ())
    assert (128, 50, "Pool-0") == (
        found.domains[0].tuning.weight,
        found.domains[0].tuning.cap,
        found.domains[0].pool,
    )
    host.answers["xl cpupool-list"] = POOLS.replace("credit2", "   rtds")
    other = read_resources(host, Xl(host), replace(FACTS, scheduler="rtds"), (make_domain(),), ())
    assert ((), None) == (other.problems, other.domains[0].tuning.weight)


def test_guests_of_several_pools_stand_in_the_tables_of_their_schedulers(host: PlacedHost) -> None:
    host.answers["xl cpupool-list"] = POOLS + (
        "fast                 1    credit       y          1\n"
        "Pool-rt              1      rtds       y          1\n"
    )
    host.answers["xl sched-credit"] = (
        "Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=0us\n"
        "Name                                ID Weight  Cap\n"
        "batch                                9    512   50\n"
    )
    found = read(host, make_domain(), make_domain(name="batch", domid=9), make_domain(domid=10))
    assert [
        ("credit2", 256, "Pool-0", "Pool-0"),
        ("credit", 512, "fast", "fast"),
        ("credit2", None, "", ""),
    ] == [
        (guest.tuning.scheduler, guest.tuning.weight, guest.tuning.pool, guest.pool)
        for guest in found.domains
    ]
    assert () == found.problems


def test_an_xm_host_is_read_with_its_own_tables(tmp_path: Path) -> None:
    host = PlacedHost(
        {
            "xm list": XM_LIST,
            "xm vcpu-list": XM_VCPUS,
            "xm sched-credit": answer(exit_code=1, stderr="Error: needs a domain"),
            "xm sched-credit -d 0": "{'cap': 0, 'weight': 256}\n",
            "xm sched-credit -d 3": "{'cap': 200, 'weight': 128}\n",
        },
        root=tmp_path,
    )
    linux = replace(
        make_domain(name="linux01", domid=3),
        configuration_sexp="(domain (name linux01) (memory 384.0) (maxmem 512))",
    )
    facts = replace(FACTS, scheduler="credit")
    resources = read_resources(host, Xm(host), facts, (linux,), ())
    (found,) = resources.domains
    assert (1024, (), ()) == (
        resources.dom0.current_mib,
        resources.pools,
        resources.problems,
    )
    assert (384, 128, 200, ["all", "0-1"]) == (
        found.target_mib,
        found.tuning.weight,
        found.tuning.cap,
        [pinning.hard for pinning in found.tuning.pinning],
    )


def test_an_xm_that_shows_all_weights_is_asked_once(tmp_path: Path) -> None:
    table = (
        "Name                                ID Weight  Cap\n"
        "Domain-0                             0    256    0\n"
        "linux01                              3    128  200\n"
        "linux02                              4     -1   -1\n"
    )
    host = PlacedHost({"xm sched-credit": table}, root=tmp_path)
    assert (
        CreditShare(domid=0, weight=256, cap=0),
        CreditShare(domid=3, weight=128, cap=200),
    ) == Xm(host).list_shares("credit")
    assert () == Xm(host).list_shares("sedf")
    assert ["xm sched-credit"] == host.lines


@pytest.mark.parametrize("toolstack", ["xl", "xm"])
def test_a_table_without_domain_0_is_refused(tmp_path: Path, toolstack: str) -> None:
    header = load_recording("xl-list-v").stdout.splitlines()[0] + "\n"
    host = PlacedHost({"xl list -v": header, "xm list": XM_LIST.splitlines()[0]}, root=tmp_path)
    with pytest.raises(UnexpectedOutput, match="Domain-0"):
        open_toolstack(host, toolstack).read_dom0_memory_mib()


def test_the_simulated_host_answers_every_question(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB, replace(THINNY, running=False))
    toolstack = open_toolstack(host)
    facts, domains = toolstack.read_facts(), toolstack.list_domains()
    resources = read_resources(host, toolstack, facts, domains, find_configurations(host))
    assert ((), ("Pool-0",), 1536, 1536, 1) == (
        resources.problems,
        resources.pools,
        resources.dom0.current_mib,
        resources.dom0.limit_mib,
        resources.numa_nodes,
    )
    (web,) = resources.domains
    assert (32, 32, "Pool-0", 256, 1) == (
        web.memory_mib,
        web.target_mib,
        web.pool,
        web.tuning.weight,
        len(web.tuning.pinning),
    )


# Tables


def test_several_pools_have_names_processors_and_domains() -> None:
    text = POOLS + "Pool node 1        128      null       y          0\n"
    assert (
        CpuPool(name="Pool-0", cpus=2, scheduler="credit2", domains=3),
        CpuPool(name="Pool node 1", cpus=128, scheduler="null", domains=0),
    ) == parse_pool_table(text)


@pytest.mark.parametrize("text", ["", "garbage\n", POOLS + "Pool-1\n", POOLS.replace("y ", "? ")])
def test_pool_tables_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xl cpupool-list"):
        parse_pool_table(text)


def test_each_row_of_a_credit_table_belongs_to_the_pool_above_it() -> None:
    text = load_recording("xl-sched-credit2").stdout + (
        "Cpupool night: shift: ratelimit=1000us\n"
        "Name                                ID Weight  Cap\n"
        "batch                                9     64    0\n"
    )
    pools = [(share.domid, share.pool) for share in parse_credit_table("xl", text)]
    assert [(0, "Pool-0"), (4, "Pool-0"), (6, "Pool-0"), (9, "night: shift")] == pools


def test_memory_that_libxl_has_not_set_is_not_known() -> None:
    text = json.dumps({"b_info": {"target_memkb": 0xFFFFFFFFFFFFFFFF}})
    assert read_configured_sizes(text).target_mib is None
    with pytest.raises(UnexpectedOutput):
        read_configured_sizes('{"b_info": {"target_memkb": "much"}}')


PARSERS = {
    "pools": parse_pool_table,
    "vcpus": parse_vcpu_rows,
    "xm-vcpus": parse_xm_vcpu_rows,
    "credit": lambda text: parse_credit_table("xl", text),
    "xm-credit": parse_xm_credit_rows,
    "assignable": lambda text: parse_assignable_list("xl", text),
    "sizes": read_configured_sizes,
    "expression": read_expression_sizes,
}
PIECES = st.sampled_from(
    [
        POOLS,
        "Pool-0               2   credit2       y          3\n",
        "Name                                ID Weight  Cap\n",
        "Cpupool Pool-0: ratelimit=1000us\n",
        "web  6  256  -1\n",
        "web                                  6     0    0   -b-      12.9  all / all\n",
        "linux01   3   1   0  -b-   10.1 any cpu\n",
        '{"b_info": {"target_memkb": ',
        "98304}}",
        "(domain (memory ",
        "512))",
        "0000:03:01.0",
        "\n",
        " ",
        "99999999999999999999",
    ]
)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(text=st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join))
@settings(max_examples=1000, deadline=None)
def test_hostile_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except UnexpectedOutput as error:
        assert error.message


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)


@given(name=NAMES.filter(lambda name: name == name.strip()), cpus=st.integers(1, 512))
@settings(max_examples=1000)
def test_pools_of_any_name_are_read(name: str, cpus: int) -> None:
    row = f"{name:<19} {cpus:3} {'credit2':>9}       y       {3:4}\n"
    (pool,) = parse_pool_table(POOLS.splitlines()[0] + "\n" + row)
    assert (name, cpus) == (pool.name, pool.cpus)
