"""Verb `destination init`: a place is made ready for recovery points, once, by a person."""

from __future__ import annotations

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.verb import VerbGroup
from xenbackup.errors import ExitCode


@click.group(cls=VerbGroup)
def destination() -> None:
    """Make places ready for recovery points."""


@destination.command()
@click.argument("name", metavar="NAME")
@click.pass_obj
def init(invocation: Invocation, name: str) -> int:
    """Mark the configured destination NAME as ours.

    Only a marked place is ever written to, so that a disk that was not mounted does not get its
    backups poured into the empty folder underneath. A destination that is ready stays as it is.
    """
    from xenbackup.operations.destinations import initialise_destination

    made = initialise_destination(invocation.open_house(), name)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "destination": made.name,
                "kind": made.kind.value,
                "path": made.path,
                "id": made.id,
                "fresh": made.fresh,
                "volumes": list(made.volumes),
                "remark": made.remark,
            }
        )
        return int(ExitCode.GOOD)
    state = "is ready now" if made.fresh else "was ready before, and stays as it is"
    volumes = f" Volumes prepared for it: {', '.join(made.volumes)}." if made.volumes else ""
    text = f"Destination {made.name} ({made.kind.value} at {made.path}) {state}.{volumes}"
    invocation.output.say(invocation.page.note(text))
    if made.remark:
        invocation.output.remark(invocation.margin.note(made.remark, mark="Hint:"))
    return int(ExitCode.GOOD)
