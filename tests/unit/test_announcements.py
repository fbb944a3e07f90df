"""What the daemon tells of itself, and of what the weekly verification has found beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.house import build_host, build_house, make_job
from tests.unit.rounds import make_round, make_run
from xenbackup.errors import StateFailed
from xenbackup.model.job import DestinationKind, DestinationSpec, Mail, Notify
from xenbackup.model.point import Damage, MarkedPoint
from xenbackup.model.run import RoundResult
from xenbackup.operations.house import House
from xenbackup.service import notify
from xenbackup.service.announcements import Announcements
from xenbackup.service.definitions import Definitions

ROUND = "20261123T023000Z-abcdef"
DAMAGE = Damage(found_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC), reason="xvda.img: differs")


class Teller:
    """Keeps the remarks; `refresh` is the look that the daemon's own does now and then."""

    def __init__(
        self,
        *_: object,
        refresh: Callable[[], None],
        on_told: Callable[[tuple[str, ...]], None],
        **__: object,
    ) -> None:
        self.refresh = refresh
        self.on_told = on_told
        self.remarks: list[tuple[str, str]] = []
        self.lost: list[bool] = []
        self.left: list[tuple[RoundResult, datetime, str]] = []
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Nothing is told unasked."""

    def remark(self, text: str, hint: str = "", *, lost: bool = False) -> None:
        self.remarks.append((text, hint))
        self.lost.append(lost)

    def round_left(self, result: RoundResult, ended_at: datetime, timezone: str) -> None:
        self.left.append((result, ended_at, timezone))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build_house(build_host(tmp_path / "host"))


@dataclass
class Desk:
    """Announcements of a host that tells by mail, and the teller that they have made."""

    announcements: Announcements
    teller: Teller
    configuration: SimpleNamespace


@pytest.fixture
def desk(house: House, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made: list[Teller] = []

    def make(*given: Any, **more: Any) -> Teller:
        made.append(Teller(*given, **more))
        return made[-1]

    monkeypatch.setattr(notify, "Teller", make)
    changed = SimpleNamespace(
        notify=Notify(mail=Mail(to=("root",))),
        metrics_path="",
        state_path="/x",
        destinations=(DestinationSpec(name="usb", kind=DestinationKind.IMAGES, path="/mnt"),),
    )
    stand_in = SimpleNamespace(
        house=SimpleNamespace(
            host=house.host,
            catalog=house.catalog,
            configuration=changed,
            state_folder=house.state_folder,
        )
    )
    announcements = Announcements(cast("Definitions", stand_in), cast("Any", None), simulated=True)
    announcements.adapt()
    return Desk(announcements, made[0], changed)


@pytest.fixture
def teller(desk: Desk) -> Teller:
    desk.announcements.release()
    return desk.teller


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


# What a daemon that cannot start has to say


def list_texts(desk: Desk) -> list[str]:
    return [text for text, _ in desk.teller.remarks]


def test_remarks_of_the_start_are_made_when_it_has_succeeded(desk: Desk) -> None:
    desk.announcements.tell_loss("broken.toml: it is broken.")
    desk.announcements.remark("Look here.", "now")
    assert [] == desk.teller.remarks
    desk.announcements.release()
    desk.announcements.remark("Later.")
    assert [("broken.toml: it is broken.", ""), ("Look here.", "now"), ("Later.", "")] == (
        desk.teller.remarks
    )
    assert [True, False, False] == desk.teller.lost


def begin_again(desk: Desk) -> None:
    """As a process that starts anew: nothing told yet, and all remarks are held."""
    desk.announcements._held = []
    desk.teller.remarks.clear()
    desk.announcements.tell_loss("broken.toml: it is broken.")


def test_daemon_that_cannot_start_says_so_once_an_hour(desk: Desk, house: House) -> None:
    full = StateFailed("The disk is full.", hint="make room")
    desk.announcements.tell_loss("broken.toml: it is broken.")
    desk.announcements.tell_no_start(full)
    assert ("The daemon cannot start: The disk is full.", "make room") in desk.teller.remarks
    for _ in range(3):
        begin_again(desk)
        desk.announcements.tell_no_start(full)
        assert [] == desk.teller.remarks
    begin_again(desk)
    desk.announcements.tell_no_start(OSError(28, "No space left on device"))
    assert any("No space left on device" in text for text in list_texts(desk))
    house.host.sleep(3601.0)
    begin_again(desk)
    desk.announcements.tell_no_start(full)
    assert "The daemon cannot start: The disk is full." in list_texts(desk)


def test_trouble_is_remembered_where_a_full_disk_does_not_matter(desk: Desk, house: House) -> None:
    house.host.place("/run/xenbackup").mkdir(parents=True)
    desk.announcements.tell_no_start(StateFailed("The disk is full."))
    assert house.host.place("/run/xenbackup/told-troubles.json").is_file()
    assert not (house.state_folder / "told-troubles.json").exists()


def test_trouble_that_cannot_be_remembered_is_not_told_every_few_seconds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StateFailed("No space left on device.")

    monkeypatch.setattr("xenbackup.system.durable.replace_file", fail)
    desk.announcements.tell_no_start(StateFailed("The disk is full."))
    assert [] == desk.teller.remarks


# What an earlier process has not told


def test_outcome_is_kept_until_somebody_was_told(desk: Desk, house: House) -> None:
    result = make_round(make_run("web", "It broke."), round=ROUND)
    desk.announcements.keep_result(replace(make_job("crash"), timezone="Asia/Tokyo"), result)
    desk.announcements.resume()
    assert [(result, house.host.now(), "Asia/Tokyo")] == desk.teller.left
    desk.teller.on_told((ROUND, "20261123T023000Z-zzzzzz"))
    desk.announcements.resume()
    assert 1 == len(desk.teller.left)


def test_outcome_is_not_kept_where_nobody_is_told_anything(desk: Desk, house: House) -> None:
    result = make_round(make_run("web", "It broke."), round=ROUND)
    desk.announcements.keep_result(make_job("crash"), result)
    desk.configuration.notify = Notify()
    desk.announcements.resume()
    assert [] == list((house.state_folder / "untold").iterdir())
    desk.announcements.keep_result(make_job("crash"), result)
    assert [] == list((house.state_folder / "untold").iterdir())


def test_outcome_that_cannot_be_kept_stops_nothing(desk: Desk, house: House) -> None:
    (house.state_folder / "untold").write_text("")
    desk.announcements.keep_result(make_job("crash"), make_round(make_run("web"), round=ROUND))
    desk.announcements.resume()
    desk.teller.on_told((ROUND,))
    assert [] == desk.teller.left
