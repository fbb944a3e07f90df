"""What the simulated host prints for an inventory: PCI devices in every form, pools, processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import call, make_host, must
from xenbackup.dom0.lspci import parse_lspci_listing, parse_lspci_records
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.state import PciDevice

# The devices that were recorded, in the words that the simulated host keeps of them.
RECORDED = tuple(
    PciDevice(
        slot=fields["Slot"],
        class_text=fields["Class"],
        vendor=fields["Vendor"],
        device=fields["Device"],
        subvendor=fields.get("SVendor", ""),
        subdevice=fields.get("SDevice", ""),
        revision=fields.get("Rev", ""),
        interface=fields.get("ProgIf", ""),
        driver=fields.get("Driver", ""),
        module=fields.get("Module", ""),
    )
    for fields in (
        dict(line.split(":\t", 1) for line in record.splitlines())
        for record in load_recording("lspci-D-mm-nn-k").stdout.strip().split("\n\n")
    )
)


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ("lspci", ()),
        ("lspci-D-mm", ("-D", "-mm")),
        ("lspci-D-mm-nn-k", ("-D", "-vmm", "-nn", "-k")),
    ],
)
def test_the_recorded_devices_are_printed_as_they_were(
    tmp_path: Path, recording: str, words: tuple[str, ...]
) -> None:
    create_host(tmp_path / "host", guests=(), pci=RECORDED)
    host = SimulatedHost(tmp_path / "host")
    assert load_recording(recording).stdout.strip() == must(host, "lspci", *words).strip()


def test_all_forms_of_lspci_name_the_same_devices(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    records = parse_lspci_records(must(host, "lspci", "-D", "-vmm", "-nn", "-k"))
    for words in ((), ("-D",), ("-k",), ("-nn",), ("-D", "-nn", "-k")):
        listed = parse_lspci_listing(must(host, "lspci", *words))
        assert [device.slot for device in records] == [device.slot for device in listed]
    details = parse_lspci_listing(must(host, "lspci", "-k"))
    assert [device.driver for device in records] == [device.driver for device in details]
    assert "[8086:10d3]" in must(host, "lspci", "-nn")


def test_device_is_chosen_by_its_slot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert ["0000:03:01.0"] == [
        device.slot for device in parse_lspci_listing(must(host, "lspci", "-D", "-s", "03:01.0"))
    ]
    assert "" == must(host, "lspci", "-s", "1f:00.0")


def test_records_tell_of_drivers_only_when_asked(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert "Driver:\tpciback\n" in must(host, "lspci", "-vmm", "-k")
    assert "Driver" not in must(host, "lspci", "-vmm")


@pytest.mark.parametrize(
    ("vendor", "device", "told"),
    [
        ("Intel Corporation [8086]", "Device [29c0]", "Intel Corporation Device 29c0"),
        ("Vendor [1b36]", "Device [0008]", "Device 1b36:0008"),
        ("Intel Corporation [8086]", "NIC [10d3]", "Intel Corporation NIC"),
    ],
)
def test_device_that_has_no_name_is_called_by_its_number(
    tmp_path: Path, vendor: str, device: str, told: str
) -> None:
    card = PciDevice(slot="0000:00:05.0", class_text="NIC [0200]", vendor=vendor, device=device)
    create_host(tmp_path / "host", guests=(), pci=(card,))
    assert f"00:05.0 NIC: {told}\n" == must(SimulatedHost(tmp_path / "host"), "lspci")


def test_words_that_lspci_does_not_take_are_refused(tmp_path: Path) -> None:
    result = call(make_host(tmp_path), "lspci", "03:01.0")
    assert (1, "Usage: lspci [<switches>]\n") == (result.exit_code, result.stderr)


def test_the_pool_is_laid_out_as_xl_lays_it_out(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert (
        "Name               CPUs   Sched     Active   Domain count\n"
        "Pool-0               2   credit2       y          2\n"
    ) == must(host, "xl", "cpupool-list")
    assert "Name               CPU list\nPool-0             0,1\n" == must(
        host, "xl", "cpupool-list", "-c"
    )
    assert "Pool 'nosuch' does not exist" in call(host, "xl", "cpupool-list", "nosuch").stderr


def test_processors_of_a_paused_guest_have_neither_state(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "pause", "web")
    assert "   ---  " in must(host, "xl", "vcpu-list", "web").splitlines()[1]


def test_assignable_devices_are_those_of_pciback_that_no_guest_has(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert "0000:03:01.0\n" == must(host, "xl", "pci-assignable-list")
