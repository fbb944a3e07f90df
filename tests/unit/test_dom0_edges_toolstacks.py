"""Both toolstacks at their edges: rows in another order, shares of others, no shares at all."""

from __future__ import annotations

import pytest

from tests.recorded import RecordedHost
from tests.unit import test_xl as of_xl
from tests.unit import test_xm as of_xm
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xm import Xm
from xenbackup.errors import UnexpectedOutput


def reverse_rows(table: str) -> str:
    header, *rows = table.splitlines()
    return "\n".join([header, *reversed(rows)]) + "\n"


def drop_dom0(table: str) -> str:
    return "".join(line for line in table.splitlines(keepends=True) if "Domain-0" not in line)


def test_dom0_is_found_wherever_xl_lists_it() -> None:
    expected = Xl(of_xl.make_host()).read_dom0_memory_mib()
    found = Xl(of_xl.make_host({"xl list -v": reverse_rows(of_xl.TABLE)})).read_dom0_memory_mib()
    assert expected == found
    with pytest.raises(UnexpectedOutput, match="Domain-0"):
        Xl(of_xl.make_host({"xl list -v": drop_dom0(of_xl.TABLE)})).read_dom0_memory_mib()


def test_dom0_is_found_wherever_xm_lists_it() -> None:
    assert 1024 == Xm(of_xm.make_host()).read_dom0_memory_mib()
    moved = of_xm.make_host({"xm list": reverse_rows(of_xm.LIST)})
    assert 1024 == Xm(moved).read_dom0_memory_mib()
    with pytest.raises(UnexpectedOutput, match="Domain-0"):
        Xm(of_xm.make_host({"xm list": drop_dom0(of_xm.LIST)})).read_dom0_memory_mib()


def test_shares_of_another_domain_are_not_this_ones() -> None:
    rows = "Name  ID Weight  Cap\nother 5    999    9\nweb   6    128  200\nmore  7    1    1\n"
    xl = Xl(of_xl.make_host({"xl sched-credit2": rows}))
    tuning = xl.read_tuning(xl.list_domains()[1])
    assert (128, 200) == (tuning.weight, tuning.cap)


def test_devices_of_a_guest_under_xm_are_asked_of_the_running_domain() -> None:
    listed = "Vdev Device\n05.0 0000:03:01.0\n"
    host = of_xm.make_host({"xm pci-list 3": listed})
    assert ("0000:03:01.0",) == Xm(host).list_pci(3)


def test_tuning_under_xm_and_another_scheduler_has_no_weight() -> None:
    info = of_xm.INFO.replace(": credit\n", ": sedf\n")
    host = of_xm.make_host({"xm info": info})
    xm = Xm(host)
    tuning = xm.read_tuning(xm.list_domains()[0])
    assert ("sedf", None, None) == (tuning.scheduler, tuning.weight, tuning.cap)
    assert not any("sched-credit" in line for line in host.lines)


def test_tuning_under_xm_that_does_not_differ_runs_nothing() -> None:
    host = of_xm.make_host()
    xm = Xm(host)
    tuning = xm.read_tuning(xm.list_domains()[0])
    before = len(host.lines)
    assert () == xm.apply_tuning(3, tuning)
    acts = [line for line in host.lines[before:] if "pin" in line or "-set" in line or "-w" in line]
    assert [] == acts
    assert isinstance(host, RecordedHost)


def test_status_under_xm_is_that_of_the_domain_while_it_exists() -> None:
    xm = Xm(of_xm.make_host())
    found = xm.find_status(of_xm.UUID)
    assert found is not None
    assert ("linux01", 3, of_xm.UUID, "-b----") == (
        found.name,
        found.domid,
        found.uuid,
        found.state.letters,
    )
    assert xm.find_status(of_xm.STOPPED_UUID) is None


def test_only_xend_gives_a_domain_another_name_while_it_is_saved() -> None:
    assert "migrating-web" == Xm(of_xm.make_host()).name_while_saving("web")
    assert "" == Xl(of_xl.make_host()).name_while_saving("web")
