"""The teller: sends one message a night over every way that is configured, on a thread of its own.

Whatever happens here happens to messages alone: nothing is raised into a backup, nothing waits for
a mail. What could not be sent is logged, and kept to be shown in `status`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from xenbackup.errors import StateFailed, TellingFailed, XenbackupError
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import Job, Notify, TellWhen
from xenbackup.model.run import RoundResult
from xenbackup.service import alerts
from xenbackup.service.mail import send_mail
from xenbackup.service.messages import EndedRound, Message, Remark, compose_message
from xenbackup.service.night import Night, Patience
from xenbackup.service.ping import Signal, send_ping
from xenbackup.service.webhook import send_webhook

MOST_EVENTS = 1000
"""More than a host has rounds in a week: what does not fit is dropped, and logged."""
RETRY_WAITS_SECONDS = (5.0, 30.0)
REFRESH_SECONDS = 900.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Began:
    round: str


class _Wish(Enum):
    """What is asked of the thread without saying more."""

    REFRESH = "refresh"
    CLOSE = "close"


_Event = _Began | EndedRound | Remark | Notify | _Wish


@dataclass(frozen=True)
class _Way:
    """One way to tell: its name in logs, and the act, which raises TellingFailed."""

    name: str
    send: Callable[[], None]


class Teller:
    """Gathers what rounds tell and sends it. Every method but `close` returns at once.

    `run` starts a command on this machine. `refresh` writes the metrics; it is called after
    `start`, after every round that ended, and every `refresh_seconds`, on a thread of its own,
    since it looks at places that may hang; None for none. `patience` is how long rounds are
    gathered: shorten it on a host whose clock is not real. `on_told` gets the ids of rounds that
    somebody was told of, or will not be; not of those that could not be told as we were closed.
    """

    def __init__(
        self,
        notify: Notify,
        *,
        hostname: str,
        run: Callable[[Command], CommandResult],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        refresh: Callable[[], None] | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
        patience: Patience | None = None,
        retry_waits_seconds: tuple[float, ...] = RETRY_WAITS_SECONDS,
        on_told: Callable[[tuple[str, ...]], None] = lambda _: None,
    ) -> None:
        self._notify = notify
        self._hostname = hostname
        self._run = run
        self._now = now
        self._monotonic = monotonic
        self._refresh = refresh
        self._refresh_seconds = refresh_seconds
        self._refresh_due: float | None = None
        self._refreshing: threading.Thread | None = None
        self._night = Night(patience=patience or Patience())
        self._retry_waits_seconds = retry_waits_seconds
        self._on_told = on_told
        self._events: queue.Queue[_Event] = queue.Queue(MOST_EVENTS)
        self._closing = threading.Event()
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._look_for_library(notify)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be told, each way's last failure, until it works again."""
        with self._lock:
            return tuple(self._problems.values())

    def start(self) -> None:
        """Write the metrics, and again every so often. Messages need no start."""
        self._put(_Wish.REFRESH)

    def round_began(self, job: Job, round_id: str) -> None:
        _LOG.debug("telling-began", extra={"job": job.name, "round": round_id})
        self._put(_Began(round_id))

    def round_ended(self, job: Job, result: RoundResult, now: datetime) -> None:
        self.round_left(result, now, job.timezone)

    def round_left(self, result: RoundResult, ended_at: datetime, timezone: str) -> None:
        """A round that ended under an earlier process, or in this one, and was not told yet."""
        self._put(EndedRound(result=result, ended_at=ended_at, zone=_find_zone(timezone)))

    def remark(self, text: str, hint: str = "", *, lost: bool = False) -> None:
        """Tell of what is no round: a recovery that left something, a file that is broken."""
        self._put(Remark(text=text, hint=hint, lost=lost))

    def replace_notify(self, notify: Notify) -> None:
        """Another configuration; what is gathered is told by the new one."""
        self._look_for_library(notify)
        self._put(notify)

    def close(self, timeout_seconds: float) -> bool:
        """Tell at once what is gathered, and end. False when that took longer, and was given up."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        self._put(_Wish.CLOSE)
        deadline = time.monotonic() + timeout_seconds
        thread.join(timeout_seconds)
        refreshing = self._refreshing
        if refreshing is not None:
            refreshing.join(max(deadline - time.monotonic(), 0.0))
        return not thread.is_alive()

    # The side of the callers

    def _put(self, event: _Event) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="teller", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # No concern of a round's: the event waits for the next one, which tries again.
                    _LOG.error("teller-not-begun", extra={"error": str(error)})
                else:
                    self._thread = thread
        try:
            self._events.put_nowait(event)
        except queue.Full:
            _LOG.error("telling-dropped", extra={"event_kind": type(event).__name__})

    def _look_for_library(self, notify: Notify) -> None:
        if notify.apprise is not None and not alerts.is_installed():
            self._record("apprise", alerts.tell_absence())
        elif notify.apprise is None:
            self._record("apprise", None)

    # The side of the thread

    def _work(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=self._reckon_wait())
            except queue.Empty:
                event = None
            try:
                if event is None:
                    self._act_by_the_clock()
                else:
                    self._take(event)
            except Exception:  # noqa: BLE001 - logged; the thread goes on
                # A teller that died would be missed on the worst of mornings.
                _LOG.exception("telling-stumbled")
            if event is _Wish.CLOSE:
                return

    def _reckon_wait(self) -> float | None:
        """Seconds until something is to be done unasked; None for never: no polling."""
        moments = [self._night.find_due(), self._refresh_due]
        due = min((moment for moment in moments if moment is not None), default=None)
        return None if due is None else max(due - self._monotonic(), 0.0)

    def _act_by_the_clock(self) -> None:
        now = self._monotonic()
        due = self._night.find_due()
        if due is not None and due <= now:
            self._tell_night()
        if self._refresh_due is not None and self._refresh_due <= now:
            self._begin_refresh()

    def _take(self, event: _Event) -> None:
        match event:
            case _Began():
                if self._night.begin(event.round):
                    self._ping(Signal.START)
            case EndedRound():
                self._night.end(event, self._monotonic())
                self._begin_refresh()
            case Remark():
                self._night.remark(event, self._monotonic())
            case Notify():
                self._notify = event
            case _Wish.REFRESH:
                self._begin_refresh()
            case _Wish.CLOSE:
                self._tell_night()

    def _begin_refresh(self) -> None:
        """One at a time: while one hangs, no other is begun."""
        if self._refresh is None:
            return
        self._refresh_due = self._monotonic() + self._refresh_seconds
        if self._refreshing is None or not self._refreshing.is_alive():
            refreshing = threading.Thread(
                target=self._refresh_now, args=(self._refresh,), name="metrics", daemon=True
            )
            refreshing.start()
            self._refreshing = refreshing

    def _refresh_now(self, refresh: Callable[[], None]) -> None:
        try:
            refresh()
        except Exception as error:  # noqa: BLE001 - logged and recorded
            _LOG.warning("metrics-unwritten", extra={"error": str(error)})
            if not isinstance(error, XenbackupError):
                error = StateFailed(_name_stumble(error))
            self._record("metrics", error)
        else:
            self._record("metrics", None)

    def _tell_night(self) -> None:
        rounds, remarks = self._night.take()
        if not rounds and not remarks:
            return
        told = True
        try:
            message = compose_message(self._hostname, rounds, remarks)
            sent = [self._try(way) for way in self._choose_ways(message)]
            told = any(sent) or not sent or not self._closing.is_set()
        except Exception:  # noqa: BLE001 - logged; the thread goes on
            _LOG.exception("telling-stumbled")
        if told and rounds:
            self._on_told(tuple(ended.result.round for ended in rounds))

    def _choose_ways(self, message: Message) -> list[_Way]:
        """The dead man's switch first: somebody waits for it by the minute."""
        notify = self._notify
        ways: list[_Way] = []
        if notify.ping is not None and (message.rounds or message.tells_loss):
            ping, signal = notify.ping, Signal.FAIL if message.tells_loss else Signal.SUCCESS
            ways.append(_Way("ping", lambda: send_ping(ping, signal)))
        webhook, apprise, mail = notify.webhook, notify.apprise, notify.mail
        if webhook is not None and _is_wanted(webhook.when, message):
            ways.append(_Way("webhook", lambda: send_webhook(webhook, message)))
        if apprise is not None and _is_wanted(apprise.when, message):
            ways.append(_Way("apprise", lambda: alerts.send_alert(apprise, message)))
        if mail is not None and _is_wanted(mail.when, message):
            ways.append(
                _Way("mail", lambda: send_mail(mail, message, now=self._now(), run=self._run))
            )
        return ways

    def _ping(self, signal: Signal) -> None:
        ping = self._notify.ping
        if ping is not None:
            self._try(_Way("ping", lambda: send_ping(ping, signal)), retry_waits_seconds=())

    def _try(self, way: _Way, retry_waits_seconds: tuple[float, ...] | None = None) -> bool:
        """Send, and again a little later where that may help; what fails in the end is recorded.

        Returns whether it went out.
        """
        waits = self._retry_waits_seconds if retry_waits_seconds is None else retry_waits_seconds
        for wait in (*waits, None):
            try:
                way.send()
            except TellingFailed as error:
                if wait is None or not error.may_pass or self._closing.is_set():
                    _LOG.error("message-unsent", extra={"way": way.name, "error": str(error)})
                    self._record(way.name, error)
                    return False
                _LOG.info("message-delayed", extra={"way": way.name, "error": str(error)})
                self._closing.wait(wait)
            except Exception as error:  # noqa: BLE001 - logged and recorded
                # A library of somebody else's may raise anything, and say anything: the addresses
                # it was given hold passwords. The other ways remain.
                told = _name_stumble(error)
                _LOG.error("message-unsent", extra={"way": way.name, "error": told})
                self._record(way.name, StateFailed(told))
                return False
            else:
                _LOG.info("message-sent", extra={"way": way.name})
                self._record(way.name, None)
                return True
        return False

    def _record(self, name: str, error: XenbackupError | None) -> None:
        with self._lock:
            if error is None:
                self._problems.pop(name, None)
            else:
                self._problems[name] = f"Telling by {name} failed: {error}"


def _name_stumble(error: Exception) -> str:
    return f"It stumbled over {type(error).__name__}."


def _is_wanted(when: TellWhen, message: Message) -> bool:
    return when is TellWhen.ALWAYS or message.tells_trouble


def _find_zone(name: str) -> ZoneInfo | None:
    """The zone of a job, None for the host's own; a name that is no longer known is the host's."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
