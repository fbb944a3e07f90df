"""Single acts of a run at their edges, on the simulated dom0: what each refuses, and its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.house import WEB_UUID, find_wrongs
from tests.pipeline.acts import change_start, open_context, told
from tests.pipeline.strikes import call, set_fault
from xenbackup.dom0 import device_mapper, monitor
from xenbackup.dom0.memory_image import compose_memory_image, compose_xm_image
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.xl import Xl
from xenbackup.errors import (
    DomainChanged,
    DomainUnhealthy,
    RestoreFailed,
    SaveFailed,
    SnapshotFailed,
    TimeLimitPassed,
)
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain, DomainState, DomainStatus
from xenbackup.model.plan import VolumeKind
from xenbackup.model.rescue import Decision, RescueAction
from xenbackup.operations.house import House
from xenbackup.pipeline import booting, devices, guest, undo
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import clone, copy, snapshot
from xenbackup.pipeline.steps.watching import SnapshotWatch

OTHER_UUID = "11111111-bc1e-4273-8175-79ad2f3505e8"


@pytest.fixture
def context(house: House) -> RunContext:
    return open_context(house)


def find_web(context: RunContext) -> Domain | None:
    return context.toolstack.find_domain(WEB_UUID)


class Scripted(Xl):
    """xl, but for one domain whose status is what a test says."""

    def __init__(
        self, host: SimulatedHost, letters: str = "", saving: str = "", **state: Any
    ) -> None:
        super().__init__(host)
        self.saving = saving
        self.status = DomainStatus(
            name=saving or "web",
            domid=1,
            uuid=WEB_UUID,
            state=DomainState(letters=letters, **state),
        )

    def find_status(self, uuid: str) -> DomainStatus | None:
        return self.status

    def name_while_saving(self, name: str) -> str:
        return self.saving


# The run itself


def test_host_that_rebooted_under_the_run_is_told_as_that(
    context: RunContext, host: SimulatedHost
) -> None:
    host.cut_power()
    with pytest.raises(DomainChanged, match="The host rebooted while web was backed up"):
        context.find_own_status()


def test_run_without_time_left_stops_and_names_the_setting(context: RunContext) -> None:
    context.check_cancelled()
    context.overdue = lambda: "3 h have passed"
    with pytest.raises(TimeLimitPassed, match="3 h have passed") as caught:
        context.check_cancelled()
    assert "time_limit" in caught.value.hint


def test_absence_counts_from_its_first_beginning(context: RunContext) -> None:
    context.begin_absence()
    context.host.sleep(5.0)
    context.begin_absence()
    context.host.sleep(5.0)
    assert 10.0 == pytest.approx(context.end_absence(), abs=0.5)
    assert 10.0 == pytest.approx(context.end_absence(), abs=0.5), "and ends only once"


# Pausing and saving


def test_guest_without_a_monitor_has_none_to_hold(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "find_monitors", lambda host, name: ())
    guest.hold_monitors(context)
    guest.wake_monitors(context)
    assert () == context.record.monitors_frozen


def test_pause_that_did_nothing_is_not_believed(house: House, context: RunContext) -> None:
    set_fault(house, FaultKind.LIE_OK, "xl", "pause")
    with pytest.raises(DomainUnhealthy, match="web is not paused after `xl pause`"):
        guest.pause_guest(context)
    assert context.record.pause_begun, "the intent stands: recovery looks at the guest"


def test_paused_guest_is_not_saved(context: RunContext, host: SimulatedHost) -> None:
    call(host, "xl", "pause", "web")
    with pytest.raises(SaveFailed, match="web cannot be saved: its state is --p---") as caught:
        guest.save_memory(context, stays=True)
    assert "unpaused first" in caught.value.hint
    assert not context.record.save_begun


@pytest.mark.parametrize(("image", "patient"), [(False, True), (True, True), (True, False)])
def test_save_that_the_daemon_goes_on_with_is_waited_for_while_its_image_grows(
    context: RunContext, host: SimulatedHost, image: bool, patient: bool
) -> None:
    scripted = Scripted(host, saving="migrating-web")
    context.toolstack = scripted
    context.journal.write(e.Saving(path="x", stays=False))
    if image:
        context.memory_image.write_bytes(b"x" * 100)
    if not patient:
        scripted.status = replace(scripted.status, name="web")
    began = host.monotonic_seconds()
    guest.wait_for_daemon(context)
    waited = host.monotonic_seconds() - began
    assert patient == (waited > guest.DAEMON_PATIENCE_SECONDS)
    assert patient == any("does not grow" in text for text in told(context))


def place_image(context: RunContext, uuid: str = WEB_UUID, *, doubt: bool = False) -> None:
    if doubt:
        text = f"(domain (domid 3) (uuid {uuid}) (name web) (memory 96) (vcpus 1)"
        text += " (image (hvm (kernel /boot/x))) (state ---s--))"
        content = compose_xm_image(text, b"ram", fully_virtual=True)
    else:
        content = compose_memory_image(f'{{"c_info": {{"name": "web", "uuid": "{uuid}"}}}}', b"ram")
    context.memory_image.write_bytes(content)


def test_image_of_another_domain_is_never_ours(context: RunContext) -> None:
    place_image(context, OTHER_UUID)
    with pytest.raises(SaveFailed, match=f"is of domain {OTHER_UUID}, not of ours"):
        guest.verify_image(context)


def test_image_that_leaves_a_doubt_is_taken_with_a_warning(context: RunContext) -> None:
    place_image(context, doubt=True)
    assert guest.verify_image(context).complete
    assert ["device model" in text for text in told(context)] == [True]


# Destroying


def test_guest_is_not_destroyed_without_a_verified_image(context: RunContext) -> None:
    with pytest.raises(SaveFailed, match="its memory image is not verified"):
        guest.destroy_saved_guest(context)
    assert find_web(context) is not None


def test_guest_that_runs_again_is_not_destroyed_for_its_image(context: RunContext) -> None:
    context.journal.write(e.ImageVerified(path="x", size_bytes=1))
    with pytest.raises(SaveFailed, match="somebody let it run since it was saved"):
        guest.destroy_saved_guest(context)
    assert not context.record.destroy_begun
    assert find_web(context) is not None


def test_domain_that_never_dies_is_told_with_what_may_hold_it(
    context: RunContext, host: SimulatedHost
) -> None:
    context.toolstack = Scripted(host, "-----d", dying=True)
    with pytest.raises(DomainUnhealthy, match=r"domain 1, -----d\) does not vanish") as caught:
        guest.wait_until_gone(context)
    assert "lsof" in caught.value.hint


def test_domain_that_somebody_let_run_is_not_destroyed_again(
    context: RunContext, host: SimulatedHost
) -> None:
    context.journal.write(e.Destroying())
    context.toolstack = Scripted(host, "-b----", blocked=True)
    with pytest.raises(DomainUnhealthy, match="somebody let it run"):
        guest.wait_until_gone(context)
    assert find_web(context) is not None


# Bringing back


def test_image_of_before_the_guest_ran_is_not_restored(context: RunContext) -> None:
    place_image(context)
    context.journal.write(e.Resuming())
    with pytest.raises(RestoreFailed, match="its disks have moved on"):
        guest.restore_guest(context)


def test_image_that_is_not_whole_is_not_restored(context: RunContext) -> None:
    context.memory_image.write_bytes(b"Xen")
    with pytest.raises(RestoreFailed, match="cannot be restored"):
        guest.restore_guest(context)


def test_guest_that_somebody_started_meanwhile_is_not_cleared_away_for_a_failed_restore(
    context: RunContext, house: House
) -> None:
    place_image(context)
    set_fault(house, FaultKind.FAIL, "xl", "restore", stderr="no memory")
    with pytest.raises(RestoreFailed, match="was started by somebody else"):
        guest.restore_guest(context)
    found = find_web(context)
    assert found is not None and found.state.alive


def test_guest_that_was_shut_off_before_has_no_health_to_lose(house: House) -> None:
    context = open_context(house, with_baseline=False)
    assert () == guest.wait_for_health(context, 99)


def test_fresh_boot_that_the_toolstack_refuses_is_a_failure(
    context: RunContext, host: SimulatedHost, house: House
) -> None:
    call(host, "xl", "destroy", "web")
    set_fault(house, FaultKind.FAIL, "xl", "create", stderr="no memory")
    with pytest.raises(RestoreFailed, match="could not be booted afresh: exit 1, no memory"):
        booting.boot_guest(context)
    assert context.record.boot_begun


def test_fresh_boot_says_what_its_configuration_could_not_express(
    context: RunContext, host: SimulatedHost
) -> None:
    domain = context.plan.domain
    odd = domain.configuration_json.replace('"b_info": {', '"b_info": {"a_new_field": 7,', 1)
    assert odd != domain.configuration_json
    change_start(
        context, plan=replace(context.plan, domain=replace(domain, configuration_json=odd))
    )
    call(host, "xl", "destroy", "web")
    booting.boot_guest(context)
    found = find_web(context)
    assert found is not None and found.state.alive
    assert any("boots without b_info.a_new_field" in text for text in told(context))


@pytest.mark.parametrize(
    ("act", "raises"), [(RescueAction.UNPAUSE, True), (RescueAction.CONFIRM_RETURN, True)]
)
def test_rescue_touches_no_domain_that_another_put_in_its_place(
    context: RunContext, host: SimulatedHost, act: RescueAction, raises: bool
) -> None:
    call(host, "xl", "destroy", "web")
    call(host, "xl", "create", "/etc/xen/web.cfg")
    with pytest.raises(RestoreFailed, match="web changed while it was being rescued"):
        undo.perform(context, Decision(action=act, reason=""))
    assert not context.record.resuming


def test_domain_of_the_start_is_never_destroyed_as_half_built(
    context: RunContext, host: SimulatedHost, house: House
) -> None:
    act = Decision(action=RescueAction.DESTROY_HALF_BUILT, reason="")
    undo.perform(context, act)
    assert [] == find_wrongs(house)
    call(host, "xl", "destroy", "web")
    undo.perform(context, act)
    assert find_web(context) is None


def test_rescue_that_never_comes_to_an_end_is_left_for_later(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo, "DECISIONS_LIMIT", 3)
    endless = Decision(action=RescueAction.WAKE_MONITORS, reason="again")
    monkeypatch.setattr(undo, "decide_rescue", lambda record, world: endless)
    assert not undo.settle_guest(context)


# Devices, volumes, clones


def test_device_that_stays_suspended_is_resumed_by_its_name(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second) = context.plan.disks
    disks = (replace(first, lv_uuid=""), replace(second, lv_uuid="gone"))
    change_start(context, plan=replace(context.plan, disks=disks))
    resumed: list[str] = []
    monkeypatch.setattr(devices, "find_suspended", lambda context: ("xenvols-web_root",))
    monkeypatch.setattr(
        device_mapper, "resume_device", lambda host, name, run_id: resumed.append(name)
    )
    devices.resume_devices(context)
    assert ["xenvols-web_root"] == resumed


def change_volume(context: RunContext, **changes: object) -> Callable[[], object]:
    disk = context.plan.disks[0]
    volumes = tuple(
        replace(volume, **changes) if volume.uuid == disk.lv_uuid else volume  # type: ignore[arg-type]
        for volume in context.lvm.list_volumes()
    )
    return lambda: snapshot.find_planned_volume(volumes, disk)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uuid": "another"}, "was replaced during the run"),
        ({"size_bytes": 5}, "was resized during the run"),
        ({"path": "/dev/x", "dm_path": "/dev/y"}, "is gone"),
    ],
)
def test_volume_that_is_not_the_planned_one_is_refused(
    context: RunContext, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SnapshotFailed, match=words):
        change_volume(context, **changes)()


def test_volume_that_a_snapshot_is_being_merged_into_is_refused(context: RunContext) -> None:
    with pytest.raises(SnapshotFailed, match="being merged into it"):
        change_volume(context, attributes="Owi-a-s---")()


def test_clone_that_cannot_be_looked_at_is_told_with_the_reason(context: RunContext) -> None:
    context.host.place("/srv/plain").write_bytes(b"")
    disk = replace(context.plan.disks[0], path="/srv/plain/disk.img")
    context.journal.write(
        e.Snapshotting(vdev=disk.vdev, group="", name="/srv/plain/x", origin_uuid="")
    )
    (made,) = context.record.snapshots
    with pytest.raises(SnapshotFailed, match="/srv/plain/x cannot be looked at: Not a directory"):
        clone.check_clone(context, disk, made)


def test_of_a_volume_below_drbd_only_what_the_guest_sees_is_read(context: RunContext) -> None:
    disk = replace(context.plan.disks[0], kind=VolumeKind.BLOCK_DEVICE, size_bytes=4096)
    assert disk.lv_uuid
    device = copy._open_source(context, disk, context.plan.disks[0].path, SnapshotWatch(context))
    try:
        assert 4096 == device.size_bytes
    finally:
        device.close()
