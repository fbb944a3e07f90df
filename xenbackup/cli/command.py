"""The command `xenbackup`: its verbs, and how the words of one call become its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from xenbackup import __version__
from xenbackup.cli.ending import (
    end_interrupted,
    end_with_defect,
    end_with_error,
    end_with_usage,
)
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output, replace_closed_streams
from xenbackup.cli.verb import VerbGroup
from xenbackup.cli.verbs import VerbTable
from xenbackup.errors import ExitCode, XenbackupError


@click.group(
    cls=VerbGroup,
    commands=VerbTable(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="xenbackup %(version)s")
def xenbackup() -> None:
    """Back up the guests of a Xen host, and bring them back.

    Every verb takes the global options before or after itself. What a verb does and what its exit
    code means is told in docs/operating.md.
    """


def run_call(words: Sequence[str]) -> int:
    """One call of the process, its streams included; returns its exit code."""
    replace_closed_streams()
    invocation = Invocation(output=Output(), json="--json" in _take_options(list(words)))
    exit_code = run_words(invocation, list(words))
    _flush_streams()
    if invocation.output.failure and exit_code == ExitCode.GOOD:
        invocation.output.remark(f"Error: Cannot write the result: {invocation.output.failure}.")
        return int(ExitCode.FAILED)
    return exit_code


def run_words(invocation: Invocation, words: list[str]) -> int:
    """Run one call that speaks through `invocation`; returns its exit code, and never raises."""
    try:
        result = xenbackup.main(
            args=words, prog_name="xenbackup", obj=invocation, standalone_mode=False
        )
        return int(result or ExitCode.GOOD)
    except XenbackupError as error:
        return end_with_error(invocation, error)
    except click.ClickException as error:
        return end_with_usage(invocation, error)
    except (KeyboardInterrupt, click.Abort):
        return end_interrupted(invocation)
    except Exception as error:  # noqa: BLE001 - the last door: a person gets a sentence
        return end_with_defect(invocation, error)


def _take_options(words: list[str]) -> list[str]:
    """The words before `--`: an error in the first of them must know of a `--json` in the last."""
    return words[: words.index("--")] if "--" in words else words


def _flush_streams() -> None:
    """Now, while a failure can still be told, and not in the interpreter's last moments."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
