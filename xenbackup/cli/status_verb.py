"""Verb `status`: last night, now and next, for a person, for programs, and for Nagios."""

from __future__ import annotations

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode, UsageError


@click.command(cls=Verb, short_help="Tell how things stand: guests, last night, now and next.")
@click.option("--watch", is_flag=True, help="Tell again every two seconds, until Ctrl-C.")
@click.option("--nagios", is_flag=True, help="One line, and the exit codes of a Nagios plugin.")
@click.pass_obj
def status(invocation: Invocation, watch: bool, nagios: bool) -> int:
    """Tell how things stand: every guest's last good point against what its job promises, what ran
    in the last 24 hours, what runs and waits now, what is due, and how full the destinations are.
    """
    from xenbackup.cli import status_telling

    if nagios:
        if invocation.json or watch:
            other = "--json" if invocation.json else "--watch"
            raise UsageError(
                f"--nagios and {other} exclude each other.", hint="leave one of them out"
            )
        return status_telling.tell_nagios_status(invocation)
    if watch:
        return status_telling.watch_status(
            invocation, lambda: status_telling.read_status(invocation)
        )
    status_telling.show_status(invocation, status_telling.read_status(invocation))
    return int(ExitCode.GOOD)
