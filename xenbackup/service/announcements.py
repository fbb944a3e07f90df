"""What the daemon tells people and their monitoring: nothing is even imported where nobody asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.model.job import Configuration, Job, Notify
from xenbackup.model.live import LiveStatus
from xenbackup.model.point import MarkedPoint
from xenbackup.model.run import RoundResult
from xenbackup.model.status import GuestList
from xenbackup.operations.own_points import read_own
from xenbackup.records.untold_rounds import UntoldFolder, UntoldRound
from xenbackup.service.definitions import Definitions
from xenbackup.service.told_troubles import ToldTroubles

if TYPE_CHECKING:
    from xenbackup.operations.house import House
    from xenbackup.service.notify import Teller

GUESTS_SECONDS = 10.0
"""For how long a listing of the host's guests is good enough for a page."""

CLOSE_SECONDS = 10.0
RUN_FOLDER = "/run/xenbackup"
UNTOLD_FOLDER = "untold"
_POINTS_NAMED = 3
_SIMULATED_QUIET_SECONDS = 2.0
_SIMULATED_LONGEST_SECONDS = 10.0

_log = structlog.get_logger("xenbackup.daemon")


class Announcements:
    """Messages and metrics by the configuration of the moment, and the guests they are about.

    `describe` tells how the daemon is. On a simulated host, whose clock is not real, messages are
    gathered for seconds instead of minutes. Every method may be called from any thread.

    Until `release` remarks are held: a daemon that cannot start comes again every few seconds, and
    would make them each time.
    """

    def __init__(
        self, definitions: Definitions, describe: Callable[[], LiveStatus], *, simulated: bool
    ) -> None:
        self._definitions = definitions
        self._describe = describe
        self._simulated = simulated
        self._lock = threading.Lock()
        self._teller: Teller | None = None
        self._guests: GuestList | None = None
        self._listed_at = 0.0
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._held: list[tuple[str, str, bool]] | None = []

    def adapt(self) -> None:
        """Begin, or go on by another configuration."""
        configuration = self._definitions.house.configuration
        with self._lock:
            if self._teller is not None:
                self._teller.replace_notify(configuration.notify)
            elif _is_wanted(configuration):
                self._teller = self._make_teller(configuration.notify)
                self._teller.start()

    def tell_beginning(self, job: Job, round_id: str) -> None:
        if self._teller is not None:
            self._teller.round_began(job, round_id)

    def keep_result(self, job: Job, result: RoundResult) -> None:
        """Write down what is to be told of a round, before its own file goes. Raises nothing."""
        house = self._definitions.house
        if house.configuration.notify == Notify():
            return
        try:
            untold = UntoldRound(result=result, ended_at=house.host.now(), timezone=job.timezone)
            self._untold.keep(untold)
        except (XenbackupError, OSError) as error:
            _log.error("outcome-not-noted", round=result.round, error=str(error))

    def tell_end(self, job: Job, result: RoundResult) -> None:
        if self._teller is not None:
            self._teller.round_ended(job, result, self._definitions.house.host.now())

    def resume(self) -> None:
        """Gather what earlier processes have not told of their rounds. Raises nothing."""
        try:
            rounds, wrong = self._untold.list_rounds()
            for text in wrong:
                _log.error("untold-round-unreadable", reason=text)
            if self._teller is None or self._definitions.house.configuration.notify == Notify():
                self._untold.remove(untold.result.round for untold in rounds)
                return
        except (XenbackupError, OSError) as error:
            _log.error("untold-rounds-unreadable", error=str(error))
            return
        for untold in rounds:
            _log.info("untold-round", round=untold.result.round, job=untold.result.job)
            self._teller.round_left(untold.result, untold.ended_at, untold.timezone)

    def remark(self, text: str, hint: str = "", *, lost: bool = False) -> None:
        """Something that somebody should look at, and that is no round. `lost`: for it a job did
        not get its night, or a guest is not as it was.
        """
        with self._lock:
            if self._held is not None:
                self._held.append((text, hint, lost))
                return
        if self._teller is not None:
            self._teller.remark(text, hint, lost=lost)

    def tell_loss(self, text: str) -> None:
        """A remark about a night that a job did not get."""
        self.remark(text, lost=True)

    def release(self) -> None:
        """The daemon has started: what was held is told."""
        with self._lock:
            held, self._held = self._held or [], None
        for text, hint, lost in held:
            self.remark(text, hint, lost=lost)

    def tell_no_start(self, error: Exception) -> None:
        """The daemon cannot start; the same is told once an hour. Raises nothing."""
        reason = error.message if isinstance(error, XenbackupError) else f"{error!r}"
        hint = error.hint if isinstance(error, XenbackupError) else "the log has the details"
        text = f"The daemon cannot start: {reason}"
        house = self._definitions.house
        folders = (house.host.place(RUN_FOLDER), house.state_folder)
        try:
            tells = ToldTroubles(folders).note(text, house.host.now())
        except Exception:  # noqa: BLE001 - logged; why it cannot start must not be hidden by this
            _log.exception("telling-stumbled")
            return
        if tells:
            with self._lock:
                self._held = [(text, hint, True), *(self._held or [])]
            self.release()

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be told when last tried."""
        return self._teller.problems if self._teller is not None else ()

    def list_guests(self) -> GuestList:
        """The host's guests, as they were at most `GUESTS_SECONDS` of the host's time ago."""
        from xenbackup.operations.status import list_guests  # noqa: PLC0415 - only when asked

        house = self._definitions.house
        now = house.host.monotonic_seconds()
        with self._lock:
            guests = self._guests
            fresh = 0 <= now - self._listed_at < GUESTS_SECONDS
        if guests is None or not fresh:
            guests = list_guests(house)
            with self._lock:
                self._guests, self._listed_at = guests, now
        return guests

    @property
    def _untold(self) -> UntoldFolder:
        return UntoldFolder(self._definitions.house.state_folder / UNTOLD_FOLDER)

    def close(self) -> None:
        """Tell at once what is gathered."""
        if self._teller is not None:
            self._teller.close(CLOSE_SECONDS)

    def _make_teller(self, notify: Notify) -> Teller:
        from xenbackup.service.night import Patience  # noqa: PLC0415 - see above
        from xenbackup.service.notify import Teller  # noqa: PLC0415
        from xenbackup.system.command import SystemCommands  # noqa: PLC0415

        patience = Patience()
        if self._simulated:
            patience = Patience(
                quiet_seconds=_SIMULATED_QUIET_SECONDS,
                longest_seconds=_SIMULATED_LONGEST_SECONDS,
            )
        return Teller(
            notify,
            hostname=socket.gethostname(),
            run=SystemCommands().run,
            now=self._definitions.house.host.now,
            refresh=self._refresh,
            patience=patience,
            on_told=self._forget_told,
        )

    def _forget_told(self, rounds: tuple[str, ...]) -> None:
        try:
            self._untold.remove(rounds)
        except (XenbackupError, OSError) as error:
            _log.error("told-round-not-removed", error=str(error))

    def _refresh(self) -> None:
        from xenbackup.service.metrics import refresh_metrics  # noqa: PLC0415 - see above

        house = self._definitions.house
        self._tell_damaged(house)
        if not house.configuration.metrics_path:
            return
        untold = len(self.problems)
        refresh_metrics(house, live=self._describe(), guests=self.list_guests(), untold=untold)

    def _tell_damaged(self, house: House) -> None:
        """Verification is another process: what it has found since the last look is told here.

        Each point once in the life of this process. A catalog that cannot be read is a finding of
        `status`, and no reason to write no metrics.
        """
        with suppress(XenbackupError):
            marked = read_own(house).damaged
            fresh = [
                found for found in marked if (found.destination, found.point) not in self._told
            ]
            self._told = frozenset((found.destination, found.point) for found in marked)
            if fresh:
                self.remark(_describe_damaged(fresh), "`xenbackup status` says what to do")


def _describe_damaged(marked: Sequence[MarkedPoint]) -> str:
    """The newest by name, the others by their number."""
    named = [
        f"{found.point} of {found.domain} in {found.destination} ({found.damage.reason})"
        for found in reversed(marked[-_POINTS_NAMED:])
    ]
    more = len(marked) - len(named)
    rest = f"; and {more} more" if more else ""
    points = "a recovery point" if len(marked) == 1 else f"{len(marked)} recovery points"
    return f"Verification found {points} damaged: {'; '.join(named)}{rest}."


def _is_wanted(configuration: Configuration) -> bool:
    return configuration.notify != Notify() or bool(configuration.metrics_path)
