"""The manual's table of drivers, one test for each row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests import builders
from tests.unit.kernel_trees import Tree, shut_off
from xenbackup.dom0.guest_configuration import ConfigurationFile, parse_configuration
from xenbackup.inventory.drivers import read_drivers
from xenbackup.model.backing import BackingKind
from xenbackup.model.devices import GuestDrivers
from xenbackup.model.domain import Disk, Domain, GuestKind

DEBIAN = "pv hvm hap gnttab-v1 gnttab-v2"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def describe(tree: Tree, text: str, capabilities: str = DEBIAN) -> GuestDrivers:
    """A guest that is shut off, from its configuration file."""
    configuration = parse_configuration(f'name = "web"\n{text}', "web.cfg")
    file = ConfigurationFile(path="/etc/xen/web.cfg", configuration=configuration)
    domain = replace(
        shut_off(kind=configuration.kind),
        disks=configuration.disks,
        pci_devices=configuration.pci_devices,
        memory_mib=configuration.memory_mib or 512,
    )
    found = read_drivers(tree.host, (domain,), (file,), capabilities=capabilities)
    (guest,) = found.guests
    return guest


def describe_running(tree: Tree, kind: GuestKind, config: dict[str, object]) -> GuestDrivers:
    domain = replace(
        builders.make_domain(), kind=kind, memory_mib=512, configuration_json=json.dumps(config)
    )
    (guest,) = read_drivers(tree.host, (domain,), (), capabilities=DEBIAN).guests
    return guest


def list_disks(*vdevs: str) -> str:
    return f"disk = {[f'phy:/dev/vg/{vdev},{vdev},w' for vdev in vdevs]!r}\n"


XVDS = tuple(f"xvd{letter}" for letter in "abcdefghijklmnopq")


@pytest.mark.parametrize(
    ("builder", "vdevs", "style", "words"),
    [
        ("linux", XVDS[:16], "xvd", ""),
        ("linux", XVDS, "xvd", "17 paravirtual disks"),
        ("linux", ("xvda1", "xvda2"), "xvd", ""),
        ("hvm", ("hda", "hdb", "sda"), "hd/sd", ""),
        ("hvm", ("hda", "xvdb"), "mixed", "without PV drivers it sees the hd and sd ones alone"),
        ("linux", ("hda", "xvdb"), "mixed", "one kind or the other"),
        ("linux", ("51712", "0xca10"), "xvd", ""),
    ],
)
def test_at_most_sixteen_paravirtual_disks_and_never_both_kinds(
    tree: Tree, builder: str, vdevs: tuple[str, ...], style: str, words: str
) -> None:
    guest = describe(tree, f'builder = "{builder}"\n{list_disks(*vdevs)}')

    assert style == guest.disk_style
    assert bool(words) == bool(guest.findings)
    assert words in " ".join(guest.findings)


def test_an_emulated_cdrom_beside_xvd_disks_is_no_mixture(tree: Tree) -> None:
    disks = "disk = [ 'phy:/dev/vg/a,xvda,w', '/isos/a.iso,,hdc,cdrom' ]"

    guest = describe(tree, f'type = "hvm"\n{disks}')

    assert ("xvd", ()) == (guest.disk_style, guest.findings)


@pytest.mark.parametrize(
    ("vifs", "models", "words"),
    [
        (["bridge=xenbr0"] * 3, ["", "", ""], ""),
        (["bridge=xenbr0"] * 4, [""] * 4, "4 network boards"),
        (["type=ioemu, model=rtl8139", "model=e1000"], ["rtl8139", "e1000"], ""),
        (["model=pcnet32", "model=ne2000", "model=virtio"], ["pcnet", "ne2k_pci", "virtio"], ""),
        (["mac=00:16:3e:00:00:01,model=tulip"], ["tulip"], "'tulip' of its network board 00:16:3e"),
    ],
)
def test_at_most_three_boards_of_known_models(
    tree: Tree, vifs: list[str], models: list[str], words: str
) -> None:
    guest = describe(tree, f'type = "hvm"\nvif = {vifs!r}')

    assert models == [board.model for board in guest.boards]
    assert bool(words) == bool(guest.findings)
    assert words in " ".join(guest.findings)


@pytest.mark.parametrize(
    ("text", "capabilities", "verdicts", "words"),
    [
        ('type="pv"', DEBIAN, (True, False, True), "without shadow paging"),
        ('type="pv"', "pv hvm hap shadow", (True, True, True), ""),
        ('type="pv"', "hvm hvm_directio", (True, True, True), ""),
        ('type="pvh"', DEBIAN, (True, True, True), ""),
        ('type="hvm"', DEBIAN, (True, True, True), ""),
        ('type="hvm"\nxen_platform_pci=0', DEBIAN, (True, True, False), "no PV drivers"),
        ('type="hvm"\npci=["03:01.0"]', DEBIAN, (False, False, True), "PCI device 0000:03:01.0"),
        ('type="pvh"\nvnuma=[["pnode=0"],["pnode=1"]]', DEBIAN, (False, False, True), "2 virtual"),
        ('type="pvh"\nmemory=96', DEBIAN, (True, True, False), "96 MiB"),
    ],
)
def test_what_can_be_done_follows_from_how_a_guest_is_virtualised(
    tree: Tree, text: str, capabilities: str, verdicts: tuple[bool, ...], words: str
) -> None:
    guest = describe(tree, text, capabilities)

    assert verdicts == (guest.can_save, guest.can_stream, guest.can_balloon)
    assert words in " ".join(guest.reasons)
    assert bool(words) == bool(guest.reasons)


def test_a_guest_without_a_known_kind_can_do_nothing_we_know_of(tree: Tree) -> None:
    domain: Domain = replace(shut_off(), kind=GuestKind.UNKNOWN)

    (guest,) = read_drivers(tree.host, (domain,), ()).guests

    assert (False, False, False) == (guest.can_save, guest.can_stream, guest.can_balloon)
    assert ("unknown", 1) == (guest.kind, len(guest.reasons))


def test_a_driver_domain_holds_what_dom0_cannot_snapshot(tree: Tree) -> None:
    (found,) = tree.read(Disk(vdev="xvda", target="/dev/vg/web", backend="storage"))

    assert BackingKind.ELSEWHERE == found.kind
    assert "served by domain storage: dom0 cannot look at it" in found.notes[0]
    assert [] == tree.opened
    assert {"elsewhere:storage:/dev/vg/web"} == found.tokens


def test_dom0s_back_end_modules_are_present_or_missing_with_their_purpose(tree: Tree) -> None:
    tree.put("/proc/sys/kernel/osrelease", "6.1.0\n")
    tree.put("/proc/modules", "xen_blkback 49152 2 - Live 0xffffffffc0a5d000\n")
    tree.put("/lib/modules/6.1.0/modules.builtin", "kernel/drivers/md/dm-mod.ko\n")
    tree.put("/lib/modules/6.1.0/modules.dep", "kernel/drivers/net/xen-netback.ko.xz: a.ko\n")

    modules = {m.name: m for m in read_drivers(tree.host, (), ()).modules}

    assert ["loaded", "available", "built-in", "missing"] == [
        modules[name].state for name in ("xen-blkback", "xen-netback", "dm_mod", "blktap")
    ]
    assert "without it they cannot start" in modules["xen-blkback"].purpose
    assert all(module.purpose for module in modules.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vfb = [ 'type=vnc,vncunused=1' ]", "vfb"),
        ("", "none"),
        ('type="hvm"', "cirrus"),
        ('type="hvm"\nstdvga=1', "stdvga"),
        ('type="hvm"\nvga="none"', "none"),
        ('type="hvm"\nnographic=1', "none"),
    ],
)
def test_video_of_a_stopped_guest_is_recorded(tree: Tree, text: str, expected: str) -> None:
    assert expected == describe(tree, text).video


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        (GuestKind.PV, {"vfbs": [{"vnc": {"enable": "True"}}]}, "vfb"),
        (GuestKind.PV, {}, "none"),
        (GuestKind.HVM, {"b_info": {"type.hvm": {"vga": {"kind": "std"}}}}, "stdvga"),
        (GuestKind.HVM, {"b_info": {"type.hvm": {"vga": {"kind": "qxl"}}}}, "qxl"),
        (GuestKind.HVM, {"b_info": {"type.hvm": {"nographic": "True"}}}, "none"),
        (GuestKind.HVM, {"b_info": {}}, "cirrus"),
    ],
)
def test_video_of_a_running_guest_is_recorded(
    tree: Tree, kind: GuestKind, config: dict[str, object], expected: str
) -> None:
    assert expected == describe_running(tree, kind, config).video
