"""What an inventory asks of a host beyond its domains: PCI devices, memory, processors."""

from __future__ import annotations

from tests.contract.conftest import Contract
from xenbackup.dom0.guest_configuration import find_configurations
from xenbackup.inventory.pci import read_pci
from xenbackup.inventory.resources import read_resources
from xenbackup.model.devices import PciInventory
from xenbackup.model.domain import VcpuPinning
from xenbackup.model.resources import Resources
from xenbackup.planning.memory import find_dom0_memory_faults, predict_restore_memory
from xenbackup.planning.pci_conflicts import find_pci_conflicts


def read_resources_of(contract: Contract) -> Resources:
    toolstack = contract.toolstack
    return read_resources(
        contract.host,
        toolstack,
        toolstack.read_facts(),
        toolstack.list_domains(),
        find_configurations(contract.host),
    )


def read_pci_of(contract: Contract) -> PciInventory:
    domains = contract.toolstack.list_domains()
    return read_pci(contract.host, contract.toolstack, domains, find_configurations(contract.host))


def test_pci_devices_are_read_or_their_lack_is_explained(contract: Contract) -> None:
    pci = read_pci_of(contract)
    if pci.problem:
        # pciutils is no part of a dom0: the devices then come from sysfs, by their numbers.
        assert "lspci" in pci.problem
    assert pci.devices
    assert len(pci.devices) == len({device.slot for device in pci.devices})
    assert all(device.class_name for device in pci.devices)


def test_no_guest_asks_for_a_device(contract: Contract) -> None:
    pci = read_pci_of(contract)
    assert () == pci.asked_for
    assert () == find_pci_conflicts(pci)
    assert not any(device.owners or device.configured_for for device in pci.devices)


def test_assignable_devices_are_those_that_pciback_holds(contract: Contract) -> None:
    assignable = contract.toolstack.list_assignable_pci()
    hidden = {device.slot for device in read_pci_of(contract).devices if device.hidden}
    assert hidden == set(assignable or ())


def test_every_question_about_memory_and_processors_is_answered(contract: Contract) -> None:
    resources = read_resources_of(contract)
    assert () == resources.problems
    assert 0 < resources.free_mib < resources.total_mib
    assert 1 <= resources.numa_nodes
    assert 1 <= resources.cpus
    assert "credit2" == resources.scheduler


def test_dom0_has_memory_and_a_rule_that_promises_it(contract: Contract) -> None:
    dom0 = read_resources_of(contract).dom0
    assert 0 < dom0.current_mib
    assert dom0.limit_mib is not None
    assert 0 < dom0.limit_mib
    assert "dom0-mem-missing" not in {fault.code for fault in find_dom0_memory_faults(dom0)}


def test_both_guests_have_memory_processors_and_shares(contract: Contract) -> None:
    resources = read_resources_of(contract)
    for name in ("web", "thinny"):
        guest = resources.find(name)
        assert guest is not None
        assert 1 == guest.vcpus == len(guest.tuning.pinning)
        assert guest.memory_mib == guest.target_mib
        assert guest.memory_mib <= guest.maximum_mib
        assert ("credit2", 256, "Pool-0", 0) == (
            guest.tuning.scheduler,
            guest.tuning.weight,
            guest.pool,
            guest.numa_nodes,
        )
        assert predict_restore_memory(guest, resources).fits


def test_shares_of_all_domains_are_those_of_each(contract: Contract) -> None:
    resources = read_resources_of(contract)
    for domain in contract.toolstack.list_domains():
        guest = resources.find(domain.name)
        assert guest is not None
        assert contract.toolstack.read_tuning(domain) == guest.tuning


def test_the_table_of_all_processors_has_domain_0_and_web(contract: Contract) -> None:
    rows = contract.toolstack.list_vcpus()
    web = contract.domain("web")
    assert 0 in {row.domid for row in rows}
    assert [VcpuPinning(vcpu=0, hard="all", soft="all")] == [
        row.pinning for row in rows if row.domid == web.domid
    ]


def test_the_table_of_all_weights_has_domain_0_and_web(contract: Contract) -> None:
    shares = contract.toolstack.list_shares("credit2")
    domids = {share.domid for share in shares}
    assert {0, contract.domain("web").domid} <= domids
    assert {"Pool-0"} == {share.pool for share in shares}
    assert () == contract.toolstack.list_shares("null")


def test_the_one_pool_has_every_processor_and_domain(contract: Contract) -> None:
    (pool,) = contract.toolstack.list_pools()
    assert ("Pool-0", "credit2") == (pool.name, pool.scheduler)
    assert contract.toolstack.read_facts().cpus == pool.cpus
    assert len(contract.toolstack.list_domains()) + 1 == pool.domains


def test_a_pool_that_is_not_there_is_refused_by_name(contract: Contract) -> None:
    result = contract.call("xl", "cpupool-list", "nosuch")
    assert 0 != result.exit_code
    assert "nosuch" in result.stderr
