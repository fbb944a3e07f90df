"""The catalog: runs, points, due times, failed rounds in one SQLite file, safe with many processes.

It is an index, not the truth: points live in their destinations and can be listed from there. So a
catalog that is damaged is set aside, never repaired, and filled again by `rebuild`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from xenbackup.model.point import MarkedPoint, PointSummary
from xenbackup.model.run import RoundResult, RunResult
from xenbackup.records import catalog_rows as rows
from xenbackup.records.catalog_file import CatalogFile
from xenbackup.records.catalog_rows import FailedRound, Forgotten, RunEntry


class Catalog:
    """Index of runs, points and due times at `path`.

    Every call opens the file anew, so that threads, forks and other processes share nothing. A
    damaged file is renamed to `PATH.damaged-N` by whoever meets it first, and an empty one takes
    its place, that `needs_rebuild`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = CatalogFile(path)

    def open(self) -> None:
        """Create the file where it is missing, and look whether it is sound.

        Raises: StateFailed when it cannot be used, or belongs to a newer version.
        """
        self._file.open()

    def needs_rebuild(self) -> bool:
        """It is new, or took the place of a damaged one, and was not filled since.

        Raises: StateFailed.
        """

        def ask(connection: sqlite3.Connection) -> bool:
            query = "SELECT value FROM state WHERE key = 'points_complete'"
            return not (connection.execute(query).fetchone() or (0,))[0]

        return self._file.transact(ask)

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

    def list_runs_since(self, since: datetime) -> tuple[RunEntry, ...]:
        """Runs that ended after `since`, newest first. Raises: StateFailed."""
        return self._read_runs(rows.LIST_RUNS_SINCE, rows.bind((since,)))

    def list_last_runs(self, until: datetime) -> tuple[RunEntry, ...]:
        """Of each job and guest the newest run that had ended by then, newest first.

        Raises: StateFailed.
        """
        return self._read_runs(rows.LIST_LAST_RUNS, rows.bind((until,)))

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

    # History of long ago

    def forget_history(
        self,
        before: datetime,
        *,
        kept: Collection[str],
        good_runs: int,
        dry_run: bool = False,
    ) -> Forgotten:
        """Forget runs and failed rounds that ended before then; returns them, oldest first.

        `kept` are ids of runs, and of rounds whose runs all stay. So does a run of a point that the
        catalog knows. Of each job and guest the newest run and the newest good one stay, of each
        guest and preset the newest `good_runs` that were good, of each job the newest failed round.

        Raises: StateFailed.
        """
        stays = frozenset(kept)

        def forget(connection: sqlite3.Connection) -> Forgotten:
            old_runs = connection.execute(rows.FIND_OLD_RUNS, rows.bind((before, good_runs)))
            runs = tuple(run for run, name in old_runs if not stays.intersection((run, name)))
            old_rounds = connection.execute(rows.FIND_OLD_FAILED_ROUNDS, rows.bind((before,)))
            rounds = tuple(name for (name,) in old_rounds if name not in stays)
            if not dry_run:
                connection.executemany(rows.DELETE_RUN, [rows.bind((run,)) for run in runs])
                named = [rows.bind((name,)) for name in rounds]
                connection.executemany(rows.DELETE_FAILED_ROUND, named)
            return Forgotten(runs=runs, rounds=rounds)

        return self._file.transact(forget, writes=not dry_run)

    # Points

    def record_point(self, summary: PointSummary) -> None:
        """A point is there, or changed. On the disk when this returns. Raises: StateFailed."""

        def record(connection: sqlite3.Connection) -> None:
            connection.execute(rows.INSERT_POINT, rows.bind(rows.flatten_point(summary)))
            place = (summary.destination, summary.point)
            connection.execute(rows.DELETE_DAMAGED, rows.bind(place))
            if (marked := rows.mark_point(summary)) is not None:
                connection.execute(rows.INSERT_DAMAGED, rows.bind(rows.flatten_marked(marked)))
            connection.execute(rows.RAISE_GENERATION)

        self._file.transact(record, writes=True)

    def record_damaged(self, marked: MarkedPoint) -> None:
        """A point was found damaged; it need not be a listed one. Raises: StateFailed."""
        self._change_points((rows.INSERT_DAMAGED,), rows.bind(rows.flatten_marked(marked)))

    def forget_damage(self, destination: str, point: str) -> None:
        """The point is good after all, or gone. Raises: StateFailed."""
        self._change_points((rows.DELETE_DAMAGED,), rows.bind((destination, point)))

    def list_damaged(self) -> tuple[MarkedPoint, ...]:
        """Points that verification found damaged, by their ids, also of disks that are away.

        Raises: StateFailed.
        """
        return self._file.transact(
            lambda connection: tuple(
                rows.build_marked(row) for row in connection.execute(rows.LIST_DAMAGED)
            )
        )

    def remove_point(self, destination: str, point: str) -> None:
        """A point is gone; a second removal changes nothing. Raises: StateFailed."""
        statements = (rows.DELETE_POINT, rows.DELETE_DAMAGED)
        self._change_points(statements, rows.bind((destination, point)))

    def list_points(self, domain: str | None = None) -> tuple[PointSummary, ...]:
        """Points by time, of one domain when named, also of disks that are away.

        Raises: StateFailed.
        """
        query = rows.LIST_POINTS if domain is None else rows.LIST_POINTS_OF_DOMAIN
        values = () if domain is None else rows.bind((domain,))
        return self._file.transact(
            lambda connection: tuple(
                rows.build_point(row) for row in connection.execute(query, values)
            )
        )

    def read_generation(self) -> int:
        """A number that grows with every change of what is said of points. Raises: StateFailed."""
        return self._file.transact(_find_generation)

    def list_listed(self) -> frozenset[str]:
        """Destinations whose points were once all told, by `rebuild`. Raises: StateFailed."""
        return self._file.transact(
            lambda connection: frozenset(
                str(name) for (name,) in connection.execute(rows.LIST_LISTED)
            )
        )

    def rebuild(
        self,
        points: Iterable[PointSummary],
        *,
        destinations: Collection[str],
        damaged: Iterable[MarkedPoint] = (),
        generation: int | None = None,
        complete: bool = True,
    ) -> bool:
        """Make the points of these destinations exactly the given ones; others stay.

        `damaged` are those without a usable manifest that a verification has marked. With the
        `generation` of before these points were looked at, nothing is changed, and False returned,
        where somebody has told of a point since: what was seen may be older than that. One that is
        not `complete` leaves the catalog `needs_rebuild` where it was that.

        Raises: StateFailed; then nothing has changed.
        """
        found = tuple(points)
        flattened = [rows.bind(rows.flatten_point(summary)) for summary in found]
        marks = [*damaged, *(mark for mark in map(rows.mark_point, found) if mark is not None)]
        marked = [rows.bind(rows.flatten_marked(mark)) for mark in marks]
        names = [rows.bind((name,)) for name in destinations]

        def fill(connection: sqlite3.Connection) -> bool:
            if generation not in (None, _find_generation(connection)):
                return False
            connection.executemany(rows.DELETE_POINTS, names)
            connection.executemany(rows.INSERT_POINT, flattened)
            connection.executemany(rows.DELETE_ALL_DAMAGED, names)
            connection.executemany(rows.INSERT_DAMAGED, marked)
            connection.executemany(rows.NOTE_LISTED, names)
            connection.execute(rows.RAISE_GENERATION)
            if complete:
                connection.execute("UPDATE state SET value = 1 WHERE key = 'points_complete'")
            return True

        return self._file.transact(fill, writes=True)

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
        return self._file.transact(claim, writes=True)

    def find_claimant(self, job: str, due_at: datetime) -> str | None:
        """The round that took a due time; None while nobody has. Raises: StateFailed."""

        def find(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(rows.FIND_CLAIMANT, rows.bind((job, due_at))).fetchone()
            return None if row is None else str(row[0])

        return self._file.transact(find)

    def find_last_due_time(self, job: str, *, until: datetime | None = None) -> datetime | None:
        """The newest due time that was taken, `until` then when given; None when none was.

        Raises: StateFailed.
        """
        newest_asked = until or datetime.max.replace(tzinfo=UTC)
        return self._file.transact(lambda connection: _find_due(connection, job, newest_asked))

    def note_schedule(self, job: str, schedule: str, at: datetime) -> datetime:
        """Note that a job has this schedule; returns since when it has. "" is for none.

        What was due before a schedule was there was not missed. Raises: StateFailed.
        """

        def note(connection: sqlite3.Connection) -> datetime:
            # All rows are fetched: SQLite ends the statement, and so the transaction may end.
            ((first_seen,),) = connection.execute(rows.NOTE_SCHEDULE, values).fetchall()
            return rows.read_moment(first_seen)

        values = rows.bind((job, schedule, at))
        return self._file.transact(note, writes=True)

    def list_schedules(self) -> tuple[tuple[str, datetime], ...]:
        """Jobs that have a schedule, and since when. Raises: StateFailed."""

        def find(connection: sqlite3.Connection) -> tuple[tuple[str, datetime], ...]:
            return tuple(
                (job, rows.read_moment(first_seen))
                for job, first_seen in connection.execute(rows.LIST_SCHEDULES)
            )

        return self._file.transact(find)

    # The file

    def _read_runs(self, query: str, values: tuple[object, ...]) -> tuple[RunEntry, ...]:
        return self._file.transact(
            lambda connection: tuple(
                rows.build_run(row) for row in connection.execute(query, values)
            )
        )

    def _read_failed_rounds(
        self, query: str, values: tuple[object, ...]
    ) -> tuple[FailedRound, ...]:
        return self._file.transact(
            lambda connection: tuple(
                rows.build_failed_round(row) for row in connection.execute(query, values)
            )
        )

    def _change_points(self, statements: Iterable[str], values: tuple[object, ...]) -> None:
        """Each of the statements with the values, told to whoever looks at the points just now."""

        def change(connection: sqlite3.Connection) -> None:
            for statement in statements:
                connection.execute(statement, values)
            connection.execute(rows.RAISE_GENERATION)

        self._file.transact(change, writes=True)

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._file.transact(lambda connection: connection.execute(statement, values), writes=True)


def _find_generation(connection: sqlite3.Connection) -> int:
    row = connection.execute(rows.FIND_GENERATION).fetchone()
    return 0 if row is None else int(row[0])


def _find_due(connection: sqlite3.Connection, job: str, until: datetime) -> datetime | None:
    """The newest due time up to then that the job took. Raises: rows.BadRow."""
    (newest,) = connection.execute(rows.FIND_DUE, rows.bind((job, until))).fetchone()
    return rows.read_moment(newest) if newest else None
