"""Man page and completion, made from the verbs: `documents.py man VERSION SECONDS|completion`.

What the command line says of itself is said nowhere else, so neither can grow stale.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
from click.shell_completion import BashComplete

from xenbackup.cli.command import xenbackup

PROGRAM = "xenbackup"
COMPLETION_VARIABLE = "_XENBACKUP_COMPLETE"

EXIT_CODES = "the section EXIT CODES of /usr/share/doc/xenbackup/operating.md"
FILES = (
    ("/etc/xenbackup/config.toml", "Configuration: destinations, spool, limits, messages."),
    ("/etc/xenbackup/jobs/*.toml", "Jobs, one a file; the file's stem is the job's name."),
    ("/var/lib/xenbackup", "Journals, catalog and spool; for root alone."),
    ("/run/xenbackup/control.sock", "Where the daemon is asked."),
    ("/usr/share/doc/xenbackup", "All documents, and examples."),
)


def escape(text: str) -> str:
    """A line of text that troff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def write_paragraphs(text: str) -> list[str]:
    """Paragraphs of a docstring; a `\\b` at a paragraph's head is click's own mark."""
    lines: list[str] = []
    for paragraph in text.replace("\b", "").strip().split("\n\n"):
        lines += [".PP", escape(" ".join(paragraph.split()))]
    return lines


def write_options(command: click.Command, context: click.Context) -> list[str]:
    lines: list[str] = []
    for parameter in command.get_params(context):
        shown = parameter.get_help_record(context)
        if shown is not None:
            names, meaning = shown
            lines += [".TP", f".B {escape(names)}", escape(meaning)]
    return lines


def list_commands(
    command: click.Command, path: tuple[str, ...]
) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every verb below, with the words that lead to it."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [
        found
        for name, below in command.commands.items()
        if not below.hidden
        for found in list_commands(below, (*path, name))
    ]


def write_manual(version: str, day: str) -> str:
    """The whole page in troff's man macros."""
    top = click.Context(xenbackup, info_name=PROGRAM)
    lines = [
        f'.TH XENBACKUP 8 "{day}" "xenbackup {version}" "System administration"',
        ".SH NAME",
        "xenbackup \\- backups of guests on plain Xen hosts",
        ".SH SYNOPSIS",
        ".B xenbackup",
        "[OPTIONS] VERB [ARGUMENTS]",
        ".SH DESCRIPTION",
        *write_paragraphs(xenbackup.help or ""),
        ".SH OPTIONS",
        *write_options(xenbackup, top),
        ".SH VERBS",
    ]
    for path, command in list_commands(xenbackup, ()):
        context = click.Context(command, info_name=" ".join(path), parent=top)
        usage = " ".join([PROGRAM, *path, *command.collect_usage_pieces(context)])
        lines += [f".SS {escape(usage)}", *write_paragraphs(command.help or "")]
        shared = {option.name for option in xenbackup.params}
        for option in command.params:
            if not isinstance(option, click.Option) or option.name in shared:
                continue
            shown = option.get_help_record(context)
            if shown is not None:
                lines += [".TP", f".B {escape(shown[0])}", escape(shown[1])]
    lines.append(".SH FILES")
    for place, meaning in FILES:
        lines += [".TP", f".I {escape(place)}", escape(meaning)]
    lines += [".SH EXIT STATUS", f"See {escape(EXIT_CODES)}."]
    lines += [".SH SEE ALSO", ".BR xl (1), lvm (8), systemctl (1)"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["man", version, seconds]:
            day = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d")
            sys.stdout.write(write_manual(version, day))
        case ["completion"]:
            script = BashComplete(xenbackup, {}, PROGRAM, COMPLETION_VARIABLE).source()
            sys.stdout.write(script)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
