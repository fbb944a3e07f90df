"""Acts of the undo by themselves, on a host that has changed since the table decided on them."""

from __future__ import annotations

import signal

import pytest

from tests.house import find_wrongs
from tests.pipeline.acts import change_start, open_context
from tests.pipeline.strikes import call
from xenbackup.dom0.memory_image import MemoryImage
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import RestoreFailed, SaveFailed
from xenbackup.model import entries as e
from xenbackup.model.rescue import Decision, RescueAction
from xenbackup.operations.house import House
from xenbackup.pipeline import guest, undo
from xenbackup.pipeline.context import RunContext

CLEAR_AWAY = Decision(action=RescueAction.DESTROY_HALF_BUILT, reason="its restore never finished")


def list_names(house: House) -> set[str]:
    return {domain.name for domain in house.toolstack.list_domains()}


def end_monitor(host: SimulatedHost) -> None:
    """What is half-built has nobody yet who watches it."""
    for process in find_monitors(host, "web"):
        host.signal_process(process, signal.SIGKILL)


def test_guest_of_the_runs_start_is_never_cleared_away_as_half_built(house: House) -> None:
    undo.perform(open_context(house), CLEAR_AWAY)
    assert [] == find_wrongs(house)


def test_half_built_guest_that_is_gone_already_needs_nothing(
    host: SimulatedHost, house: House
) -> None:
    context = open_context(house)
    call(host, "xl", "destroy", "web")
    undo.perform(context, CLEAR_AWAY)
    assert {"thinny"} == list_names(house)


@pytest.mark.parametrize("change", ["boot", "domid"])
def test_half_built_guest_of_another_boot_or_domid_is_cleared_away(
    host: SimulatedHost, house: House, change: str
) -> None:
    """After a reboot of the host it may bear the very number that the guest had at the start."""
    context = open_context(house)
    if change == "boot":
        call(host, "xl", "pause", "web")
        change_start(context, boot_id="of-another-boot")
    else:
        call(host, "xl", "destroy", "web")
        call(host, "xl", "create", "-p", "/etc/xen/web.cfg")
        end_monitor(host)
    undo.perform(context, CLEAR_AWAY)
    assert {"thinny"} == list_names(house)


def test_guest_that_a_rescues_own_save_destroyed_is_booted_where_its_image_is_not_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(house)

    def find_cut_off(context: RunContext) -> MemoryImage:
        raise SaveFailed("The memory image is not whole.")

    with monkeypatch.context() as patch, pytest.raises(SaveFailed):
        patch.setattr(guest, "verify_image", find_cut_off)
        undo.perform(context, Decision(action=RescueAction.SAVE_AND_RESTORE, reason="suspended"))
    assert {"thinny"} == list_names(house)
    image = context.memory_image
    image.write_bytes(image.read_bytes()[:4096])
    assert undo.settle_guest(context)
    assert context.record.boot_begun
    assert {"web", "thinny"} == list_names(house)


def test_guest_that_was_booted_is_not_cleared_away_as_half_built(
    host: SimulatedHost, house: House
) -> None:
    """Whoever paused it since the table looked at it: it has run, and is its owner's."""
    context = open_context(house)
    call(host, "xl", "destroy", "web")
    call(host, "xl", "create", "-p", "/etc/xen/web.cfg")
    end_monitor(host)
    context.journal.write(e.Booting())
    context.journal.write(e.Booted(domid=9))
    with pytest.raises(RestoreFailed, match="was booted, and is not half-built"):
        undo.perform(context, CLEAR_AWAY)
    assert {"web", "thinny"} == list_names(house)


def test_half_built_guest_that_somebody_has_let_run_is_not_cleared_away(
    host: SimulatedHost, house: House
) -> None:
    """Its disks have moved on: the image that it was built of would never meet them again."""
    context = open_context(house)
    call(host, "xl", "destroy", "web")
    call(host, "xl", "create", "/etc/xen/web.cfg")
    with pytest.raises(RestoreFailed, match="let run by somebody else"):
        undo.perform(context, CLEAR_AWAY)
    assert {"thinny", "web"} == list_names(house)


def test_guest_without_disks_is_cleared_away_as_half_built_though_it_runs(
    host: SimulatedHost, house: House
) -> None:
    context = open_context(house)
    call(host, "xl", "destroy", "web")
    call(host, "xl", "create", "/etc/xen/web.cfg")
    end_monitor(host)
    domid = call(host, "xl", "domid", "web").strip()
    call(host, "xenstore-rm", f"/local/domain/{domid}/device/vbd")
    undo.perform(context, CLEAR_AWAY)
    assert {"thinny"} == list_names(house)


def test_half_built_guest_that_somebody_sends_away_is_not_cleared_away(
    host: SimulatedHost, house: House
) -> None:
    context = open_context(house)
    call(host, "xl", "destroy", "web")
    call(host, "xl", "create", "-p", "/etc/xen/web.cfg")
    call(host, "xl", "rename", "web", "web--migratedaway")
    with pytest.raises(RestoreFailed, match="migrated away"):
        undo.perform(context, CLEAR_AWAY)
    assert {"thinny", "web--migratedaway"} == list_names(house)
