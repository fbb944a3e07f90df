"""The verbs there are, in the order in which `--help` lists them, and where each is found.

A verb's module is imported when it is called for: `status` has no use for what `restore` needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping

import click

PLACES = {
    "demo": "demo_verb",
    "init": "init_verb",
    "inventory": "inventory_verb",
    "check": "check_verb",
    "plan": "backup_verbs",
    "run": "backup_verbs",
    "status": "status_verb",
    "runs": "run_verbs",
    "show": "run_verbs",
    "cancel": "cancel_verb",
    "points": "point_verbs",
    "pin": "pin_verbs",
    "unpin": "pin_verbs",
    "prune": "prune_verb",
    "restore": "restore_verb",
    "verify": "point_verbs",
    "recover": "recover_verb",
    "daemon": "daemon_verb",
    "reload": "reload_verb",
    "destination": "destination_verbs",
    "config": "config_verbs",
}
"""Each verb is the object of its name in that module of this package."""


def load_verb(name: str) -> click.Command:
    """The verb of that name. Raises: KeyError for one that there is not."""
    module = importlib.import_module(f"xenbackup.cli.{PLACES[name]}")
    command = getattr(module, name)
    if not isinstance(command, click.Command):
        raise TypeError(f"{module.__name__}.{name} is no command")
    return command


class VerbTable(MutableMapping[str, click.Command]):
    """The verbs by name, as click wants them; nobody adds any or takes one away."""

    def __getitem__(self, name: str) -> click.Command:
        return load_verb(name)

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError(f"verb {name} belongs into `PLACES`")

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"verb {name} belongs into `PLACES`")
