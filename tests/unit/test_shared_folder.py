"""Two hosts that keep their points in one folder: each counts, prunes and restores its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.pruned_house import Attic, make_job
from tests.unit.restore_house import RestoreWatcher, Site, damage
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.errors import RestoreRefused
from xenbackup.model.status import DomainVerdict, StatusReport
from xenbackup.operations.hostname import read_hostname
from xenbackup.operations.points import find_point, list_points
from xenbackup.operations.prune import Fate, prune_points
from xenbackup.operations.status import gather_status
from xenbackup.operations.verify import SilentVerifyWatcher, verify_points
from xenbackup.planning.findings import POINT_DAMAGED
from xenbackup.service.metrics import refresh_metrics

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
THINNY = "/dev/xenvols/thinny_root"


@pytest.fixture
def attics(tmp_path: Path) -> tuple[Attic, Attic]:
    """xen1 and xen2, each with a job `nightly` into the same folder."""
    job = make_job(schedule="30 2 * * *")
    first = Attic(tmp_path / "a", job, hostname="xen1")
    second = Attic(tmp_path / "b", job, hostname="xen2")
    second.share_folder_of(first)
    return first, second


def tell_guests(report: StatusReport) -> list[tuple[str, DomainVerdict, str, int, int]]:
    return [(row.domain, row.verdict, row.point, row.points, row.damaged) for row in report.domains]


def test_name_of_the_host_is_the_one_that_manifests_have(tmp_path: Path) -> None:
    create_host(tmp_path / "host", hostname="xen7")
    host = SimulatedHost(tmp_path / "host")
    assert "xen7" == read_hostname(host)
    assert read_hostname(host) == houses.build_house(host).read_inventory().facts.hostname


# Pruning


def test_pruning_removes_nothing_of_another_host(attics: tuple[Attic, Attic]) -> None:
    first, second = attics
    of_first = [first.store(night) for night in (6, 5, 4)]
    of_second = [second.store(night) for night in (3, 1, 0)]
    report = prune_points(second.house)
    assert {*of_first, *of_second[1:]} == set(second.list_ids())
    why = "made on host xen1, and only its own retention removes it"
    assert [(Fate.KEPT, why)] * 3 == [(told.fate, told.reason) for told in report.points[:3]]
    prune_points(first.house)
    assert {*of_first[1:], *of_second[1:]} == set(first.list_ids())


@pytest.mark.parametrize("job", ["nightly", "weekly"])
def test_reason_is_the_other_host_whether_or_not_we_have_its_job(
    attics: tuple[Attic, Attic], job: str
) -> None:
    first, second = attics
    first.store(3, job=job)
    (told,) = prune_points(second.house, dry_run=True).points
    assert "made on host xen1, and only its own retention removes it" == told.reason


def test_a_guest_with_a_uuid_is_pruned_by_whoever_has_it(attics: tuple[Attic, Attic]) -> None:
    first, second = attics
    old = first.store(5, identity=UUID)
    new = [second.store(night, identity=UUID) for night in (1, 0)]
    prune_points(second.house)
    assert (True, new) == (old not in second.list_ids(), second.list_ids())


# Status and metrics


def test_points_of_another_host_make_no_guest_good(attics: tuple[Attic, Attic]) -> None:
    first, second = attics
    old = first.store(9)
    list_points(first.house)
    alone = tell_guests(gather_status(first.house))
    assert [("web", DomainVerdict.LATE, old, 1, 0)] == alone
    second.store(0)
    second.store(0, domain="shop")
    list_points(first.house)
    report = gather_status(first.house)
    assert (alone, ()) == (tell_guests(report), report.gone)
    local = report.destinations[0]
    assert (1, 2) == (local.points, local.foreign)
    assert local.stored_bytes > 2 * 2048


def test_points_of_a_guest_with_a_uuid_count_wherever_it_ran(attics: tuple[Attic, Attic]) -> None:
    first, second = attics
    first.store(9, identity=UUID)
    new = second.store(0, identity=UUID)
    list_points(first.house)
    assert [("web", DomainVerdict.GOOD, new, 2, 0)] == tell_guests(gather_status(first.house))


def test_damage_is_told_by_the_host_whose_point_it_is(attics: tuple[Attic, Attic]) -> None:
    first, second = attics
    mine, theirs = first.store(0), second.store(1)
    damage(second.place(theirs) / "xvda.img", 5)
    verify_points(first.house, None, SilentVerifyWatcher())
    list_points(second.house)

    def tell(attic: Attic) -> tuple[list[tuple[str, int, int]], list[str], list[str]]:
        report = gather_status(attic.house)
        rows = [(row.point, row.points, row.damaged) for row in report.domains]
        codes = [found.subject for found in report.findings if found.code == POINT_DAMAGED]
        return rows, [marked.point for marked in report.damaged], codes

    assert ([(mine, 1, 0)], [], []) == tell(first)
    assert ([("", 0, 1)], [theirs], ["web"]) == tell(second)


def test_metrics_count_what_status_counts(attics: tuple[Attic, Attic], tmp_path: Path) -> None:
    first, second = attics
    first.configure(metrics_path="/srv/metrics.prom")
    first.store(0)
    lost = second.store(0, domain="shop")
    damage(second.place(lost, "shop") / "xvda.img", 5)
    second.store(2)
    verify_points(first.house, None, SilentVerifyWatcher())
    refresh_metrics(first.house)
    text = first.host.place("/srv/metrics.prom").read_text()
    assert 'xenbackup_points{domain="web",destination="local",age="1d"} 1\n' in text
    assert ("shop" in text, "damaged_points" in text) == (False, True)
    assert 'xenbackup_damaged_points{domain="web",destination="local"} 0\n' in text


# Restores


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Site, Site]:
    """xen1 and xen2 with the same guests: web has a uuid, thinny only its name."""
    first = Site(tmp_path / "a", hostname="xen1")
    second = Site(tmp_path / "b", hostname="xen2")
    folder = second.host.place(houses.DESTINATION)
    shutil.rmtree(folder)
    folder.symlink_to(first.host.place(houses.DESTINATION))
    return first, second


def test_restore_of_another_hosts_namesake_leaves_ours_alone(sites: tuple[Site, Site]) -> None:
    first, second = sites
    theirs = first.back_up("checkpoint", domain="thinny").point
    second.lose(domain="thinny")
    # Its file is all that is left of it: xl forgets a guest that is off.
    second.host.place("/etc/xen/thinny.cfg").write_text(
        f"name = 'thinny'\ndisk = ['phy:{THINNY},xvda,w']\n"
    )
    before = second.read(THINNY)
    found = find_point(second.house, theirs)
    with pytest.raises(RestoreRefused) as caught:
        second.plan(found)
    assert f"{THINNY} is disk xvda of thinny of this host (xen2)" in caught.value.message
    assert "the point is of thinny of host xen1" in caught.value.message
    assert before == second.read(THINNY)
    second.restore(found, RestoreWatcher(), overwrite=True)
    assert first.stored(found, "xvda.img").read_bytes() == second.read(THINNY)


def test_restore_of_our_own_point_needs_no_leave(sites: tuple[Site, Site]) -> None:
    first, second = sites
    first.back_up("checkpoint", domain="thinny")
    second.host.sleep(60)
    mine = second.back_up("checkpoint", domain="thinny")
    second.lose(domain="thinny")
    assert second.restore(mine).disks
