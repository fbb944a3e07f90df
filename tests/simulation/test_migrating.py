"""A guest that is migrated away: what the old host shows of it, what is drawn, what is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.acts import Doings
from tests.simulation.director import Ledger
from tests.simulation.judging import judge_end, judge_start
from tests.simulation.migrating import (
    AWAY_SUFFIX,
    END_MIGRATION,
    MIGRATE,
    begin_migration,
    end_migration,
    is_beyond_notice,
    was_read_elsewhere,
)
from tests.simulation.play import Player
from tests.simulation.quickening import quickened
from tests.simulation.schedule import Event, Schedule, draw_schedule
from tests.simulation.worlds import Shelf, World, build_house
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.simulated.state import Domain
from xenbackup.model.command import Command

pytestmark = pytest.mark.timeout(900)
WEB = World(stack="xl-4.17", guest="web")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(tmp_path_factory.mktemp("migrating"))


def open_host(shelf: Shelf, folder: Path, world: World = WEB) -> SimulatedHost:
    shelf.copy_to(world, folder)
    return SimulatedHost(folder)


def find(host: SimulatedHost) -> Domain | None:
    with host.machine() as machine:
        return next((d for d in machine.state.domains if d.name.startswith("web")), None)


def begin(host: SimulatedHost) -> bool:
    guest = find(host)
    assert guest is not None
    return begin_migration(host, guest.domid)


def call(host: SimulatedHost, *argv: str) -> None:
    assert 0 == host.run(Command(argv=argv, timeout_seconds=300.0)).exit_code


def test_migrated_guest_stands_suspended_under_its_new_name_until_it_is_gone(
    shelf: Shelf, tmp_path: Path
) -> None:
    host = open_host(shelf, tmp_path / "host")
    assert begin(host)
    web = find(host)
    assert web is not None
    assert (f"web{AWAY_SUFFIX}", "suspend", False) == (web.name, web.shutdown, web.executing)
    assert {(4, 4)} == {(vbd.frontend, vbd.backend) for vbd in web.vbds}
    assert end_migration(host)
    assert find(host) is None
    assert not end_migration(host)


def test_guest_that_is_let_run_here_meets_disks_that_went_on_elsewhere(
    shelf: Shelf, tmp_path: Path
) -> None:
    host = open_host(shelf, tmp_path / "host")
    assert begin(host)
    assert not read_oracle(host).corruptions
    call(host, "xl", "save", "-c", f"web{AWAY_SUFFIX}", "/tmp-of-nobody.save")
    host.sleep(3.0)
    assert "memory knows" in read_oracle(host).text


@pytest.mark.parametrize("manner", ["paused", "ignores", "saved by an old xl"])
def test_guest_that_does_not_suspend_is_not_migrated(
    shelf: Shelf, tmp_path: Path, manner: str
) -> None:
    old = manner == "saved by an old xl"
    world = World(stack="xl-4.3", guest="web") if old else WEB
    host = open_host(shelf, tmp_path / "host", world)
    before = host.monotonic_seconds()
    if manner == "paused":
        call(host, "xl", "pause", "web")
    with host.machine() as machine:
        if manner == "ignores":
            machine.state.program_of("web").suspend = "ignores"
        if old:
            (web,) = [d for d in machine.state.domains if d.name == "web"]
            web.shutdown = "suspend"
        machine.commit()
    assert not begin(host)
    found = find(host)
    assert found is not None
    assert "web" == found.name
    assert host.monotonic_seconds() - before >= 60.0


def test_xend_has_no_moment_between(shelf: Shelf, tmp_path: Path) -> None:
    host = open_host(shelf, tmp_path / "host", World(stack="xm-3.4", guest="web"))
    assert begin(host)
    assert find(host) is None


def test_seed_without_migration_tells_the_story_that_it_always_told(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever replays an old seed must not meet another story, unless migration is part of it."""
    drawn = [draw_schedule(seed, player.list_moments) for seed in range(300)]
    monkeypatch.setattr("tests.simulation.schedule.MIGRATION_SHARE", 0.0)
    before = [draw_schedule(seed, player.list_moments) for seed in range(300)]
    migrated = 0
    for old, new in zip(before, drawn, strict=True):
        acts = [event.what for events in new.phases for event in events]
        assert MIGRATE not in [event.what for events in old.phases for event in events]
        if MIGRATE in acts:
            migrated += 1
            kept = [[e for e in ev if e.what not in (MIGRATE, END_MIGRATION)] for ev in new.phases]
            assert old.phases == kept
        else:
            assert old == new
    assert migrated > 5


def test_host_that_goes_down_in_order_saves_what_was_left_behind(player: Player) -> None:
    phases = [
        [
            Event(kind="act", what=MIGRATE, moment="journal:returned"),
            Event(kind="reboot", moment="journal:staging"),
        ]
    ]
    schedule = Schedule(seed=0, world=WEB, preset="snapshot", handshake_fails=True, phases=phases)
    verdict = player.play_schedule(schedule)
    assert [] == verdict.wrongs, "\n".join(verdict.story)
    assert MIGRATE in verdict.struck


def test_guest_that_is_migrated_away_after_a_reboot_may_be_left_behind(player: Player) -> None:
    """The host's own service had started it before, and starts it no second time."""
    phases = [
        [Event(kind="reboot", moment="journal:resuming")],
        [Event(kind="act", what=MIGRATE, moment="journal:hands-off")],
    ]
    schedule = Schedule(
        seed=0,
        world=WEB,
        preset="cold",
        autostart=True,
        xendomains_first=True,
        handshake_fails=True,
        phases=phases,
    )
    verdict = player.play_schedule(schedule)
    assert [] == verdict.wrongs, "\n".join(verdict.story)
    assert MIGRATE in verdict.struck


@pytest.mark.parametrize("preset", ["crash", "checkpoint", "snapshot", "cold"])
@pytest.mark.parametrize("moment", ["journal:step-began", "journal:staging", "journal:run-ended"])
def test_nobody_starts_here_what_was_migrated_away(
    player: Player, preset: str, moment: str
) -> None:
    events = [
        Event(kind="act", what=MIGRATE, moment=moment),
        Event(kind="act", what="create", moment="journal:run-ended"),
    ]
    schedule = Schedule(seed=0, world=WEB, preset=preset, phases=[events])
    schedule.handshake_fails = True
    verdict = player.play_schedule(schedule)
    told = "\n".join(verdict.story)
    assert [] == verdict.wrongs, told
    assert f"{moment}: {MIGRATE}" in told


def judge(host: SimulatedHost, acts: list[str], story: list[str]) -> list[str]:
    """What the judge says when `acts` are done to the host of a guest that was migrated away."""
    house = build_house(host, WEB, bytes)
    start = judge_start(host, WEB)
    assert begin(host)
    for act in acts:
        call(host, *act.split())
    schedule = Schedule(seed=0, world=WEB, preset="crash")
    ledger = Ledger(done=[MIGRATE], story=story)
    with quickened():
        return judge_end(host, house, schedule, start, Doings(done=[MIGRATE]), ledger).wrongs


def test_judge_tells_of_a_guest_that_runs_twice(shelf: Shelf, tmp_path: Path) -> None:
    gone = f"xl destroy web{AWAY_SUFFIX}"
    for number, (acts, expected) in enumerate(
        (
            ([], ""),
            ([gone], ""),
            ([gone, "xl create /etc/xen/web.cfg"], "runs elsewhere, and was let run here"),
        )
    ):
        told = judge(open_host(shelf, tmp_path / str(number)), acts, [f"x: {MIGRATE}"])
        assert ([f"web {expected}"] if expected else []) == told


def test_judge_tells_of_a_point_that_was_read_when_it_ran_elsewhere() -> None:
    away, snapshotting, published = (
        f"x: {MIGRATE}",
        "  journal: snapshotting",
        "  journal: published",
    )
    assert was_read_elsewhere([away, snapshotting, published])
    assert was_read_elsewhere([snapshotting, away, snapshotting, published])
    assert not was_read_elsewhere([snapshotting, away, published])
    assert not was_read_elsewhere([away, snapshotting])
    assert not was_read_elsewhere([snapshotting, published])


def test_host_that_went_down_before_anybody_looked_takes_the_proof_with_it() -> None:
    away, cut = f"x: {MIGRATE}", "the host went down; running False"
    began, settled = "  journal: rescue-began", "  journal: hands-off"
    assert is_beyond_notice([away, cut])
    assert is_beyond_notice([away, began, cut])
    assert is_beyond_notice([cut, away])
    assert not is_beyond_notice([away, settled, cut])
    assert not is_beyond_notice([settled, away, cut])
    assert not is_beyond_notice([cut, began, away])
    assert not is_beyond_notice([away])
    assert not is_beyond_notice([cut])
