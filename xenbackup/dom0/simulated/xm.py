"""The older toolstack `xm`: the verbs that backups use, over the same domains."""

from __future__ import annotations

from xenbackup.dom0.simulated.session import Session, ToolFailed


def run_xm(session: Session, words: list[str]) -> int:
    """This host has xl; an `xm` beside it only says so, as Debian's wrapper did."""
    raise ToolFailed(1, "xm: command not found: this host is managed with xl\n")
