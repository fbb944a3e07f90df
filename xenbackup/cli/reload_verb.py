"""Verb `reload`: let the daemon read configuration and jobs anew."""

from __future__ import annotations

import click

from xenbackup.cli.asking import ask
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.verb import Verb


@click.command(cls=Verb, short_help="Let the daemon read configuration and jobs anew.")
@click.pass_obj
def reload(invocation: Invocation) -> int:
    """Let the daemon read configuration and jobs anew, all or nothing: one broken file, and
    everything stays as it was.
    """
    from xenbackup.service.control.protocol import ReloadRequest

    exit_code = ask(invocation, ReloadRequest())
    if invocation.json:
        invocation.output.emit({"schema": SCHEMA, "exit_code": exit_code})
    return exit_code
