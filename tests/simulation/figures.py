"""What many seeds came to: counted, added up over processes, and printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Verdict:
    """One seed's result; `wrongs` is empty when every promise was kept."""

    seed: int
    title: str
    wrongs: list[str]
    story: list[str]
    struck: list[str]
    deaths: int = 0
    recoveries: int = 0
    survivors: int = 0
    outcome: str = ""
    points: int = 0
    memory_points: int = 0
    points_in_volumes: int = 0
    overflowed: int = 0
    extended: int = 0
    restored: int = 0
    repeated: int = 0
    owed: int = 0
    seconds: float = 0.0

    def in_one_line(self) -> str:
        return (
            f"FAILED {self.wrongs[0] if self.wrongs else ''} [{self.title}]"
            f"   replay: python -m tests.simulation --seed {self.seed} -v"
        )


@dataclass(kw_only=True)
class Figures:
    """Sums over seeds."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        self.seeds += 1
        if verdict.wrongs:
            self.failed.append(verdict.seed)
        for name in (
            "deaths",
            "recoveries",
            "survivors",
            "points",
            "memory_points",
            "points_in_volumes",
            "overflowed",
            "extended",
            "restored",
            "repeated",
            "owed",
        ):
            self.sums[name] += getattr(verdict, name)
        self.struck.update(verdict.struck)
        self.outcomes[verdict.outcome] += 1

    def describe(self, seconds: float) -> str:
        rate = self.seeds / seconds if seconds else 0.0
        rows = [
            f"{self.seeds} seeds in {seconds:.0f} s ({rate:.1f} a second)",
            f"  processes killed, hosts cut off   {self.sums['deaths']}",
            f"  recoveries                        {self.sums['recoveries']}",
            f"  commands that lived on            {self.sums['survivors']}",
            f"  points judged                     {self.sums['points']}"
            f" ({self.sums['memory_points']} with memory,"
            f" {self.sums['points_in_volumes']} in volumes)",
            f"  runs whose snapshots filled up    {self.sums['overflowed']}"
            f", extended in time {self.sums['extended']}",
            f"  points restored by the product    {self.sums['restored']}",
            f"  second backups                    {self.sums['repeated']}",
            f"  rightly owed for a while          {self.sums['owed']}",
            f"  outcomes   {_list(self.outcomes)}",
            f"  struck     {_list(self.struck)}",
            f"  failed     {len(self.failed)}",
        ]
        return "\n".join(rows)


def _list(counted: Counter[str]) -> str:
    return ", ".join(f"{name or 'none'} {count}" for name, count in counted.most_common())
