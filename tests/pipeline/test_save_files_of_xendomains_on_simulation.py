"""A save file of the guest's name where xendomains looks: it counts if it is of this shutdown.

Row 37 of docs/reliability.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import WEB_UUID, build_house, find_wrongs, recover
from tests.pipeline.strikes import call, noting_syncs, run_killed_at, set_fault
from xenbackup.dom0.memory_image import MemoryImage, inspect_memory_image
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.xendomains import start_domains
from xenbackup.errors import SaveFailed
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import observing

SAVE_FILE = "/var/lib/xen/save/web"


def save_for_xendomains(host: SimulatedHost, *options: str) -> None:
    host.place(SAVE_FILE).parent.mkdir(parents=True, exist_ok=True)
    call(host, "xl", "save", *options, "web", SAVE_FILE)
    host.mark_synced(SAVE_FILE)


@pytest.mark.parametrize("moment", ["xl-destroy:end", "xl-unpause:begin"])
@pytest.mark.parametrize("service", ["disabled", "enabled"])
def test_row_37_save_file_of_another_day_keeps_nobody_down_and_is_told_of(
    host: SimulatedHost,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    moment: str,
) -> None:
    """Long ago the host went down, and the guest was started by hand since."""
    save_for_xendomains(host, "-c")
    host.sleep(3600.0)
    with noting_syncs(host, monkeypatch):
        host.mark_synced(SAVE_FILE)
        house = run_killed_at(house, "snapshot", moment)
    host.cut_power()
    assert host.place(SAVE_FILE).exists()
    (run,) = recover(house)
    assert run.healed, run.messages
    told = [message for message in run.messages if SAVE_FILE in message]
    assert [f"web is not restored from {SAVE_FILE}: that is older than this run."] == [
        message.removesuffix(" Remove the file.") for message in told
    ]
    if service == "enabled":
        store = Store(host.directory)
        start_domains(store, {})
        store.close()
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)


@pytest.mark.parametrize("kind", ["folder", "unreadable"])
def test_row_37_what_xendomains_could_not_restore_keeps_nobody_down(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place = host.place(SAVE_FILE)
    house = run_killed_at(house, "cold", "xl-destroy:end")
    if kind == "folder":
        (place / "kept").mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"Xen saved domain")

        def fail(path: Path) -> MemoryImage:
            if path == place:
                raise SaveFailed(f"Cannot read the memory image {path}: Input/output error.")
            return inspect_memory_image(path)

        monkeypatch.setattr(observing, "inspect_memory_image", fail)
    (run,) = recover(house)
    assert (True, ()) == (run.healed, run.messages)
    assert [] == find_wrongs(house)


def test_row_37_save_file_that_is_newer_than_our_image_is_left_to_xendomains(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our process died, the guest was let run by hand, and saved as the host went down: nothing
    in the journal tells that our image is stale, but the time of the file does.
    """
    with noting_syncs(host, monkeypatch):
        house = run_killed_at(house, "checkpoint", "lvcreate:end")
    call(host, "xl", "unpause", "web")
    host.sleep(30.0)
    save_for_xendomains(host)
    host.cut_power()
    (run,) = recover(house)
    assert run.healed, run.messages
    assert "newer than what this run has of the guest" in " ".join(run.messages)
    assert WEB_UUID not in {domain.uuid for domain in house.toolstack.list_domains()}
    store = Store(host.directory)
    assert () == start_domains(store, {})
    store.close()
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)


def test_older_save_file_is_told_of_once_however_often_the_guest_is_tried(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_for_xendomains(host, "-c")
    host.sleep(3600.0)
    with noting_syncs(host, monkeypatch):
        host.mark_synced(SAVE_FILE)
        house = run_killed_at(house, "snapshot", "xl-restore:begin")
    host.cut_power()
    set_fault(house, FaultKind.FAIL, "xl", "restore", stderr="libxl: error: no memory")
    (run,) = recover(house)
    assert not run.healed
    assert 1 == sum(SAVE_FILE in message for message in run.messages)
    host.clear_faults()
    (run,) = recover(build_house(host))
    assert run.healed, run.messages
    assert not any(SAVE_FILE in message for message in run.messages)
    assert [] == find_wrongs(house)
