"""Verb `cancel`: stop a run of the daemon, or one that waits."""

from __future__ import annotations

import click

from xenbackup.cli.asking import ask
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.verb import Verb
from xenbackup.errors import DaemonAbsent


@click.command(cls=Verb, short_help="Stop a run of the daemon; what it began is undone.")
@click.argument("run", metavar="RUN")
@click.pass_obj
def cancel(invocation: Invocation, run: str) -> int:
    """Stop RUN, the guest first: a run or a whole round of the daemon, named by its id or the
    beginning of it. What waits is taken out of the queue.

    A run in the foreground is stopped where it runs, by Ctrl-C.
    """
    from xenbackup.service.control.protocol import CancelRequest

    try:
        exit_code = ask(invocation, CancelRequest(name=run))
    except DaemonAbsent as error:
        error.hint = "a run in the foreground is stopped where it runs, by Ctrl-C"
        raise
    if invocation.json:
        invocation.output.emit({"schema": SCHEMA, "cancelling": run, "exit_code": exit_code})
    return exit_code
