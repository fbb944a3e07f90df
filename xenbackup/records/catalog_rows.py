"""Rows of the catalog's tables as values, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from xenbackup.model.job import Consistency
from xenbackup.model.point import Damage, MarkedPoint, PointSummary
from xenbackup.model.run import Outcome, RunResult


class BadRow(Exception):
    """A row that we cannot have written: the file is damaged."""


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """An ended run as the catalog has it."""

    job: str
    round: str
    ended_at: datetime
    result: RunResult


@dataclass(frozen=True, kw_only=True)
class FailedRound:
    """A round that came to nothing before any run, as the catalog has it."""

    round: str
    job: str
    ended_at: datetime
    outcome: Outcome
    error: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What the catalog knows no more: ids of runs, and of rounds that failed before any."""

    runs: tuple[str, ...] = ()
    rounds: tuple[str, ...] = ()


INSERT_RUN = (
    "INSERT OR REPLACE INTO runs (run, job, round, ended_at, domain, uuid, outcome, preset, "
    "consistency, point, away_seconds, bytes_read, bytes_written, duration_seconds, warnings, "
    "error, hint, exit_code) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), "
    "CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), "
    "?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?)"
)
SELECT_RUNS = (
    "SELECT run, job, round, ended_at, domain, uuid, outcome, preset, consistency, point, "
    "away_seconds, bytes_read, bytes_written, duration_seconds, warnings, error, hint, exit_code "
    "FROM runs"
)
LIST_RUNS = f"{SELECT_RUNS} ORDER BY run DESC LIMIT ?"
LIST_RUNS_OF_DOMAIN = f"{SELECT_RUNS} WHERE domain = CAST(? AS TEXT) ORDER BY run DESC LIMIT ?"
FIND_RUNS = f"{SELECT_RUNS} WHERE substr(run, 1, ?) = CAST(? AS TEXT) ORDER BY run DESC"
LIST_RUNS_SINCE = f"{SELECT_RUNS} WHERE ended_at > CAST(? AS TEXT) ORDER BY run DESC"
LIST_LAST_RUNS = (
    f"{SELECT_RUNS} WHERE run IN "  # noqa: S608 - made of constants
    "(SELECT max(run) FROM runs WHERE ended_at <= CAST(? AS TEXT) GROUP BY job, domain) "
    "ORDER BY run DESC"
)
# Runs that ended before a time and that neither a point names nor an answer is made of: not the
# newest of a job and guest, nor its newest good one, nor those that estimates are made from.
FIND_OLD_RUNS = (
    "SELECT run, round FROM runs WHERE ended_at < CAST(? AS TEXT) "
    "AND run NOT IN (SELECT point FROM points) "
    "AND run NOT IN (SELECT max(run) FROM runs GROUP BY job, domain) "
    "AND run NOT IN (SELECT max(run) FROM runs WHERE outcome = 'ok' GROUP BY job, domain) "
    "AND run NOT IN (SELECT run FROM (SELECT run, row_number() OVER "
    "(PARTITION BY domain, preset ORDER BY run DESC) AS place FROM runs WHERE outcome = 'ok') "
    "WHERE place <= ?) ORDER BY run"
)
DELETE_RUN = "DELETE FROM runs WHERE run = CAST(? AS TEXT)"
INSERT_FAILED_ROUND = (
    "INSERT OR REPLACE INTO failed_rounds (round, job, ended_at, outcome, error, hint) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), "
    "CAST(? AS TEXT))"
)
SELECT_FAILED_ROUNDS = "SELECT round, job, ended_at, outcome, error, hint FROM failed_rounds"
# Texts in UTC sort as times do.
LIST_FAILED_ROUNDS = f"{SELECT_FAILED_ROUNDS} WHERE ended_at > CAST(? AS TEXT) ORDER BY round"
FIND_FAILED_ROUNDS = (
    f"{SELECT_FAILED_ROUNDS} WHERE substr(round, 1, ?) = CAST(? AS TEXT) "
    "ORDER BY round DESC LIMIT ?"
)
# Those that ended before a time, but the newest of each job.
FIND_OLD_FAILED_ROUNDS = (
    "SELECT round FROM failed_rounds WHERE ended_at < CAST(? AS TEXT) "
    "AND round NOT IN (SELECT max(round) FROM failed_rounds GROUP BY job) ORDER BY round"
)
DELETE_FAILED_ROUND = "DELETE FROM failed_rounds WHERE round = CAST(? AS TEXT)"
INSERT_POINT = (
    "INSERT OR REPLACE INTO points (destination, point, domain, identity, job, consistency, "
    "created_at, size_bytes, stored_bytes, has_memory, pinned, host) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), "
    "CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, CAST(? AS TEXT))"
)
SELECT_POINTS = (
    "SELECT destination, point, points.domain, identity, job, consistency, created_at, size_bytes, "
    "stored_bytes, has_memory, pinned, found_at, reason, host "
    "FROM points LEFT JOIN damaged_points USING (destination, point)"
)
LIST_POINTS = f"{SELECT_POINTS} ORDER BY created_at, point"
LIST_POINTS_OF_DOMAIN = (
    f"{SELECT_POINTS} WHERE points.domain = CAST(? AS TEXT) ORDER BY created_at, point"
)
# Points that verification found damaged, also such as have no row in `points`: their manifest
# cannot be used. `found_at` is '' where the mark beside the point cannot be read.
INSERT_DAMAGED = (
    "INSERT OR REPLACE INTO damaged_points (destination, point, domain, found_at, reason) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))"
)
LIST_DAMAGED = (
    "SELECT destination, point, domain, found_at, reason FROM damaged_points "
    "ORDER BY point, destination"
)
DELETE_DAMAGED = (
    "DELETE FROM damaged_points WHERE destination = CAST(? AS TEXT) AND point = CAST(? AS TEXT)"
)
DELETE_ALL_DAMAGED = "DELETE FROM damaged_points WHERE destination = CAST(? AS TEXT)"
DELETE_POINT = "DELETE FROM points WHERE destination = CAST(? AS TEXT) AND point = CAST(? AS TEXT)"
DELETE_POINTS = "DELETE FROM points WHERE destination = CAST(? AS TEXT)"
# Counts every change of what is said of points, so that whoever compared them with what lies in a
# destination sees that somebody else was faster.
FIND_GENERATION = "SELECT value FROM state WHERE key = 'points_generation'"
RAISE_GENERATION = (
    "INSERT INTO state (key, value) VALUES ('points_generation', 1) "
    "ON CONFLICT (key) DO UPDATE SET value = value + 1"
)
# Destinations whose points were listed whole, ever: of any other, nobody knows what it holds.
NOTE_LISTED = "INSERT OR REPLACE INTO state (key, value) VALUES ('listed ' || CAST(? AS TEXT), 1)"
LIST_LISTED = "SELECT substr(key, 8) FROM state WHERE substr(key, 1, 7) = 'listed '"
SELECT_MOMENTS = "SELECT due_at FROM due_times UNION ALL SELECT first_seen_at FROM schedules"
DELETE_DUE = "DELETE FROM due_times WHERE job = CAST(? AS TEXT) AND due_at < CAST(? AS TEXT)"
FIND_DUE = (
    "SELECT max(due_at) FROM due_times WHERE job = CAST(? AS TEXT) AND due_at <= CAST(? AS TEXT)"
)
LIST_SCHEDULES = "SELECT job, first_seen_at FROM schedules WHERE schedule <> '' ORDER BY job"
# A time noted by a clock that was ahead gives way to an earlier one.
NOTE_SCHEDULE = (
    "INSERT INTO schedules (job, schedule, first_seen_at) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT)) ON CONFLICT (job) DO UPDATE SET "
    "first_seen_at = CASE WHEN schedule = excluded.schedule "
    "THEN min(first_seen_at, excluded.first_seen_at) ELSE excluded.first_seen_at END, "
    "schedule = excluded.schedule RETURNING first_seen_at"
)
FIND_CLAIMANT = (
    "SELECT round FROM due_times WHERE job = CAST(? AS TEXT) AND due_at = CAST(? AS TEXT)"
)
INSERT_DUE = (
    "INSERT INTO due_times (job, due_at, round) VALUES "
    "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT)) ON CONFLICT DO NOTHING"
)


def read_text(raw: bytes) -> str:
    """Text as we keep names everywhere: bytes that are no UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def read_moment(text: str) -> datetime:
    """A time as it stands in a row. Raises: BadRow."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadRow(f"time {text}: {error}") from error


def bind(values: Iterable[object]) -> tuple[object, ...]:
    """Values as SQLite takes them. Text goes as bytes, for `CAST(? AS TEXT)`: a domain's name may
    hold what is no UTF-8."""
    return tuple(_bind_one(value) for value in values)


def _bind_one(value: object) -> object:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return int(value) if isinstance(value, bool) else value


def flatten_point(summary: PointSummary) -> tuple[object, ...]:
    """The values of `INSERT_POINT`."""
    return (
        summary.destination,
        summary.point,
        summary.domain,
        summary.identity,
        summary.job,
        summary.consistency.value,
        summary.created_at,
        summary.size_bytes,
        summary.stored_bytes,
        summary.has_memory,
        summary.pinned,
        summary.host,
    )


def build_point(row: Any) -> PointSummary:
    """A row of `SELECT_POINTS` as a value. Raises: BadRow."""
    try:
        return PointSummary(
            destination=row[0],
            point=row[1],
            domain=row[2],
            identity=row[3],
            job=row[4],
            consistency=Consistency(row[5]),
            created_at=datetime.fromisoformat(row[6]).astimezone(UTC),
            size_bytes=row[7],
            stored_bytes=row[8],
            has_memory=bool(row[9]),
            pinned=bool(row[10]),
            damage=None if row[11] is None else _build_damage(row[11], row[12]),
            host=row[13],
        )
    except (ValueError, OverflowError) as error:
        raise BadRow(f"point {row[1]}: {error}") from error


def mark_point(summary: PointSummary) -> MarkedPoint | None:
    """What `INSERT_DAMAGED` keeps of a point, None for one that was not found damaged."""
    if summary.damage is None:
        return None
    return MarkedPoint(
        point=summary.point,
        destination=summary.destination,
        domain=summary.domain,
        damage=summary.damage,
    )


def flatten_marked(marked: MarkedPoint) -> tuple[object, ...]:
    """The values of `INSERT_DAMAGED`."""
    damage = marked.damage
    return (
        marked.destination,
        marked.point,
        marked.domain,
        "" if damage.found_at is None else damage.found_at,
        damage.reason,
    )


def build_marked(row: Any) -> MarkedPoint:
    """A row of `LIST_DAMAGED` as a value. Raises: BadRow."""
    try:
        damage = _build_damage(row[3], row[4])
    except (ValueError, OverflowError) as error:
        raise BadRow(f"damaged point {row[1]}: {error}") from error
    return MarkedPoint(destination=row[0], point=row[1], domain=row[2], damage=damage)


def _build_damage(found_at: str, reason: str) -> Damage:
    """Raises: ValueError, OverflowError."""
    moment = datetime.fromisoformat(found_at).astimezone(UTC) if found_at else None
    return Damage(found_at=moment, reason=reason)


def flatten_run(entry: RunEntry) -> tuple[object, ...]:
    """The values of `INSERT_RUN`."""
    result = entry.result
    return (
        result.run,
        entry.job,
        entry.round,
        entry.ended_at,
        result.domain,
        result.uuid,
        result.outcome.value,
        result.preset,
        result.consistency,
        result.point,
        float(result.away_seconds),
        result.bytes_read,
        result.bytes_written,
        float(result.duration_seconds),
        json.dumps(list(result.warnings)),
        result.error,
        result.hint,
        int(result.exit_code),
    )


def build_run(row: Any) -> RunEntry:
    """A row of `SELECT_RUNS` as a value. Raises: BadRow."""
    try:
        return RunEntry(
            job=row[1],
            round=row[2],
            ended_at=datetime.fromisoformat(row[3]).astimezone(UTC),
            result=RunResult(
                run=row[0],
                domain=row[4],
                uuid=row[5],
                outcome=Outcome(row[6]),
                preset=row[7],
                consistency=row[8],
                point=row[9],
                away_seconds=row[10],
                bytes_read=row[11],
                bytes_written=row[12],
                duration_seconds=row[13],
                warnings=tuple(str(warning) for warning in json.loads(row[14])),
                error=row[15],
                hint=row[16],
                exit_code=row[17],
            ),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRow(f"run {row[0]}: {error}") from error


def flatten_failed_round(failed: FailedRound) -> tuple[object, ...]:
    """The values of `INSERT_FAILED_ROUND`."""
    return (
        failed.round,
        failed.job,
        failed.ended_at,
        failed.outcome.value,
        failed.error,
        failed.hint,
    )


def build_failed_round(row: Any) -> FailedRound:
    """A row of `SELECT_FAILED_ROUNDS` as a value. Raises: BadRow."""
    try:
        return FailedRound(
            round=row[0],
            job=row[1],
            ended_at=datetime.fromisoformat(row[2]).astimezone(UTC),
            outcome=Outcome(row[3]),
            error=row[4],
            hint=row[5],
        )
    except (ValueError, OverflowError) as error:
        raise BadRow(f"round {row[0]}: {error}") from error
