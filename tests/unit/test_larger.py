"""What a run is tried again with, when its snapshots were too small."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import builders as b
from xenbackup.model.job import SnapshotSize, StepName
from xenbackup.model.plan import DomainPlan
from xenbackup.model.record import RunRecord, SnapshotRecord
from xenbackup.model.volume import VolumeGroup
from xenbackup.planning.forecast import compute_reserve_bytes
from xenbackup.planning.larger import enlarge_snapshots, spell_size

EXTENT = 4 * b.MIB
TOTAL = 8 << 30


def make_group(free_bytes: int) -> VolumeGroup:
    return VolumeGroup(
        uuid="g", name="xenvols", size_bytes=1 << 30, free_bytes=free_bytes,
        extent_size_bytes=EXTENT,
    )  # fmt: skip


def make_failed(size: SnapshotSize | None, reached_mib: int, vdev: str = "xvda") -> RunRecord:
    record = b.make_record("crash")
    plan = with_size(record.start.plan, size)
    made = SnapshotRecord(
        vdev="xvda", group="xenvols", name="xb", origin_uuid=b.LV_UUID, lv_uuid="made",
        size_bytes=reached_mib * b.MIB, removed=True,
    )  # fmt: skip
    start = replace(record.start, plan=plan)
    return replace(record, start=start, snapshots=(made,), too_small=(vdev,))


def with_size(plan: DomainPlan, size: SnapshotSize | None) -> DomainPlan:
    return replace(
        plan,
        steps=tuple(
            replace(step, snapshot_size=size) if step.step is StepName.SNAPSHOT else step
            for step in plan.steps
        ),
    )


def size_of(plan: DomainPlan | None) -> SnapshotSize | None:
    assert plan is not None
    return next(s.snapshot_size for s in plan.steps if s.step is StepName.SNAPSHOT)


@pytest.mark.parametrize(
    ("asked", "reached_mib", "free_mib", "expected"),
    [
        pytest.param(None, 6, 500, SnapshotSize(percent=20), id="10% unless said otherwise"),
        pytest.param(SnapshotSize(percent=20), 12, 500, SnapshotSize(percent=40), id="twice"),
        pytest.param(SnapshotSize(percent=20), 32, 500, SnapshotSize(percent=100), id="extended"),
        pytest.param(SnapshotSize(percent=80), 60, 500, SnapshotSize(percent=100), id="all of it"),
        pytest.param(SnapshotSize(percent=50), 32, 68, SnapshotSize(percent=75), id="what fits"),
        pytest.param(
            SnapshotSize(size_bytes=8 * b.MIB), 8, 500, SnapshotSize(size_bytes=16 * b.MIB),
            id="bytes",
        ),
        pytest.param(
            SnapshotSize(size_bytes=48 * b.MIB), 48, 500, SnapshotSize(size_bytes=64 * b.MIB),
            id="bytes, all of it",
        ),
    ],
)  # fmt: skip
def test_twice_the_room_as_far_as_there_is_some(
    asked: SnapshotSize | None, reached_mib: int, free_mib: int, expected: SnapshotSize
) -> None:
    failed = make_failed(asked, reached_mib)
    groups = (make_group(free_mib * b.MIB),)
    larger = enlarge_snapshots(failed.start.plan, failed, groups)
    assert expected == size_of(larger)


@pytest.mark.parametrize(
    ("failed", "free_mib"),
    [
        pytest.param(make_failed(SnapshotSize(percent=10), 6), 16, id="no room but the reserve"),
        pytest.param(make_failed(SnapshotSize(percent=100), 64), 900, id="whole already"),
        pytest.param(make_failed(None, 6, vdev="xvdz"), 900, id="another disk's"),
    ],
)
def test_no_plan_where_nothing_larger_fits(failed: RunRecord, free_mib: int) -> None:
    groups = (make_group(free_mib * b.MIB),)
    assert None is enlarge_snapshots(failed.start.plan, failed, groups)


@given(
    percent=st.integers(min_value=1, max_value=100),
    reached=st.integers(min_value=1, max_value=64),
    free=st.integers(min_value=0, max_value=TOTAL),
)
def test_larger_plan_is_larger_and_fits(percent: int, reached: int, free: int) -> None:
    failed = make_failed(SnapshotSize(percent=percent), reached)
    group = make_group(free)
    larger = enlarge_snapshots(failed.start.plan, failed, (group,))
    if larger is None:
        return
    size = size_of(larger)
    assert size is not None
    assert size.percent is not None
    assert percent < size.percent <= 100
    assert larger.snapshot_bytes + compute_reserve_bytes(group) <= free
    assert [step.step for step in failed.start.plan.steps] == [step.step for step in larger.steps]


def test_size_in_words() -> None:
    plan = b.make_plan("crash")
    assert "10%" == spell_size(plan)
    assert "8 MiB" == spell_size(with_size(plan, SnapshotSize(size_bytes=8 * b.MIB)))
