"""The recovery table: each row of the design's table, and what no row may ever do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders as b
from xenbackup.model.command import Process
from xenbackup.model.record import RunRecord
from xenbackup.model.rescue import ImageState, RescueAction, World
from xenbackup.planning.rescue import decide_rescue, runs_with_stale_image

A = RescueAction


def make_world(**fields: object) -> World:
    defaults: dict[str, object] = {
        "boot_id": b.BOOT,
        "domain": b.make_domain(),
        "namesake": None,
        "connections": b.CONNECTED,
        "suspended_devices": (),
        "suspend_requested": False,
        "image": ImageState.MISSING,
        "stopped_monitors": (),
        "survivors": (),
        "held_by_xendomains": False,
        "attempts": (),
    }
    return World(**(defaults | fields))  # type: ignore[arg-type]


SAVED = {"save_begun": True, "save_finished": True, "image_verified": True}
SUSPENDED = b.make_domain(b.SUSPENDED)
PAUSED = b.make_domain(b.PAUSED)
REBUILT_PAUSED = b.make_domain(b.PAUSED, domid=b.REBUILT_DOMID)
REBUILT = b.make_domain(domid=b.REBUILT_DOMID)
MIGRATED = replace(SUSPENDED, name=f"{SUSPENDED.name}--migratedaway")
MIGRATED_LATER = replace(MIGRATED, domid=b.REBUILT_DOMID)
ROWS = [
    ("untouched guest", {}, {}, A.NOTHING),
    (
        "returned guest, whatever it does",
        {**SAVED, "returned_domid": 6},
        {"domain": None},
        A.NOTHING,
    ),
    ("migrated away as it was saved", {"save_begun": True}, {"domain": MIGRATED}, A.HANDS_OFF),
    (
        "migrated away, its monitor still held",
        {"save_begun": True},
        {"domain": MIGRATED, "stopped_monitors": (b.MONITOR,)},
        A.WAKE_MONITORS,
    ),
    (
        "migrated away after a restore of ours",
        {**SAVED, "restore_begun": True, "restored_domid": b.REBUILT_DOMID},
        {"domain": MIGRATED_LATER, "image": ImageState.COMPLETE},
        A.HANDS_OFF,
    ),
    ("paused by this run", {"pause_begun": True}, {"domain": PAUSED}, A.UNPAUSE),
    ("saved and paused by this run", SAVED, {"domain": PAUSED}, A.UNPAUSE),
    (
        "killed while writing: suspended, devices connected",
        {"save_begun": True},
        {"domain": SUSPENDED, "image": ImageState.PARTIAL},
        A.CANCEL_SUSPEND,
    ),
    (
        "killed while destroying: suspended, devices gone, image complete",
        {"save_begun": True, "save_destroys": True},
        {"domain": SUSPENDED, "connections": b.DISCONNECTED, "image": ImageState.COMPLETE},
        A.DESTROY_SAVED,
    ),
    (
        "suspended, devices gone, image partial",
        {"save_begun": True},
        {"domain": SUSPENDED, "connections": b.DISCONNECTED, "image": ImageState.PARTIAL},
        A.SAVE_AND_RESTORE,
    ),
    (
        "suspended, devices gone, image complete but the guest was let run since",
        {**SAVED, "resuming": True},
        {"domain": SUSPENDED, "connections": b.DISCONNECTED, "image": ImageState.COMPLETE},
        A.SAVE_AND_RESTORE,
    ),
    (
        "destroy begun, still there",
        {**SAVED, "destroy_begun": True},
        {"domain": PAUSED, "image": ImageState.COMPLETE},
        A.DESTROY_SAVED,
    ),
    (
        "destroyed, image complete",
        {**SAVED, "destroy_begun": True, "destroyed": True},
        {"domain": None, "image": ImageState.COMPLETE},
        A.RESTORE,
    ),
    (
        "restore killed half-way",
        {**SAVED, "destroyed": True, "destroy_begun": True, "restore_begun": True},
        {"domain": REBUILT_PAUSED, "connections": (), "image": ImageState.COMPLETE},
        A.DESTROY_HALF_BUILT,
    ),
    (
        "restored, not yet let run",
        {**SAVED, "destroyed": True, "restore_begun": True, "restored_domid": b.REBUILT_DOMID},
        {"domain": REBUILT_PAUSED, "image": ImageState.COMPLETE},
        A.UNPAUSE,
    ),
    (
        "restored and running",
        {
            **SAVED,
            "destroyed": True,
            "restore_begun": True,
            "restored_domid": b.REBUILT_DOMID,
            "resuming": True,
        },
        {"domain": REBUILT},
        A.CONFIRM_RETURN,
    ),
    ("device suspended", {"pause_begun": True}, {"suspended_devices": ("dm-0",)}, A.RESUME_DEVICES),
    (
        "suspend request left behind",
        {"save_begun": True},
        {"suspend_requested": True},
        A.CLEAR_SUSPEND_REQUEST,
    ),
    ("guest rebooted itself", {"pause_begun": True}, {"domain": REBUILT}, A.HANDS_OFF),
    (
        "guest waits for its held monitor",
        {"pause_begun": True},
        {"domain": b.make_domain(b.REBOOTING), "stopped_monitors": (b.MONITOR,)},
        A.WAKE_MONITORS,
    ),
    (
        "guest powered itself off",
        {"pause_begun": True},
        {"domain": b.make_domain(b.REBOOTING)},
        A.HANDS_OFF,
    ),
    ("dying", {"pause_begun": True}, {"domain": b.make_domain(b.DYING)}, A.WAIT_FOR_DEATH),
    (
        "somebody started another of its name",
        {**SAVED, "destroyed": True, "destroy_begun": True},
        {
            "domain": None,
            "namesake": b.make_domain(uuid=b.OTHER_UUID),
            "image": ImageState.COMPLETE,
        },
        A.HANDS_OFF,
    ),
    ("destroyed by somebody", {"pause_begun": True}, {"domain": None}, A.HANDS_OFF),
    (
        "host rebooted with a valid image",
        SAVED,
        {"boot_id": b.OTHER_BOOT, "domain": None, "image": ImageState.COMPLETE},
        A.RESTORE,
    ),
    (
        "host rebooted with a stale image",
        {**SAVED, "resuming": True},
        {"boot_id": b.OTHER_BOOT, "domain": None, "image": ImageState.COMPLETE},
        A.BOOT,
    ),
    (
        "host rebooted and xendomains holds the guest",
        SAVED,
        {
            "boot_id": b.OTHER_BOOT,
            "domain": None,
            "held_by_xendomains": True,
            "image": ImageState.COMPLETE,
        },
        A.HANDS_OFF,
    ),
    (
        "host rebooted and the guest was started",
        SAVED,
        {"boot_id": b.OTHER_BOOT, "image": ImageState.COMPLETE},
        A.HANDS_OFF,
    ),
    (
        "host rebooted and our restore was cut off since: half built",
        {**SAVED, "restore_begun": True, "rebuilding_boot_id": b.OTHER_BOOT},
        {"boot_id": b.OTHER_BOOT, "domain": REBUILT_PAUSED, "image": ImageState.COMPLETE},
        A.DESTROY_HALF_BUILT,
    ),
    (
        "host rebooted, our restore finished since, and it was migrated away",
        {
            **SAVED,
            "restore_begun": True,
            "rebuilding_boot_id": b.OTHER_BOOT,
            "restored_domid": b.REBUILT_DOMID,
        },
        {"boot_id": b.OTHER_BOOT, "domain": MIGRATED_LATER, "image": ImageState.COMPLETE},
        A.HANDS_OFF,
    ),
    (
        "host rebooted, our restore finished since, its guest not yet let run",
        {
            **SAVED,
            "restore_begun": True,
            "rebuilding_boot_id": b.OTHER_BOOT,
            "restored_domid": b.REBUILT_DOMID,
        },
        {"boot_id": b.OTHER_BOOT, "domain": REBUILT_PAUSED, "image": ImageState.COMPLETE},
        A.UNPAUSE,
    ),
    (
        "host rebooted twice, our restore was of the boot between",
        {**SAVED, "restore_begun": True, "rebuilding_boot_id": "another"},
        {"boot_id": b.OTHER_BOOT, "domain": REBUILT, "image": ImageState.COMPLETE},
        A.HANDS_OFF,
    ),
    (
        "its destroy was begun and somebody let it run",
        {**SAVED, "destroy_begun": True, "resuming": True},
        {"image": ImageState.COMPLETE},
        A.CONFIRM_RETURN,
    ),
    (
        "its destroy was begun, somebody let it run, its devices are gone",
        {**SAVED, "destroy_begun": True, "resuming": True},
        {"image": ImageState.COMPLETE, "connections": b.DISCONNECTED},
        A.SAVE_AND_RESTORE,
    ),
    (
        "paused again after three unpauses that worked",
        {"pause_begun": True},
        {"domain": PAUSED, "attempts": (A.UNPAUSE,) * 3},
        A.HANDS_OFF,
    ),
    (
        "paused since the toolstack refuses to unpause",
        {"pause_begun": True},
        {"domain": PAUSED, "attempts": (A.UNPAUSE,) * 3, "unpause_fails": True},
        A.GIVE_UP,
    ),
    (
        "restores fail",
        {**SAVED, "destroyed": True, "destroy_begun": True},
        {"domain": None, "image": ImageState.COMPLETE, "attempts": (A.RESTORE,) * 5},
        A.GIVE_UP,
    ),
    (
        "boots fail",
        {**SAVED, "destroyed": True, "destroy_begun": True},
        {"domain": None, "image": ImageState.PARTIAL, "attempts": (A.BOOT,) * 3},
        A.GIVE_UP,
    ),
]


@pytest.mark.parametrize(
    ("record", "world", "action"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_rescue_table(
    record: dict[str, object], world: dict[str, object], action: RescueAction
) -> None:
    decision = decide_rescue(b.make_record("snapshot", **record), make_world(**world))
    assert action == decision.action, decision.reason


def test_a_guest_that_an_administrator_paused_is_never_unpaused() -> None:
    start = b.make_start("crash", paused_by_administrator=True)
    record = RunRecord(start=start, pause_begun=True)
    assert A.HANDS_OFF == decide_rescue(record, make_world(domain=PAUSED)).action


@pytest.mark.parametrize(
    ("record", "world", "stale"),
    [
        (SAVED, {}, True),
        (SAVED, {"domain": PAUSED}, False),
        (SAVED, {"domain": None}, False),
        (SAVED, {"domain": None, "started_since": True}, True),
        (SAVED, {"domain": None, "written_disks": ("xvda",)}, True),
        (SAVED, {"domain": b.make_domain(domid=77)}, True),
        ({**SAVED, "resuming": True}, {}, False),
        ({**SAVED, "returned_domid": b.DOMID}, {}, False),
        (SAVED, {"boot_id": b.OTHER_BOOT}, True),
        ({**SAVED, "rebuilding_boot_id": b.OTHER_BOOT}, {"boot_id": b.OTHER_BOOT}, True),
        ({"pause_begun": True}, {}, False),
    ],
)
def test_a_guest_that_is_seen_running_makes_its_image_stale(
    record: dict[str, object], world: dict[str, object], stale: bool
) -> None:
    found = runs_with_stale_image(b.make_record("snapshot", **record), make_world(**world))
    assert stale == found


domains = st.sampled_from(
    [
        None,
        *(
            b.make_domain(s, domid=d)
            for s in (b.RUNNING, b.PAUSED, b.SUSPENDED, b.REBOOTING, b.DYING)
            for d in (b.DOMID, b.REBUILT_DOMID, 77)
        ),
    ]
)
survivor = Process(pid=9, start_ticks=1, argv=("xl",), log_path="", run_mark=b.RUN, stopped=False)
records = st.builds(
    lambda preset, flags, restored, returned: b.make_record(
        preset,
        **dict(
            zip(
                (
                    "pause_begun",
                    "save_begun",
                    "save_finished",
                    "save_destroys",
                    "image_verified",
                    "destroy_begun",
                    "destroyed",
                    "restore_begun",
                    "boot_begun",
                    "resuming",
                ),
                flags,
                strict=True,
            )
        ),
        restored_domid=restored,
        returned_domid=returned,
    ),
    st.sampled_from(["snapshot", "checkpoint", "cold", "crash"]),
    st.tuples(*[st.booleans()] * 10),
    st.sampled_from([None, b.REBUILT_DOMID]),
    st.sampled_from([None, None, b.REBUILT_DOMID]),
)
worlds = st.builds(
    make_world,
    boot_id=st.sampled_from([b.BOOT, b.BOOT, b.OTHER_BOOT]),
    domain=domains,
    namesake=st.sampled_from([None, b.make_domain(uuid=b.OTHER_UUID)]),
    connections=st.sampled_from([b.CONNECTED, b.DISCONNECTED, ()]),
    suspended_devices=st.sampled_from([(), (), ("xenvols-web_root",)]),
    suspend_requested=st.booleans(),
    image=st.sampled_from(list(ImageState)),
    stopped_monitors=st.sampled_from([(), (b.MONITOR,)]),
    survivors=st.sampled_from([(), (), (survivor,)]),
    held_by_xendomains=st.booleans(),
    attempts=st.lists(st.sampled_from(list(A)), max_size=8).map(tuple),
)
RESTORING = {A.RESTORE, A.DESTROY_SAVED}
TOUCHING = set(A) - {
    A.NOTHING,
    A.HANDS_OFF,
    A.GIVE_UP,
    A.WAKE_MONITORS,
    A.RESUME_DEVICES,
    A.END_SURVIVORS,
    A.KILL_SURVIVORS,
    A.WAIT_FOR_DEATH,
    A.CLEAR_SUSPEND_REQUEST,
}


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_no_row_restores_an_image_after_the_guest_was_let_run(
    record: RunRecord, world: World
) -> None:
    decision = decide_rescue(replace(record, resuming=True), world)
    assert decision.action not in RESTORING


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_a_returned_guest_is_never_touched_again(record: RunRecord, world: World) -> None:
    decision = decide_rescue(replace(record, returned_domid=b.DOMID), world)
    assert decision.action not in TOUCHING


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_a_domid_that_is_not_of_this_run_is_never_touched(record: RunRecord, world: World) -> None:
    stranger = b.make_domain(b.PAUSED, domid=77)
    quiet = replace(record, restored_domid=b.REBUILT_DOMID, boot_begun=False)
    decision = decide_rescue(quiet, replace(world, domain=stranger, boot_id=b.BOOT))
    assert decision.action not in TOUCHING


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_nothing_is_destroyed_without_a_complete_image(record: RunRecord, world: World) -> None:
    decision = decide_rescue(record, replace(world, image=ImageState.PARTIAL))
    assert decision.action is not A.DESTROY_SAVED


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_suspended_devices_and_survivors_come_before_any_judgement(
    record: RunRecord, world: World
) -> None:
    frozen = replace(world, suspended_devices=("xenvols-web_root",))
    assert A.RESUME_DEVICES == decide_rescue(record, frozen).action
    alive = replace(world, suspended_devices=(), survivors=(survivor,), attempts=())
    assert A.END_SURVIVORS == decide_rescue(record, alive).action


@settings(max_examples=500)
@given(record=records, world=worlds)
def test_every_decision_gives_its_reason(record: RunRecord, world: World) -> None:
    assert decide_rescue(record, world).reason
