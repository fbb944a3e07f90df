"""What a thick snapshot takes of its group, told beforehand: as LVM itself reckons it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MIB
from xenbackup.dom0.simulated.lvm_names import cow_maximum_extents
from xenbackup.model.job import SnapshotSize
from xenbackup.planning.disk_plan import predict_snapshot_bytes

GIB = 1024 * MIB
EXTENT = 4 * MIB
TENTH = SnapshotSize(percent=10)


@pytest.mark.parametrize(
    ("origin_bytes", "size", "expected_bytes"),
    [
        # Recorded: a tenth of 64 MiB became 12 MiB, and 20 GiB for 512 MiB became 516 MiB.
        (64 * MIB, TENTH, 12 * MIB),
        (512 * MIB, SnapshotSize(size_bytes=20 * GIB), 516 * MIB),
        # The table of all chunks, a 256th of the disk, comes to every share.
        (10 * GIB, TENTH, 1068 * MIB),
        (100 * GIB, TENTH, 10644 * MIB),
        (500 * GIB, TENTH, 53204 * MIB),
        (2048 * GIB, TENTH, 217912 * MIB),
        # A size in bytes is the whole of it, rounded up.
        (100 * GIB, SnapshotSize(size_bytes=5 * GIB + 1), 5 * GIB + EXTENT),
        # No more than a copy of the whole disk takes.
        (GIB, SnapshotSize(percent=100), 1032 * MIB),
    ],
)
def test_a_snapshot_takes_what_lvm_takes(
    origin_bytes: int, size: SnapshotSize, expected_bytes: int
) -> None:
    assert expected_bytes == predict_snapshot_bytes(origin_bytes, size, EXTENT)


@given(
    extents=st.integers(1, 1 << 20),
    extent_bytes=st.sampled_from([1 << 20, 4 << 20, 32 << 20, 1 << 30]),
    percent=st.integers(1, 100),
)
def test_a_share_is_never_more_than_the_whole_and_never_less_than_asked_for(
    extents: int, extent_bytes: int, percent: int
) -> None:
    origin_bytes = extents * extent_bytes
    predicted = predict_snapshot_bytes(origin_bytes, SnapshotSize(percent=percent), extent_bytes)
    most = cow_maximum_extents(origin_bytes, extent_bytes) * extent_bytes
    assert 0 == predicted % extent_bytes
    assert origin_bytes * percent // 100 < predicted <= most
