"""The recovery table at its edges: counts that run out, one end of a disk gone, who acted since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import builders as b
from tests.unit.test_rescue import PAUSED, REBUILT, REBUILT_PAUSED, SAVED, SUSPENDED, make_world
from xenbackup.model.command import Process
from xenbackup.model.domain import DiskConnection
from xenbackup.model.record import RunRecord
from xenbackup.model.rescue import ImageState, RescueAction
from xenbackup.planning.rescue import decide_rescue, runs_with_stale_image

A = RescueAction
COMPLETE, PARTIAL, MISSING = ImageState.COMPLETE, ImageState.PARTIAL, ImageState.MISSING
GONE: dict[str, Any] = {**SAVED, "destroy_begun": True, "destroyed": True}
RESTORED = {**GONE, "restore_begun": True, "restored_domid": b.REBUILT_DOMID}
REBOOTED = {"boot_id": b.OTHER_BOOT, "domain": None}
REBUILDING = {"rebuilding_boot_id": b.OTHER_BOOT}
HELD = {"stopped_monitors": (b.MONITOR,)}
SURVIVORS = tuple(
    Process(pid=pid, start_ticks=1, argv=("xl",), log_path="", run_mark=b.RUN, stopped=False)
    for pid in (9, 11)
)


def connect(*, vdev: int = 51712, frontend: int = 4, backend: int = 4) -> DiskConnection:
    return DiskConnection(
        vdev_number=vdev, frontend_state=frontend, backend_state=backend, backend_path=""
    )


ROWS = [
    ("hands off already", {"pause_begun": True, "hands_off": "x"}, {"domain": PAUSED}, A.NOTHING),
    ("nothing to do, monitor held", {}, HELD, A.WAKE_MONITORS),
    (
        "hands off, monitor held",
        {"pause_begun": True},
        {"domain": None, **HELD},
        A.WAKE_MONITORS,
    ),
    (
        "given up, monitor held",
        GONE,
        {"domain": None, "attempts": (A.BOOT,) * 3, **HELD},
        A.WAKE_MONITORS,
    ),
    ("an act to do comes before the held monitor", GONE, {"domain": None, **HELD}, A.BOOT),
    ("runs, monitor held", {"pause_begun": True}, HELD, A.WAKE_MONITORS),
    ("runs with its monitor", {"pause_begun": True}, {}, A.CONFIRM_RETURN),
    (
        "a suspend request that no save of this run made",
        {"pause_begun": True},
        {"suspend_requested": True},
        A.CONFIRM_RETURN,
    ),
    (
        "a suspend request of a guest that is gone",
        GONE,
        {"domain": None, "suspend_requested": True, "image": COMPLETE},
        A.RESTORE,
    ),
    (
        "a suspend request of a guest that has suspended",
        {"save_begun": True},
        {"domain": SUSPENDED, "suspend_requested": True},
        A.CANCEL_SUSPEND,
    ),
    ("suspended by somebody else", {"pause_begun": True}, {"domain": SUSPENDED}, A.HANDS_OFF),
    (
        "one save that continues did not help",
        {"save_begun": True},
        {"domain": SUSPENDED, "attempts": (A.CANCEL_SUSPEND,)},
        A.CANCEL_SUSPEND,
    ),
    (
        "two saves that continue did not help",
        {"save_begun": True},
        {"domain": SUSPENDED, "attempts": (A.CANCEL_SUSPEND, A.WAKE_MONITORS, A.CANCEL_SUSPEND)},
        A.SAVE_AND_RESTORE,
    ),
    (
        "three saves that continue did not help",
        {"save_begun": True},
        {"domain": SUSPENDED, "attempts": (A.CANCEL_SUSPEND,) * 3},
        A.SAVE_AND_RESTORE,
    ),
    (
        "suspended, devices gone, no image",
        {"save_begun": True},
        {"domain": SUSPENDED, "connections": b.DISCONNECTED, "image": MISSING},
        A.SAVE_AND_RESTORE,
    ),
    (
        "destroy begun, paused with its devices, no image any more",
        {**SAVED, "destroy_begun": True},
        {"domain": PAUSED, "image": PARTIAL},
        A.UNPAUSE,
    ),
    (
        "destroy begun, paused, let run since",
        {**SAVED, "destroy_begun": True, "resuming": True},
        {"domain": PAUSED, "image": COMPLETE},
        A.UNPAUSE,
    ),
    (
        "destroy begun, paused without its devices, no image any more",
        {**SAVED, "destroy_begun": True},
        {"domain": PAUSED, "image": PARTIAL, "connections": ()},
        A.SAVE_AND_RESTORE,
    ),
    (
        "destroy begun, no image at all",
        {**SAVED, "destroy_begun": True},
        {"domain": PAUSED, "image": MISSING},
        A.UNPAUSE,
    ),
    (
        "two unpauses did not help",
        {"pause_begun": True},
        {"domain": PAUSED, "attempts": (A.UNPAUSE,) * 2, "unpause_fails": True},
        A.UNPAUSE,
    ),
    (
        "four unpauses did not help",
        {"pause_begun": True},
        {"domain": PAUSED, "attempts": (A.UNPAUSE,) * 4, "unpause_fails": True},
        A.GIVE_UP,
    ),
    ("restore begun, not seen to end, runs", {**GONE, "restore_begun": True},
     {"domain": REBUILT, "image": COMPLETE}, A.HANDS_OFF),
    ("restore begun, not seen to end, runs without disks", {**GONE, "restore_begun": True},
     {"domain": REBUILT, "connections": (), "image": COMPLETE}, A.DESTROY_HALF_BUILT),
    ("restore begun, not seen to end, paused with disks", {**GONE, "restore_begun": True},
     {"domain": REBUILT_PAUSED, "image": COMPLETE}, A.DESTROY_HALF_BUILT),
    ("rebooted since the restore", RESTORED, {"domain": b.make_domain(domid=77)}, A.HANDS_OFF),
    ("created with a lower number since the restore", RESTORED,
     {"domain": b.make_domain(b.PAUSED, domid=8)}, A.HANDS_OFF),
    ("replaced by one with a lower number", {"pause_begun": True},
     {"domain": b.make_domain(b.PAUSED, domid=b.DOMID - 1)}, A.HANDS_OFF),
    ("boot begun, paused", {**GONE, "boot_begun": True, "resuming": True},
     {"domain": REBUILT_PAUSED}, A.DESTROY_HALF_BUILT),
    ("boot begun, runs", {**GONE, "boot_begun": True, "resuming": True},
     {"domain": REBUILT}, A.CONFIRM_RETURN),
    ("boot begun after a restore, runs", {**RESTORED, "boot_begun": True, "resuming": True},
     {"domain": b.make_domain(domid=77)}, A.CONFIRM_RETURN),
    ("boot begun, not there", {**GONE, "boot_begun": True, "resuming": True},
     {"domain": None, "image": COMPLETE}, A.BOOT),
    ("booted, and paused since", {**GONE, "boot_begun": True, "booted": True, "resuming": True},
     {"domain": REBUILT_PAUSED, "image": COMPLETE}, A.HANDS_OFF),
    ("booted, and gone since", {**GONE, "boot_begun": True, "booted": True, "resuming": True},
     {"domain": None, "image": COMPLETE}, A.HANDS_OFF),
    ("booted before the host went down", {**GONE, "boot_begun": True, "booted": True,
     "resuming": True}, {**REBOOTED, "image": COMPLETE}, A.BOOT),
    ("boot begun, not there, one boot failed", {**GONE, "boot_begun": True, "resuming": True},
     {"domain": None, "attempts": (A.BOOT,) * 2}, A.BOOT),
    ("four boots failed", {**GONE, "boot_begun": True, "resuming": True},
     {"domain": None, "attempts": (A.BOOT,) * 4}, A.GIVE_UP),
    ("vanished after it was let run", {**GONE, "resuming": True},
     {"domain": None, "image": COMPLETE}, A.HANDS_OFF),
    ("gone, its save was to destroy it", {"save_begun": True, "save_destroys": True},
     {"domain": None, "image": COMPLETE}, A.RESTORE),
    ("gone, its save had written some", {"save_begun": True, "save_destroys": True},
     {"domain": None, "image": PARTIAL}, A.HANDS_OFF),
    ("gone, its save was done, and somebody cut the image off",
     {"save_begun": True, "save_destroys": True, "save_finished": True},
     {"domain": None, "image": PARTIAL}, A.BOOT),
    ("gone, its save was done, and somebody removed the image",
     {"save_begun": True, "save_destroys": True, "save_finished": True},
     {"domain": None, "image": MISSING}, A.BOOT),
    ("gone, its verified image was removed",
     {"save_begun": True, "save_destroys": True, "image_verified": True},
     {"domain": None, "image": MISSING}, A.BOOT),
    ("gone, its save had written nothing", {"save_begun": True, "save_destroys": True},
     {"domain": None, "image": MISSING}, A.HANDS_OFF),
    ("gone after our restore was begun", {**SAVED, "restore_begun": True},
     {"domain": None, "image": COMPLETE}, A.RESTORE),
    ("gone, its save was to leave it there", SAVED,
     {"domain": None, "image": COMPLETE}, A.HANDS_OFF),
    ("gone, its image is partial", GONE, {"domain": None, "image": PARTIAL}, A.BOOT),
    ("gone, its image is missing", GONE, {"domain": None, "image": MISSING}, A.BOOT),
    ("four restores failed", GONE,
     {"domain": None, "image": COMPLETE, "attempts": (A.RESTORE,) * 4}, A.RESTORE),
    ("six restores failed", GONE,
     {"domain": None, "image": COMPLETE, "attempts": (A.RESTORE,) * 6}, A.GIVE_UP),
    ("rebooted: untouched", {}, {**REBOOTED, "image": COMPLETE}, A.NOTHING),
    ("rebooted: returned", {**SAVED, "returned_domid": b.DOMID}, REBOOTED, A.NOTHING),
    ("rebooted: hands off", {**SAVED, "hands_off": "x"}, REBOOTED, A.NOTHING),
    ("rebooted: its name was started", SAVED,
     {**REBOOTED, "namesake": b.make_domain(uuid=b.OTHER_UUID), "image": COMPLETE}, A.HANDS_OFF),
    ("rebooted: image never verified", {**SAVED, "image_verified": False},
     {**REBOOTED, "image": COMPLETE}, A.BOOT),
    ("rebooted: image partial", SAVED, {**REBOOTED, "image": PARTIAL}, A.BOOT),
    ("rebooted: image missing", SAVED, {**REBOOTED, "image": MISSING}, A.BOOT),
    ("rebooted: only paused", {"pause_begun": True}, REBOOTED, A.BOOT),
    ("rebooted: four restores failed", SAVED,
     {**REBOOTED, "image": COMPLETE, "attempts": (A.RESTORE,) * 4}, A.RESTORE),
    ("rebooted: five restores failed", SAVED,
     {**REBOOTED, "image": COMPLETE, "attempts": (A.RESTORE,) * 5}, A.GIVE_UP),
    ("rebooted: six restores failed", SAVED,
     {**REBOOTED, "image": COMPLETE, "attempts": (A.RESTORE,) * 6}, A.GIVE_UP),
    ("rebuilding: gone again", {**GONE, **REBUILDING, "restore_begun": True},
     {**REBOOTED, "image": COMPLETE}, A.RESTORE),
    ("rebuilding: dying", {**GONE, **REBUILDING, "restore_begun": True},
     {**REBOOTED, "domain": b.make_domain(b.DYING)}, A.WAIT_FOR_DEATH),
    ("rebuilding: booted, runs", {**GONE, **REBUILDING, "boot_begun": True, "resuming": True},
     {**REBOOTED, "domain": REBUILT}, A.CONFIRM_RETURN),
    ("rebuilding: booted, paused", {**GONE, **REBUILDING, "boot_begun": True, "resuming": True},
     {**REBOOTED, "domain": REBUILT_PAUSED}, A.DESTROY_HALF_BUILT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "world", "action"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_edge_of_the_rescue_table(
    record: dict[str, object], world: dict[str, object], action: RescueAction
) -> None:
    decision = decide_rescue(b.make_record("snapshot", **record), make_world(**world))
    assert action == decision.action, decision.reason


@pytest.mark.parametrize(
    ("was", "now", "connected"),
    [
        ((connect(),), (connect(),), True),
        ((connect(),), (connect(), connect(vdev=51728, frontend=1)), True),
        ((connect(), connect(vdev=51728)), (connect(),), False),
        ((connect(), connect(vdev=51728)), (connect(vdev=51728), connect()), True),
        ((connect(),), (connect(frontend=3),), False),
        ((connect(),), (connect(frontend=5),), False),
        ((connect(),), (connect(backend=3),), False),
        ((connect(),), (connect(backend=5),), False),
        ((connect(frontend=1, backend=2),), (connect(frontend=1, backend=2),), True),
        ((connect(frontend=6, backend=6),), (connect(frontend=6, backend=6),), True),
        ((connect(frontend=1, backend=2),), (connect(),), True),
        ((connect(frontend=1),), (connect(frontend=1, backend=3),), False),
        ((connect(backend=2),), (connect(frontend=3, backend=2),), False),
        ((connect(vdev=51728),), (connect(),), False),
        ((), (), True),
    ],
)
def test_devices_count_as_connected_where_each_end_is_as_good_as_it_was(
    was: tuple[DiskConnection, ...], now: tuple[DiskConnection, ...], connected: bool
) -> None:
    start = b.make_start("snapshot")
    assert start.baseline is not None
    start = replace(start, baseline=replace(start.baseline, connections=was))
    decision = decide_rescue(
        RunRecord(start=start, save_begun=True), make_world(domain=SUSPENDED, connections=now)
    )
    assert (A.CANCEL_SUSPEND if connected else A.SAVE_AND_RESTORE) == decision.action


@pytest.mark.parametrize(
    ("connections", "action"), [(b.DISCONNECTED, A.CANCEL_SUSPEND), ((), A.SAVE_AND_RESTORE)]
)
def test_without_a_baseline_any_disk_counts(
    connections: tuple[DiskConnection, ...], action: RescueAction
) -> None:
    record = RunRecord(start=replace(b.make_start("snapshot"), baseline=None), save_begun=True)
    assert (
        action
        == decide_rescue(record, make_world(domain=SUSPENDED, connections=connections)).action
    )


def test_without_a_baseline_a_guest_that_this_run_paused_is_unpaused() -> None:
    record = RunRecord(start=replace(b.make_start("snapshot"), baseline=None), pause_begun=True)
    assert A.UNPAUSE == decide_rescue(record, make_world(domain=PAUSED)).action


def test_after_a_reboot_a_guest_that_was_shut_off_stays_off() -> None:
    record = RunRecord(start=replace(b.make_start("snapshot"), baseline=None), **GONE)
    world = make_world(**REBOOTED, image=COMPLETE)
    assert A.NOTHING == decide_rescue(record, world).action


def test_large_domain_numbers_are_compared_by_value() -> None:
    domid, restored = int("1006"), int("1009")
    plan = b.make_plan("snapshot", b.make_domain(domid=domid))
    start = replace(b.make_start("snapshot"), plan=plan)
    paused = b.make_domain(b.PAUSED, domid=int("1006"))
    assert (
        A.UNPAUSE
        == decide_rescue(RunRecord(start=start, pause_begun=True), make_world(domain=paused)).action
    )
    record = RunRecord(start=start, **GONE, restore_begun=True, restored_domid=restored)
    rebuilt = b.make_domain(b.PAUSED, domid=int("1009"))
    assert A.UNPAUSE == decide_rescue(record, make_world(domain=rebuilt)).action


def test_boots_are_compared_by_value() -> None:
    boot, other = "".join(b.BOOT), "".join([*b.OTHER_BOOT])
    record = b.make_record("snapshot", pause_begun=True)
    assert A.UNPAUSE == decide_rescue(record, make_world(boot_id=boot, domain=PAUSED)).action
    rebuilding = b.make_record("snapshot", **RESTORED, **REBUILDING)
    world = make_world(boot_id=other, domain=REBUILT_PAUSED)
    assert A.UNPAUSE == decide_rescue(rebuilding, world).action
    assert runs_with_stale_image(b.make_record("snapshot", **SAVED), make_world(boot_id=boot))
    rebuilt = b.make_record("snapshot", **SAVED, **REBUILDING)
    assert runs_with_stale_image(rebuilt, make_world(boot_id=other))


@pytest.mark.parametrize("boot", ["0" + b.BOOT[1:], "f" + b.BOOT[1:]])
def test_any_other_boot_is_another_whichever_sorts_first(boot: str) -> None:
    record = b.make_record("snapshot", pause_begun=True)
    assert A.BOOT == decide_rescue(record, make_world(boot_id=boot, domain=None)).action
    rebuilding = b.make_record("snapshot", **SAVED, **REBUILDING, restore_begun=True)
    assert A.HANDS_OFF == decide_rescue(rebuilding, make_world(boot_id=boot)).action
    assert runs_with_stale_image(rebuilding, make_world(boot_id=boot))
    resumed = replace(rebuilding, resuming=True)
    assert A.BOOT == decide_rescue(resumed, make_world(boot_id=boot, domain=None)).action


@pytest.mark.parametrize(
    ("record", "world", "stale"),
    [
        ({**SAVED, "hands_off": "x"}, {}, False),
        ({**SAVED, "restored_domid": b.REBUILT_DOMID}, {"domain": REBUILT}, True),
        (SAVED, {"domain": b.make_domain(b.SUSPENDED)}, False),
        (SAVED, {"domain": b.make_domain(b.DYING)}, False),
        ({"restore_begun": True}, {}, False),
        ({**SAVED, **REBUILDING}, {"boot_id": b.OTHER_BOOT, "domain": REBUILT}, True),
        ({**SAVED, **REBUILDING}, {"boot_id": b.OTHER_BOOT, "domain": REBUILT_PAUSED}, False),
    ],
)
def test_image_is_stale_only_where_our_guest_itself_runs(
    record: dict[str, object], world: dict[str, object], stale: bool
) -> None:
    found = runs_with_stale_image(b.make_record("snapshot", **record), make_world(**world))
    assert stale == found


def test_reason_names_each_device_and_each_process() -> None:
    record = b.make_record("snapshot", pause_begun=True)
    frozen = decide_rescue(record, make_world(suspended_devices=("vg-a", "vg-b")))
    assert "vg-a, vg-b suspended" in frozen.reason
    assert "pid 9, 11" in decide_rescue(record, make_world(survivors=SURVIVORS)).reason


def test_save_of_ours_that_lives_on_has_yet_to_take_the_guest_away() -> None:
    """Called stale now, its image would not be restored once that save has destroyed the guest."""
    record = b.make_record("snapshot", save_begun=True)
    assert runs_with_stale_image(record, make_world())
    assert not runs_with_stale_image(record, make_world(survivors=SURVIVORS))
