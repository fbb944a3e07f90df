"""Verbs `pin` and `unpin`: recovery points that are kept whatever retention says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.point_verbs import shape_summary
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.operations.pinning import PinResult


@click.command(cls=Verb, short_help="Keep a recovery point for good.")
@click.argument("point", metavar="POINT")
@click.pass_obj
def pin(invocation: Invocation, point: str) -> int:
    """Keep a recovery point, whatever [retention] says, until it is unpinned.

    POINT is an id, a unique beginning of one, or DOMAIN@latest. A volume that holds a pinned point
    is never written over: runs into it fail.
    """
    from xenbackup.operations.pinning import pin_point

    result = pin_point(invocation.open_house(), point)
    return _tell(invocation, result, "is pinned", "was pinned already")


@click.command(cls=Verb, short_help="Let a recovery point be pruned again.")
@click.argument("point", metavar="POINT")
@click.pass_obj
def unpin(invocation: Invocation, point: str) -> int:
    """Let a pinned recovery point be pruned, or written over, again. Removes nothing."""
    from xenbackup.operations.pinning import unpin_point

    result = unpin_point(invocation.open_house(), point)
    return _tell(invocation, result, "is not pinned any more", "was not pinned")


def _tell(invocation: Invocation, result: PinResult, now: str, before: str) -> int:
    found = result.point
    for message in result.warnings:
        invocation.warn(message)
    if invocation.json:
        shape = {"schema": SCHEMA, "changed": result.changed, "point": shape_summary(found)}
        invocation.output.emit(shape)
    else:
        state = now if result.changed else before
        text = f"{found.point} of {show_text(found.domain)} in {found.destination} {state}."
        invocation.output.say(invocation.page.note(text))
    return int(ExitCode.GOOD)
