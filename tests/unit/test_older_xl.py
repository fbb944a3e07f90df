"""What xl of older Xen prints, read like that of today: all fields, null, a part called `u`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.recorded import answer
from tests.unit import test_xl as of_xl
from tests.unit import test_xm as of_xm
from xenbackup.dom0 import xl_parsers
from xenbackup.dom0.guest_configuration import compose_configuration
from xenbackup.dom0.guest_devices import read_json_devices
from xenbackup.dom0.memory_image import compose_legacy_image, inspect_memory_image
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.dom0.xl import Xl
from xenbackup.errors import UnexpectedOutput
from xenbackup.model.domain import Disk, GuestKind, VcpuPinning
from xenbackup.planning.obstacles import find_configuration_obstacle
from xenbackup.planning.restore_configuration import read_recorded_guest

UUID = "66afb5c9-37b1-4244-86b8-765ada17fb18"
DISK = {
    "backend_domid": 0,
    "backend_domname": None,
    "pdev_path": "/dev/xenvols/linux01",
    "vdev": "xvda",
    "backend": "unknown",
    "format": "raw",
    "script": None,
    "removable": 0,
    "readwrite": 1,
    "is_cdrom": 0,
    "direct_io_safe": False,
    "discard_enable": "<default>",
}
PARAVIRTUAL: dict[str, object] = {
    "kernel": "/boot/vmlinuz",
    "slack_memkb": -1,
    "bootloader": None,
    "bootloader_args": [],
    "cmdline": "root=/dev/xvda1 ro",
    "ramdisk": "/boot/initrd",
    "features": None,
    "e820_host": "<default>",
}
EMULATED: dict[str, object] = {
    "firmware": None,
    "bios": "ovmf",
    "acpi": "<default>",
    "timer_mode": None,
    "vga": {"kind": "std"},
    "vnc": {"enable": "True", "listen": "0.0.0.0", "passwd": None, "display": 0},
    "boot": "dc",
    "usbdevice": "tablet",
    "usbdevice_list": [],
    "xen_platform_pci": "False",
}


def compose_listing(kind: str, own: Mapping[str, object]) -> str:
    """One guest as Xen 4.4 lists it (gen_json of its libxl leaves nothing out)."""
    config = {
        "c_info": {"type": kind, "name": "linux01", "uuid": UUID, "ssid_label": None},
        "b_info": {"max_vcpus": 1, "max_memkb": 98304, "target_memkb": 98304, "u": own},
        "disks": [DISK],
        "nics": [{"mac": "00:16:3e:00:00:01", "model": None, "script": None, "nictype": None}],
        "pcidevs": [],
        "on_reboot": "restart",
    }
    return json.dumps([{"domid": 4, "config": config}])


def test_a_paravirtual_guest_keeps_its_disk_and_its_kernel() -> None:
    (record,) = xl_parsers.parse_configurations(compose_listing("pv", PARAVIRTUAL))

    assert (Disk(vdev="xvda", target="/dev/xenvols/linux01"),) == record.disks
    guest = read_recorded_guest(record.configuration_json)
    assert ("/boot/vmlinuz", "/boot/initrd") == (guest.kernel, guest.ramdisk)
    composed = compose_configuration(record.configuration_json)
    assert () == composed.unwritten
    assert 'kernel = "/boot/vmlinuz"\n' in composed.text
    assert 'extra = "root=/dev/xvda1 ro"\n' in composed.text


def test_an_emulated_guest_keeps_its_firmware_and_its_card() -> None:
    (record,) = xl_parsers.parse_configurations(compose_listing("hvm", EMULATED))

    devices = read_json_devices(record.configuration_json, GuestKind.HVM)
    assert ("stdvga", False) == (devices.video, devices.has_platform_device)
    composed = compose_configuration(record.configuration_json)
    assert () == composed.unwritten
    for line in ('bios = "ovmf"', 'vga = "stdvga"', "vnc = 1", 'boot = "dc"', "xen_platform_pci"):
        assert f"\n{line}" in composed.text


def test_a_host_that_prints_expressions_is_told_which_setting_does_that() -> None:
    with pytest.raises(UnexpectedOutput, match="S-expressions") as caught:
        xl_parsers.parse_configurations("(domain\n\t(domid 4)\n\t(name linux01))\n")
    assert "xl.conf" in caught.value.hint


def test_a_guest_without_a_uuid_of_its_own_is_refused_with_the_way_out() -> None:
    """xl draws a new one at each listing, so its configuration fits no row of the table."""
    listing = json.loads(compose_listing("pv", PARAVIRTUAL))
    listing[0]["domid"] = 6
    xl = Xl(of_xl.make_host({"xl list -l": json.dumps(listing)}))
    (web,) = (domain for domain in xl.list_domains() if domain.domid == 6)
    (obstacle,) = find_configuration_obstacle(web)
    assert "a uuid= in its file" in obstacle.hint


UNCAPPED = (
    "Cpupool Pool-0: ratelimit=1000us\n"
    "Name                                ID Weight\n"
    "Domain-0                             0    256\n"
    "linux 2                              4    512\n"
)


def test_a_credit2_without_caps_is_read() -> None:
    """Before Xen 4.10. A number at a name's end is not taken for the id."""
    shares = xl_parsers.parse_credit_table("xl sched-credit2", UNCAPPED)
    assert [(0, 256, 0), (4, 512, 0)] == [(s.domid, s.weight, s.cap) for s in shares]


def test_a_credit2_without_caps_is_not_asked_to_set_one() -> None:
    rows = UNCAPPED.replace("linux 2                              4", "web        6")
    host = of_xl.make_host({"xl sched-credit2": rows})
    xl = Xl(host)
    (web,) = (domain for domain in xl.list_domains() if domain.domid == 6)
    tuning = xl.read_tuning(web)
    assert (512, 0) == (tuning.weight, tuning.cap)

    host.answers["xl sched-credit2"] = rows.replace("512", "256")
    host.answers["xl sched-credit2 -d"] = answer()
    xl.apply_tuning(6, tuning)
    assert "xl sched-credit2 -d 6 -w 512" in host.lines


@pytest.mark.parametrize(
    ("minor", "xend_runs", "expected"),
    [(4, True, "xm"), (4, False, "xl"), (5, True, "xl"), (17, False, "xl")],
)
def test_a_host_with_both_toolstacks_is_commanded_by_the_one_that_may(
    minor: int, xend_runs: bool, expected: str
) -> None:
    """Beside a running xend xl answers questions and refuses acts; xm needs xend to answer."""
    absent = answer(exit_code=1, stderr="Error: Unable to connect to xend: Is xend running?\n")
    host = of_xl.make_host({"xl info": of_xl.with_version(minor)})
    host.answers["xm info"] = of_xm.INFO if xend_runs else absent
    assert expected == open_toolstack(host).name


def test_any_cpu_is_every_cpu() -> None:
    text = "Name  ID  VCPU   CPU State   Time(s) CPU Affinity\nweb  6  0  3  r--  5.6  any cpu\n"
    assert (VcpuPinning(vcpu=0, hard="all", soft="all"),) == xl_parsers.parse_vcpu_table(text, 6)


@pytest.mark.parametrize(
    "line",
    [
        "vfb = 'type=vnc'",
        "builder = 'linux64'",
        "vnc = ''",
        "memory = '64M'",
        "vif = [ '00:16:3e:00:00:01' ]",
        "disk = [ 'phy:/dev/vg/a,xvda,w', 'phy:/dev/vg/b,xvda,w' ]",
    ],
)
def test_an_image_is_whole_whatever_xl_overlooked_in_its_file(tmp_path: Path, line: str) -> None:
    """The head of an image of Xen up to 4.4 is the guest's file, which xl has built it from."""
    path = tmp_path / "image"
    text = f"name = 'web'\nuuid = '{UUID}'\n{line}\n"
    path.write_bytes(compose_legacy_image(text, b"counter", fully_virtual=False))

    image = inspect_memory_image(path)

    assert (True, "", "web", UUID) == (image.complete, image.reason, image.domain_name, image.uuid)


def test_an_image_whose_file_names_nobody_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(compose_legacy_image("memory = 64\n", b"counter", fully_virtual=False))
    assert "no name= is given" in inspect_memory_image(path).reason
