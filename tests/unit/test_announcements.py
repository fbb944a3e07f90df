"""What the daemon tells of itself, and of what the weekly verification has found beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.house import build_host, build_house
from xenbackup.errors import StateFailed
from xenbackup.model.job import Mail, Notify
from xenbackup.model.point import Damage, MarkedPoint
from xenbackup.operations.house import House
from xenbackup.service import notify
from xenbackup.service.announcements import Announcements
from xenbackup.service.definitions import Definitions

DAMAGE = Damage(found_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC), reason="xvda.img: differs")


class Teller:
    """Keeps the remarks; `refresh` is the look that the daemon's own does now and then."""

    def __init__(self, *_: object, refresh: Callable[[], None], **__: object) -> None:
        self.refresh = refresh
        self.remarks: list[tuple[str, str]] = []
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Nothing is told unasked."""

    def remark(self, text: str, hint: str = "") -> None:
        self.remarks.append((text, hint))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build_house(build_host(tmp_path / "host"))


@pytest.fixture
def teller(house: House, monkeypatch: pytest.MonkeyPatch) -> Teller:
    made: list[Teller] = []

    def make(*given: Any, **more: Any) -> Teller:
        made.append(Teller(*given, **more))
        return made[-1]

    monkeypatch.setattr(notify, "Teller", make)
    changed = SimpleNamespace(
        notify=Notify(mail=Mail(to=("root",))), metrics_path="", state_path="/x"
    )
    stand_in = SimpleNamespace(
        house=SimpleNamespace(host=house.host, catalog=house.catalog, configuration=changed)
    )
    announcements = Announcements(cast("Definitions", stand_in), cast("Any", None), simulated=True)
    announcements.adapt()
    return made[0]


def mark(house: House, *points: str) -> None:
    for point in points:
        house.catalog.record_damaged(
            MarkedPoint(point=point, destination="usb", domain="web", damage=DAMAGE)
        )


def test_points_that_verification_found_damaged_are_told_once(teller: Teller, house: House) -> None:
    teller.refresh()
    assert [] == teller.remarks
    mark(house, "20261122T023000Z-aaaaaa")
    teller.refresh()
    teller.refresh()
    text = (
        "Verification found a recovery point damaged: 20261122T023000Z-aaaaaa of web in usb "
        "(xvda.img: differs)."
    )
    assert [(text, "`xenbackup status` says what to do")] == teller.remarks


def test_only_newly_found_points_are_told_and_those_found_again(
    teller: Teller, house: House
) -> None:
    mark(house, "20261122T023000Z-aaaaaa")
    teller.refresh()
    mark(house, "20261123T023000Z-bbbbbb")
    teller.refresh()
    house.catalog.forget_damage("usb", "20261122T023000Z-aaaaaa")
    teller.refresh()
    mark(house, "20261122T023000Z-aaaaaa")
    teller.refresh()
    named = [text.split("damaged: ")[1][:23] for text, _ in teller.remarks]
    assert [
        "20261122T023000Z-aaaaaa",
        "20261123T023000Z-bbbbbb",
        "20261122T023000Z-aaaaaa",
    ] == named


def test_many_damaged_points_are_summed_up_newest_first(teller: Teller, house: House) -> None:
    mark(house, *(f"2026112{day}T023000Z-aaaaaa" for day in range(6)))
    teller.refresh()
    ((text, _),) = teller.remarks
    assert text.startswith("Verification found 6 recovery points damaged: 20261125T023000Z-aaaaaa")
    assert text.endswith("; and 3 more.")


def test_catalog_that_cannot_be_read_stops_nothing(
    teller: Teller, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise StateFailed("The disk is full.")

    monkeypatch.setattr(type(house.catalog), "list_damaged", fail)
    teller.refresh()
    assert [] == teller.remarks
