"""The catalog: what is recorded is found again, by many processes; damage costs only an index."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.points import OTHER_POINT, POINT
from xenbackup.errors import StateFailed
from xenbackup.model.job import Consistency
from xenbackup.model.point import Damage, MarkedPoint, PointSummary
from xenbackup.model.run import Outcome, RunResult
from xenbackup.records import catalog_file
from xenbackup.records.catalog import Catalog
from xenbackup.records.catalog_file import SCHEMA_VERSION, CatalogFile

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.sqlite")


def make_summary(**changes: Any) -> PointSummary:
    fields: dict[str, Any] = {
        "point": POINT,
        "destination": "usb",
        "domain": "web",
        "identity": "web",
        "job": "nightly",
        "consistency": Consistency.MEMORY,
        "created_at": NOON,
        "size_bytes": 1 << 40,
        "stored_bytes": 123,
        "has_memory": True,
    }
    return PointSummary(**(fields | changes))


def make_result(run: str = POINT, **changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "run": run,
        "domain": "web",
        "uuid": "u-1",
        "outcome": Outcome.OK,
        "preset": "checkpoint",
        "consistency": "memory",
        "point": run,
        "away_seconds": 2.5,
        "bytes_read": 1 << 40,
        "bytes_written": 5,
        "duration_seconds": 61.25,
        "warnings": ("its monitor is gone", "ünïcode"),
        "error": "",
        "hint": "",
        "exit_code": 0,
    }
    return RunResult(**(fields | changes))


def finish(catalog: Catalog, result: RunResult, job: str = "nightly") -> None:
    catalog.record_run(result, job=job, round="r-1", at=NOON)


@pytest.mark.parametrize("outcome", Outcome)
def test_ended_run_is_found_as_it_was_recorded(catalog: Catalog, outcome: Outcome) -> None:
    result = make_result(outcome=outcome, error="no room", hint="make some", exit_code=10)
    finish(catalog, result)
    (entry,) = catalog.list_runs()
    assert result == entry.result
    assert ("nightly", "r-1", NOON) == (entry.job, entry.round, entry.ended_at)


def test_run_recorded_again_replaces_what_was_known_of_it(catalog: Catalog) -> None:
    finish(catalog, make_result(outcome=Outcome.FAILED, point=""))
    finish(catalog, make_result())
    assert [make_result()] == [entry.result for entry in catalog.list_runs()]


def test_runs_are_listed_newest_first_up_to_a_limit_and_by_domain(catalog: Catalog) -> None:
    for day in range(1, 6):
        domain = "db" if day == 5 else "web"
        finish(catalog, make_result(f"2026110{day}T000000Z-aaaaaa", domain=domain))
    assert ["20261105", "20261104"] == [entry.result.run[:8] for entry in catalog.list_runs(2)]
    assert ["20261104", "20261103"] == [
        entry.result.run[:8] for entry in catalog.list_runs(2, domain="web")
    ]
    assert ["20261105", "20261104", "20261103", "20261102", "20261101"] == [
        entry.result.run[:8] for entry in catalog.find_runs("202611")
    ]
    assert () == catalog.find_runs("2026%")


def test_points_are_recorded_changed_listed_by_time_and_removed(catalog: Catalog) -> None:
    catalog.record_point(make_summary(point=OTHER_POINT, created_at=NOON + timedelta(1)))
    catalog.record_point(make_summary(domain="db"))
    catalog.record_point(make_summary(pinned=True))
    assert [
        make_summary(pinned=True),
        make_summary(point=OTHER_POINT, created_at=NOON + timedelta(1)),
    ] == [*catalog.list_points()]
    assert () == catalog.list_points("db")
    for _ in range(2):
        catalog.remove_point("usb", POINT)
    assert [OTHER_POINT] == [summary.point for summary in catalog.list_points("web")]


def test_damage_of_a_point_is_recorded_with_it_and_alone_and_forgotten(catalog: Catalog) -> None:
    damage = Damage(found_at=NOON, reason="xvda.img: differs \udcff")
    unread = Damage(found_at=None, reason="its mark cannot be read")
    catalog.record_point(make_summary(damage=damage))
    unlisted = MarkedPoint(point=OTHER_POINT, destination="usb", domain="db", damage=unread)
    catalog.record_damaged(unlisted)
    marked = MarkedPoint(point=POINT, destination="usb", domain="web", damage=damage)
    assert (marked, unlisted) == catalog.list_damaged()
    assert (make_summary(damage=damage),) == catalog.list_points()
    assert (make_summary(damage=damage),) == catalog.list_points("web")
    catalog.forget_damage("usb", POINT)
    assert (make_summary(),) == catalog.list_points()
    catalog.record_damaged(marked)
    catalog.record_point(make_summary())
    assert ((unlisted,), (make_summary(),)) == (catalog.list_damaged(), catalog.list_points())
    catalog.remove_point("usb", OTHER_POINT)
    assert () == catalog.list_damaged()


def test_rebuild_replaces_what_is_damaged_where_it_was_read(catalog: Catalog) -> None:
    damage = Damage(found_at=NOON, reason="x")
    marked = [
        MarkedPoint(point=POINT, destination=place, domain="web", damage=damage)
        for place in ("away", "usb")
    ]
    for known in marked:
        catalog.record_damaged(known)
    catalog.rebuild((make_summary(point=OTHER_POINT, damage=damage),), destinations=("usb",))
    assert [("away", POINT), ("usb", OTHER_POINT)] == [
        (found.destination, found.point) for found in catalog.list_damaged()
    ]
    catalog.rebuild((), destinations=("usb", "away"), damaged=marked[:1])
    assert (marked[0],) == catalog.list_damaged()


def test_same_point_in_two_destinations_is_two_entries(catalog: Catalog) -> None:
    catalog.record_point(make_summary())
    catalog.record_point(make_summary(destination="nfs"))
    catalog.remove_point("usb", POINT)
    assert ["nfs"] == [summary.destination for summary in catalog.list_points()]


names = st.binary(min_size=1, max_size=63).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@settings(max_examples=25)
@given(domain=names, identity=names)
def test_any_domain_name_is_kept_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, domain: str, identity: str
) -> None:
    catalog = Catalog(tmp_path_factory.mktemp("catalog") / "catalog.sqlite")
    summary = make_summary(domain=domain, identity=identity)
    catalog.record_point(summary)
    assert (summary,) == catalog.list_points(domain)


def test_rebuild_replaces_only_the_destinations_that_were_read(catalog: Catalog) -> None:
    catalog.record_point(make_summary())
    catalog.record_point(make_summary(destination="away"))
    assert catalog.needs_rebuild()
    found = make_summary(point=OTHER_POINT)
    catalog.rebuild((found,), destinations=("usb",))
    assert {("usb", OTHER_POINT), ("away", POINT)} == {
        (summary.destination, summary.point) for summary in catalog.list_points()
    }
    assert not catalog.needs_rebuild()


def test_failed_rebuild_changes_nothing(catalog: Catalog) -> None:
    catalog.record_point(make_summary())
    with pytest.raises(StateFailed):
        catalog.rebuild((make_summary(size_bytes="many"),), destinations=("usb",))
    assert (make_summary(),) == catalog.list_points()
    assert catalog.needs_rebuild()


def test_each_due_time_is_taken_once(catalog: Catalog) -> None:
    assert None is catalog.find_last_due_time("nightly")
    assert catalog.claim_due_time("nightly", NOON, "r-1")
    assert not catalog.claim_due_time("nightly", NOON, "r-2")
    assert catalog.claim_due_time("weekly", NOON, "r-3")
    assert catalog.claim_due_time("nightly", NOON + timedelta(days=1), "r-4")
    assert NOON + timedelta(days=1) == catalog.find_last_due_time("nightly")


def claim_days(catalog: Catalog, *days: int, job: str = "nightly") -> None:
    for day in days:
        catalog.claim_due_time(job, NOON + timedelta(days=day), "r-1", keep=timedelta(days=10))


def list_days(catalog: Catalog, days: range, job: str = "nightly") -> list[int]:
    """Those of the days on which the job took a due time."""
    return [
        day for day in days if catalog.find_claimant(job, NOON + timedelta(days=day)) is not None
    ]


def test_due_times_of_long_ago_are_forgotten_of_the_same_job_alone(catalog: Catalog) -> None:
    claim_days(catalog, 0, job="weekly")
    claim_days(catalog, *range(100))
    assert list(range(79, 100)) == list_days(catalog, range(-5, 105))
    assert [0] == list_days(catalog, range(-5, 105), "weekly")


def test_the_newest_due_time_of_long_ago_is_never_forgotten(catalog: Catalog) -> None:
    """The job was off for a year: what was due before must not be due again."""
    claim_days(catalog, 0, 1, 366, 367)
    assert [0, 1, 366, 367] == list_days(catalog, range(400))


def test_a_clock_ten_years_ahead_makes_nobody_forget_the_last_nights(catalog: Catalog) -> None:
    claim_days(catalog, *range(30))
    claim_days(catalog, *range(3650, 3655))
    assert list(range(19, 30)) == list_days(catalog, range(60))[-11:]
    assert NOON + timedelta(days=29) == catalog.find_last_due_time(
        "nightly", until=NOON + timedelta(days=30)
    )


def test_a_due_time_that_another_round_has_taken_makes_nobody_forget(catalog: Catalog) -> None:
    for day in (0, 50, 100):
        catalog.claim_due_time("nightly", NOON + timedelta(days=day), "r-1")
    claim_days(catalog, 100)
    assert [0, 50, 100] == list_days(catalog, range(105))


def test_a_time_that_nobody_wrote_is_damage(catalog: Catalog) -> None:
    claim_days(catalog, 0)
    with sqlite3.connect(catalog.path) as connection:
        connection.execute("UPDATE due_times SET due_at = '2026 noon'")
    connection.close()
    assert None is catalog.find_last_due_time("nightly")
    assert catalog.path.with_name("catalog.sqlite.damaged-1").exists()


def test_newest_due_time_is_found_up_to_a_moment(catalog: Catalog) -> None:
    for days in (-1, 0, 365):
        catalog.claim_due_time("nightly", NOON + timedelta(days=days), "r-1")
    assert NOON == catalog.find_last_due_time("nightly", until=NOON)
    assert NOON == catalog.find_last_due_time("nightly", until=NOON + timedelta(days=364))
    assert NOON - timedelta(days=1) == catalog.find_last_due_time(
        "nightly", until=NOON - timedelta(microseconds=1)
    )
    assert None is catalog.find_last_due_time("nightly", until=NOON - timedelta(days=2))


def test_schedule_is_dated_from_when_it_was_first_seen(catalog: Catalog) -> None:
    later = NOON + timedelta(hours=1)
    assert NOON == catalog.note_schedule("nightly", "30 2 * * * UTC", NOON)
    assert NOON == catalog.note_schedule("nightly", "30 2 * * * UTC", later)
    assert later == catalog.note_schedule("weekly", "30 2 * * 0 UTC", later)
    assert later == catalog.note_schedule("nightly", "30 3 * * * UTC", later)
    # What a clock that was ahead has noted does not stand.
    assert NOON == catalog.note_schedule("nightly", "30 3 * * * UTC", NOON)


def make_first_version(path: Path) -> None:
    """As the first version wrote it: without schedules, failed rounds, damage, hosts of points."""
    catalog = Catalog(path)
    catalog.rebuild((make_summary(),), destinations=("usb",))
    finish(catalog, make_result())
    catalog.claim_due_time("nightly", NOON, "r-1")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE schedules")
        connection.execute("DROP TABLE failed_rounds")
        connection.execute("DROP TABLE damaged_points")
        connection.execute("ALTER TABLE points DROP COLUMN host")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_catalog_of_the_first_version_is_taken_over_with_all_it_holds(catalog: Catalog) -> None:
    make_first_version(catalog.path)
    catalog.open()
    assert not catalog.needs_rebuild()
    assert (make_summary(),) == catalog.list_points()
    assert [make_result()] == [entry.result for entry in catalog.list_runs()]
    assert "r-1" == catalog.find_claimant("nightly", NOON)
    assert NOON == catalog.note_schedule("nightly", "30 2 * * *", NOON)
    assert not list(catalog.path.parent.glob("*.damaged-*"))


TAKER_OVER = """
import sys
from pathlib import Path
from tests.unit.test_catalog import NOON
from xenbackup.records.catalog import Catalog
Catalog(Path(sys.argv[1])).note_schedule(sys.argv[2], "30 2 * * *", NOON)
"""


def test_catalog_of_the_first_version_is_taken_over_once_by_many_processes(
    catalog: Catalog,
) -> None:
    make_first_version(catalog.path)
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER_OVER, str(catalog.path), name])
        for name in ("a", "b", "c")
    ]
    assert [0, 0, 0] == [taker.wait() for taker in takers]
    assert (make_summary(),) == catalog.list_points()
    for name in ("a", "b", "c"):
        assert NOON == catalog.note_schedule(name, "30 2 * * *", NOON + timedelta(days=1))


def test_version_that_nobody_wrote_is_refused(catalog: Catalog) -> None:
    catalog.open()
    with sqlite3.connect(catalog.path) as connection:
        connection.execute("PRAGMA user_version = -1")
    connection.close()
    with pytest.raises(StateFailed, match="has schema -1"):
        catalog.open()


def test_catalog_is_private_with_its_companions(catalog: Catalog) -> None:
    before = os.umask(0)
    try:
        catalog.record_point(make_summary())
        with sqlite3.connect(catalog.path) as reader:
            reader.execute("SELECT * FROM points").fetchone()
            catalog.record_point(make_summary(pinned=True))
            modes = {
                stat.S_IMODE(path.stat().st_mode) for path in catalog.path.parent.glob("catalog*")
            }
        reader.close()
    finally:
        os.umask(before)
    assert {0o600} == modes


def test_committed_points_survive_a_kill(catalog: Catalog) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from tests.unit.test_catalog import make_summary\n"
        "from xenbackup.records.catalog import Catalog\n"
        "Catalog(Path(sys.argv[1])).record_point(make_summary()); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(catalog.path)], check=False)
    assert -9 == done.returncode
    assert (make_summary(),) == catalog.list_points()


def test_commits_reach_the_disk_before_they_return(catalog: Catalog) -> None:
    seen: list[tuple[object, object]] = []

    def ask(connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        seen.append((mode, synchronous))

    CatalogFile(catalog.path).transact(ask, writes=True)
    assert [("wal", 2)] == seen


WRITER = """
import sys
from pathlib import Path
from tests.unit.test_catalog import NOON, make_result, make_summary
from xenbackup.records.catalog import Catalog
catalog = Catalog(Path(sys.argv[1]))
for number in range(20):
    run = f"20261122T0230{number:02}Z-{sys.argv[2]}"
    catalog.record_run(make_result(run), job="j", round="r", at=NOON)
    catalog.record_point(make_summary(point=run))
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_many_processes_write_at_once(catalog: Catalog, damaged: bool) -> None:
    if damaged:
        catalog.path.write_bytes(b"not a database at all, and no longer one" * 100)
    suffixes = ("aaaaaa", "bbbbbb", "cccccc")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(catalog.path), suffix])
        for suffix in suffixes
    ]
    assert [0, 0, 0] == [writer.wait() for writer in writers]
    assert 60 == len(catalog.list_runs(100))
    assert 60 == len(catalog.list_points())
    aside = list(catalog.path.parent.glob("*.damaged-*"))
    assert int(damaged) == len([path for path in aside if path.suffix.startswith(".damaged")])


@pytest.fixture
def creator(catalog: Catalog) -> Iterator[sqlite3.Connection]:
    """Another process that just makes the file, which has no write-ahead log yet."""
    connection = sqlite3.connect(catalog.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_catalog_that_another_makes_is_waited_for(
    catalog: Catalog, creator: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            creator.execute("ROLLBACK")

    monkeypatch.setattr(catalog_file, "sleep", pause)
    catalog.record_point(make_summary())
    assert 3 == len(pauses)
    assert (make_summary(),) == catalog.list_points()


def test_catalog_that_stays_locked_is_told(
    catalog: Catalog, creator: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_file, "_BUSY_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(StateFailed, match="database is locked"):
        catalog.record_point(make_summary())
    creator.execute("ROLLBACK")
    assert () == catalog.list_points()


def damage_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:100] = b"x" * 100
    path.write_bytes(content)


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def drop_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE points")
    connection.close()


def write_nonsense(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE points SET consistency = 'perfect'")
    connection.close()


@pytest.mark.parametrize(
    "damage", [damage_header, damage_pages, truncate, drop_table, write_nonsense]
)
def test_damaged_catalog_is_set_aside_and_filled_again(catalog: Catalog, damage: Any) -> None:
    catalog.rebuild((make_summary(),), destinations=("usb",))
    damage(catalog.path)
    catalog.open()
    assert catalog.needs_rebuild()
    assert () == catalog.list_points()
    assert catalog.path.with_name("catalog.sqlite.damaged-1").exists()
    catalog.rebuild((make_summary(),), destinations=("usb",))
    assert (make_summary(),) == catalog.list_points()
    catalog.open()
    assert not catalog.needs_rebuild()
    assert not catalog.path.with_name("catalog.sqlite.damaged-2").exists()


def test_second_damage_keeps_the_first_file(catalog: Catalog) -> None:
    for number in (1, 2):
        catalog.record_point(make_summary())
        damage_header(catalog.path)
        catalog.open()
        assert catalog.path.with_name(f"catalog.sqlite.damaged-{number}").exists()


def test_damage_met_while_writing_does_not_lose_what_is_written(catalog: Catalog) -> None:
    catalog.record_point(make_summary())
    damage_header(catalog.path)
    catalog.record_point(make_summary(point=OTHER_POINT))
    assert [OTHER_POINT] == [summary.point for summary in catalog.list_points()]
    assert catalog.needs_rebuild()


def test_catalog_of_a_newer_version_is_left_alone(catalog: Catalog) -> None:
    catalog.record_point(make_summary())
    with sqlite3.connect(catalog.path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StateFailed, match=f"has schema {SCHEMA_VERSION + 1}; this version knows"):
        catalog.open()
    assert not list(catalog.path.parent.glob("*.damaged-*"))


def test_catalog_in_a_missing_folder_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StateFailed, match=r"absent/catalog\.sqlite: No such file"):
        Catalog(tmp_path / "absent" / "catalog.sqlite").open()


def test_catalog_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateFailed, match="symbolic link"):
        Catalog(tmp_path / "catalog.sqlite").open()
    assert not (tmp_path / "elsewhere").exists()
