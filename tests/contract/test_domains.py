"""What the toolstack shows of domains, and how they are paused, tuned and refused."""

from __future__ import annotations

from tests.contract.conftest import Contract
from xenbackup.dom0.monitor import find_monitors, freeze_monitors, wake_monitors
from xenbackup.dom0.xenstore import offers_no_suspend, read_connections, read_shutdown_request
from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning


def test_facts_of_the_machine_are_read(contract: Contract) -> None:
    facts = contract.toolstack.read_facts()
    assert facts.version_tuple[0] == 4
    assert 0 < facts.free_memory_mib < facts.total_memory_mib
    assert "credit2" == facts.scheduler
    assert 1 <= facts.cpus
    assert "dom0_mem" in facts.xen_command_line


def test_guests_are_listed_with_their_disks(contract: Contract) -> None:
    web, thinny = contract.domain("web"), contract.domain("thinny")
    assert GuestKind.PV == web.kind
    assert 96 == web.memory_mib
    assert 1 == web.vcpus
    assert "5e1f0b7a-2c3d-4e5f-8a9b-0c1d2e3f4a5b" == web.uuid
    assert [("xvda", "/dev/xenvols/web_root"), ("xvdb", "/dev/xenvols/web_data")] == [
        (disk.vdev, disk.target) for disk in web.disks
    ]
    assert all(disk.writable and disk.served_by_dom0 and not disk.cdrom for disk in web.disks)
    assert ["/dev/xenvols/thinny_root", "/dev/xenvols/thinny_data"] == [
        disk.target for disk in thinny.disks
    ]
    assert web.state.alive
    assert () == web.pci_devices == contract.toolstack.list_pci(web.domid)


def test_domain_zero_is_no_guest(contract: Contract) -> None:
    assert {"web", "thinny"} == {domain.name for domain in contract.toolstack.list_domains()}


def test_every_disk_of_a_running_guest_is_connected_at_both_ends(contract: Contract) -> None:
    for name in ("web", "thinny"):
        ends = read_connections(contract.host, contract.domain(name).domid)
        assert [(51712, 4, 4), (51728, 4, 4)] == [
            (end.vdev_number, end.frontend_state, end.backend_state) for end in ends
        ]


def test_guest_offers_to_be_suspended(contract: Contract) -> None:
    """Both can be, so neither says that it cannot: of them as they boot, and as they come back."""
    for name in ("web", "thinny"):
        assert not offers_no_suspend(contract.host, contract.domain(name).domid)


def test_unknown_domain_is_refused_by_name(contract: Contract) -> None:
    result = contract.call("xl", "list", "nosuch")
    assert 1 == result.exit_code
    assert "nosuch is an invalid domain identifier (rc=-6)" in result.stderr


def test_unknown_verb_is_refused(contract: Contract) -> None:
    result = contract.call("xl", "frobnicate")
    assert 0 != result.exit_code
    assert "command not implemented" in result.stderr


def test_domain_number_that_nobody_has_cannot_be_saved_or_destroyed(contract: Contract) -> None:
    path = contract.folder / "nobody.save"
    assert 0 != contract.toolstack.destroy(9999).exit_code
    assert 0 != contract.toolstack.save(9999, path, run_id=contract.run_id).exit_code
    assert contract.domain("web").state.alive


def test_paused_guest_writes_nothing_and_goes_on_when_unpaused(contract: Contract) -> None:
    baseline = contract.baseline("web")
    domid = baseline.identity.domid
    assert contract.toolstack.pause(domid).succeeded
    assert {"paused"} == contract.findings(baseline)
    assert "--p---" == contract.domain("web").state.letters
    contract.host.sleep(1.0)
    mark = contract.host.read_write_mark("/dev/xenvols/web_root")
    assert contract.is_still("/dev/xenvols/web_root")
    assert mark == contract.host.read_write_mark("/dev/xenvols/web_root")
    assert contract.toolstack.unpause(domid).succeeded
    assert set() == contract.findings(baseline)
    contract.wait_for_writes("/dev/xenvols/web_root")
    assert mark != contract.host.read_write_mark("/dev/xenvols/web_root")


def test_two_pauses_need_two_unpauses(contract: Contract) -> None:
    domid = contract.domain("web").domid
    contract.toolstack.pause(domid)
    contract.toolstack.pause(domid)
    contract.toolstack.unpause(domid)
    assert contract.domain("web").state.paused
    contract.toolstack.unpause(domid)
    assert contract.domain("web").state.alive


def test_unpausing_a_running_guest_does_it_no_harm(contract: Contract) -> None:
    baseline = contract.baseline("web")
    result = contract.toolstack.unpause(baseline.identity.domid)
    assert "Unpausing domain: Invalid argument" in result.stderr
    assert set() == contract.findings(baseline)


def test_sync_request_is_taken_in_silence(contract: Contract) -> None:
    result = contract.toolstack.request_sync(contract.domain("web").domid)
    assert (0, "", "") == (result.exit_code, result.stdout, result.stderr)


def test_running_guest_is_asked_for_nothing(contract: Contract) -> None:
    assert "" == read_shutdown_request(contract.host, contract.domain("web").domid)


def test_tuning_is_applied_and_read_back(contract: Contract) -> None:
    web = contract.domain("web")
    before = contract.toolstack.read_tuning(web)
    pinned = Tuning(
        pinning=(VcpuPinning(vcpu=0, hard="1", soft="all"),),
        scheduler=before.scheduler,
        weight=128,
        cap=before.cap,
        vcpus=before.vcpus,
        pool=before.pool,
    )
    assert "Pool-0" == before.pool
    assert () == contract.toolstack.apply_tuning(web.domid, pinned)
    assert pinned == contract.toolstack.read_tuning(web)
    assert () == contract.toolstack.apply_tuning(web.domid, before)
    assert before == contract.toolstack.read_tuning(web)


def test_configuration_is_checked_without_creating_anything(contract: Contract) -> None:
    good, bad = contract.folder / "good.cfg", contract.folder / "bad.cfg"
    good.write_text('name = "fresh"\nmemory = 32\nkernel = "/nonexistent"\n')
    bad.write_text('name = "fresh\nmemory = = 32\n')
    assert contract.toolstack.check_configuration(good).succeeded
    assert not contract.toolstack.check_configuration(bad).succeeded
    assert contract.find("fresh") is None


def test_monitor_is_found_frozen_and_woken(contract: Contract) -> None:
    baseline = contract.baseline("web")
    (monitor,) = find_monitors(contract.host, "web")
    assert not monitor.stopped
    assert (monitor,) == freeze_monitors(contract.host, (monitor,))
    contract.wait_until(
        lambda: find_monitors(contract.host, "web")[0].stopped, "the monitor is stopped"
    )
    assert {"monitor-stopped"} == contract.findings(baseline)
    assert (monitor,) == wake_monitors(contract.host, (monitor,))
    contract.wait_until(
        lambda: not find_monitors(contract.host, "web")[0].stopped, "the monitor is awake"
    )
    assert set() == contract.findings(baseline)
