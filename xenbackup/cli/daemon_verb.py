"""Verb `daemon`: the service itself, which systemd starts."""

from __future__ import annotations

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.verb import Verb


@click.command(
    cls=Verb, short_help="Be the service: run due jobs, serve the socket, until stopped."
)
@click.pass_obj
def daemon(invocation: Invocation) -> int:
    """Be the service of this host, in the foreground: recover what was cut off, run the jobs when
    they are due, answer on the control socket.

    SIGHUP reads configuration and jobs anew; SIGTERM undoes what is under way, the guests first.
    The log goes to stderr, as JSON where that is no terminal.
    """
    from xenbackup import bootstrap
    from xenbackup.cli.rendering import DaemonPages
    from xenbackup.service.daemon import LOOK_SECONDS, SIMULATED_LOOK_SECONDS, run_daemon
    from xenbackup.system.log import configure_logging

    configure_logging("debug" if invocation.verbosity else "info")
    return run_daemon(
        bootstrap.open_host(invocation.simulated),
        invocation.configuration,
        pages=DaemonPages(invocation.configuration),
        look_seconds=SIMULATED_LOOK_SECONDS if invocation.simulated else LOOK_SECONDS,
    )
