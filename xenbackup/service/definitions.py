"""What the daemon works by: configuration and jobs as they were last read, taken all or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from xenbackup import bootstrap
from xenbackup.config import jobs_folder
from xenbackup.dom0.host import Host
from xenbackup.errors import ConfigurationError, XenbackupError
from xenbackup.operations.house import House
from xenbackup.storage.bandwidth import BandwidthLimit

_log = structlog.get_logger("xenbackup.daemon")

_SUFFIX = ".toml"

Fingerprint = tuple[tuple[str, int, int, int, int], ...]


class Definitions:
    """The house of the moment. A new one takes its place whole, or not at all.

    `problems` are those of the last reading, until a reading finds none. Runs under way keep the
    house they began in, and share `limit` with all others. Every method may be called from any
    thread.
    """

    def __init__(self, host: Host, given: Path | None) -> None:
        """Read everything for the first time: good jobs are taken, broken files are told.

        Raises: as `bootstrap.open_house`.
        """
        self._host = host
        self._given = given
        self._path = bootstrap.locate_configuration(host, given)
        self._lock = threading.Lock()
        self._seen = self._look()
        self.house: House = bootstrap.open_house(host, given)
        self.problems: tuple[str, ...] = self.house.jobs.problems
        # Not for what the files say, so that they need not change for another reading to succeed.
        self._may_pass = False
        # One for the process's life: new runs must not have a rate beside that of old ones.
        self.limit = BandwidthLimit(self._rate, monotonic=host.monotonic_seconds, sleep=host.sleep)

    def reload(self, take: Callable[[House], None]) -> None:
        """Read everything anew; `take` is called with the new house when it is good.

        Raises: ConfigurationError with every problem, or what `take` raised; then all is as it was.
        """
        with self._lock:
            self._seen = self._look()
            self._may_pass = True
            try:
                house = self._read()
            except ConfigurationError as error:
                self._may_pass = False
                self._refuse(error.problems)
                raise
            except XenbackupError as error:
                self._refuse((str(error),))
                raise
            old = self.house
            self.house = house
            try:
                take(house)
            except XenbackupError as error:
                self.house = old
                self._refuse((str(error),))
                raise
            self.limit.change_rate(self._rate)
            self.problems = ()
            self._may_pass = False
            _log.info("configuration-loaded", jobs=[job.name for job in house.jobs.jobs])

    @property
    def _rate(self) -> int | None:
        return self.house.configuration.bandwidth_limit_bytes_per_second or None

    def have_changed(self) -> bool:
        """Some file is not as it was when it was last read, or looked at by this; or the last
        reading failed for what may have passed since (a full disk, a catalog that was locked).
        """
        now = self._look()
        changed, self._seen = now != self._seen, now
        return changed or self._may_pass

    def _read(self) -> House:
        house = bootstrap.open_house(self._host, self._given)
        if house.jobs.problems:
            raise ConfigurationError(house.jobs.problems)
        if house.configuration.state_path != self.house.configuration.state_path:
            raise ConfigurationError(
                (
                    f"{self._path}: the state folder cannot change under a running daemon. "
                    "Hint: restart it.",
                )
            )
        return house

    def _refuse(self, problems: tuple[str, ...]) -> None:
        known, self.problems = self.problems, problems
        for problem in problems if problems != known else ():
            _log.error("configuration-problem", problem=problem)

    def _look(self) -> Fingerprint:
        """Name, times, size and inode of every file; of what cannot be looked at, nothing.

        A change of owner or mode, for which a file may have been refused, changes one of the times.
        """
        folder = jobs_folder(self._path)
        try:
            paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(_SUFFIX))
        except OSError:
            paths = []
        found = []
        for path in (self._path, *paths):
            try:
                status = path.stat()
            except OSError:
                continue
            times = status.st_mtime_ns, status.st_ctime_ns
            found.append((str(path), *times, status.st_size, status.st_ino))
        return tuple(found)
