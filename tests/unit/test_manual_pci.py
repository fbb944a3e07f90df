"""The administration manual on PCI devices, row by row: what it prints and asks for is understood.

The listings are set as a manual sets them: short ids, lines broken at the page's margin.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import make_domain
from tests.unit.placed_host import PlacedHost
from tests.unit.worlds import GOOD
from xenbackup.dom0.guest_configuration import ConfigurationFile, parse_configuration
from xenbackup.dom0.lspci import parse_lspci_listing
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.inventory.pci import read_pci
from xenbackup.model.devices import PciInventory
from xenbackup.planning.pci_conflicts import find_pci_conflicts
from xenbackup.planning.plan import plan_backup

LISTING = """\
00:00.0 Host bridge: Intel Corporation E7230/3000/3010 Memory
Controller Hub
00:1d.0 USB Controller: Intel Corporation 82801G (ICH7 Family) USB
UHCI Controller #1 (rev 01)
00:1f.2 IDE interface: Intel Corporation 82801GB/GR/GH (ICH7
    Family) SATA IDE Controller (rev 01)

03:01.0 Ethernet controller: Intel Corporation 82541GI
Gigabit Ethernet Controller
(rev 05)
"""
RECORDS = (
    "Slot:\t0000:03:01.0\nClass:\tEthernet controller [0200]\nVendor:\tIntel Corporation [8086]\n"
    "Device:\t82541GI Gigabit Ethernet Controller [1076]\nRev:\t05\nDriver:\t{driver}\n\n"
)
HIDING = "options pciback hide=(0000:03:01.0)\n"
GUEST = "name = 'linux01'\npci=[ '0000:03:01.0', ]\n"


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    records = RECORDS.format(driver="pciback")
    return PlacedHost(
        {"lspci -D -vmm -nn -k": records, "xl pci-assignable-list": "0000:03:01.0\n"},
        root=tmp_path,
    )


def configure(text: str, path: str = "/etc/xen/linux01.cfg") -> ConfigurationFile:
    return ConfigurationFile(path=path, configuration=parse_configuration(text, path))


def read(host: PlacedHost, *files: ConfigurationFile, toolstack: str = "xl") -> PciInventory:
    return read_pci(host, open_toolstack(host, toolstack), (), files)


def test_lspci_listing_with_short_ids_and_wrapped_lines() -> None:
    devices = parse_lspci_listing(LISTING)
    assert ["0000:00:00.0", "0000:00:1d.0", "0000:00:1f.2", "0000:03:01.0"] == [
        device.slot for device in devices
    ]
    assert ("Ethernet controller", "Intel Corporation 82541GI Gigabit Ethernet Controller") == (
        devices[3].class_name,
        devices[3].device,
    )
    assert "Intel Corporation 82801GB/GR/GH (ICH7 Family) SATA IDE Controller" == devices[2].device


def test_hiding_from_dom0_by_options_pciback_hide(host: PlacedHost) -> None:
    host.write("/etc/modprobe.conf", HIDING)
    device = read(host).find("0000:03:01.0")
    assert device is not None
    assert (("/etc/modprobe.conf",), True, True) == (
        device.hidden_by,
        device.hidden,
        device.assignable,
    )


def test_hiding_that_did_not_happen_is_a_conflict(host: PlacedHost) -> None:
    host.write("/etc/modprobe.conf", HIDING)
    host.answers["lspci -D -vmm -nn -k"] = RECORDS.format(driver="e1000")
    host.answers["xl pci-assignable-list"] = ""
    (conflict,) = find_pci_conflicts(read(host, configure(GUEST)))
    assert ("not-hidden", ("linux01",)) == (conflict.kind.value, conflict.guests)


def test_pci_in_a_guests_configuration_is_for_that_guest_alone(host: PlacedHost) -> None:
    pci = read(host, configure(GUEST))
    assert (("0000:03:01.0", ("linux01",)),) == pci.asked_for
    assert () == find_pci_conflicts(pci)
    second = configure(GUEST.replace("linux01", "linux02"), "/etc/xen/linux02.cfg")
    (conflict,) = find_pci_conflicts(read(host, configure(GUEST), second))
    assert ("two-guests", ("linux01", "linux02")) == (conflict.kind.value, conflict.guests)


def test_pci_on_the_command_line_of_xm_create_is_seen_in_the_running_guest(
    host: PlacedHost,
) -> None:
    running = replace(make_domain(name="linux01"), pci_devices=("0000:03:01.0",))
    without = configure("name = 'linux01'\n")
    pci = read_pci(host, open_toolstack(host, "xl"), (running,), (without,))
    device = pci.find("0000:03:01.0")
    assert device is not None
    assert (("linux01",), ()) == (device.owners, device.configured_for)


def test_xm_new_after_a_change_is_asked_for(host: PlacedHost) -> None:
    known = replace(
        make_domain(name="linux01", domid=-1), configuration_sexp="(domain (name linux01))"
    )
    xm = open_toolstack(host, "xm")
    assert ("linux01",) == read_pci(host, xm, (known,), (configure(GUEST),)).unregistered
    registered = replace(known, pci_devices=("0000:03:01.0",))
    assert () == read_pci(host, xm, (registered,), (configure(GUEST),)).unregistered


@pytest.mark.parametrize(
    ("modules", "early"), [("pciback ext3", True), ("ext3", False), (None, None)]
)
def test_pciback_must_come_early_in_the_initrd(
    host: PlacedHost, modules: str | None, early: bool | None
) -> None:
    if modules is not None:
        host.write("/etc/sysconfig/kernel", f'INITRD_MODULES="{modules}"\n')
    assert early is read(host).early


def test_a_guest_with_a_pci_device_cannot_be_saved() -> None:
    owner = GOOD.with_guest(pci_devices=("0000:03:01.0",))
    for preset in ("cold", "snapshot", "checkpoint"):
        world = owner.with_preset(preset)
        plan = plan_backup(world.job, world.inventory, world.setting.configuration)
        assert () == plan.domains
        assert "0000:03:01.0" in plan.refused[0].reason
    world = owner.with_preset("crash")
    (planned,) = plan_backup(world.job, world.inventory, world.setting.configuration).domains
    assert "crash" == planned.preset
    assert "0000:03:01.0" in planned.reason
