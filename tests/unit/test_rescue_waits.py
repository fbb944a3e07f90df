"""The recovery table where it waits, where others acted, and where an image is stale for that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import builders as b
from tests.unit.test_rescue import PAUSED, REBUILT, REBUILT_PAUSED, SAVED, SUSPENDED, make_world
from tests.unit.test_rescue_edges import GONE, HELD, REBOOTED, REBUILDING, RESTORED, SURVIVORS
from xenbackup.model.domain import Disk, DomainState
from xenbackup.model.rescue import ImageState, RescueAction
from xenbackup.planning.rescue import (
    decide_rescue,
    runs_with_stale_image,
    wants_patience,
    writes_disks_of,
)

A = RescueAction
COMPLETE = ImageState.COMPLETE
ENDED = b.make_domain(b.REBOOTING)
REBUILT_ENDED = b.make_domain(b.REBOOTING, domid=b.REBUILT_DOMID)
DYING = b.make_domain(b.DYING)
STRANGER = b.make_domain(domid=77, uuid=b.OTHER_UUID, name="web-new")
UNKNOWN_END = b.make_domain(DomainState(letters="---s--", shutdown=True))
BOOTED = {**GONE, "boot_begun": True, "resuming": True}
HALF_BUILT = {**GONE, "restore_begun": True}
ROWS = [
    ("runs, one look found it unhealthy", {"pause_begun": True},
     {"attempts": (A.CONFIRM_RETURN,)}, A.CONFIRM_RETURN),
    ("runs, two looks found it unhealthy", {"pause_begun": True},
     {"attempts": (A.CONFIRM_RETURN,) * 2}, A.GIVE_UP),
    ("runs, two looks with its monitor woken between", {"pause_begun": True},
     {"attempts": (A.CONFIRM_RETURN, A.WAKE_MONITORS, A.CONFIRM_RETURN)}, A.GIVE_UP),
    ("runs, two looks with an act between", {"pause_begun": True},
     {"attempts": (A.CONFIRM_RETURN, A.UNPAUSE, A.CONFIRM_RETURN)}, A.CONFIRM_RETURN),
    ("runs, two looks, and its monitor is held", {"pause_begun": True},
     {"attempts": (A.CONFIRM_RETURN,) * 2, **HELD}, A.WAKE_MONITORS),
    ("dying, waited for once", {"pause_begun": True},
     {"domain": DYING, "attempts": (A.WAIT_FOR_DEATH,)}, A.WAIT_FOR_DEATH),
    ("dying, waited for twice", {"pause_begun": True},
     {"domain": DYING, "attempts": (A.WAIT_FOR_DEATH,) * 2}, A.GIVE_UP),
    ("dying after each of three restores", HALF_BUILT,
     {"domain": DYING, "attempts": (A.WAIT_FOR_DEATH, A.RESTORE) * 3}, A.WAIT_FOR_DEATH),
    ("rebuilding: dying, waited for twice", {**HALF_BUILT, **REBUILDING},
     {**REBOOTED, "domain": DYING, "attempts": (A.WAIT_FOR_DEATH,) * 2}, A.GIVE_UP),
    ("survivors, waited for once", {"pause_begun": True},
     {"survivors": SURVIVORS, "attempts": (A.END_SURVIVORS,)}, A.KILL_SURVIVORS),
    ("survivors, waited for once, and a device resumed since", {"pause_begun": True},
     {"survivors": SURVIVORS, "attempts": (A.END_SURVIVORS, A.RESUME_DEVICES)}, A.KILL_SURVIVORS),
    ("survivors of an act since", {"pause_begun": True},
     {"survivors": SURVIVORS, "attempts": (A.END_SURVIVORS, A.UNPAUSE)}, A.END_SURVIVORS),
    ("survivors that were killed", {"pause_begun": True},
     {"survivors": SURVIVORS, "attempts": (A.END_SURVIVORS, A.KILL_SURVIVORS)}, A.GIVE_UP),
    ("rebuilt, and ended by itself since", {**RESTORED, "resuming": True},
     {"domain": REBUILT_ENDED}, A.HANDS_OFF),
    ("rebuilt, and ended by itself since, its monitor held", {**RESTORED, "resuming": True},
     {"domain": REBUILT_ENDED, **HELD}, A.WAKE_MONITORS),
    ("rebuilt, and suspended by somebody", {**RESTORED, "resuming": True},
     {"domain": b.make_domain(b.SUSPENDED, domid=b.REBUILT_DOMID)}, A.CONFIRM_RETURN),
    ("booted, and ended by itself since", BOOTED, {"domain": REBUILT_ENDED}, A.HANDS_OFF),
    ("booted, and ended by itself since, its monitor held", BOOTED,
     {"domain": REBUILT_ENDED, **HELD}, A.WAKE_MONITORS),
    ("a suspend request of somebody else, after the return", {**SAVED, "returned_domid": b.DOMID},
     {"suspend_requested": True}, A.NOTHING),
    ("a suspend request of somebody else, hands off", {**SAVED, "hands_off": "x"},
     {"suspend_requested": True}, A.NOTHING),
    ("a suspend request in a domain that we rebuilt", {**RESTORED, "resuming": True},
     {"domain": REBUILT, "suspend_requested": True}, A.CONFIRM_RETURN),
    ("destroy begun, ran on and ended by itself", {**SAVED, "destroy_begun": True},
     {"domain": ENDED, "connections": b.DISCONNECTED, "image": COMPLETE}, A.HANDS_OFF),
    ("destroy begun, ran on and ended, its monitor held", {**SAVED, "destroy_begun": True},
     {"domain": ENDED, "image": COMPLETE, **HELD}, A.WAKE_MONITORS),
    ("destroy begun, shut down for a reason that is not told", {**SAVED, "destroy_begun": True},
     {"domain": UNKNOWN_END, "image": COMPLETE}, A.DESTROY_SAVED),
    ("shut down for a reason that is not told", {"pause_begun": True},
     {"domain": UNKNOWN_END}, A.HANDS_OFF),
    ("restore begun, paused, and somebody else watches it", HALF_BUILT,
     {"domain": REBUILT_PAUSED, "image": COMPLETE, "others_monitor": True}, A.HANDS_OFF),
    ("restore begun, without disks, and somebody else watches it", HALF_BUILT,
     {"domain": REBUILT, "connections": (), "others_monitor": True}, A.HANDS_OFF),
    ("restore seen to end, somebody else watches it too", RESTORED,
     {"domain": REBUILT_PAUSED, "others_monitor": True}, A.UNPAUSE),
    ("boot begun, paused, and somebody else watches it", BOOTED,
     {"domain": REBUILT_PAUSED, "others_monitor": True}, A.HANDS_OFF),
    ("gone, and another was started on its disks", GONE,
     {"domain": None, "image": COMPLETE, "intruder": STRANGER}, A.HANDS_OFF),
    ("rebooted: another was started on its disks", SAVED,
     {**REBOOTED, "image": COMPLETE, "intruder": STRANGER}, A.HANDS_OFF),
    ("rebooted: an older save file changes nothing", SAVED,
     {**REBOOTED, "image": COMPLETE, "older_save_file": True}, A.RESTORE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "world", "action"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_row_of_the_rescue_table(
    record: dict[str, object], world: dict[str, object], action: RescueAction
) -> None:
    decision = decide_rescue(b.make_record("snapshot", **record), make_world(**world))
    assert action == decision.action, decision.reason


@pytest.mark.parametrize(
    ("connections", "words"),
    [(b.DISCONNECTED, "disk 51712 is not connected as it was"), (b.CONNECTED, "not found healthy")],
)
def test_guest_that_is_given_up_while_it_runs_is_told_with_what_it_lacks(
    connections: tuple[Any, ...], words: str
) -> None:
    world = make_world(connections=connections, attempts=(A.CONFIRM_RETURN,) * 2)
    assert words in decide_rescue(b.make_record("crash", pause_begun=True), world).reason


def test_guest_without_a_baseline_lacks_no_disk() -> None:
    record = replace(b.make_record("crash", pause_begun=True))
    record = replace(record, start=replace(record.start, baseline=None))
    world = make_world(connections=(), attempts=(A.CONFIRM_RETURN,) * 2)
    assert "not found healthy" in decide_rescue(record, world).reason


@pytest.mark.parametrize(
    ("record", "world", "stale"),
    [
        (SAVED, {"domain": ENDED}, True),
        (SAVED, {"domain": SUSPENDED}, False),
        (SAVED, {"domain": UNKNOWN_END}, False),
        (SAVED, {"domain": ENDED, "survivors": SURVIVORS}, False),
        (SAVED, {"domain": replace(SUSPENDED, name="web--migratedaway")}, True),
        (SAVED, {"domain": b.make_domain(b.PAUSED, domid=77)}, True),
        (GONE, {"domain": None, "namesake": STRANGER}, True),
        (GONE, {"domain": None, "intruder": STRANGER}, True),
        (GONE, {"domain": None}, False),
        (SAVED, {"domain": PAUSED, "namesake": STRANGER}, False),
        (SAVED, {"domain": PAUSED, "intruder": STRANGER}, True),
        (HALF_BUILT, {"domain": REBUILT}, True),
        (HALF_BUILT, {"domain": REBUILT, "connections": ()}, False),
        (HALF_BUILT, {"domain": REBUILT_PAUSED}, False),
        (HALF_BUILT, {"domain": REBUILT_PAUSED, "others_monitor": True}, True),
        (RESTORED, {"domain": REBUILT_PAUSED}, False),
        (RESTORED, {"domain": REBUILT_ENDED}, True),
        (RESTORED, {"domain": b.make_domain(b.PAUSED, domid=77)}, True),
        ({**HALF_BUILT, "rebuilding_boot_id": b.BOOT}, {**REBOOTED, "domain": PAUSED}, True),
        ({**HALF_BUILT, **REBUILDING}, {**REBOOTED, "domain": PAUSED}, False),
        ({**GONE, "returned_domid": 9}, {"domain": None, "intruder": STRANGER}, False),
        ({"pause_begun": True}, {"domain": None, "intruder": STRANGER}, False),
    ],
)
def test_image_is_stale_once_anybody_was_seen_to_use_its_disks(
    record: dict[str, object], world: dict[str, object], stale: bool
) -> None:
    found = runs_with_stale_image(b.make_record("snapshot", **record), make_world(**world))
    assert stale == found


@pytest.mark.parametrize(
    ("record", "world", "patience"),
    [
        ({"pause_begun": True}, {"domain": PAUSED}, False),
        ({"pause_begun": True}, {}, False),
        ({"pause_begun": True}, {"connections": ()}, True),
        ({"pause_begun": True}, {"domain": DYING}, True),
        ({"pause_begun": True}, {"survivors": SURVIVORS}, True),
        (GONE, {"domain": None, "image": COMPLETE}, False),
    ],
)
def test_guests_that_want_patience_are_those_whose_first_act_only_waits(
    record: dict[str, object], world: dict[str, object], patience: bool
) -> None:
    assert patience == wants_patience(b.make_record("snapshot", **record), make_world(**world))


@pytest.mark.parametrize(
    ("mine", "other", "writes"),
    [
        ({}, {}, True),
        ({"target": "/dev/vg/a"}, {}, False),
        ({"writable": False}, {}, False),
        ({}, {"writable": False}, False),
        ({"cdrom": True}, {}, False),
        ({"target": ""}, {"target": ""}, False),
    ],
)
def test_only_a_disk_that_both_can_write_makes_an_intruder(
    mine: dict[str, Any], other: dict[str, Any], writes: bool
) -> None:
    disk = Disk(vdev="xvda", target="/dev/xenvols/web_root")
    domain = replace(b.make_domain(), disks=(replace(disk, **mine),))
    assert writes == writes_disks_of(domain, replace(STRANGER, disks=(replace(disk, **other),)))
