"""The agenda under a virtual clock: nights pass, clocks are set, jobs change, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from xenbackup.errors import StateFailed
from xenbackup.model.job import Blackout, Job, PipelineSpec, Window
from xenbackup.records.catalog import Catalog
from xenbackup.service.agenda import Agenda, is_same_clock

ZONE = ZoneInfo("UTC")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def make_job(name: str = "nightly", schedule: str = "30 2 * * *", **changes: Any) -> Job:
    job = Job(
        name=name,
        pipeline=PipelineSpec(preset="auto"),
        destination="usb",
        domains=("*",),
        schedule=schedule,
    )
    return replace(job, **changes)


def read_zone(name: str) -> ZoneInfo:
    """As the host's is read: anew each time, under a name that tells nothing."""
    with (Path("/usr/share/zoneinfo") / name).open("rb") as file:
        return ZoneInfo.from_file(file, key="localtime")


class FailingCatalog(Catalog):
    """A catalog whose disk is full for a while."""

    broken = False

    def find_claimant(self, job: str, due_at: datetime) -> str | None:
        if self.broken:
            raise StateFailed("Cannot use the catalog: disk full.")
        return super().find_claimant(job, due_at)


class Life:
    """A daemon's days: its agenda, its clock, and all that was begun."""

    def __init__(self, path: Path, *jobs: Job, now: str = "20 12:00") -> None:
        self.catalog = FailingCatalog(path / "catalog.sqlite")
        self.now = at(now)
        self.begun: list[str] = []
        self.taken: list[datetime] = []
        self.keep: timedelta | None = None
        self.host_zone = "UTC"
        self.jobs = jobs
        self.boot()

    def boot(self, *broken: str) -> None:
        """The process starts: only the catalog remembers."""
        self.agenda = Agenda(
            memory=self.catalog,
            hostname="xen1",
            zone_of=lambda job: (
                ZoneInfo(job.timezone) if job.timezone else read_zone(self.host_zone)
            ),
        )
        self.agenda.replace_jobs(self.jobs, self.now, broken=broken)

    def reload(self, *jobs: Job) -> None:
        self.jobs = jobs
        self.agenda.replace_jobs(jobs, self.now)

    def look(self) -> None:
        for job, due in self.agenda.find_ready(self.now):
            if self.catalog.claim_due_time(job.name, due.due_at, "a-round", keep=self.keep):
                self.begun.append(f"{job.name} {due.due_at:%d %H:%M}")
                self.taken.append(due.due_at)
            self.agenda.settle(due, self.now)

    def live(self, until: str, step: timedelta = timedelta(minutes=10)) -> None:
        while self.now < at(until):
            self.now = min(self.now + step, at(until))
            self.look()

    def jump(self, to: str) -> None:
        self.now = at(to)
        self.look()


def skipped(logs: list[Any]) -> list[tuple[str, str]]:
    return [
        (entry["due_at"][8:16], entry["reason"])
        for entry in logs
        if entry["event"] == "due-time-skipped"
    ]


def test_a_week_of_nights_each_begins_once(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.live("27 12:00")
    assert [f"nightly {day} 02:30" for day in range(21, 28)] == life.begun


def test_two_jobs_due_in_the_same_instant_both_begin(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job("alpha"), make_job("beta"))
    life.live("21 12:00")
    assert ["alpha 21 02:30", "beta 21 02:30"] == life.begun


def test_clock_that_jumps_over_three_due_times_begins_the_newest_and_tells_of_two(
    tmp_path: Path,
) -> None:
    life = Life(tmp_path, make_job())
    with capture_logs() as logs:
        life.jump("23 08:00")
        life.live("23 12:00")
    assert ["nightly 23 02:30"] == life.begun
    (told,) = logs
    assert ("due-time-skipped", "nightly", 2) == (told["event"], told["job"], told["count"])
    assert (at("21 02:30").isoformat(), at("22 02:30").isoformat()) == (
        told["first_due_at"],
        told["due_at"],
    )


@pytest.mark.parametrize("restarted", [False, True])
def test_clock_set_back_runs_no_night_twice_and_loses_none(tmp_path: Path, restarted: bool) -> None:
    life = Life(tmp_path, make_job())
    life.live("21 03:00")
    life.jump("21 01:00")
    if restarted:
        life.boot()
    assert at("22 02:30") == life.agenda.list_due()[0].due_at
    life.live("23 12:00")
    assert [f"nightly {day} 02:30" for day in (21, 22, 23)] == life.begun


@pytest.mark.parametrize("restarted", [False, True])
def test_clock_that_was_a_year_ahead_keeps_no_night_from_coming(
    tmp_path: Path, restarted: bool
) -> None:
    life = Life(tmp_path, make_job())
    life.now += timedelta(days=365)
    life.look()
    assert 1 == len(life.begun)
    if restarted:
        life.boot()
    life.jump("20 12:10")
    if restarted:
        life.boot()
    life.live("23 12:00")
    assert [f"nightly {day} 02:30" for day in (21, 22, 23)] == life.begun[1:]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("wrong", ["2036-11-30 12:00", "2026-11-27 01:00", "2026-11-25 12:00"])
def test_a_clock_set_to_and_fro_runs_no_night_twice_though_old_ones_are_forgotten(
    tmp_path: Path, wrong: str, restarted: bool
) -> None:
    job = make_job(catch_up_seconds=DAY.total_seconds())
    life = Life(tmp_path, job, now="01 12:00")
    life.keep = 5 * DAY
    life.live("30 12:00", step=3 * HOUR)
    assert life.catalog.find_claimant("nightly", at("02 02:30")) is None
    life.now = datetime.fromisoformat(wrong).replace(tzinfo=UTC)
    for _ in range(4):
        if restarted:
            life.boot()
        life.look()
        life.now += 12 * HOUR
    life.now = at("30 12:00") + 3 * HOUR
    if restarted:
        life.boot()
    life.look()
    assert len(set(life.taken)) == len(life.taken)
    assert [f"nightly {day:02} 02:30" for day in range(2, 31)] == life.begun[:29]


def test_job_first_seen_by_a_clock_that_was_ahead_is_caught_up_once_the_clock_is_right(
    tmp_path: Path,
) -> None:
    life = Life(tmp_path, make_job(), now="29 12:00")
    life.now = at("20 12:00")
    life.boot()
    life.now = at("21 08:00")
    life.boot()
    life.look()
    assert ["nightly 21 02:30"] == life.begun


def test_job_never_seen_before_catches_nothing_up(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(), now="21 08:00")
    life.look()
    life.reload(make_job(), make_job("fresh"))
    life.look()
    assert [] == life.begun


def test_night_missed_while_no_daemon_ran_is_made_up_for_at_its_start(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.now = at("21 08:00")
    life.boot()
    life.look()
    life.look()
    assert ["nightly 21 02:30"] == life.begun
    life.boot()
    life.look()
    assert ["nightly 21 02:30"] == life.begun


def test_job_that_went_while_no_daemon_ran_and_is_put_back_catches_nothing_up(
    tmp_path: Path,
) -> None:
    """As one that a daemon saw go: it was not missed by whoever took it away."""
    job = make_job(catch_up_seconds=10 * 3600.0)
    life = Life(tmp_path, job)
    life.jobs = ()
    life.boot()
    life.now, life.jobs = at("25 09:00"), (job,)
    life.boot()
    life.look()
    assert [] == life.begun


@pytest.mark.parametrize("broken", ["nightly", ""])
def test_job_whose_file_was_broken_while_the_daemon_started_has_missed_its_night(
    tmp_path: Path, broken: str
) -> None:
    """As one of a folder that could not be listed: its file has no name that would be told."""
    job = make_job(catch_up_seconds=10 * 3600.0)
    life = Life(tmp_path, job)
    life.jobs = ()
    life.boot(broken)
    life.now = at("21 09:00")
    life.reload(job)
    life.look()
    assert ["nightly 21 02:30"] == life.begun


def test_due_time_not_settled_comes_again(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.now = at("21 02:30")
    first = life.agenda.find_ready(life.now)
    life.now += timedelta(minutes=1)
    assert first == life.agenda.find_ready(life.now)
    life.look()
    assert () == life.agenda.find_ready(life.now)


def test_due_time_waits_while_the_catalog_cannot_be_read(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.catalog.broken = True
    with capture_logs() as logs:
        life.jump("22 02:40")
    assert ["due-times-unknown"] == [entry["event"] for entry in logs]
    assert [] == life.begun
    life.catalog.broken = False
    life.live("22 03:00")
    assert ["nightly 22 02:30"] == life.begun


def test_changed_schedule_runs_nothing_that_was_over_before_it_came(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.live("21 10:00")
    for schedule in ("0 8 * * *", "0 9 * * *"):
        life.reload(make_job(schedule=schedule))
        life.look()
        life.boot()
        life.look()
    assert ["nightly 21 02:30"] == life.begun
    life.live("22 12:00")
    assert ["nightly 21 02:30", "nightly 22 09:00"] == life.begun


def test_other_zone_is_another_schedule(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(timezone="Europe/Berlin"))
    life.live("21 10:00")
    assert ["nightly 21 01:30"] == life.begun
    life.reload(make_job(timezone="UTC"))
    life.live("22 01:00")
    assert ["nightly 21 01:30"] == life.begun


AFTERNOONS = Window(days=frozenset(range(7)), start_minute=15 * 60, end_minute=18 * 60)


@pytest.mark.parametrize("schedule", ["30 2 * * *", "0 20 * * *"])
def test_due_time_that_waits_for_its_window_outlives_a_reload(
    tmp_path: Path, schedule: str
) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    life.live("21 03:00")
    life.reload(make_job(schedule=schedule, windows=(AFTERNOONS,), description="changed"))
    assert at("21 02:30") == life.agenda.list_due()[0].due_at
    life.live("21 03:50")
    life.reload(make_job(schedule=schedule, description="no windows"))
    life.look()
    assert ["nightly 21 02:30"] == life.begun


def test_due_time_of_an_earlier_schedule_gives_way_to_one_of_the_new(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    life.live("21 03:00")
    life.reload(make_job(schedule="0 20 * * *", windows=(AFTERNOONS,)))
    with capture_logs() as logs:
        life.jump("21 20:30")
        life.live("22 18:00")
    assert [("21T02:30", "missed, and a later due time takes its place")] == skipped(logs)
    assert ["nightly 21 20:00"] == life.begun


def test_due_time_of_an_earlier_schedule_is_not_made_up_for_beyond_catch_up(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    life.live("21 03:00")
    life.reload(make_job(schedule="0 20 1 * *", windows=(AFTERNOONS,)))
    with capture_logs() as logs:
        life.jump("24 15:30")
    assert [("21T02:30", "missed, and too late for the job's `catch_up`")] == skipped(logs)
    assert [] == life.begun


def test_what_is_dropped_is_told_of_once_while_a_later_one_waits(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    with capture_logs() as logs:
        life.jump("23 10:00")
        life.live("23 14:00")
    assert [("22T02:30", "missed, and a later due time takes its place")] == skipped(logs)
    life.live("23 16:00")
    assert ["nightly 23 02:30"] == life.begun


def test_reload_in_the_minute_of_a_due_time_keeps_it(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.live("21 02:29")
    life.now = at("21 02:30")
    life.reload(make_job(description="changed"))
    life.look()
    assert ["nightly 21 02:30"] == life.begun


def test_waiting_due_time_of_a_job_that_is_gone_is_told_of(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    life.live("21 03:00")
    with capture_logs() as logs:
        life.reload()
    assert [("21T02:30", "its job is gone, or has no schedule any more")] == skipped(logs)
    assert () == life.agenda.list_due()
    life.reload(make_job())
    life.live("21 12:00")
    assert [] == life.begun  # it came back, and is new


def test_blackout_is_told_of_when_its_due_time_comes_and_once(tmp_path: Path) -> None:
    blackout = Blackout(first=date(2026, 11, 22), last=date(2026, 11, 22))
    life = Life(tmp_path, make_job(blackouts=(blackout,)))
    life.live("21 12:00")
    assert at("23 02:30") == life.agenda.list_due()[0].due_at
    with capture_logs() as logs:
        life.live("22 02:20")
        assert [] == skipped(logs)
        life.live("24 12:00")
    assert [("22T02:30", "2026-11-22 is a blackout date of the job")] == skipped(logs)
    assert [f"nightly {day} 02:30" for day in (21, 23, 24)] == life.begun


def test_due_time_outside_the_windows_waits_and_is_shown_waiting(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(windows=(AFTERNOONS,)))
    life.live("21 03:00")
    (due,) = life.agenda.list_due()
    assert (at("21 02:30"), at("21 15:00")) == (due.due_at, due.begins_at)
    life.live("21 16:00")
    assert ["nightly 21 02:30"] == life.begun


def test_next_due_times_are_listed_first_to_begin_first(tmp_path: Path) -> None:
    life = Life(
        tmp_path, make_job("late", "0 5 * * *"), make_job("early"), make_job("never", schedule="")
    )
    assert ["early", "late"] == [due.job for due in life.agenda.list_due()]


def test_damaged_catalog_brings_no_storm_of_old_nights(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    life.live("21 08:00")
    life.catalog.path.write_bytes(b"no database" * 500)
    life.boot()
    life.live("21 20:00")
    assert ["nightly 21 02:30"] == life.begun


def test_host_s_zone_that_is_changed_moves_due_times_from_the_next_look(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job(), make_job("elsewhere", timezone="UTC"))
    life.live("21 12:00")
    life.host_zone = "Asia/Tokyo"
    with capture_logs() as logs:
        life.live("21 12:10")
    assert [("nightly", "+0900")] == [
        (entry["job"], entry["offset"]) for entry in logs if entry["event"] == "zone-changed"
    ]
    assert [("nightly", at("21 17:30")), ("elsewhere", at("22 02:30"))] == [
        (due.job, due.due_at) for due in life.agenda.list_due()
    ]
    life.live("23 12:00")
    assert ["nightly 21 17:30", "nightly 22 17:30"] == [
        told for told in life.begun if told.startswith("nightly")
    ][1:]


def test_due_time_that_a_new_zone_made_past_is_caught_up_with_once(tmp_path: Path) -> None:
    """As a daemon that starts then would do: `status` misses a point of that time, too."""
    life = Life(tmp_path, make_job())
    life.live("21 12:00")
    life.host_zone = "America/New_York"
    life.live("21 13:00")
    life.boot()
    life.live("22 12:00")
    assert ["nightly 21 02:30", "nightly 21 07:30", "nightly 22 07:30"] == life.begun


def test_zone_that_is_read_anew_and_the_same_changes_nothing(tmp_path: Path) -> None:
    life = Life(tmp_path, make_job())
    with capture_logs() as logs:
        life.live("23 12:00")
    assert [] == logs


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("UTC", "Etc/UTC", True),
        ("Europe/Berlin", "Europe/Paris", True),
        ("Europe/Berlin", "Africa/Lagos", False),
        ("Europe/London", "UTC", False),
        ("America/New_York", "America/Havana", True),
    ],
)
def test_zones_are_the_same_when_their_clocks_are(one: str, other: str, same: bool) -> None:
    assert same is is_same_clock(read_zone(one), read_zone(other), at("20 12:00"))


def steps_of_a_wild_clock() -> Iterator[tuple[timedelta, bool]]:
    """Forth and back, in steps that a generator decides; some with a restart."""
    number = 12345
    for _ in range(400):
        number = (number * 1103515245 + 12345) % 2**31
        minutes = (number >> 8) % 400
        back = (number >> 20) % 7 == 0
        yield timedelta(minutes=-minutes if back else minutes), (number >> 24) % 11 == 0


def test_wild_clock_with_restarts_begins_each_night_at_most_once_and_the_newest_always(
    tmp_path: Path,
) -> None:
    life = Life(tmp_path, make_job(catch_up_seconds=86400.0))
    for step, restart in steps_of_a_wild_clock():
        life.now = max(life.now + step, at("20 12:00"))
        if restart:
            life.boot()
        life.look()
        last_night = life.now.replace(hour=2, minute=30)
        if last_night > life.now:
            last_night -= DAY
        if last_night > at("20 12:00"):
            assert f"nightly {last_night:%d %H:%M}" in life.begun
    assert len(life.begun) > 30
    claims = [life.catalog.find_claimant("nightly", at("20 02:30") + n * DAY) for n in range(1, 30)]
    assert {"a-round"} == set(claims)
