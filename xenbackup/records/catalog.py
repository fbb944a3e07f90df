"""The catalog: runs, points, due times, failed rounds in one SQLite file, safe with many processes.

It is an index, not the truth: points live in their destinations and can be listed from there. So a
catalog that is damaged is set aside, never repaired, and filled again by `rebuild`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TypeVar

from xenbackup.errors import StateFailed
from xenbackup.model.point import PointSummary
from xenbackup.model.run import RoundResult, RunResult
from xenbackup.records import catalog_rows as rows
from xenbackup.records.catalog_rows import FailedRound, RunEntry
from xenbackup.system.durable import FileLock, sync_folder, translate_errors

_BUSY_TIMEOUT_SECONDS = 30.0
_DAMAGE_CODES = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_COMPANIONS = ("", "-wal", "-shm")

_FIRST_SCHEMA = (
    """
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, job TEXT NOT NULL, round TEXT NOT NULL, ended_at TEXT NOT NULL,
        domain TEXT NOT NULL, uuid TEXT NOT NULL, outcome TEXT NOT NULL, preset TEXT NOT NULL,
        consistency TEXT NOT NULL, point TEXT NOT NULL, away_seconds REAL NOT NULL,
        bytes_read INTEGER NOT NULL, bytes_written INTEGER NOT NULL,
        duration_seconds REAL NOT NULL, warnings TEXT NOT NULL, error TEXT NOT NULL,
        hint TEXT NOT NULL, exit_code INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX runs_of_domain ON runs (domain, run)",
    """
    CREATE TABLE points (
        destination TEXT NOT NULL, point TEXT NOT NULL, domain TEXT NOT NULL,
        identity TEXT NOT NULL, job TEXT NOT NULL, consistency TEXT NOT NULL,
        created_at TEXT NOT NULL, size_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
        has_memory INTEGER NOT NULL, pinned INTEGER NOT NULL,
        PRIMARY KEY (destination, point)
    ) STRICT
    """,
    """
    CREATE TABLE due_times (
        job TEXT NOT NULL, due_at TEXT NOT NULL, round TEXT NOT NULL, PRIMARY KEY (job, due_at)
    ) STRICT
    """,
    "CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
    "INSERT INTO state VALUES ('points_complete', 0)",
)
_SCHEDULES = (
    """
    CREATE TABLE schedules (
        job TEXT PRIMARY KEY, schedule TEXT NOT NULL, first_seen_at TEXT NOT NULL
    ) STRICT
    """,
)
_FAILED_ROUNDS = (
    """
    CREATE TABLE failed_rounds (
        round TEXT PRIMARY KEY, job TEXT NOT NULL, ended_at TEXT NOT NULL, outcome TEXT NOT NULL,
        error TEXT NOT NULL, hint TEXT NOT NULL
    ) STRICT
    """,
)
# What makes each schema of the one before; a new file goes through all of them.
_STEPS = (_FIRST_SCHEMA, _SCHEDULES, _FAILED_ROUNDS)
SCHEMA_VERSION = len(_STEPS)

_T = TypeVar("_T")


class Catalog:
    """Index of runs, points and due times at `path`.

    Every call opens the file anew, so that threads, forks and other processes share nothing. A
    damaged file is renamed to `PATH.damaged-N` by whoever meets it first, and an empty one takes
    its place, that `needs_rebuild`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Create the file where it is missing, and look whether it is sound.

        Raises: StateFailed when it cannot be used, or belongs to a newer version.
        """
        self._run(_check_soundness)

    def needs_rebuild(self) -> bool:
        """It is new, or took the place of a damaged one, and was not filled since.

        Raises: StateFailed.
        """

        def ask(connection: sqlite3.Connection) -> bool:
            query = "SELECT value FROM state WHERE key = 'points_complete'"
            return not (connection.execute(query).fetchone() or (0,))[0]

        return self._run(ask)

    # Runs

    def record_run(self, result: RunResult, *, job: str, round: str, at: datetime) -> None:
        """A run ended `at` that time; what was recorded of it before is replaced.

        Runs under way are in their journals, not here. Raises: StateFailed.
        """
        entry = RunEntry(job=job, round=round, ended_at=at, result=result)
        self._write(rows.INSERT_RUN, rows.bind(rows.flatten_run(entry)))

    def list_runs(self, limit: int = 50, *, domain: str | None = None) -> tuple[RunEntry, ...]:
        """The newest runs first, of one domain when named. Raises: StateFailed."""
        if domain is None:
            return self._read_runs(rows.LIST_RUNS, (limit,))
        return self._read_runs(rows.LIST_RUNS_OF_DOMAIN, rows.bind((domain, limit)))

    def find_runs(self, prefix: str) -> tuple[RunEntry, ...]:
        """Runs whose id begins so, newest first. Raises: StateFailed."""
        return self._read_runs(rows.FIND_RUNS, rows.bind((len(prefix), prefix)))

    def find_last_runs(self, domain: str) -> tuple[RunEntry, ...]:
        """The newest run of each job that ever ran for the domain. Raises: StateFailed."""
        return self._read_runs(rows.FIND_LAST_RUNS, rows.bind((domain,)))

    # Rounds without runs

    def record_failed_round(self, result: RoundResult, *, at: datetime) -> None:
        """A round came to nothing before any run, `at` that time. Raises: StateFailed."""
        failed = FailedRound(
            round=result.round,
            job=result.job,
            ended_at=at,
            outcome=result.outcome,
            error=result.error,
            hint=result.hint,
        )
        self._write(rows.INSERT_FAILED_ROUND, rows.bind(rows.flatten_failed_round(failed)))

    def list_failed_rounds(self, since: datetime) -> tuple[FailedRound, ...]:
        """Those that ended after `since`, oldest first. Raises: StateFailed."""
        return self._read_failed_rounds(rows.LIST_FAILED_ROUNDS, rows.bind((since,)))

    def find_failed_rounds(self, prefix: str, limit: int) -> tuple[FailedRound, ...]:
        """The newest whose id begins so, newest first. Raises: StateFailed."""
        values = rows.bind((len(prefix), prefix, limit))
        return self._read_failed_rounds(rows.FIND_FAILED_ROUNDS, values)

    # Points

    def record_point(self, summary: PointSummary) -> None:
        """A point is there, or changed. On the disk when this returns. Raises: StateFailed."""
        self._write(rows.INSERT_POINT, rows.bind(rows.flatten_point(summary)))

    def remove_point(self, destination: str, point: str) -> None:
        """A point is gone; a second removal changes nothing. Raises: StateFailed."""
        self._write(rows.DELETE_POINT, rows.bind((destination, point)))

    def list_points(self, domain: str | None = None) -> tuple[PointSummary, ...]:
        """Points by time, of one domain when named, also of disks that are away.

        Raises: StateFailed.
        """
        query = rows.LIST_POINTS if domain is None else rows.LIST_POINTS_OF_DOMAIN
        values = () if domain is None else rows.bind((domain,))
        return self._run(
            lambda connection: tuple(
                rows.build_point(row) for row in connection.execute(query, values)
            )
        )

    def rebuild(self, points: Iterable[PointSummary], *, destinations: Collection[str]) -> None:
        """Make the points of these destinations exactly the given ones; others stay.

        Raises: StateFailed; then nothing has changed.
        """
        flattened = [rows.bind(rows.flatten_point(summary)) for summary in points]
        names = [rows.bind((name,)) for name in destinations]

        def fill(connection: sqlite3.Connection) -> None:
            connection.executemany(rows.DELETE_POINTS, names)
            connection.executemany(rows.INSERT_POINT, flattened)
            connection.execute("UPDATE state SET value = 1 WHERE key = 'points_complete'")

        self._run(fill, writes=True)

    # Due times

    def claim_due_time(
        self, job: str, due_at: datetime, round: str, *, keep: timedelta | None = None
    ) -> bool:
        """Take a due time for a round; False when another took it: each is run once.

        With `keep`, what the job took long before is forgotten: not what is younger than that, and
        of what is older, not the newest nor what was due less than `keep` before it. So a clock
        that is years ahead for a while makes nobody forget the last night there was.

        Raises: StateFailed.
        """

        def claim(connection: sqlite3.Connection) -> bool:
            if connection.execute(rows.INSERT_DUE, values).rowcount != 1:
                return False
            newest = _find_due(connection, job, due_at - keep) if keep is not None else None
            if keep is not None and newest is not None:
                connection.execute(rows.DELETE_DUE, rows.bind((job, newest - keep)))
            return True

        values = rows.bind((job, due_at, round))
        return self._run(claim, writes=True)

    def find_claimant(self, job: str, due_at: datetime) -> str | None:
        """The round that took a due time; None while nobody has. Raises: StateFailed."""

        def find(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(rows.FIND_CLAIMANT, rows.bind((job, due_at))).fetchone()
            return None if row is None else str(row[0])

        return self._run(find)

    def find_last_due_time(self, job: str, *, until: datetime | None = None) -> datetime | None:
        """The newest due time that was taken, `until` then when given; None when none was.

        Raises: StateFailed.
        """
        newest_asked = until or datetime.max.replace(tzinfo=UTC)
        return self._run(lambda connection: _find_due(connection, job, newest_asked))

    def note_schedule(self, job: str, schedule: str, at: datetime) -> datetime:
        """Note that a job has this schedule; returns since when it has. "" is for none.

        What was due before a schedule was there was not missed. Raises: StateFailed.
        """

        def note(connection: sqlite3.Connection) -> datetime:
            # All rows are fetched: SQLite ends the statement, and so the transaction may end.
            ((first_seen,),) = connection.execute(rows.NOTE_SCHEDULE, values).fetchall()
            return rows.read_moment(first_seen)

        values = rows.bind((job, schedule, at))
        return self._run(note, writes=True)

    def list_schedules(self) -> tuple[tuple[str, datetime], ...]:
        """Jobs that have a schedule, and since when. Raises: StateFailed."""

        def find(connection: sqlite3.Connection) -> tuple[tuple[str, datetime], ...]:
            return tuple(
                (job, rows.read_moment(first_seen))
                for job, first_seen in connection.execute(rows.LIST_SCHEDULES)
            )

        return self._run(find)

    # The file

    def _read_runs(self, query: str, values: tuple[object, ...]) -> tuple[RunEntry, ...]:
        return self._run(
            lambda connection: tuple(
                rows.build_run(row) for row in connection.execute(query, values)
            )
        )

    def _read_failed_rounds(
        self, query: str, values: tuple[object, ...]
    ) -> tuple[FailedRound, ...]:
        return self._run(
            lambda connection: tuple(
                rows.build_failed_round(row) for row in connection.execute(query, values)
            )
        )

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._run(lambda connection: connection.execute(statement, values), writes=True)

    def _run(self, act: Callable[[sqlite3.Connection], _T], *, writes: bool = False) -> _T:
        """Act within one transaction, once more on an empty catalog if this one is damaged."""
        try:
            try:
                return self._attempt(act, writes)
            except (sqlite3.DatabaseError, rows.BadRow) as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                return self._attempt(act, writes)
        except (sqlite3.Error, rows.BadRow) as error:
            raise StateFailed(
                f"Cannot use the catalog {self.path}: {error}.",
                hint="see that its folder is writable and not full, and that nobody locks it",
            ) from error

    def _attempt(self, act: Callable[[sqlite3.Connection], _T], writes: bool) -> _T:
        self._create_file()
        with closing(
            sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        ) as connection:
            connection.text_factory = rows.read_text
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._check_version(connection)
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                outcome = act(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return outcome

    def _create_file(self) -> None:
        """SQLite would make it readable for all; its companions take over the file's mode."""
        with translate_errors(StateFailed, f"open the catalog {self.path}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))

    def _check_version(self, connection: sqlite3.Connection) -> None:
        if 0 <= _read_version(connection) < SCHEMA_VERSION:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have been here between the two.
            missing = _STEPS[_read_version(connection) :]
            for statement in chain.from_iterable(missing):
                connection.execute(statement)
            if missing:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        version = _read_version(connection)
        if version != SCHEMA_VERSION:
            raise StateFailed(
                f"The catalog {self.path} has schema {version}; this version knows"
                f" {SCHEMA_VERSION}.",
                hint="use the newer xenbackup that wrote it, or move the file away: it is rebuilt",
            )

    def _set_aside(self) -> None:
        """Rename the damaged file, unless another process has done so in the meantime."""
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), "set a catalog aside")
        lock.acquire(wait=True)
        try:
            self._attempt(_check_soundness, writes=False)
        except (sqlite3.DatabaseError, rows.BadRow) as error:
            if not _is_damage(error):
                raise
            self._rename_damaged()
        finally:
            lock.release()

    def _rename_damaged(self) -> None:
        number = 1
        while self.path.with_name(f"{self.path.name}.damaged-{number}").exists():
            number += 1
        with translate_errors(StateFailed, f"set the damaged catalog {self.path} aside"):
            for suffix in reversed(_COMPANIONS):
                companion = self.path.with_name(self.path.name + suffix)
                if companion.exists():
                    name = f"{self.path.name}.damaged-{number}{suffix}"
                    companion.rename(self.path.with_name(name))
        sync_folder(self.path.parent)


def _find_due(connection: sqlite3.Connection, job: str, until: datetime) -> datetime | None:
    """The newest due time up to then that the job took. Raises: rows.BadRow."""
    (newest,) = connection.execute(rows.FIND_DUE, rows.bind((job, until))).fetchone()
    return rows.read_moment(newest) if newest else None


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_soundness(connection: sqlite3.Connection) -> None:
    """Raises: rows.BadRow when SQLite's own check, or one of our rows, finds something wrong."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise rows.BadRow(str(verdict))
    for row in connection.execute(rows.SELECT_RUNS):
        rows.build_run(row)
    for row in connection.execute(rows.SELECT_POINTS):
        rows.build_point(row)
    for row in connection.execute(rows.SELECT_FAILED_ROUNDS):
        rows.build_failed_round(row)
    for (moment,) in connection.execute(rows.SELECT_MOMENTS):
        rows.read_moment(moment)


def _is_damage(error: sqlite3.DatabaseError | rows.BadRow) -> bool:
    if isinstance(error, rows.BadRow):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF in _DAMAGE_CODES:
        return True
    # A table of ours that is not there although the version says so.
    return str(error).startswith(("no such table", "no such column"))
