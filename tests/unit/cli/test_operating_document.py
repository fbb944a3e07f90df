"""docs/operating.md tells of every verb, option and exit code that there is, and of no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from xenbackup.cli.command import xenbackup
from xenbackup.cli.verb import make_global_options
from xenbackup.errors import ExitCode

DOCUMENT = (Path(__file__).parents[3] / "docs/operating.md").read_text(encoding="utf-8")
GLOBAL_OPTIONS = {name for option in make_global_options() for name in option.opts} | {
    "-h",
    "--help",
    "--version",
}


def list_commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def read_sections() -> dict[str, str]:
    """The text of each verb's section, by its heading."""
    verbs = DOCUMENT.split("\n## Verbs\n")[1].split("\n## ")[0]
    parts = re.split(r"^### `xenbackup ([^`]+)`$", verbs, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def describe_usage(name: str, command: click.Command) -> str:
    arguments = [
        str(parameter.metavar)
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    return " ".join([name, *arguments])


def test_every_verb_has_a_section_with_its_arguments() -> None:
    expected = {describe_usage(name, command) for name, command in list_commands(xenbackup)}
    assert expected == set(read_sections())


def test_every_option_has_a_row_and_every_row_an_option() -> None:
    sections = read_sections()
    for name, command in list_commands(xenbackup):
        options = {
            spelling
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for spelling in parameter.opts
        } - GLOBAL_OPTIONS
        rows = re.findall(r"^\| (`-[^|]*)\|", sections[describe_usage(name, command)], re.M)
        assert options == {word for row in rows for word in re.findall(r"-{1,2}[a-z-]+", row)}, name


def test_every_global_option_has_a_row() -> None:
    text = DOCUMENT.split("\n## Global options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`-[^|]*)\|", text, re.M)
    assert GLOBAL_OPTIONS == {word for row in rows for word in re.findall(r"-{1,2}[a-z]+", row)}


def test_exit_codes_are_those_of_the_code() -> None:
    text = DOCUMENT.split("\n## Exit codes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", text, re.M)
    assert [(str(int(code)), code.name.lower().replace("_", " ")) for code in ExitCode] == rows


def test_every_verb_has_its_json() -> None:
    text = DOCUMENT.split("\n## JSON\n")[1].split("\n## ")[0]
    for name, _ in list_commands(xenbackup):
        assert f"`{name}" in text, name
