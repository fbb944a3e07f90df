"""Figures for Prometheus, as a textfile that its node exporter reads: what is written, and how.

The format is the text exposition format, version 0.0.4. Ages are given as points in time, since the
file is read long after it was written; `time() - METRIC` is the age.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from xenbackup.errors import StateFailed
from xenbackup.model.live import LiveStatus
from xenbackup.model.point import MarkedPoint, PointSummary
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DestinationStatus,
    DomainStatus,
    EndedRun,
    GuestList,
    PlaceState,
    RunState,
    StatusReport,
)
from xenbackup.operations.house import House
from xenbackup.operations.own_points import read_own
from xenbackup.operations.status import gather_status
from xenbackup.planning.counted_points import is_sound
from xenbackup.system.durable import replace_file

FILE_MODE = 0o644
"""The node exporter is another user."""

AGES = (
    ("1d", timedelta(days=1)),
    ("7d", timedelta(days=7)),
    ("31d", timedelta(days=31)),
    ("366d", timedelta(days=366)),
)
"""Points are counted in the first of these that they are not older than, else in `older`."""
OLDER = "older"

METRICS = {
    "xenbackup_info": "The version that wrote this; always 1.",
    "xenbackup_written_timestamp_seconds": "When these figures were written.",
    "xenbackup_findings": "What status finds worth a person's eye, by level.",
    "xenbackup_domain_level": "How a guest stands with its job: 0 ok, 1 warning, 2 critical.",
    "xenbackup_domain_verdict": "The same as a word in the label; always 1.",
    "xenbackup_last_point_timestamp_seconds": "When the last good recovery point was taken.",
    "xenbackup_promised_since_timestamp_seconds": "A point must have been taken since then.",
    "xenbackup_last_run_timestamp_seconds": "When the last run ended, good or not.",
    "xenbackup_last_run_good": "Whether the last run left a recovery point, 1 or 0.",
    "xenbackup_last_run_duration_seconds": "How long the last run took.",
    "xenbackup_last_run_away_seconds": "How long the guest was away in the last run.",
    "xenbackup_last_run_read_bytes": "What the last run read of the guest.",
    "xenbackup_last_run_written_bytes": "What the last run wrote to the destination.",
    "xenbackup_debts": "Runs that owe the removal of something, a snapshot above all.",
    "xenbackup_unfinished_runs": "Runs that nobody finished: `xenbackup recover` is needed.",
    "xenbackup_broken_jobs": "Job files that cannot be taken.",
    "xenbackup_untold": "Ways of telling that failed when last tried.",
    "xenbackup_points": "Good recovery points by age: up to 1d, 7d, 31d, 366d, or older.",
    "xenbackup_damaged_points": "Points that verification found damaged, until gone or good.",
    "xenbackup_destination_present": "Whether the destination is there and ours, 1 or 0.",
    "xenbackup_destination_size_bytes": "Size of the file system of a destination.",
    "xenbackup_destination_free_bytes": "Free room on a destination.",
    "xenbackup_destination_stored_bytes": "What the recovery points take there.",
    "xenbackup_destination_full_days": "In how many days it will be full, if it will be soon.",
}
"""Every metric with its help; all are gauges."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One line: a metric's name, its labels, its value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def refresh_metrics(
    house: House,
    *,
    live: LiveStatus | None = None,
    guests: GuestList | None = None,
    untold: int = 0,
) -> None:
    """Write the textfile anew; nothing happens where none is configured.

    Raises: StateFailed when it cannot be written; the former one stays then.
    """
    if not house.configuration.metrics_path:
        return
    report = gather_status(house, live, guests)
    own = read_own(house)
    samples = list_samples(report, own.points, own.damaged, untold=untold)
    write_metrics(house.host.place(house.configuration.metrics_path), samples)


def write_metrics(path: Path, samples: Iterable[Sample]) -> None:
    """Replace the file whole: the exporter never sees half of it. Raises: StateFailed."""
    if not path.parent.is_dir():
        raise StateFailed(
            f"Cannot write {path}: the folder {path.parent} is not there.",
            hint="install Prometheus' node exporter, or correct `textfile` in [metrics]",
        )
    replace_file(path, spell_metrics(samples).encode(), FILE_MODE)


def spell_metrics(samples: Iterable[Sample]) -> str:
    """The exposition: each metric once with its help, its samples below it.

    Of two samples that differ in nothing but their value the first is taken: the exporter would
    refuse the whole file for the second.
    """
    lines: dict[str, dict[str, str]] = {name: {} for name in METRICS}
    for sample in samples:
        series = sample.name + _spell_labels(sample.labels)
        lines[sample.name].setdefault(series, _spell_value(sample.value))
    parts: list[str] = []
    for name, entries in lines.items():
        if entries:
            parts += [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} gauge"]
            parts += [f"{series} {value}" for series, value in entries.items()]
    return "\n".join(parts) + "\n"


def _spell_labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    """A label's value; the format has three letters to escape, and wants UTF-8 else."""
    return show_text(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _spell_value(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def list_samples(
    report: StatusReport,
    points: Sequence[PointSummary],
    damaged: Sequence[MarkedPoint] = (),
    *,
    untold: int = 0,
) -> tuple[Sample, ...]:
    """All figures of a report, and of the points of this host's guests. Pure."""
    samples = [
        Sample(name="xenbackup_info", value=1, labels=(("version", report.version),)),
        Sample(name="xenbackup_written_timestamp_seconds", value=report.now.timestamp()),
        Sample(name="xenbackup_broken_jobs", value=len(report.broken_jobs)),
        Sample(name="xenbackup_untold", value=untold),
    ]
    levels = Counter(finding.level.value for finding in report.findings)
    samples += [
        Sample(name="xenbackup_findings", value=levels[level], labels=(("level", level),))
        for level in ("warning", "critical")
    ]
    states = Counter(run.state for run in report.open_runs)
    left = states[RunState.CUT_OFF] + states[RunState.UNREADABLE]
    samples.append(Sample(name="xenbackup_debts", value=states[RunState.OWES]))
    samples.append(Sample(name="xenbackup_unfinished_runs", value=left))
    for domain in report.domains:
        samples += _list_domain_samples(domain)
    samples += _count_points(points, report.now)
    samples += _count_damaged(points, damaged)
    for destination in report.destinations:
        samples += _list_destination_samples(destination)
    return tuple(samples)


def _list_domain_samples(domain: DomainStatus) -> list[Sample]:
    labels = (("domain", domain.domain), ("job", domain.job))
    verdict = (*labels, ("verdict", domain.verdict.value))
    samples = [
        Sample(name="xenbackup_domain_level", value=domain.level.rank, labels=labels),
        Sample(name="xenbackup_domain_verdict", value=1, labels=verdict),
    ]
    if domain.point_at is not None:
        name = "xenbackup_last_point_timestamp_seconds"
        samples.append(Sample(name=name, value=domain.point_at.timestamp(), labels=labels))
    if domain.promised_since is not None:
        name = "xenbackup_promised_since_timestamp_seconds"
        samples.append(Sample(name=name, value=domain.promised_since.timestamp(), labels=labels))
    if domain.last_run is not None:
        samples += [
            Sample(name=f"xenbackup_last_run_{name}", value=value, labels=labels)
            for name, value in _list_run_figures(domain.last_run)
        ]
    return samples


def _list_run_figures(run: EndedRun) -> tuple[tuple[str, float], ...]:
    return (
        ("timestamp_seconds", run.ended_at.timestamp()),
        ("good", run.outcome in (Outcome.OK, Outcome.PARTIAL)),
        ("duration_seconds", run.duration_seconds),
        ("away_seconds", run.away_seconds),
        ("read_bytes", run.bytes_read),
        ("written_bytes", run.bytes_written),
    )


def _count_points(points: Sequence[PointSummary], now: datetime) -> list[Sample]:
    """Good ones: every age of every guest that has points, also those with none, for a graph needs
    the zero.
    """
    counts = Counter(
        (point.domain, point.destination, _find_age(now - point.created_at))
        for point in points
        if is_sound(point, now)
    )
    ages = (*(name for name, _ in AGES), OLDER)
    return [
        Sample(
            name="xenbackup_points",
            value=counts[domain, destination, age],
            labels=(("domain", domain), ("destination", destination), ("age", age)),
        )
        for domain, destination in sorted({(p.domain, p.destination) for p in points})
        for age in ages
    ]


def _count_damaged(points: Sequence[PointSummary], damaged: Sequence[MarkedPoint]) -> list[Sample]:
    """Of every guest that has points of whatever worth, also the zeros: an alert ends with them."""
    counts = Counter((marked.domain, marked.destination) for marked in damaged)
    places = {(point.domain, point.destination) for point in points} | counts.keys()
    return [
        Sample(
            name="xenbackup_damaged_points",
            value=counts[domain, destination],
            labels=(("domain", domain), ("destination", destination)),
        )
        for domain, destination in sorted(places)
    ]


def _find_age(age: timedelta) -> str:
    return next((name for name, longest in AGES if age <= longest), OLDER)


def _list_destination_samples(destination: DestinationStatus) -> list[Sample]:
    figures = (
        ("present", float(destination.state is PlaceState.PRESENT)),
        ("size_bytes", destination.total_bytes),
        ("free_bytes", destination.free_bytes),
        ("stored_bytes", destination.stored_bytes),
        ("full_days", destination.full_in_days),
    )
    labels = (("destination", destination.name),)
    return [
        Sample(name=f"xenbackup_destination_{name}", value=value, labels=labels)
        for name, value in figures
        if value is not None
    ]
