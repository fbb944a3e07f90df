"""Verbs `points` and `verify`: what there is to restore from, and whether it is sound."""

from __future__ import annotations

import difflib
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA, Output
from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.progress import ProgressBar
from xenbackup.cli.shapes import shape_time
from xenbackup.cli.stopping import StopRequest
from xenbackup.cli.text import Colour, Styled, format_age, format_duration, format_size
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.point import Damage, PointSummary
    from xenbackup.operations.points import PointListing
    from xenbackup.operations.verify import VerifyResult

_NAMES_SHOWN = 10
_UNMARKED = "other commands may not know of it"
_STOPPING = "verification ends at the next block; points that were not read stay as they are."


@click.command(cls=Verb, short_help="List the recovery points.")
@click.argument("domain", metavar="[DOMAIN]", default="")
@click.pass_obj
def points(invocation: Invocation, domain: str) -> int:
    """List the recovery points, oldest first; of DOMAIN alone where one is named."""
    from xenbackup.operations.points import list_points

    house = invocation.open_house()
    listing = list_points(house, domain)
    exit_code = int(ExitCode.DESTINATION_MISSING if listing.absent else ExitCode.GOOD)
    if invocation.json:
        invocation.output.emit(_shape_listing(listing, exit_code))
        return exit_code
    invocation.output.say(_report_listing(listing, domain, house.host.now(), invocation.page))
    for absent in listing.absent:
        invocation.warn(absent.reason)
        if absent.hint:
            invocation.output.remark(invocation.margin.note(absent.hint, mark="Hint:"))
    return exit_code


def _report_listing(listing: PointListing, domain: str, now: datetime, page: Page) -> str:
    parts = []
    destinations = list(dict.fromkeys(summary.destination for summary in listing.points))
    for name in destinations:
        found = [summary for summary in listing.points if summary.destination == name]
        if len(destinations) > 1:
            parts += [page.heading(f"Destination {name}"), ""]
        parts += [_render_points(found, now, page), ""]
    if not listing.points:
        parts += [page.note(_tell_none(listing, domain)), ""]
    for absent in listing.absent:
        if absent.remembered:
            parts += [f"Remembered of destination {absent.name}, which is not there:", ""]
            parts += [_render_points(list(absent.remembered), now, page), ""]
    notes = [
        page.note(
            f"{found.point} of {show_text(found.domain)} in {found.destination}: "
            f"{show_text(found.reason)}",
            mark="Damaged:",
            colour=Colour.RED,
        )
        for found in listing.damaged
    ]
    notes += [
        page.note(
            f"{summary.point} of {show_text(summary.domain)} in {summary.destination}"
            f"{_tell_found(summary.damage, now)}: {show_text(summary.damage.reason)}",
            mark="Damaged:",
            colour=Colour.RED,
        )
        for summary in listing.points
        if summary.damage is not None
    ]
    notes += [
        page.note(f"{summary.point} of {show_text(summary.domain)}: never pruned.", mark="Pinned:")
        for summary in listing.points
        if summary.pinned
    ]
    notes += [page.note(f"{show_text(text)}", mark="Unreadable:") for text in listing.unreadable]
    notes += [page.note(f"{show_text(text)}", mark="Not finished:") for text in listing.leftovers]
    return "\n".join([*parts, *notes]).rstrip("\n")


def _tell_found(damage: Damage, now: datetime) -> str:
    return "" if damage.found_at is None else f", found {format_age(damage.found_at, now=now)}"


def _tell_none(listing: PointListing, domain: str) -> str:
    """That there is no point; and where the name is one of nobody's, whose there are."""
    where = " that could be looked into" if listing.absent else ""
    if not domain:
        return f"There are no recovery points{where}."
    text = f"There are no recovery points of {show_text(domain)}{where}."
    if domain in listing.domains:
        return text
    others = [show_text(name) for name in listing.domains]
    if not others:
        return f"{text} No guest has any."
    near = difflib.get_close_matches(show_text(domain), others, n=1, cutoff=0.6)
    guess = f" Did you mean {near[0]}?" if near else ""
    more = f" and {len(others) - _NAMES_SHOWN} more" if len(others) > _NAMES_SHOWN else ""
    return f"{text}{guess} Guests that have some: {', '.join(others[:_NAMES_SHOWN])}{more}."


def _render_points(found: list[PointSummary], now: datetime, page: Page) -> str:
    rows = [
        (
            summary.point,
            summary.domain,
            Styled("damaged", Colour.RED) if summary.damage else summary.consistency.value,
            format_age(summary.created_at, now=now),
            format_size(summary.size_bytes),
            format_size(summary.stored_bytes),
        )
        for summary in found
    ]
    headers = ("POINT", "DOMAIN", "CONSISTENCY", "TAKEN", "SIZE", "STORED")
    return page.table(headers, rows, "llllrr")


def _shape_listing(listing: PointListing, exit_code: int) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "exit_code": exit_code,
        "points": [shape_summary(summary) for summary in listing.points],
        "damaged": [
            {
                "point": found.point,
                "destination": found.destination,
                "domain": found.domain,
                "reason": found.reason,
            }
            for found in listing.damaged
        ],
        "leftovers": list(listing.leftovers),
        "unreadable": list(listing.unreadable),
        "absent": [
            {
                "destination": absent.name,
                "reason": absent.reason,
                "hint": absent.hint,
                "remembered": [shape_summary(summary) for summary in absent.remembered],
            }
            for absent in listing.absent
        ],
    }


def shape_summary(summary: PointSummary) -> dict[str, object]:
    """A point as lists have it."""
    return {
        "point": summary.point,
        "destination": summary.destination,
        "domain": summary.domain,
        "identity": summary.identity,
        "job": summary.job,
        "consistency": summary.consistency.value,
        "created_at": shape_time(summary.created_at),
        "size_bytes": summary.size_bytes,
        "stored_bytes": summary.stored_bytes,
        "has_memory": summary.has_memory,
        "pinned": summary.pinned,
        "damage": shape_damage(summary.damage),
    }


def shape_damage(damage: Damage | None) -> dict[str, object] | None:
    """What a verification found, None where it found nothing; the time is null when not known."""
    if damage is None:
        return None
    found_at = shape_time(damage.found_at) if damage.found_at is not None else None
    return {"found_at": found_at, "reason": damage.reason}


@click.command(cls=Verb, short_help="Read recovery points again, and compare every byte.")
@click.argument("point", metavar="[POINT]", default="")
@click.pass_obj
def verify(invocation: Invocation, point: str) -> int:
    """Read recovery points again, whole, and compare them with their manifests.

    Without POINT all of them. What is damaged is named, down to the bytes, and marked: it counts
    as no good point until it is verified again and found good.
    """
    from xenbackup.operations.verify import SilentVerifyWatcher, exit_code_of, verify_points

    house = invocation.open_house()
    watcher = (
        PersonVerifyWatcher(invocation.output)
        if invocation.person_on_stderr
        else SilentVerifyWatcher()
    )
    with StopRequest(_STOPPING) as stop:
        results = verify_points(house, point or None, watcher, stop.reason)
    exit_code = int(exit_code_of(results))
    if invocation.json:
        invocation.output.emit(_shape_results(results, exit_code))
    else:
        invocation.output.say(_report_results(results, invocation.page))
    return exit_code


class PersonVerifyWatcher:
    """A bar on stderr while a point is read."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar = ProgressBar(sys.stderr, time.monotonic)

    def point_began(self, point: str, domain: str) -> None:
        self._bar.begin(f"{show_text(domain)}: {point}")

    def amount_done(self, point: str, done: int, total: int) -> None:
        self._bar.update(done, total)

    def point_ended(self, result: VerifyResult) -> None:
        self._bar.clear()


def _report_results(results: tuple[VerifyResult, ...], page: Page) -> str:
    if not results:
        return "There are no recovery points to verify."
    rows = [
        (
            result.point or f"destination {result.destination}",
            result.domain or "-",
            style_outcome(result.verdict.value),
            format_size(result.bytes_checked),
            format_duration(result.duration_seconds),
        )
        for result in results
    ]
    parts = [page.table(("POINT", "DOMAIN", "VERDICT", "READ", "DURATION"), rows, "lllrr")]
    notes = []
    for result in results:
        name = result.point or result.destination
        for finding in result.findings:
            place = ""
            if finding.offset_bytes is not None:
                place = f" at byte {finding.offset_bytes}"
                if finding.length_bytes is not None:
                    place += f", {finding.length_bytes} bytes long"
            text = f"{show_text(finding.file)}{place}: {show_text(finding.message)}"
            notes.append(page.note(text, mark=f"{name}:", colour=Colour.RED))
        if result.reason:
            notes.append(page.note(show_text(result.reason), mark=f"{name}:", colour=Colour.RED))
        if result.mark_problem:
            text = f"the verdict on {name} could not be written beside it, so {_UNMARKED}"
            text += f": {show_text(result.mark_problem)}"
            notes.append(page.note(text, mark="Not marked:", colour=Colour.RED))
        if result.hint:
            notes.append(page.note(show_text(result.hint), mark="Hint:"))
    return "\n".join([*parts, *([""] if notes else []), *notes])


def _shape_results(results: tuple[VerifyResult, ...], exit_code: int) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "exit_code": exit_code,
        "points": [
            {
                "point": result.point,
                "destination": result.destination,
                "domain": result.domain,
                "verdict": result.verdict.value,
                "bytes_checked": result.bytes_checked,
                "duration_seconds": result.duration_seconds,
                "reason": result.reason,
                "hint": result.hint,
                "mark_problem": result.mark_problem,
                "findings": [
                    {
                        "file": finding.file,
                        "message": finding.message,
                        "offset_bytes": finding.offset_bytes,
                        "length_bytes": finding.length_bytes,
                    }
                    for finding in result.findings
                ],
            }
            for result in results
        ],
    }
