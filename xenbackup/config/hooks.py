"""`[hooks]`, which a job file and `config.toml` spell alike."""

from __future__ import annotations

from xenbackup.config.keys import Section
from xenbackup.config.outside import judge_command, read_word
from xenbackup.config.table import TableReader
from xenbackup.config.values import describe_value, read_hook_time
from xenbackup.model.job import Hooks


def read_hooks(reader: TableReader, section: Section) -> Hooks:
    table = reader.open_table("hooks", section)
    return Hooks(
        before=_read_command(table, "before"),
        after=_read_command(table, "after"),
        failed=_read_command(table, "failed"),
        timeout_seconds=float(table.read("timeout", read_hook_time, Hooks().timeout_seconds)),
    )


def _read_command(table: TableReader, name: str) -> tuple[str, ...]:
    words = table.read_list(name, read_word)
    unfit = judge_command(words)
    if unfit is None:
        return words
    found = describe_value(words[0]) if "path" in unfit.expected else f"{len(words)} words"
    table.note(name, f"begins with {found}, expected {unfit.expected}", unfit.hint)
    return ()
