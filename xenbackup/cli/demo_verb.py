"""Verb `demo`: a night's backup on a simulated host, told on the terminal and checked."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.verb import Verb
from xenbackup.errors import UsageError


@click.command(cls=Verb, short_help="Watch a night's backup on a simulated host.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the host in DIR, which must be empty or yet to be made.",
)
@click.pass_obj
def demo(invocation: Invocation, directory: Path | None) -> int:
    """Watch a night's backup on a simulated host with three guests; touches nothing else.

    The guests are backed up, one is destroyed and brought back with its memory, and a backup that
    fails half-way is undone. Every step is checked. With --directory the host stays, and
    `xenbackup --simulated DIR …` goes on from there.
    """
    from xenbackup.cli.demo.building import check_directory
    from xenbackup.cli.demo.story import tell_story

    if invocation.simulated is not None or invocation.configuration is not None:
        raise UsageError(
            "The demo makes a host and a configuration of its own.",
            hint="leave out --simulated and --config; --directory DIR says where the host is kept",
        )
    if directory is not None:
        check_directory(directory)
        return _tell(invocation, tell_story(invocation, directory, kept=True), str(directory))
    with tempfile.TemporaryDirectory(prefix="xenbackup-demo-") as name:
        return _tell(invocation, tell_story(invocation, Path(name), kept=False), "")


def _tell(invocation: Invocation, checks: tuple[tuple[str, bool], ...], directory: str) -> int:
    exit_code = 0 if all(good for _, good in checks) else 1
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "exit_code": exit_code,
                "directory": directory,
                "checks": [{"check": text, "good": good} for text, good in checks],
            }
        )
    return exit_code
