"""The journal's rules one by one: what each entry changes in the record, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests import builders as b
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.record import DiskMark, RunRecord, RunStart, SnapshotRecord
from xenbackup.model.run import Outcome
from xenbackup.records.journal import (
    JournalLine,
    apply_entry,
    fold_entries,
)

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
BLANK = RunRecord(start=b.make_start())
SNAPSHOT = SnapshotRecord(vdev="xvda", group="vg", name="one", origin_uuid="o1")
OTHER = SnapshotRecord(vdev="xvdb", group="vg", name="two", origin_uuid="o2", lv_uuid="u2")
TWO = replace(BLANK, snapshots=(SNAPSHOT, OTHER))
# Equal to the names above, and other objects: they are compared by value.
ONE, TWICE = ("".join(letters) for letters in ("one", "two"))
OPPOSITE = replace(
    BLANK,
    save_finished=True,
    image_verified=True,
    resuming=True,
    restored_domid=4,
    at_rest=(DiskMark(vdev="xvda", mark="sectors 253:7 8"),),
    monitors_frozen=(b.MONITOR,),
)

RULES: list[tuple[RunRecord, e.AnyEntry, RunRecord]] = [
    (BLANK, e.StepBegan(step=StepName.COPY), replace(BLANK, step=StepName.COPY)),
    (BLANK, e.StepDone(step=StepName.COPY), BLANK),
    (
        BLANK,
        e.FreezingMonitors(monitors=(b.MONITOR,)),
        replace(BLANK, monitors_frozen=(b.MONITOR,)),
    ),
    (OPPOSITE, e.MonitorsWoken(alive=1), replace(OPPOSITE, monitors_frozen=())),
    (BLANK, e.Pausing(), replace(BLANK, pause_begun=True)),
    (BLANK, e.Paused(), BLANK),
    (BLANK, e.Saving(path="x", stays=True), replace(BLANK, save_begun=True)),
    (
        OPPOSITE,
        e.Saving(path="x", stays=False),
        replace(
            OPPOSITE,
            save_begun=True,
            save_destroys=True,
            save_finished=False,
            image_verified=False,
            resuming=False,
            at_rest=(),
        ),
    ),
    (
        BLANK,
        e.Saved(monitor_log="inode 7"),
        replace(BLANK, save_finished=True, known_logs=("inode 7",)),
    ),
    (
        BLANK,
        e.ImageVerified(path="x", size_bytes=5),
        replace(BLANK, image_verified=True, image_size_bytes=5),
    ),
    (
        BLANK,
        e.DisksAtRest(marks=(DiskMark(vdev="xvda", mark="sectors 253:7 9"),), boot_id=b.BOOT),
        replace(
            BLANK,
            at_rest=(DiskMark(vdev="xvda", mark="sectors 253:7 9"),),
            at_rest_boot_id=b.BOOT,
        ),
    ),
    (BLANK, e.Destroying(), replace(BLANK, destroy_begun=True)),
    (BLANK, e.Destroyed(), replace(BLANK, destroyed=True)),
    (
        OPPOSITE,
        e.Restoring(path="x", unit="u", boot_id=b.BOOT),
        replace(
            OPPOSITE,
            restore_begun=True,
            restore_under_way=True,
            restored_domid=None,
            rebuilding_boot_id=b.BOOT,
        ),
    ),
    (
        BLANK,
        e.Restored(domid=9, monitor_log="x"),
        replace(BLANK, restored_domid=9, known_logs=("x",)),
    ),
    (
        replace(BLANK, restore_under_way=True, known_logs=("x",)),
        e.NotRestored(),
        replace(BLANK, known_logs=("x",)),
    ),
    (BLANK, e.Booted(domid=9), replace(BLANK, booted=True)),
    (
        BLANK,
        e.Booting(boot_id=b.BOOT),
        replace(BLANK, boot_begun=True, resuming=True, rebuilding_boot_id=b.BOOT),
    ),
    (BLANK, e.Resuming(), replace(BLANK, resuming=True)),
    (BLANK, e.ImageStale(), replace(BLANK, resuming=True)),
    (
        BLANK,
        e.Returned(domid=9, away_seconds=1.5),
        replace(BLANK, returned_domid=9, away_seconds=1.5),
    ),
    (BLANK, e.HandsOff(reason="y"), replace(BLANK, hands_off="y")),
    (
        replace(BLANK, snapshots=(OTHER,)),
        e.Snapshotting(vdev="xvda", group="vg", name=ONE, origin_uuid="o1"),
        replace(BLANK, snapshots=(OTHER, SNAPSHOT)),
    ),
    (
        TWO,
        e.Snapshotting(vdev="xvdb", group="vg", name=TWICE, origin_uuid="o2"),
        replace(BLANK, snapshots=(SNAPSHOT, replace(OTHER, lv_uuid=""))),
    ),
    (
        TWO,
        e.Snapshotted(vdev="xvda", group="vg", name=ONE, lv_uuid="u1", size_bytes=7),
        replace(BLANK, snapshots=(replace(SNAPSHOT, lv_uuid="u1", size_bytes=7), OTHER)),
    ),
    (
        TWO,
        e.SnapshotExtended(group="vg", name=TWICE, size_bytes=9),
        replace(BLANK, snapshots=(SNAPSHOT, replace(OTHER, size_bytes=9))),
    ),
    (
        replace(BLANK, too_small=("xvdz",)),
        e.SnapshotTooSmall(group="vg", name="one", vdev="xvda", size_bytes=9),
        replace(BLANK, too_small=("xvdz", "xvda")),
    ),
    (
        TWO,
        e.SnapshotRemoved(group="vg", name=TWICE),
        replace(BLANK, snapshots=(SNAPSHOT, replace(OTHER, removed=True))),
    ),
    (TWO, e.ExtendingSnapshot(group="vg", name="two", lv_uuid="u2", add_bytes=1, reason="r"), TWO),
    (TWO, e.RemovingSnapshot(group="vg", name="two", lv_uuid="u2"), TWO),
    (BLANK, e.Staging(destination="local", point=b.RUN), replace(BLANK, staged=True)),
    (
        replace(BLANK, bytes_read=3, bytes_written=2),
        e.DiskCopied(vdev="xvda", bytes_read=7, bytes_written=6, digest="d"),
        replace(BLANK, bytes_read=10, bytes_written=8),
    ),
    (
        replace(BLANK, bytes_read=3, bytes_written=2),
        e.MemoryCopied(bytes_read=7, digest="d"),
        replace(BLANK, bytes_read=10, bytes_written=9),
    ),
    (BLANK, e.Published(point=b.RUN), replace(BLANK, published=True)),
    (BLANK, e.PartialDiscarded(), replace(BLANK, partial_discarded=True)),
    (BLANK, e.ImageDiscarded(), replace(BLANK, image_discarded=True)),
    (
        replace(BLANK, warnings=("a",)),
        e.Warned(message="b"),
        replace(BLANK, warnings=("a", "b")),
    ),
    (
        BLANK,
        e.Failed(message="a", hint="first"),
        replace(BLANK, failures=("a",), hint="first"),
    ),
    (
        replace(BLANK, failures=("a",), hint="first"),
        e.Failed(message="b", hint="of the undo"),
        replace(BLANK, failures=("a", "b"), hint="first"),
    ),
    (BLANK, e.RecoveryBegan(owes=True, rebooted=True), BLANK),
    (BLANK, e.RescueBegan(action="a", reason="b"), BLANK),
    (
        replace(BLANK, debts=("a",)),
        e.DebtIncurred(message="b"),
        replace(BLANK, debts=("a", "b")),
    ),
    (BLANK, e.RunEnded(outcome=Outcome.OK), replace(BLANK, ended=Outcome.OK)),
]


@pytest.mark.parametrize(
    ("before", "entry", "after"), RULES, ids=[type(row[1]).__name__ for row in RULES]
)
def test_entry_changes_what_it_says_and_nothing_else(
    before: RunRecord, entry: e.AnyEntry, after: RunRecord
) -> None:
    assert after == apply_entry(before, entry)


@pytest.mark.parametrize("name", ["aaa", "zzz"])
@pytest.mark.parametrize(
    "make",
    [
        lambda name: e.Snapshotted(vdev="x", group="vg", name=name, lv_uuid="u", size_bytes=7),
        lambda name: e.SnapshotExtended(group="vg", name=name, size_bytes=9),
        lambda name: e.SnapshotRemoved(group="vg", name=name),
    ],
)
def test_entry_of_an_unknown_snapshot_changes_no_other(make: object, name: str) -> None:
    assert callable(make)
    assert TWO == apply_entry(TWO, make(name))


def test_every_kind_of_entry_has_its_row_here() -> None:
    assert {kind.__name__ for kind in e.AnyEntry.__args__} == {
        "RunStarted",
        *(type(row[1]).__name__ for row in RULES),
    }


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ({}, False),
        ({"pause_begun": True}, True),
        ({"save_begun": True}, True),
        ({"restore_begun": True}, True),
        ({"boot_begun": True}, True),
    ],
)
def test_guest_is_touched_by_whatever_may_leave_it_less_than_running(
    changes: dict[str, Any], touched: bool
) -> None:
    record = b.make_record(**changes)
    assert touched == record.guest_touched
    assert touched != record.guest_settled
    assert replace(record, returned_domid=0).guest_settled, "domain 0 is a number like any other"
    assert replace(record, hands_off="x").guest_settled


@pytest.mark.parametrize(
    ("changes", "owes"),
    [
        ({"debts": ("x",)}, True),
        ({"debts": ()}, False),
        ({"debts": ("x",), "ended": Outcome.PARTIAL}, False),
        ({"debts": ("x",), "pause_begun": True}, False),
    ],
)
def test_run_owes_only_what_is_left_once_its_guest_is_settled(
    changes: dict[str, Any], owes: bool
) -> None:
    assert owes == b.make_record(**changes).owes


def test_new_snapshot_is_intended_and_no_more() -> None:
    assert not SNAPSHOT.removed
    assert ("", 0) == (SNAPSHOT.lv_uuid, SNAPSHOT.size_bytes)
    assert "vg/one" == SNAPSHOT.label
    assert "/srv/.clone" == replace(SNAPSHOT, group="", name="/srv/.clone").label


def test_new_record_says_that_nothing_has_happened() -> None:
    start = b.make_start()
    record = fold_entries((e.RunStarted(start=start),))
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    assert start == values.pop("start")
    assert {name for name, value in values.items() if value} == set()
    assert (None, None) == (record.restored_domid, record.returned_domid)
    assert record.ended is None
    assert (0.0, 0, 0) == (record.away_seconds, record.bytes_read, record.bytes_written)


@pytest.mark.parametrize("kind", [RunStart, RunRecord, SnapshotRecord, JournalLine])
def test_what_was_read_cannot_be_changed_nor_its_fields_mistaken(kind: type[object]) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(field.kw_only for field in fields(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"ended": Outcome.OK}, ""),
        ({"ended": Outcome.PARTIAL}, ""),
        ({"ended": Outcome.FAILED}, "It was cut off in the middle"),
        ({"failures": ("first", "second"), "ended": Outcome.FAILED}, "first"),
        ({"failures": ("first", "second")}, "first"),
    ],
)
def test_reason_of_a_failure_is_its_first_or_that_nobody_could_say(
    changes: dict[str, Any], words: str
) -> None:
    found = b.make_record(**changes).why_failed
    assert found.startswith(words)
    assert bool(words) == bool(found)


def test_a_failed_run_says_why_also_where_nobody_was_left_to_say_it() -> None:
    failed = replace(BLANK, ended=Outcome.FAILED)
    assert "no room" == replace(failed, failures=("no room", "later")).why_failed
    assert failed.why_failed.startswith("It was cut off in the middle")
    assert "" == BLANK.why_failed
    assert "" == replace(BLANK, ended=Outcome.OK).why_failed
    assert "no room" == replace(BLANK, ended=Outcome.OK, failures=("no room",)).why_failed
