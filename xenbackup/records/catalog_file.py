"""The catalog's file: an SQLite database with its schema, opened anew for every transaction.

A damaged one is set aside, never repaired, and an empty one takes its place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from xenbackup.errors import StateFailed
from xenbackup.records import catalog_rows as rows
from xenbackup.system.durable import FileLock, sync_folder, translate_errors

_BUSY_TIMEOUT_SECONDS = 30.0
_BUSY_PAUSE_SECONDS = 0.02
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
_DAMAGED_POINTS = (
    """
    CREATE TABLE damaged_points (
        destination TEXT NOT NULL, point TEXT NOT NULL, domain TEXT NOT NULL,
        found_at TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (destination, point)
    ) STRICT
    """,
)
_HOSTS_OF_POINTS = ("ALTER TABLE points ADD COLUMN host TEXT NOT NULL DEFAULT ''",)
# What makes each schema of the one before; a new file goes through all of them.
_STEPS = (_FIRST_SCHEMA, _SCHEDULES, _FAILED_ROUNDS, _DAMAGED_POINTS, _HOSTS_OF_POINTS)
SCHEMA_VERSION = len(_STEPS)

_T = TypeVar("_T")


class CatalogFile:
    """The database at `path`: threads, forks and other processes share nothing of it.

    Damage is met by whoever comes first: the file is renamed to `PATH.damaged-N`, and the act is
    done once more, on an empty one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Create the file where it is missing, and look whether it is sound.

        Raises: StateFailed when it cannot be used, or belongs to a newer version.
        """
        self.transact(_check_soundness)

    def transact(self, act: Callable[[sqlite3.Connection], _T], *, writes: bool = False) -> _T:
        """Act within one transaction, once more on an empty catalog if this one is damaged.

        Raises: StateFailed; then nothing has changed.
        """
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
            _write_ahead(connection)
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


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let the file have a write-ahead log.

    A file that has none yet must be SQLite's alone for that, and where two make that change at
    once, SQLite tells one of them that it is locked without waiting as it does everywhere else.
    """
    give_up_at = monotonic() + _BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if monotonic() >= give_up_at:
                raise
            sleep(_BUSY_PAUSE_SECONDS)
        else:
            return


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
    for row in connection.execute(rows.LIST_DAMAGED):
        rows.build_marked(row)
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
