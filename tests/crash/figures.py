"""What many stories came to: counted, added up over processes, and printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

PLACES_SHOWN = 24


@dataclass(kw_only=True)
class Verdict:
    """One story's result; `wrongs` is empty when every promise was kept.

    `places` are those of its kills; `depth` is how many recoveries were killed before one ended.
    """

    key: str
    title: str
    mode: str = ""
    wrongs: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    depth: int = 0
    everything: int = 0
    survivors: int = 0
    awaited: int = 0
    points: int = 0
    restored: int = 0
    seconds: float = 0.0

    def in_one_line(self) -> str:
        wrong = self.wrongs[0] if self.wrongs else ""
        return f"FAILED {wrong} [{self.title}]   replay: python -m tests.crash --seed {self.key} -v"


@dataclass(kw_only=True)
class Figures:
    """Sums over stories."""

    stories: int = 0
    failed: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        return self.places.total()

    def add(self, verdict: Verdict) -> None:
        self.stories += 1
        if verdict.wrongs:
            self.failed.append(verdict.key)
        self.places.update(verdict.places)
        self.modes[verdict.mode] += len(verdict.places)
        if verdict.places:
            self.depths[verdict.depth] += 1
        for name in ("everything", "survivors", "awaited", "points", "restored"):
            self.sums[name] += getattr(verdict, name)

    def keep(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "stories": self.stories,
            "failed": self.failed,
            "places": self.places,
            "depths": {str(depth): count for depth, count in self.depths.items()},
            "modes": self.modes,
            "sums": self.sums,
        }

    def take_up(self, kept: dict[str, Any]) -> None:
        """Go on from what `keep` gave."""
        self.stories += kept["stories"]
        self.failed += kept["failed"]
        self.places.update(kept["places"])
        self.depths.update({int(depth): count for depth, count in kept["depths"].items()})
        self.modes.update(kept["modes"])
        self.sums.update(kept["sums"])

    def describe(self, seconds: float, kills_before: int = 0) -> str:
        done = self.kills - kills_before
        each = seconds / done if done else 0.0
        journal = sum(n for place, n in self.places.items() if place.startswith("journal "))
        lines = len({place for place in self.places if place.startswith("journal ")})
        depths = ", ".join(f"{count} after {depth}" for depth, count in sorted(self.depths.items()))
        sums = self.sums
        return "\n".join(
            (
                f"{self.kills} kills in {self.stories} stories; "
                f"{done} of them in {seconds:.0f} s ({each:.2f} s each)",
                f"  at a line of the journal          {journal}, in {lines} places",
                f"  commands killed too               {sums['everything']}",
                f"  let through                       {depths} killed recoveries",
                f"  commands that lived on            {sums['survivors']}, "
                f"{sums['awaited']} of them waited for by a recovery",
                f"  by commands                       {_list(self.modes)}",
                f"  points judged                     {sums['points']}, "
                f"{sums['restored']} restored by the product",
                f"  places     {_list(self.places, PLACES_SHOWN)}",
                f"  failed     {len(self.failed)}",
            )
        )


def _list(counted: Counter[str], limit: int | None = None) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in counted.most_common(limit))
    more = len(counted) - (limit or len(counted))
    return f"{shown}, and {more} other" if more > 0 else shown
