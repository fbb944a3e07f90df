"""Power cut, or our process killed, in the middle of a run on real Xen; then recovery."""

from __future__ import annotations

from enum import Enum

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine

LONG = pytest.mark.lab_long


class Ending(Enum):
    """What recovery makes of the guest, which a power cut of the host ends in any case."""

    OWNERS = "its owner's to start"
    """it was not in our hands: untouched yet, or returned"""
    AFRESH = "booted afresh"
    """it was in our hands, and there is no image that fits its disks"""
    RESTORED = "restored"
    """its image is whole, and its disks stand where they stood"""


OWNERS, AFRESH, RESTORED = Ending

# What is written in the journal when the power goes, with nothing after it begun. Where one step
# ends and the next begins nothing else lies between: one of the two stands for both.
MOMENTS = {
    "snapshot": {
        OWNERS: "before-save before-copy disk-copied published removing-snapshot snapshot-removed"
        " after-remove-snapshot",
        AFRESH: "saved resuming",
        RESTORED: "image-verified destroyed snapshotted before-restore restored",
    },
    "checkpoint": {
        OWNERS: "before-save-paused before-copy staging published snapshot-removed"
        " after-remove-snapshot",
        AFRESH: "saved resuming",
        RESTORED: "image-verified snapshotted before-unpause",
    },
    "cold": {
        OWNERS: "before-save after-restore",
        AFRESH: "saved resuming",
        RESTORED: "image-verified before-copy disk-copied published restored",
    },
}
SHORT = {("checkpoint", "staging")}
# At `destroyed` of `snapshot` the daemon is struck in test_service_boot.py, which is short too.

# A command, or a copy, that is at work when the power goes: the event before it, how it is seen.
SAVE = f"grep -qs Frames: {product.SPOOL}/*.stderr"
DESTROY = "pgrep -f '^[^ ]*/xl destroy'"
RESTORE = "pgrep -f '^[^ ]*/xl restore'"
COPY = "[ $(du -sm /srv/backup | cut -f 1) -gt 4 ]"
ACTS = {
    "snapshot": (
        ("saving", SAVE, AFRESH),
        ("destroying", DESTROY, RESTORED),
        ("snapshotting", "pgrep -x lvcreate", RESTORED),
        ("restoring", RESTORE, RESTORED),
        ("staging", COPY, OWNERS),
        ("removing-snapshot", "pgrep -x lvremove", OWNERS),
    ),
    "checkpoint": (
        ("saving", SAVE, AFRESH),
        ("snapshotting", "pgrep -x lvcreate", RESTORED),
        ("staging", COPY, OWNERS),
        ("removing-snapshot", "pgrep -x lvremove", OWNERS),
    ),
    "cold": (
        ("saving", SAVE, AFRESH),
        ("staging", COPY, RESTORED),
        ("restoring", RESTORE, RESTORED),
    ),
}


def list_moments() -> list[object]:
    return [
        pytest.param(
            *(preset, moment, ending),
            marks=() if (preset, moment) in SHORT else LONG,
            id=f"{preset}-{moment}",
        )
        for preset, endings in MOMENTS.items()
        for ending, moments in endings.items()
        for moment in moments.split()
    ]


def list_acts() -> list[object]:
    return [
        pytest.param(*(preset, event, at_work, ending), id=f"{preset}-{event}")
        for preset, acts in ACTS.items()
        for event, at_work, ending in acts
    ]


def spell_entry(moment: str) -> str:
    """As stop_at.py wants it: `before-copy` is the entry that the step `copy` began."""
    word, _, step = moment.partition("-")
    return {"before": f"step-began:{step}", "after": f"step-done:{step}"}.get(word, moment)


def prepare(machine: Machine) -> guests.GuestReport:
    """The product, and its recovery at boot, on disks that outlast the power."""
    product.prepare(machine)
    machine.run("systemctl", "enable", "--quiet", service.RECOVER).check()
    machine.run("sync").check()
    return guests.read_report(machine, "web")


def cut_and_judge(machine: Machine, before: guests.GuestReport, ending: Ending) -> None:
    """Cut the power; the boot after it must bring back what is ours, and nothing else."""
    machine.power_cut()
    found = service.show(machine, service.RECOVER, "Result", "ConditionResult")
    story = product.tell_story(machine)
    assert ("success", "yes") == (found["Result"], found["ConditionResult"]), story
    report = guests.read_report(machine, "web")
    assert (ending is OWNERS) == (report.domid is None), story
    if ending is OWNERS:
        guests.create(machine, "web")
    report = product.assert_well_for_good(machine, "web")
    assert before.boots + (0 if ending is RESTORED else 1) == report.boots, story
    assert report.last_tick >= before.last_tick


@pytest.mark.parametrize(("preset", "moment", "ending"), list_moments())
def test_power_cut_in_a_run(host: Machine, preset: str, moment: str, ending: Ending) -> None:
    """At an entry of the journal, before what follows it: before, in and after each step."""
    before = prepare(host)
    product.begin_run(host, preset, "web", stop_at=spell_entry(moment))
    cut_and_judge(host, before, ending)


@LONG
@pytest.mark.parametrize(
    ("preset", "moment", "act"),
    [
        ("cold", "destroyed", "create /etc/xen/web.cfg"),
        ("checkpoint", "snapshotted", "unpause web"),
    ],
)
def test_guest_that_a_person_let_run_after_a_kill_is_not_restored_after_a_power_cut(
    host: Machine, preset: str, moment: str, act: str
) -> None:
    """Nothing of the boot before tells it any more but the log of xl, and the snapshot."""
    prepare(host)
    product.begin_run(host, preset, "web", stop_at=moment)
    product.kill_run(host)
    host.run("xl", *act.split()).check()
    before = guests.wait_for_ticks(host, "web", more=5)
    host.run("sync").check()
    cut_and_judge(host, before, AFRESH)


@LONG
@pytest.mark.parametrize(("preset", "event", "at_work", "ending"), list_acts())
def test_power_cut_in_an_act(
    host: Machine, preset: str, event: str, at_work: str, ending: Ending
) -> None:
    """With xl, LVM or the copy at work."""
    before = prepare(host)
    product.begin_run(host, preset, "web")
    product.stop_run(host, event, at_work)
    cut_and_judge(host, before, ending)


@pytest.mark.parametrize(
    ("preset", "event"),
    [
        pytest.param("snapshot", "saving"),
        pytest.param("snapshot", "restoring"),
        pytest.param("checkpoint", "snapshotting"),
        pytest.param("checkpoint", "staging", marks=LONG),
        pytest.param("cold", "staging", marks=LONG),
        pytest.param("crash", "pausing", marks=LONG),
    ],
)
def test_our_process_killed_in_a_run(host: Machine, preset: str, event: str) -> None:
    """Its command may live on: recovery finds it first, and judges the guest after."""
    product.prepare(host)
    product.slow_down(host)
    product.begin_run(host, preset, "web")
    product.wait_for_entry(host, event)
    product.kill_run(host)
    product.recover(host)
    assert guests.read_report(host, "web").domid is not None
    product.assert_well_for_good(host, "web")
