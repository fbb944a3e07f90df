"""Nights: rounds that end close together are told of in one message. When that is, is decided here.

Pure but for its own state; whoever owns it passes in the seconds of a clock that never steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xenbackup.service.messages import EndedRound, Remark


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to gather: until `quiet_seconds` after the last round, at most `longest_seconds`.

    The longest counts from the first round that ended: a round that lasts until noon must not hold
    back what another one has to tell.
    """

    quiet_seconds: float = 600.0
    longest_seconds: float = 3600.0


@dataclass(kw_only=True)
class Night:
    """Rounds under way, and what has been gathered since the last message."""

    patience: Patience = Patience()
    active: set[str] = field(default_factory=set)
    rounds: list[EndedRound] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not self.rounds and not self.remarks

    def begin(self, round_id: str) -> bool:
        """A round begins; True when it is the first of its night."""
        first = not self.active and not self.rounds
        self.active.add(round_id)
        return first

    def end(self, ended: EndedRound, at_seconds: float) -> None:
        """A round has ended; of one that an earlier process had ended already, this counts."""
        self.active.discard(ended.result.round)
        self._mark(at_seconds)
        others = [known for known in self.rounds if known.result.round != ended.result.round]
        self.rounds = [*others, ended]

    def remark(self, remark: Remark, at_seconds: float) -> None:
        """The same remark is told once in a night."""
        if remark not in self.remarks:
            self._mark(at_seconds)
            self.remarks.append(remark)

    def find_due(self) -> float | None:
        """When the message is due, on the clock that was passed in; None while there is none."""
        if self.is_empty:
            return None
        latest = self.first_at + self.patience.longest_seconds
        return latest if self.active else min(latest, self.last_at + self.patience.quiet_seconds)

    def take(self) -> tuple[tuple[EndedRound, ...], tuple[Remark, ...]]:
        """What was gathered; a new night begins, with the rounds that are still under way."""
        gathered = tuple(self.rounds), tuple(self.remarks)
        self.rounds, self.remarks = [], []
        return gathered

    def _mark(self, at_seconds: float) -> None:
        if self.is_empty:
            self.first_at = at_seconds
        self.last_at = at_seconds
