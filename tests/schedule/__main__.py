"""Every zone of tzdata, the days around every change of its clock, each half-hour of the day.

python -m tests.schedule [--zone ZONE …] [--processes N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from datetime import datetime
from multiprocessing import Pool
from zoneinfo import ZoneInfo, available_timezones

from tests.schedule.oracle import (
    FIRST_YEAR,
    LAST_YEAR,
    Comparison,
    Days,
    compare,
    list_changes,
    read_days,
)


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a due time is missing, or one too many."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedule")
    parser.add_argument("--zone", action="append", help="only this one")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(words)
    zones = sorted(options.zone or available_timezones())
    if not zones:
        print("there is no zone at all: tzdata is missing", file=sys.stderr)
        return 1
    began = time.monotonic()
    zones_of: dict[datetime, list[str]] = defaultdict(list)
    clocks = times = 0
    wrongs: list[str] = []
    with Pool(options.processes) as pool:
        for zone, changes in pool.imap_unordered(find_changes, zones):
            for change in changes:
                zones_of[change].append(zone)
        for done, comparisons in enumerate(pool.imap_unordered(compare_zones, zones_of.items())):
            if done % 500 == 0:
                print(f"{done} of {len(zones_of)} moments", file=sys.stderr, flush=True)
            clocks += len(comparisons)
            for comparison in comparisons:
                times += comparison.times
                wrongs += comparison.wrongs
                if comparison.wrongs:
                    print("\n".join(comparison.wrongs), flush=True)
    changed = sum(len(found) for found in zones_of.values())
    print(
        f"{FIRST_YEAR} to {LAST_YEAR}: {len(zones)} zones, {changed:,} changes of a clock, "
        f"{clocks:,} of them different; {times:,} due times compared, {len(wrongs)} schedules "
        f"wrong; {time.monotonic() - began:.0f} s"
    )
    return 1 if wrongs else 0


def find_changes(zone: str) -> tuple[str, list[datetime]]:
    return zone, list_changes(ZoneInfo(zone))


def compare_zones(task: tuple[datetime, list[str]]) -> list[Comparison]:
    """All zones whose clocks change at one moment; those that show the same count as one."""
    change, names = task
    different: dict[tuple[int, ...], tuple[ZoneInfo, Days]] = {}
    for name in names:
        zone = ZoneInfo(name)
        days = read_days(zone, change)
        different.setdefault(days.walls, (zone, days))
    return [compare(zone, days) for zone, days in different.values()]


if __name__ == "__main__":
    sys.exit(main())
