"""What a configuration file says of its guest, and every problem in it at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.guest_configuration import (
    GuestConfiguration,
    NetworkInterface,
    Video,
    parse_configuration,
    parse_interface_specification,
    parse_pci_specification,
)
from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk, GuestKind

PARAVIRTUAL = """\
#  -*- mode: python; -*-
kernel = "/boot/vmlinuz-2.6.18-xen"
ramdisk = "/boot/initrd-2.6.18-xen"
memory = 512
name = "linux01"
vcpus = 2
vif = [ 'mac=00:16:3e:00:00:11, bridge=xenbr0', '' ]
disk = [ 'phy:/dev/xenvols/linux01_root,xvda,w',
         'phy:/dev/xenvols/linux01_swap,xvdb,w',
         'file:/isos/cdrom.iso,hdc:cdrom,r', ]
pci = [ '0000:03:01.0', ]
vfb = [ 'type=vnc,vncdisplay=1' ]
root = "/dev/xvda ro"
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
"""
HARDWARE_VIRTUAL = """\
type = "hvm"
name = "windows01"
uuid = "7B6C97B9-bc1e-4273-8175-79ad2f3505e8"
memory = "2048"
maxmem = 4096
vcpus = 2
maxvcpus = 4
disk = [ "/dev/xenvols/windows01,raw,hda,rw", "/isos/windows.iso,,hdc,cdrom" ]
vif = [ "type=ioemu,model=e1000,bridge=xenbr0,ip=10.0.0.7,script=vif-bridge,backend=net" ]
stdvga = 1
videoram = 16
vnc = 1
sdl = 0
pci = [ "03:01.0,permissive=1", "0001:04:00.*@1f" ]
"""


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "/etc/xen/web.cfg")
    return caught.value.problems


def test_a_paravirtual_guest_of_the_old_manual_is_read() -> None:
    found = parse_configuration(PARAVIRTUAL, "/etc/xen/linux01.cfg")
    assert ("linux01", GuestKind.PV, "", "/etc/xen/linux01.cfg") == (
        found.name,
        found.kind,
        found.uuid,
        found.source,
    )
    assert (512, 512, 2, 2) == (
        found.memory_mib,
        found.maximum_memory_mib,
        found.vcpus,
        found.maximum_vcpus,
    )
    assert (
        Disk(vdev="xvda", target="/dev/xenvols/linux01_root"),
        Disk(vdev="xvdb", target="/dev/xenvols/linux01_swap"),
        Disk(vdev="hdc", target="/isos/cdrom.iso", writable=False, cdrom=True),
    ) == found.disks
    assert "phy:/dev/xenvols/linux01_root,xvda,w" == found.disk_specifications[0]
    assert ("0000:03:01.0",) == found.pci_devices
    assert ["00:16:3e:00:00:11", ""] == [entry.mac for entry in found.network_interfaces]
    assert Video(frame_buffers=("type=vnc,vncdisplay=1",)) == found.video
    assert ("destroy", "restart", "restart", "", "") == (
        found.on_poweroff,
        found.on_reboot,
        found.on_crash,
        found.on_watchdog,
        found.on_soft_reset,
    )


def test_a_fully_virtual_guest_of_today_is_read() -> None:
    found = parse_configuration(HARDWARE_VIRTUAL, "f")
    assert (GuestKind.HVM, "7b6c97b9-bc1e-4273-8175-79ad2f3505e8") == (found.kind, found.uuid)
    assert (2048, 4096, 2, 4) == (
        found.memory_mib,
        found.maximum_memory_mib,
        found.vcpus,
        found.maximum_vcpus,
    )
    assert ["hda", "hdc"] == [disk.vdev for disk in found.disks]
    (interface,) = found.network_interfaces
    assert ("ioemu", "e1000", "xenbr0", "10.0.0.7", "vif-bridge", "net") == (
        interface.kind,
        interface.model,
        interface.bridge,
        interface.ip,
        interface.script,
        interface.backend,
    )
    assert Video(adapter="stdvga", vnc=True, memory_mib=16) == found.video
    assert ("0000:03:01.0", "0001:04:00.*") == found.pci_devices
    assert ("03:01.0,permissive=1", "0001:04:00.*@1f") == found.pci_specifications


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", GuestKind.PV),
        ("type = 'pv'", GuestKind.PV),
        ("type = 'hvm'", GuestKind.HVM),
        ("type = 'pvh'", GuestKind.PVH),
        ("builder = 'hvm'", GuestKind.HVM),
        ("builder = 'linux'", GuestKind.PV),
        ("builder = 'generic'", GuestKind.PV),
        ("builder = 'hvm'\ntype = 'hvm'", GuestKind.HVM),
        ("pvh = 1", GuestKind.PVH),
        ("pvh = 0", GuestKind.PV),
    ],
)
def test_the_kind_is_told_by_type_or_by_the_older_builder(text: str, expected: GuestKind) -> None:
    assert expected is parse_configuration(f"name = 'a'\n{text}\n", "f").kind


@pytest.mark.parametrize(
    ("text", "adapter"),
    [
        ("stdvga = 0", "cirrus"),
        ("stdvga = 1", "stdvga"),
        ("vga = 'qxl'\nstdvga = 1", "qxl"),
        ("", ""),
    ],
)
def test_the_emulated_video_card_is_told(text: str, adapter: str) -> None:
    assert adapter == parse_configuration(f"name = 'a'\n{text}\n", "f").video.adapter


def test_settings_without_a_field_stay_at_hand() -> None:
    found = parse_configuration("name = 'a'\nkernel = '/boot/k'\nirqs = [ 5 ]", "f")
    kernel, irqs = found.find_setting("kernel"), found.find_setting("irqs")
    assert kernel is not None
    assert irqs is not None
    assert ("/boot/k", 2, (5,)) == (kernel.value, kernel.line, irqs.value)
    assert found.find_setting("ramdisk") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [("name = 5", "5"), ("name = 0755", "0755"), ("name = '5'", "5"), ("name = 'é ä'", "é ä")],
)
def test_a_name_is_taken_as_written(text: str, name: str) -> None:
    assert name == parse_configuration(text, "f").name


def test_an_empty_text_for_a_list_means_none_as_in_xm() -> None:
    found = parse_configuration("name = 'a'\ndisk = ''\nvif = ''\nuuid = ''", "f")
    assert ((), (), "") == (found.disks, found.network_interfaces, found.uuid)


def test_a_uuid_without_dashes_is_completed() -> None:
    text = "name = 'a'\nuuid = '7b6c97b9bc1e4273817579ad2f3505e8'"
    assert "7b6c97b9-bc1e-4273-8175-79ad2f3505e8" == parse_configuration(text, "f").uuid


def test_every_problem_of_a_file_is_named_with_its_line() -> None:
    text = """\
memory = "lots"
vcpus = [ 2 ]
maxmem = 99999999999
disk = [ '/dev/x,raw,xvda,w', '/dev/x,raw', 5,
  '/dev/y,raw,xvda,w' ]
type = 'lxc'
pci = [ 'first' ]
vif = 'one'
uuid = 'mine'
on_reboot = [ 'restart' ]
"""
    assert (
        "/etc/xen/web.cfg: no name= is given; every guest needs one.",
        "/etc/xen/web.cfg:6: type is 'lxc'; expected one of pv, hvm, pvh.",
        "/etc/xen/web.cfg:1: memory is not a whole number between 0 and 67108864.",
        "/etc/xen/web.cfg:2: vcpus is not a whole number between 0 and 8192.",
        "/etc/xen/web.cfg:4: disk holds 5; expected strings only.",
        "/etc/xen/web.cfg:4: Disk specification '/dev/x,raw': no vdev is given; expected a name "
        "such as xvda.",
        "/etc/xen/web.cfg:4: two disks are both xvda.",
        "/etc/xen/web.cfg:9: uuid is 'mine', which is no UUID.",
        "/etc/xen/web.cfg:3: maxmem is not a whole number between 0 and 67108864.",
        "/etc/xen/web.cfg:7: PCI specification 'first': expected an id such as 0000:03:01.0 in "
        "front.",
        "/etc/xen/web.cfg:8: vif is one value; expected a list of strings.",
        "/etc/xen/web.cfg:10: on_reboot is a list; expected one string.",
    ) == problems_of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ''", "no name="),
        ("name = 'a'\ntype='hvm'\nbuilder='linux'", "builder says pv, type says hvm"),
        ("name = 'a'\nbuilder='magic'", "builder is 'magic'; expected one of hvm, linux, generic"),
        ("name = 'a'\nmemory = -5", "memory is not a whole number"),
        ("name = 'a'\nvif = [ 'xenbr0' ]", "expected key=value"),
        ("name = 'a'\nvif = [ ['mac=x'] ]", "vif holds ('mac=x',)"),
    ],
)
def test_a_contradiction_is_a_problem(text: str, words: str) -> None:
    (problem,) = problems_of(text)
    assert words in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03:01.0", "0000:03:01.0"),
        ("0000:03:01.0", "0000:03:01.0"),
        ("1:3:1.7", "0001:03:01.7"),
        ("03:1F.2@1d,permissive=1,seize=0", "0000:03:1f.2"),
        (" 03:00.* ", "0000:03:00.*"),
        ("bdf=03:00.0,name=x", "0000:03:00.0"),
        ("permissive=1,bdf=0000:03:00.0,vslot=20", "0000:03:00.0"),
        ("03:00.0@1d,msitranslate=1,power_mgmt=1,rdm_policy=relaxed", "0000:03:00.0"),
        ("name=gpu,permissive=1", "name=gpu"),
    ],
)
def test_pci_ids_are_completed(text: str, expected: str) -> None:
    assert expected == parse_pci_specification(text)


@pytest.mark.parametrize(
    "text", ["", "03:01", "03:01.8", "zz:01.0", "03:01.0 x", "name=", "03:20.0", "03:01.0,seize"]
)
def test_a_pci_entry_without_an_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected an id"):
        parse_pci_specification(text)


def test_an_unknown_key_of_an_interface_stays_in_its_text() -> None:
    text = "mac=00:16:3e:00:00:11,rate=10Mb/s, colour=red"
    assert NetworkInterface(mac="00:16:3e:00:00:11", specification=text) == (
        parse_interface_specification(text)
    )


KEYS = st.sampled_from(
    ["name", "uuid", "type", "builder", "memory", "maxmem", "vcpus", "disk", "pci", "vif", "vfb"]
)
VALUES = st.sampled_from(
    ["'a'", "''", "5", "-1", "[]", "[ '' ]", "[ 5 ]", "[ [] ]", "'hvm'", "'pvh'", "0x10", "True"]
)


@given(pairs=st.lists(st.tuples(KEYS, VALUES), max_size=8))
@settings(max_examples=1000, deadline=None)
def test_any_settings_make_a_guest_or_problems_that_name_the_file(
    pairs: list[tuple[str, str]],
) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in pairs)
    try:
        found = parse_configuration(text, "f.cfg")
    except ConfigurationError as error:
        assert all(problem.startswith("f.cfg:") for problem in error.problems)
    else:
        assert isinstance(found, GuestConfiguration)
        assert found.name
        assert len(found.disks) == len(found.disk_specifications)
