"""The page that `status` shows a person: what wants an eye first, then guests, runs and room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo

from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.text import (
    Cell,
    Colour,
    Styled,
    cut_text,
    format_duration,
    format_rate,
    format_size,
)
from xenbackup.model.live import ActiveRun
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DestinationStatus,
    DomainStatus,
    DomainVerdict,
    Finding,
    Level,
    OpenRun,
    PlaceState,
    RoundStatus,
    RunState,
    StatusReport,
)
from xenbackup.planning.findings import describe_span
from xenbackup.planning.rounds import list_last_runs

_COLOURS = {Level.OK: Colour.GREEN, Level.WARNING: Colour.YELLOW, Level.CRITICAL: Colour.RED}
_FINDINGS_TOLD = 12
_FAILURES_TOLD = 10
_DUE_TOLD = 6
_NOTHING = "-"
_LONGEST_SECONDS = 99 * 86400


def report_status(report: StatusReport, page: Page, zone: tzinfo | None = None) -> str:
    """The whole page. Times are those of `zone`, or else the host's own."""
    clock = _Clock(report.now, zone)
    parts = [_report_head(report, page, clock)]
    parts += [
        f"{page.heading(title)}\n{body}"
        for title, body in (
            ("Guests", _report_domains(report, page, clock)),
            ("Now", _report_active(report, page, clock)),
            ("Waiting", _report_waiting(report, page, clock)),
            ("The last 24 hours", _report_rounds(report, page, clock)),
            (_title_due(report), _report_due(report, page, clock)),
            ("Destinations", _report_destinations(report, page)),
        )
        if body
    ]
    parts.append(_report_daemon(report, page, clock))
    return "\n\n".join(parts)


class _Clock:
    """Moments as the page shows them: short, in one zone, and how far from now."""

    def __init__(self, now: datetime, zone: tzinfo | None) -> None:
        self._now = now
        self._zone = zone

    def show(self, moment: datetime | None) -> str:
        """`11-22 02:30`: month, day and time; the age beside it tells the year."""
        return f"{moment.astimezone(self._zone):%m-%d %H:%M}" if moment else _NOTHING

    def show_whole(self, moment: datetime) -> str:
        return f"{moment.astimezone(self._zone):%Y-%m-%d %H:%M}"

    def tell_span(self, moment: datetime | None) -> str:
        """How long ago it was, or how long it is until then: `5 h`."""
        if moment is None:
            return _NOTHING
        return describe_span(min(moment, self._now), max(moment, self._now))


def _report_head(report: StatusReport, page: Page, clock: _Clock) -> str:
    """One line with the level, and below it what is wrong, or that nothing is."""
    told = clock.show_whole(report.now)
    room = max(page.width - len(f"{told}  {report.level.value}") - 2, 8)
    name = cut_text(show_text(report.host), room, ellipsis=page.ellipsis)
    level = page.painter.paint(report.level.value, _COLOURS[report.level])
    lines = [f"{page.heading(name)}  {told}  {level}"]
    findings = _join_findings(report.findings)
    for finding in findings[:_FINDINGS_TOLD]:
        text = show_text(f"{finding.subject}: {finding.message}")
        if finding.hint:
            text += f" ({show_text(finding.hint)})"
        mark = f"{finding.level.value.capitalize()}:"
        lines.append(page.note(text, mark=mark, colour=_COLOURS[finding.level]))
    more = len(findings) - _FINDINGS_TOLD
    if more > 0:
        lines.append(page.note(f"{more} more findings: `xenbackup status --json` lists all."))
    if not report.findings:
        lines.append(_praise(report, page))
    return "\n".join(lines)


def _join_findings(findings: Sequence[Finding]) -> list[Finding]:
    """What is said of several guests in the same words is said once."""
    alike: dict[Finding, list[str]] = {}
    for finding in findings:
        alike.setdefault(replace(finding, subject=""), []).append(finding.subject)
    return [
        replace(finding, subject=", ".join(dict.fromkeys(subjects)))
        for finding, subjects in alike.items()
    ]


def _praise(report: StatusReport, page: Page) -> str:
    good = len({row.domain for row in report.domains if row.verdict is DomainVerdict.GOOD})
    if not report.domains:
        return page.note("There is no guest to speak of.")
    rest = len({row.domain for row in report.domains}) - good
    text = f"{good} guest{' has' if good == 1 else 's have'} a good point, as promised."
    return page.note(text + (f" {rest} not due or shut off." if rest else ""))


def _report_domains(report: StatusReport, page: Page, clock: _Clock) -> str:
    rows = [_list_domain(row, clock) for row in report.domains]
    headers = ("GUEST", "JOB", "LAST POINT", "AGE", "PROMISED", "POINTS", "STATE")
    parts = [page.table(headers, rows, "lllrlrl")] if rows else []
    if report.gone:
        names = ", ".join(show_text(name) for name in report.gone)
        parts.append(page.note(f"Gone from this host, with points still there: {names}"))
    return "\n".join(parts)


def _list_domain(row: DomainStatus, clock: _Clock) -> Sequence[Cell]:
    return (
        row.domain,
        row.job or _NOTHING,
        clock.show(row.point_at),
        clock.tell_span(row.point_at),
        clock.show(row.promised_since),
        str(row.points),
        Styled(row.verdict.value, _COLOURS[row.level]),
    )


def _report_active(report: StatusReport, page: Page, clock: _Clock) -> str:
    """What the daemon runs, and what other processes run beside it."""
    active = report.live.active if report.live is not None else ()
    told = {run.run for run in active}
    others = [
        run for run in report.open_runs if run.state is RunState.AT_WORK and run.run not in told
    ]
    rows = [_list_active(run, clock) for run in active]
    rows += [_list_other(run, clock) for run in others]
    headers = ("GUEST", "FOR", "DONE", "OF", "RATE", "LEFT", "AWAY", "STEP")
    return page.table(headers, rows, "lrrrrrrl") if rows else ""


def _list_active(run: ActiveRun, clock: _Clock) -> Sequence[Cell]:
    done, left = _NOTHING, _NOTHING
    if run.bytes_total > 0:
        share = min(max(run.bytes_done / run.bytes_total, 0.0), 1.0)
        done = f"{int(share * 100)}%"
        left = _tell_rest(run)
    step = f"{run.step or 'begins'}{f', {run.what}' if run.what else ''}"
    return (
        run.domain,
        clock.tell_span(run.began_at),
        done,
        format_size(run.bytes_total) if run.bytes_total > 0 else _NOTHING,
        format_rate(run.bytes_per_second) if run.bytes_per_second > 0 else _NOTHING,
        left,
        Styled(clock.tell_span(run.away_since), Colour.YELLOW) if run.away_since else _NOTHING,
        Styled(f"{step} (being cancelled)", Colour.YELLOW) if run.cancelling else step,
    )


def _tell_rest(run: ActiveRun) -> str:
    """How long it will take yet; a rate of next to nothing foretells nothing."""
    rest_bytes = max(run.bytes_total - run.bytes_done, 0)
    if run.bytes_per_second * _LONGEST_SECONDS <= rest_bytes:
        return _NOTHING
    return format_duration(round(rest_bytes / run.bytes_per_second))


def _list_other(run: OpenRun, clock: _Clock) -> Sequence[Cell]:
    """A run of another process: how far it is, only that process knows."""
    blanks = (_NOTHING,) * 5
    return (run.domain, clock.tell_span(run.began_at), *blanks, run.step or "begins")


def _report_waiting(report: StatusReport, page: Page, clock: _Clock) -> str:
    waiting = report.live.waiting if report.live is not None else ()
    rows = [(run.domain or "(all)", run.job, clock.show(run.since), run.reason) for run in waiting]
    return page.table(("GUEST", "JOB", "SINCE", "WHY"), rows) if rows else ""


def _report_rounds(report: StatusReport, page: Page, clock: _Clock) -> str:
    if not report.rounds:
        return "Nothing ran."
    rows = [
        (
            clock.show(told.began_at),
            told.job,
            _count_guests(told),
            format_size(sum(run.bytes_written for run in told.runs)),
            format_duration((told.ended_at - told.began_at).total_seconds()),
            _tell_absence(told),
            Styled("under way", Colour.YELLOW)
            if told.under_way
            else style_outcome(told.outcome.value),
        )
        for told in report.rounds
    ]
    headers = ("BEGAN", "JOB", "GUESTS", "WRITTEN", "TOOK", "AWAY", "OUTCOME")
    lines = [page.table(headers, rows, "lllrrrl")]
    failures = [text for told in report.rounds for text in _tell_failures(told)]
    lines += [page.note(show_text(text), mark="-") for text in failures[-_FAILURES_TOLD:]]
    if report.runs_left_out:
        lines.append(page.note(f"{report.runs_left_out} older runs are left out here."))
    return "\n".join(lines)


def _count_guests(told: RoundStatus) -> str:
    """`3 ok, 1 failed`: each guest as its last run ended."""
    last = list_last_runs(told.runs)
    counts = [(sum(run.outcome is outcome for run in last), outcome.value) for outcome in Outcome]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "none"


def _tell_absence(told: RoundStatus) -> str:
    """The longest of a guest; nothing of it where no guest was touched."""
    away_seconds = max((run.away_seconds for run in told.runs), default=0.0)
    return format_duration(away_seconds) if away_seconds else _NOTHING


def _tell_failures(told: RoundStatus) -> Iterator[str]:
    """Why a round has no run, or which guests it did not back up, those of one reason together."""
    if told.error:
        yield f"{told.job}: {told.error}"
    alike: dict[str, list[str]] = {}
    for run in list_last_runs(told.runs):
        if run.outcome is not Outcome.OK:
            tries = sum(other.domain == run.domain for other in told.runs)
            name = f"{run.domain} ({tries} times)" if tries > 1 else run.domain
            alike.setdefault(run.error or run.outcome.value, []).append(name)
    for reason, names in alike.items():
        yield f"{told.job}, {', '.join(names)}: {reason}"


def _title_due(report: StatusReport) -> str:
    return "Next" if report.live is not None else "Next, if the daemon runs by then"


def _report_due(report: StatusReport, page: Page, clock: _Clock) -> str:
    rows = [
        (
            clock.show(due.due_at),
            clock.tell_span(due.begins_at),
            clock.show(due.begins_at) if due.begins_at != due.due_at else "when due",
            due.job,
        )
        for due in report.due[:_DUE_TOLD]
    ]
    return page.table(("DUE", "IN", "BEGINS", "JOB"), rows, "llll") if rows else ""


def _report_destinations(report: StatusReport, page: Page) -> str:
    rows = [_list_destination(place) for place in report.destinations]
    headers = ("NAME", "KIND", "FREE", "OF", "POINTS", "GROWTH", "FULL IN", "STATE")
    parts = [page.table(headers, rows, "llrrrrrl")] if rows else []
    parts += [page.note(_tell_foreign(place)) for place in report.destinations if place.foreign]
    return "\n".join(parts)


def _tell_foreign(place: DestinationStatus) -> str:
    what = "point there is" if place.foreign == 1 else "points there are"
    return f"{show_text(place.name)}: {place.foreign} more {what} of guests of another host."


def _list_destination(place: DestinationStatus) -> Sequence[Cell]:
    fine = place.state is PlaceState.PRESENT and not (place.damaged or place.problem)
    growth = place.growth_bytes_per_day
    return (
        place.name,
        place.kind,
        _NOTHING if place.free_bytes is None else format_size(place.free_bytes),
        _NOTHING if place.total_bytes is None else format_size(place.total_bytes),
        str(place.points),
        _NOTHING if growth is None else f"{format_size(growth)}/d",
        _tell_filling(place),
        Styled(_tell_state(place), Colour.GREEN if fine else Colour.RED),
    )


def _tell_state(place: DestinationStatus) -> str:
    """What is lost weighs more than that the place is there; a finding names it anyway. A place
    that is there and has a problem is read-only.
    """
    if place.problem and place.state is PlaceState.PRESENT:
        return "read-only"
    if place.damaged and place.state is PlaceState.PRESENT:
        return f"{place.damaged} damaged"
    return place.state.value


def _tell_filling(place: DestinationStatus) -> str:
    if place.full_in_days is not None:
        return f"{place.full_in_days} d"
    if place.growth_bytes_per_day is None or place.free_bytes is None:
        return _NOTHING
    return f"> {place.horizon_days} d"


def _report_daemon(report: StatusReport, page: Page, clock: _Clock) -> str:
    live = report.live
    if live is None:
        return page.note("No daemon answered; this was read from the host itself.")
    since = clock.show_whole(live.since)
    return page.note(f"Daemon {show_text(live.version)}, process {live.pid}, up since {since}.")
