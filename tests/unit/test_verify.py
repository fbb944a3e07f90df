"""Verification of points: damage is named to the byte, and never stops the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.house import DESTINATION
from tests.unit.restore_house import Site, damage
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import Interrupted, PointNotFound
from xenbackup.operations.verify import (
    SilentVerifyWatcher,
    Verdict,
    VerifyResult,
    exit_code_of,
    verify_points,
)


@dataclass
class Watcher(SilentVerifyWatcher):
    """Keeps what it is told."""

    began: list[str] = field(default_factory=list)
    amounts: list[tuple[int, int]] = field(default_factory=list)
    ended: list[Verdict] = field(default_factory=list)

    def point_began(self, point: str, domain: str) -> None:
        self.began.append(domain)

    def amount_done(self, point: str, done: int, total: int) -> None:
        self.amounts.append((done, total))

    def point_ended(self, result: VerifyResult) -> None:
        self.ended.append(result.verdict)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def test_good_points_are_good_with_progress_to_the_end(site: Site) -> None:
    site.back_up()
    site.back_up("crash", domain="thinny")
    watcher = Watcher()

    results = verify_points(site.house, None, watcher)

    assert [result.verdict for result in results] == [Verdict.GOOD, Verdict.GOOD]
    assert exit_code_of(results) == 0
    assert (watcher.began, watcher.ended) == (["web", "thinny"], [Verdict.GOOD] * 2)
    assert all(0 < done <= total for done, total in watcher.amounts)
    assert watcher.amounts[-1] == (8 * MIB, 8 * MIB)


def test_nothing_to_verify_is_good(site: Site) -> None:
    assert exit_code_of(verify_points(site.house, None, Watcher())) == 0


def test_damage_is_named_and_the_other_points_are_still_read(site: Site) -> None:
    point = site.back_up("crash")
    site.back_up("crash")
    damage(site.stored(point, "xvda.img"), 5 * MIB)

    results = verify_points(site.house, None, Watcher())

    assert [result.verdict for result in results] == [Verdict.DAMAGED, Verdict.GOOD]
    (finding,) = results[0].findings
    assert (finding.file, finding.offset_bytes) == ("xvda.img", 4 * MIB)
    assert exit_code_of(results) == 1


def test_a_missing_file_and_a_bad_manifest_are_damage(site: Site) -> None:
    first = site.back_up("crash")
    second = site.back_up("crash")
    site.stored(first, "xvdb.img").unlink()
    site.stored(second, "manifest.json").write_text("{}")

    results = verify_points(site.house, None, Watcher())

    assert {result.point: result.verdict for result in results} == {
        first.point: Verdict.DAMAGED,
        second.point: Verdict.DAMAGED,
    }


def test_one_point_is_verified_alone(site: Site) -> None:
    first = site.back_up("crash")
    site.back_up("crash")

    results = verify_points(site.house, first.point, Watcher())

    assert [result.point for result in results] == [first.point]


def test_a_point_with_a_bad_manifest_is_verified_by_its_id(site: Site) -> None:
    point = site.back_up("crash")
    site.stored(point, "manifest.json").write_text("{}")

    (result,) = verify_points(site.house, point.point, Watcher())

    assert (result.verdict, exit_code_of((result,))) == (Verdict.DAMAGED, 1)


def test_an_unknown_point_is_not_found(site: Site) -> None:
    with pytest.raises(PointNotFound):
        verify_points(site.house, "web@latest", Watcher())


def test_a_missing_destination_is_no_good_verdict(site: Site) -> None:
    site.back_up("crash")
    site.host.place(DESTINATION).rename(site.host.place("/srv/away"))

    (result,) = verify_points(site.house, None, Watcher())

    assert (result.verdict, result.destination) == (Verdict.UNREAD, "local")
    assert exit_code_of((result,)) == 10


def test_a_stopped_verification_ends_as_interrupted(site: Site) -> None:
    site.back_up("crash")

    with pytest.raises(Interrupted, match="Ctrl-C"):
        verify_points(site.house, None, Watcher(), lambda: "Ctrl-C")
