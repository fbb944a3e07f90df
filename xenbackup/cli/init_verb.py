"""Verb `init`: a first configuration and a first job, from what is found on this host."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode, UsageError
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.dom0.host import Host
    from xenbackup.operations.initialise import InitialFiles

CONFIGURATION_FILE = "config.toml"


@click.command(cls=Verb, short_help="Write a first configuration and a first job.")
@click.option(
    "--destination",
    metavar="PATH",
    default="",
    help="Folder of recovery points; else one is found.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write into this folder, instead of /etc/xenbackup.",
)
@click.pass_obj
def init(invocation: Invocation, destination: str, directory: Path | None) -> int:
    """Look at this host, and write a commented config.toml and jobs/nightly.toml for it.

    Nothing is ever overwritten, and no guest and no disk is touched.
    """
    from xenbackup import bootstrap
    from xenbackup.operations.initialise import initialise_configuration

    host = invocation.open_host()
    path = _choose_path(invocation, host, directory)
    made = initialise_configuration(bootstrap.open_tools(host), path, destination)
    if invocation.json:
        _emit(invocation, made)
    else:
        _tell(invocation, made, usual=path == bootstrap.locate_configuration(host, None))
    return int(ExitCode.GOOD)


def _choose_path(invocation: Invocation, host: Host, directory: Path | None) -> Path:
    """Where the configuration shall be. Raises: UsageError when two places are named."""
    from xenbackup.bootstrap import locate_configuration

    if directory is None:
        return locate_configuration(host, invocation.configuration).absolute()
    if invocation.configuration is not None:
        raise UsageError(
            "--config and --directory both name the place to write to.",
            hint="leave one of them out",
        )
    return directory.absolute() / CONFIGURATION_FILE


def _emit(invocation: Invocation, made: InitialFiles) -> None:
    from xenbackup.planning.initial_configuration import DESTINATION_NAME

    invocation.output.emit(
        {
            "schema": SCHEMA,
            "written": [str(path) for path in made.written],
            "destination": {
                "name": DESTINATION_NAME,
                "kind": "images",
                "path": made.destination.path,
                "free_bytes": made.destination.free_bytes,
                "reason": made.destination.reason,
            },
        }
    )


def _tell(invocation: Invocation, made: InitialFiles, *, usual: bool) -> None:
    """What was written, and what comes next, as commands that can be copied."""
    from xenbackup.planning.initial_configuration import DESTINATION_NAME, JOB_NAME

    page = invocation.page
    words = ["xenbackup"]
    if invocation.simulated is not None:
        words += ["--simulated", str(invocation.simulated)]
    if not usual:
        words += ["--config", str(made.configuration_path)]
    command = show_text(shlex.join(words))
    for path in made.written:
        invocation.output.say(f"Written: {show_text(str(path))}")
    place = f"Destination {DESTINATION_NAME}: {made.destination.path}. {made.destination.reason}"
    invocation.output.say(page.note(show_text(place)))
    invocation.output.say()
    invocation.output.say("Read both files, change what you like, and then:")
    for step in (f"destination init {DESTINATION_NAME}", f"check {JOB_NAME}", f"plan {JOB_NAME}"):
        invocation.output.say(f"  {command} {step}")
    # The package's daemon was skipped while there was nothing to do for it.
    if invocation.simulated is not None:
        invocation.output.say(f"  {command} daemon")
    elif usual:
        invocation.output.say("  systemctl restart xenbackup")
