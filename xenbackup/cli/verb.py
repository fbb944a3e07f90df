"""What all verbs share: options that work before and after the verb, and names that suggest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output
from xenbackup.errors import UsageError
from xenbackup.model.printable import show_text

ANSWERED = ("runs", "show", "points", "check", "plan", "inventory")
"""Verbs that only look, and that the daemon renders for others."""


def find_invocation(context: click.Context) -> Invocation:
    """The call's own object, made by `main`; made here where a context has none (completion)."""
    root = context.find_root()
    if not isinstance(root.obj, Invocation):
        root.obj = Invocation(output=Output())
    return root.obj


def _note_configuration(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        find_invocation(context).configuration = value


def _note_simulated(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        find_invocation(context).simulated = value


def _note_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        find_invocation(context).json = True


def _note_verbosity(context: click.Context, _: click.Parameter, value: int) -> None:
    find_invocation(context).verbosity += value


def make_global_options() -> list[click.Parameter]:
    """The global options, once for each command: what stands nearer to the verb wins."""
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_note_configuration,
            help="Configuration file, with the folder `jobs` beside it.",
        ),
        click.Option(
            ["--simulated"],
            type=click.Path(path_type=Path),
            metavar="DIR",
            expose_value=False,
            callback=_note_simulated,
            help="Work on the simulated host in DIR instead of this machine.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_note_json,
            help="Print JSON, for programs.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_note_verbosity,
            help="Log what happens to stderr; twice: every command of the host too.",
        ),
    ]


def _suggest(name: str, known: Sequence[str]) -> str:
    """The readers of TOML that come with this import cost a good verb more than all else."""
    from xenbackup.config.values import suggest

    return suggest(name, known)


def suggest_among(name: str, known: Sequence[str], introduction: str) -> str:
    """A hint after a wrong name: the nearest one, and all that there are."""
    listed = f"{introduction} {', '.join(known) or 'none'}"
    nearest = _suggest(name, known)
    return f"{nearest} {listed[0].upper()}{listed[1:]}" if nearest else listed


class Verb(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *make_global_options()]
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it here; or let the daemon, for users who cannot read the state themselves."""
        invocation = find_invocation(ctx)
        self._refuse_empty_words(ctx)
        # `config show` is none of them, though it bears the name of one.
        first = ctx.parent is ctx.find_root()
        if first and self.name in ANSWERED and invocation.is_stranger:
            from xenbackup.cli.asking import ask_for_page

            answer = ask_for_page(invocation, self.name, ctx.params)
            if answer is not None:
                return answer
        return super().invoke(ctx)

    def _refuse_empty_words(self, ctx: click.Context) -> None:
        """A variable of a script that is not set would mean all guests, all points, or a restore in
        place: what is left out means that, and never what is given and empty.

        Raises: UsageError.
        """
        for parameter in self.params:
            given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
            if given and ctx.params.get(parameter.name or "") == "":
                raise UsageError(
                    f"{parameter.get_error_hint(ctx)} is given, and empty.",
                    hint="is a variable not set? What is not meant is left out",
                )


class VerbGroup(click.Group):
    """A group with the global options, which says what an unknown verb may have meant."""

    command_class = Verb

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *make_global_options()]
        super().__init__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added: from what a newcomer wants first."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises: UsageError for a verb that there is not."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            raise UsageError(
                f'`{ctx.command_path}` has no verb "{show_text(name, limit=80)}".',
                hint=suggest_among(name, known, "the verbs are"),
            )
        return super().resolve_command(ctx, args)


VerbGroup.group_class = VerbGroup
