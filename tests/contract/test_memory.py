"""Saving and restoring a guest's memory: what the files hold, and what becomes of the guest."""

from __future__ import annotations

import stat

from tests.contract.conftest import Contract
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.monitor import find_monitors, freeze_monitors, wake_monitors
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.dom0.xenstore import read_connections
from xenbackup.model.domain import Tuning, VcpuPinning


def test_paused_save_keeps_guest_disks_and_frozen_monitor(contract: Contract) -> None:
    baseline = contract.baseline("web")
    domid = baseline.identity.domid
    path = contract.folder / "web.save"
    monitors = find_monitors(contract.host, "web")
    freeze_monitors(contract.host, monitors)
    progress: list[tuple[int, int]] = []
    result = contract.toolstack.save_paused(
        domid,
        path,
        run_id=contract.run_id,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert result.succeeded, result.stderr
    assert {"paused", "monitor-stopped"} == contract.findings(baseline)
    assert [(4, 4), (4, 4)] == [
        (end.frontend_state, end.backend_state) for end in read_connections(contract.host, domid)
    ]
    assert contract.is_still("/dev/xenvols/web_data")
    contract.toolstack.unpause(domid)
    assert monitors == wake_monitors(contract.host, monitors)
    contract.host.sleep(2.0)
    assert set() == contract.findings(baseline)
    contract.wait_for_writes("/dev/xenvols/web_data")
    assert progress == sorted(progress)
    assert progress[-1][0] == progress[-1][1] == 96 * 256


def test_saved_image_is_complete_and_names_its_guest(contract: Contract) -> None:
    web = contract.domain("web")
    path = contract.folder / "web.save"
    freeze_monitors(contract.host, find_monitors(contract.host, "web"))
    contract.toolstack.save_paused(web.domid, path, run_id=contract.run_id)
    contract.toolstack.unpause(web.domid)
    image = inspect_memory_image(path)
    assert (True, "") == (image.complete, image.reason)
    assert ("web", web.uuid) == (image.domain_name, image.uuid)
    assert path.stat().st_size == image.size_bytes
    assert "/dev/xenvols/web_root" in image.configuration_json
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_monitor_that_is_not_frozen_dies_of_a_suspend_before_xen_4_20(contract: Contract) -> None:
    baseline = contract.baseline("web")
    domid = baseline.identity.domid
    contract.toolstack.save_paused(domid, contract.folder / "web.save", run_id=contract.run_id)
    contract.toolstack.unpause(domid)
    contract.host.sleep(2.0)
    expected = {"monitor-gone"} if contract.toolstack.monitors_die_on_suspend() else set()
    assert expected == contract.findings(baseline)
    contract.wait_for_writes("/dev/xenvols/web_root")


def test_truncated_image_is_seen_and_cannot_be_restored(contract: Contract) -> None:
    web = contract.domain("web")
    path = contract.folder / "web.save"
    assert contract.toolstack.save(web.domid, path, run_id=contract.run_id).succeeded
    contract.wait_until(lambda: contract.find("web") is None, "web is gone")
    whole = path.stat().st_size
    cut = contract.folder / "cut.save"
    with path.open("rb") as source, cut.open("wb") as target:
        target.write(source.read(whole - 4096))
    image = inspect_memory_image(cut)
    assert not image.complete
    assert image.reason
    refused = contract.toolstack.restore_paused(cut, run_id=contract.run_id, own_unit="xb-cut")
    assert not refused.succeeded
    contract.wait_until(lambda: contract.find("web") is None, "nothing is left of the attempt")
    restored = contract.toolstack.restore_paused(path, run_id=contract.run_id, own_unit="xb-whole")
    assert restored.succeeded, restored.stderr


def test_restored_guest_is_paused_with_disks_half_connected_until_it_runs(
    contract: Contract,
) -> None:
    baseline = contract.baseline("web")
    old = baseline.identity.domid
    path = contract.folder / "web.save"
    assert contract.toolstack.save(old, path, run_id=contract.run_id).succeeded
    contract.wait_until(lambda: contract.find("web") is None, "web is gone")
    assert {"gone"} == contract.findings(baseline)
    assert contract.is_still("/dev/xenvols/web_root")
    result = contract.toolstack.restore_paused(path, run_id=contract.run_id, own_unit="xb-contract")
    assert result.succeeded, result.stderr
    web = contract.domain("web")
    assert old != web.domid
    assert baseline.identity.uuid == web.uuid
    assert "--p---" == web.state.letters
    assert [(1, 2), (1, 2)] == [
        (end.frontend_state, end.backend_state)
        for end in read_connections(contract.host, web.domid)
    ]
    assert contract.is_still("/dev/xenvols/web_root")
    contract.toolstack.unpause(web.domid)
    contract.wait_until(
        lambda: set() == contract.findings(baseline, web.domid), "web is healthy again"
    )
    assert 1 == len(find_monitors(contract.host, "web"))
    for disk in web.disks:
        contract.wait_for_writes(disk.target)


def test_restore_loses_pinning_and_keeps_the_weight(contract: Contract) -> None:
    web = contract.domain("web")
    contract.toolstack.apply_tuning(
        web.domid,
        Tuning(
            pinning=(VcpuPinning(vcpu=0, hard="1", soft="all"),),
            scheduler="credit2",
            weight=128,
            cap=0,
            vcpus=1,
        ),
    )
    before = contract.toolstack.read_tuning(web)
    path = contract.folder / "web.save"
    assert contract.toolstack.save(web.domid, path, run_id=contract.run_id).succeeded
    contract.wait_until(lambda: contract.find("web") is None, "web is gone")
    contract.toolstack.restore_paused(path, run_id=contract.run_id, own_unit="xb-tuned")
    again = contract.domain("web")
    after = contract.toolstack.read_tuning(again)
    assert ("all", 128) == (after.pinning[0].hard, after.weight)
    assert 1 == len(compare_tuning(before, after))
    assert () == contract.toolstack.apply_tuning(again.domid, before)
    contract.toolstack.unpause(again.domid)


def test_restore_is_refused_while_the_name_is_taken(contract: Contract) -> None:
    baseline = contract.baseline("web")
    domid = baseline.identity.domid
    path = contract.folder / "web.save"
    freeze_monitors(contract.host, find_monitors(contract.host, "web"))
    contract.toolstack.save_paused(domid, path, run_id=contract.run_id)
    contract.toolstack.unpause(domid)
    wake_monitors(contract.host, find_monitors(contract.host, "web"))
    result = contract.toolstack.restore_paused(path, run_id=contract.run_id, own_unit="xb-taken")
    assert 1 == result.exit_code
    assert 'Domain with name "web" already exists.' in result.stderr
    assert set() == contract.findings(baseline)


def test_garbage_is_refused_as_an_image(contract: Contract) -> None:
    path = contract.folder / "garbage.save"
    path.write_bytes(bytes(range(256)) * 16)
    result = contract.toolstack.restore_paused(path, run_id=contract.run_id, own_unit="xb-garbage")
    assert 1 == result.exit_code
    assert "File has wrong magic number" in result.stderr


def test_save_that_cannot_open_its_file_leaves_the_guest_alone(contract: Contract) -> None:
    baseline = contract.baseline("web")
    path = contract.folder / "missing" / "web.save"
    result = contract.toolstack.save(baseline.identity.domid, path, run_id=contract.run_id)
    assert 1 == result.exit_code
    assert "Failed to open temp file" in result.stderr
    assert set() == contract.findings(baseline)


def test_continued_save_leaves_the_guest_running_and_the_image_whole(contract: Contract) -> None:
    baseline = contract.baseline("web")
    path = contract.folder / "web.save"
    monitors = find_monitors(contract.host, "web")
    freeze_monitors(contract.host, monitors)
    result = contract.toolstack.save_continue(baseline.identity.domid, path, run_id=contract.run_id)
    wake_monitors(contract.host, monitors)
    assert result.succeeded, result.stderr
    assert inspect_memory_image(path).complete
    contract.host.sleep(2.0)
    assert set() == contract.findings(baseline)
    contract.wait_for_writes("/dev/xenvols/web_root")
