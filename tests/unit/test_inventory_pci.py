"""PCI devices of a host: whose they are, who hides them, and what stands in a guest's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import make_domain
from tests.recorded import answer, load_recording
from tests.unit.placed_host import PlacedHost
from tests.unit.simulated.hosts import make_host
from xenbackup.dom0.guest_configuration import (
    ConfigurationFile,
    find_configurations,
    parse_configuration,
)
from xenbackup.dom0.simulated import DiskSpec, GuestSpec
from xenbackup.dom0.simulated.state import MIB
from xenbackup.dom0.toolstack import Toolstack, open_toolstack
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xm import Xm
from xenbackup.inventory.pci import read_pci
from xenbackup.model.devices import PciConflict, PciInventory
from xenbackup.model.domain import Domain
from xenbackup.planning.pci_conflicts import find_pci_conflicts

LSPCI = "lspci -D -vmm -nn -k"
RECORDS = "".join(
    f"Slot:\t0000:{slot}\nClass:\tEthernet controller [0200]\nVendor:\tIntel [8086]\n"
    f"Device:\tE1000 [100e]\nDriver:\t{driver}\n\n"
    for slot, driver in (("03:01.0", "pciback"), ("03:01.1", "pciback"), ("04:00.0", "e1000"))
)


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    return PlacedHost(
        {LSPCI: RECORDS, "xl pci-assignable-list": "0000:03:01.0\n0000:03:01.1\n"}, root=tmp_path
    )


def configure(name: str, *devices: str, more: str = "") -> ConfigurationFile:
    text = f"name = '{name}'\npci = [ {', '.join(repr(device) for device in devices)} ]\n{more}"
    path = f"/etc/xen/{name}.cfg"
    return ConfigurationFile(path=path, configuration=parse_configuration(text, path))


def own(name: str, *devices: str, domid: int = 3) -> Domain:
    return replace(make_domain(name=name, domid=domid), pci_devices=devices)


def read(
    host: PlacedHost,
    *configurations: ConfigurationFile,
    domains: tuple[Domain, ...] = (),
    toolstack: Toolstack | None = None,
) -> PciInventory:
    return read_pci(host, toolstack or Xl(host), domains, configurations)


def test_owners_in_fact_and_by_configuration_are_told_apart(host: PlacedHost) -> None:
    pci = read(
        host,
        configure("web", "03:01.0"),
        configure("db", "0000:03:01.1,permissive=1"),
        domains=(own("web", "0000:03:01.0"), own("db", "0000:03:01.1", domid=-1)),
    )
    assert [("0000:03:01.0", ("web",), ("web",)), ("0000:03:01.1", (), ("db",))] == [
        (device.slot, device.owners, device.configured_for) for device in pci.devices[:2]
    ]
    assert (("0000:03:01.0", ("web",)), ("0000:03:01.1", ("db",))) == pci.asked_for
    assert "" == pci.problem


def test_a_star_is_spread_over_the_functions_that_are_there(host: PlacedHost) -> None:
    pci = read(host, configure("web", "03:01.*", "05:00.*"))
    assert (
        ("0000:03:01.0", ("web",)),
        ("0000:03:01.1", ("web",)),
        ("0000:05:00.*", ("web",)),
    ) == pci.asked_for
    assert [("web",), ("web",), ()] == [device.configured_for for device in pci.devices]


def test_the_driver_of_sysfs_counts_before_that_of_lspci(host: PlacedHost) -> None:
    host.bind("0000:04:00.0", "xen-pciback")
    host.bind("0000:03:01.1", "")
    pci = read(host)
    assert ["pciback", "", "xen-pciback"] == [device.driver for device in pci.devices]
    assert [True, False, True] == [device.hidden for device in pci.devices]


def test_every_place_that_hides_a_device_is_named(host: PlacedHost) -> None:
    host.write("/etc/modprobe.d/xen.conf", "options xen-pciback hide=(0000:03:01.0)(04:*.*)\n")
    host.write("/etc/modprobe.d/old.conf.bak", "options pciback hide=(0000:03:01.1)\n")
    host.write("/etc/modprobe.conf", "options pciback hide=(03:01.*)\n")
    host.write("/proc/cmdline", "root=/dev/sda1 xen-pciback.hide=(0000:04:00.0)\n")
    hidden_by = [device.hidden_by for device in read(host).devices]
    assert [
        ("/etc/modprobe.d/xen.conf", "/etc/modprobe.conf"),
        ("/etc/modprobe.conf",),
        ("/etc/modprobe.d/xen.conf", "/proc/cmdline"),
    ] == hidden_by


def test_a_hide_option_that_the_kernel_refuses_is_a_problem(host: PlacedHost) -> None:
    host.write("/etc/modprobe.d/xen.conf", "options pciback hide=0000:03:01.0\n")
    pci = read(host)
    assert "/etc/modprobe.d/xen.conf: hide=" in pci.problem
    assert 3 == len(pci.devices)


@pytest.mark.parametrize(
    ("path", "text", "early"),
    [
        ("/etc/initramfs-tools/modules", "# none\n", False),
        ("/etc/initramfs-tools/modules", "xen-pciback\n", True),
        ("/etc/dracut.conf.d/xen.conf", 'force_drivers+=" xen-pciback "\n', True),
        ("/etc/dracut.conf", "", False),
        ("/etc/sysconfig/kernel", 'INITRD_MODULES="pciback ext3"\n', True),
        ("/etc/sysconfig/kernel", 'INITRD_MODULES="ext3"\n', False),
        ("/etc/sysconfig/kernel", "UPDATEDEFAULT=yes\n", None),
        ("/etc/modules-load.d/xen.conf", "xen-pciback\n", None),
        ("/proc/cmdline", "ro rd.driver.pre=xen-pciback\n", True),
    ],
)
def test_whether_pciback_comes_early(
    host: PlacedHost, path: str, text: str, early: bool | None
) -> None:
    host.write(path, text)
    assert early is read(host).early


def test_pciback_that_is_built_in_comes_early(host: PlacedHost) -> None:
    host.write("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")
    host.write("/lib/modules/6.1.0-56-amd64/modules.builtin", "kernel/drivers/xen/xen-pciback.ko\n")
    assert read(host).early is True


def test_a_pipe_in_place_of_a_settings_file_is_not_waited_for(host: PlacedHost) -> None:
    host.write("/etc/modprobe.d/good.conf", "options pciback hide=(03:01.0)\n")
    os.mkfifo(host.place("/etc/modprobe.d/bad.conf"))
    host.place("/etc/modprobe.d/folder.conf").mkdir()
    assert ("/etc/modprobe.d/good.conf",) == read(host).devices[0].hidden_by


def test_without_lspci_sysfs_tells_by_numbers(host: PlacedHost) -> None:
    del host.answers[LSPCI]
    host.bind("0000:03:01.0", "pciback")
    host.write("/sys/bus/pci/devices/0000:03:01.0/class", "0x020000\n")
    host.write("/sys/bus/pci/devices/0000:03:01.0/vendor", "0x8086\n")
    host.write("/sys/bus/pci/devices/0000:03:01.0/device", "../../etc\n")
    host.bind("strange", "")
    pci = read(host)
    (device,) = pci.devices
    assert ("0000:03:01.0", "Class 0200", "8086", "", "pciback") == (
        device.slot,
        device.class_name,
        device.vendor,
        device.device,
        device.driver,
    )
    assert "lspci" in pci.problem
    assert "pciutils" in pci.problem


def test_without_lspci_and_sysfs_nothing_is_called_absent(host: PlacedHost) -> None:
    host.answers[LSPCI] = answer(exit_code=1, stderr="lspci: Cannot find any working access method")
    pci = read(host, configure("web", "03:01.0"))
    assert () == pci.devices
    assert "no device of this host is known" in pci.problem
    assert () == find_pci_conflicts(pci)


def test_a_toolstack_that_fails_leaves_the_drivers_to_tell(host: PlacedHost) -> None:
    host.answers["xl pci-assignable-list"] = answer(exit_code=1, stderr="libxl: error")
    pci = read(host, domains=(own("web", "0000:03:01.0"),))
    assert [False, True, False] == [device.assignable for device in pci.devices]
    assert "xl pci-assignable-list" in pci.problem


def test_an_xm_that_cannot_list_assignable_devices_is_no_problem(host: PlacedHost) -> None:
    host.answers["xm pci-list-assignable-devices"] = answer(exit_code=1, stderr="not found")
    pci = read(host, toolstack=Xm(host))
    assert [True, True, False] == [device.assignable for device in pci.devices]
    assert "" == pci.problem
    host.answers["xm pci-list-assignable-devices"] = "0000:04:00.0\n"
    assert [False, False, True] == [
        device.assignable for device in read(host, toolstack=Xm(host)).devices
    ]


def test_the_recorded_host_has_nothing_to_give(tmp_path: Path) -> None:
    host = PlacedHost(
        {
            LSPCI: load_recording("lspci-D-mm-nn-k"),
            "xl pci-assignable-list": load_recording("xl-pci-assignable-list"),
        },
        root=tmp_path,
    )
    pci = read(host)
    assert 8 == len(pci.devices)
    assert not any(device.assignable or device.hidden for device in pci.devices)
    assert ((), None, "") == (pci.asked_for, pci.early, pci.problem)


def test_the_simulated_host_has_a_router_with_a_card(tmp_path: Path) -> None:
    router = GuestSpec(
        name="router",
        kind="hvm",
        disks=(DiskSpec(volume="router_root", size_bytes=MIB),),
        memory_mib=64,
        pci=("0000:03:01.0",),
    )
    simulated = make_host(tmp_path, router)
    folder = simulated.place("/etc/modprobe.d")
    folder.mkdir()
    (folder / "pciback.conf").write_text("options pciback hide=(0000:03:01.0)\n")
    toolstack = open_toolstack(simulated)
    pci = read_pci(simulated, toolstack, toolstack.list_domains(), find_configurations(simulated))
    card = pci.find("0000:03:01.0")
    assert card is not None
    assert (("router",), ("router",), ("/etc/modprobe.d/pciback.conf",), True, False) == (
        card.owners,
        card.configured_for,
        card.hidden_by,
        card.hidden,
        card.assignable,
    )
    assert ((("0000:03:01.0", ("router",)),), "") == (pci.asked_for, pci.problem)
    assert () == find_pci_conflicts(pci)


# Conflicts


def describe(conflict: PciConflict) -> tuple[str, str, tuple[str, ...], bool]:
    return (conflict.slot, conflict.kind.value, conflict.guests, conflict.both_running)


@pytest.mark.parametrize(
    ("running", "both"), [((), False), (("web",), False), (("web", "db"), True)]
)
def test_two_guests_conflict_in_earnest_only_while_both_run(
    host: PlacedHost, running: tuple[str, ...], both: bool
) -> None:
    pci = read(host, configure("web", "03:01.0"), configure("db", "03:01.*"))
    (conflict,) = find_pci_conflicts(pci, running)
    assert ("0000:03:01.0", "two-guests", ("web", "db"), both) == describe(conflict)


def test_an_owner_in_fact_counts_as_running(host: PlacedHost) -> None:
    pci = read(host, configure("db", "03:01.0"), domains=(own("web", "0000:03:01.0"),))
    (conflict,) = find_pci_conflicts(pci)
    assert (("web", "db"), ("web",)) == (conflict.guests, conflict.running)
    assert find_pci_conflicts(pci, ("db",))[0].both_running


def test_one_guest_alone_has_no_conflict(host: PlacedHost) -> None:
    pci = read(host, configure("web", "03:01.0"), domains=(own("web", "0000:03:01.0"),))
    assert () == find_pci_conflicts(pci, ("web",))


def test_a_device_that_dom0_uses_is_not_hidden(host: PlacedHost) -> None:
    host.write("/etc/modprobe.d/xen.conf", "options pciback hide=(04:00.0)\n")
    (conflict,) = find_pci_conflicts(read(host, configure("web", "04:00.0")))
    assert ("0000:04:00.0", "not-hidden", ("web",), False) == describe(conflict)


@pytest.mark.parametrize(
    "make",
    [
        lambda: configure("web", "04:00.0,seize=1"),
        lambda: configure("web", "04:00.*", more="pci_seize = 1\n"),
    ],
)
def test_a_device_that_xl_seizes_needs_no_hiding(
    host: PlacedHost, make: Callable[[], ConfigurationFile]
) -> None:
    pci = read(host, make())
    assert [False, False, True] == [device.seizable for device in pci.devices]
    assert () == find_pci_conflicts(pci)


def test_a_device_that_is_not_there_is_absent(host: PlacedHost) -> None:
    pci = read(host, configure("web", "05:00.0"), configure("db", "name=gpu"))
    (conflict,) = find_pci_conflicts(pci)
    assert ("0000:05:00.0", "absent", ("web",), False) == describe(conflict)
