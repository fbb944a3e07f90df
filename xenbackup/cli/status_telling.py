"""What `status` tells, asked of the daemon or gathered here: as a page, as JSON, for Nagios.

The daemon is asked first, and what it answers is only laid out: nothing that gathers is imported
before it is known that there is no daemon.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.nagios import NagiosCode, tell_nagios
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.shapes import Shape, shape_time
from xenbackup.cli.text import is_terminal
from xenbackup.errors import (
    DaemonAbsent,
    DaemonGone,
    DaemonSilent,
    ExitCode,
    FrameRefused,
    XenbackupError,
)
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome
from xenbackup.model.status import DomainVerdict, Level, StatusReport, decode_report

if TYPE_CHECKING:
    from xenbackup.model.live import LiveStatus
    from xenbackup.operations.house import House

WATCH_SECONDS = 2.0
_ANSWER_SECONDS = 20.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_CODES = {
    Level.OK: NagiosCode.OK,
    Level.WARNING: NagiosCode.WARNING,
    Level.CRITICAL: NagiosCode.CRITICAL,
}


def read_status(invocation: Invocation) -> StatusReport:
    """The daemon's word; gathered here where there is none, or by another configuration than the
    daemon's: then it is only asked what it is at.

    Raises: RequestRefused; whatever keeps the house from being opened and looked at.
    """
    house = invocation.open_house() if invocation.configuration is not None else None
    try:
        told = ask_daemon(invocation.socket_path)
    except DaemonAbsent:
        return _gather(house or invocation.open_house())
    except (DaemonSilent, DaemonGone, FrameRefused) as error:
        return _gather(house or invocation.open_house(), daemon_problem=error.message)
    return told if house is None else _gather(house, live=told.live)


def ask_daemon(path: Path) -> StatusReport:
    """Raises: DaemonAbsent, DaemonSilent, DaemonGone, RequestRefused, FrameRefused."""
    from xenbackup.service.control.client import ControlClient, has_socket
    from xenbackup.service.control.events import StatusTold
    from xenbackup.service.control.protocol import StatusRequest

    if not has_socket(path):
        raise DaemonAbsent(f"No daemon listens at {path}.")
    with ControlClient.connect(path) as client:
        for event in client.request(StatusRequest(), quiet_seconds=_ANSWER_SECONDS):
            if isinstance(event, StatusTold):
                try:
                    return decode_report(bytes(event.status))
                except ValueError as error:
                    raise FrameRefused(
                        f"The daemon's answer cannot be read: {error}.",
                        hint="is it of another version? `systemctl restart xenbackup`",
                    ) from error
    raise FrameRefused("The daemon answered, but not with its status.")


def _gather(
    house: House, *, live: LiveStatus | None = None, daemon_problem: str = ""
) -> StatusReport:
    from xenbackup.operations.status import gather_status, list_guests

    return gather_status(house, live, list_guests(house), daemon_problem=daemon_problem)


def show_status(invocation: Invocation, report: StatusReport, *, before: str = "") -> None:
    if invocation.json:
        invocation.output.emit(shape_status(report))
        return
    from xenbackup.cli.status_page import report_status

    invocation.output.say(before + report_status(report, invocation.page))


def watch_status(
    invocation: Invocation,
    read: Callable[[], StatusReport],
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Tell again and again; a daemon that is restarted meanwhile is only a remark. Ctrl-C ends it
    with 0, and so does a reader that has gone.

    Raises: what keeps the first look from being had.
    """
    person = not invocation.json and is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"
    report = read()
    try:
        while True:
            show_status(invocation, report, before=_CLEAR if person else "")
            if invocation.output.unheard:
                break
            if not person and not invocation.json:
                invocation.output.say()
            sleep(WATCH_SECONDS)
            try:
                report = read()
            except XenbackupError as error:
                invocation.warn(f"{error.message} What is shown may be old.")
    except KeyboardInterrupt:
        pass
    return int(ExitCode.GOOD)


# For programs


def shape_status(report: StatusReport) -> Shape:
    """What `status --json` prints; docs/operating.md tells the keys."""
    shape: Shape = {"schema": SCHEMA}
    content = msgspec.to_builtins(report, builtin_types=(datetime,))
    shape.update({key: _shape_value(value) for key, value in content.items()})
    return shape


def _shape_value(value: object) -> object:
    if isinstance(value, datetime):
        return shape_time(value)
    if isinstance(value, dict):
        return {key: _shape_value(found) for key, found in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shape_value(found) for found in value]
    return value


# For Nagios


def tell_nagios_status(invocation: Invocation) -> int:
    """Whatever keeps us from looking is UNKNOWN: a monitor must never take it for good."""
    try:
        report = read_status(invocation)
    except XenbackupError as error:
        return tell_nagios(invocation, NagiosCode.UNKNOWN, error.message)
    except Exception as error:  # noqa: BLE001 - a defect's own exit code would mean WARNING
        text = f"This is a defect of xenbackup: {type(error).__name__}: {error}"
        return tell_nagios(invocation, NagiosCode.UNKNOWN, text)
    worst = [finding for finding in report.findings if finding.level is report.level]
    text = " ".join(f"{finding.subject}: {finding.message}" for finding in worst)
    if len(worst) > 1:
        text = f"{len(worst)} problems: {text}"
    guests = len({row.domain for row in report.domains})
    text = text or f"{guests} guest{'' if guests == 1 else 's'}, all as promised."
    performance = " ".join(list_performance(report))
    return tell_nagios(invocation, _CODES[report.level], text, performance)


def list_performance(report: StatusReport) -> Iterator[str]:
    """Performance data: `label=value`, with a unit where there is one."""
    for verdict in DomainVerdict:
        yield f"{verdict}={sum(row.verdict is verdict for row in report.domains)}"
    ages = [(report.now - row.point_at).total_seconds() for row in report.domains if row.point_at]
    if ages:
        yield f"oldest_age={max(round(max(ages)), 0)}s"
    runs = [run for told in report.rounds for run in told.runs]
    yield f"runs={len(runs)}"
    yield f"runs_failed={sum(run.outcome is Outcome.FAILED for run in runs)}"
    yield f"open_runs={len(report.open_runs)}"
    yield f"damaged_points={len(report.damaged) + report.damaged_left_out}"
    yield f"future_points={len(report.future) + report.future_left_out}"
    for place in report.destinations:
        if place.free_bytes is not None and place.total_bytes is not None:
            name = "".join(letter for letter in show_text(place.name) if letter not in "'|=")
            yield f"'free {name}'={place.free_bytes}B;;;0;{place.total_bytes}"
