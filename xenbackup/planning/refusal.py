"""Why one guest cannot be backed up as asked: raised and caught within the planning of one job."""

from __future__ import annotations


class Refusal(Exception):
    """Never leaves the room: it becomes a refused domain, or the reason against a preset."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
