"""Forecasts of thick snapshots that fill while they are read: will they last, may they grow?

Pure. A snapshot holds what its guest overwrites, so it fills as the guest writes and is worthless
from the moment it is full. The copy looks at it now and then (`pipeline/steps/watching.py`); what
follows from the looks is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xenbackup.model.volume import VolumeGroup

RESERVE_PERCENT = 1
RESERVE_EXTENTS = 4
"""What a volume group keeps free for its administrator: the larger of the two."""

POOL_FULL_PERCENT = 90.0
"""A thin pool that runs full stops every guest in it: from here on no snapshot of ours is begun in
it, and one that lives is given up."""
EXTEND_PERCENT = 70.0
"""From this fill on a snapshot grows, whatever the forecast: guests write in bursts."""
JUDGED_PERCENT = 25.0
"""Below this fill a forecast of a few seconds is worth no room of the group."""
HOPELESS_PERCENT = 50.0
"""Below this fill no run is given up: a guest may stop writing at any time."""
HOPELESS_LOOKS = 3
MARGIN = 1.25
"""A snapshot lasts when it would last for a quarter longer than the copy needs."""
LEAST_GROWTH = 4
"""A snapshot grows by a quarter of itself at least, and at most to twice its size at once."""
WINDOW_SECONDS = 60.0
"""The rate at which a snapshot fills is that of the last minute: older writing may be over."""

_CHUNK_BYTES = 4096
_CHUNKS_PER_TABLE = 256
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FillSample:
    """What a snapshot held at one look; `at_seconds` by the host's monotonic clock."""

    at_seconds: float
    used_bytes: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How a snapshot will fill.

    `full_in_seconds` is infinite for one that does not fill, `needed_seconds` for a copy that does
    not move.
    """

    filled_percent: float
    fill_bytes_per_second: float
    full_in_seconds: float
    needed_seconds: float
    looks: int

    @property
    def lasts(self) -> bool:
        """It is not full before its last read, with some time to spare."""
        if math.isinf(self.full_in_seconds):
            return True
        return self.full_in_seconds >= self.needed_seconds * MARGIN

    @property
    def wants_growth(self) -> bool:
        return self.needed_seconds > 0 and (
            self.filled_percent >= EXTEND_PERCENT
            or (not self.lasts and self.filled_percent >= JUDGED_PERCENT)
        )

    @property
    def hopeless(self) -> bool:
        """Where it cannot grow: reading on would be for nothing."""
        return (
            not self.lasts
            and self.filled_percent >= HOPELESS_PERCENT
            and self.looks >= HOPELESS_LOOKS
        )

    def describe(self) -> str:
        """Fill, rate and time left, for a sentence."""
        needs = (
            "the copy does not move"
            if math.isinf(self.needed_seconds)
            else f"the copy needs {self.needed_seconds:.0f}s more"
        )
        return (
            f"it is {self.filled_percent:.0f}% full, fills at "
            f"{self.fill_bytes_per_second / _MIB:.1f} MiB/s and would be full in "
            f"{self.full_in_seconds:.0f}s, while {needs}"
        )


def forecast_fill(
    samples: Sequence[FillSample], *, left_bytes: int, copy_bytes_per_second: float
) -> Forecast:
    """From the looks at one snapshot, oldest first, and what is still to be read before its end.

    Raises: ValueError without any sample.
    """
    if not samples:
        raise ValueError("a forecast takes one look at least")
    last = samples[-1]
    recent = [known for known in samples if last.at_seconds - known.at_seconds <= WINDOW_SECONDS]
    # Of looks that are further apart than the window the last two serve.
    first = recent[0] if len(recent) > 1 else samples[max(len(samples) - 2, 0)]
    elapsed = last.at_seconds - first.at_seconds
    rate = max(last.used_bytes - first.used_bytes, 0) / elapsed if elapsed > 0 else 0.0
    free = max(last.size_bytes - last.used_bytes, 0)
    return Forecast(
        filled_percent=100.0 * last.used_bytes / last.size_bytes if last.size_bytes else 100.0,
        fill_bytes_per_second=rate,
        full_in_seconds=free / rate if rate > 0 else math.inf,
        needed_seconds=_divide(left_bytes, copy_bytes_per_second),
        looks=len(samples),
    )


def _divide(amount: int, per_second: float) -> float:
    if amount <= 0:
        return 0.0
    return amount / per_second if per_second > 0 else math.inf


def plan_growth(
    forecast: Forecast, last: FillSample, *, origin_bytes: int, group: VolumeGroup
) -> int:
    """Bytes to extend a snapshot by, in whole extents; 0 when it cannot grow.

    Never beyond what its origin can use, and never into the group's reserve.
    """
    extent = max(group.extent_size_bytes, 1)
    wanted = last.size_bytes
    if not math.isinf(forecast.needed_seconds):
        to_come = forecast.fill_bytes_per_second * forecast.needed_seconds * MARGIN
        held = min(last.used_bytes + to_come, 2.0 * last.size_bytes)
        wanted = min(wanted, round(held) - last.size_bytes)
    wanted = -(-max(wanted, last.size_bytes // LEAST_GROWTH, 1) // extent) * extent
    useful = compute_useful_bytes(origin_bytes, extent) - last.size_bytes
    room = group.free_bytes - compute_reserve_bytes(group)
    return max(min(wanted, useful, room) // extent * extent, 0)


def compute_reserve_bytes(group: VolumeGroup) -> int:
    """What should stay free in a volume group beside our snapshots."""
    return max(RESERVE_EXTENTS * group.extent_size_bytes, group.size_bytes * RESERVE_PERCENT // 100)


def compute_useful_bytes(origin_bytes: int, extent_bytes: int) -> int:
    """The size at which a snapshot holds its whole origin with the tables: it cannot overflow.

    dm-snapshot keeps a header and, for every 256 chunks of 4 KiB, a chunk of table, the last of
    which has room for its end; LVM rounds up to extents, and reduces whatever is larger.
    """
    chunks = -(-origin_bytes // _CHUNK_BYTES)
    whole = (1 + chunks + chunks // _CHUNKS_PER_TABLE + 1) * _CHUNK_BYTES
    return -(-whole // extent_bytes) * extent_bytes
