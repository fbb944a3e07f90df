"""Guest configurations at their edges: odd records, odd texts, files that vanish meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.recorded import RecordedHost
from tests.unit.recorded_guests import Recorded, compose, read, record, settings_of
from tests.unit.test_guest_configuration_rewriting import FILE, rewrite
from tests.unit.test_guest_configuration_rewriting import read as read_file
from xenbackup.dom0 import guest_devices
from xenbackup.dom0.guest_configuration import (
    ConfigurationFile,
    find_configurations,
    parse_configuration,
    rewriting,
)
from xenbackup.dom0.guest_configuration.devices import parse_pci_specification
from xenbackup.dom0.guest_configuration.disks import parse_disk_specification
from xenbackup.dom0.guest_configuration.retargeting import retarget_specification
from xenbackup.dom0.xm_parsers import parse_xm_domains
from xenbackup.errors import ConfigurationError, UnexpectedOutput
from xenbackup.model.domain import Domain, DomainState, GuestKind


def test_record_without_numbers_of_processors_leaves_them_to_xl() -> None:
    said = settings_of(record(b_info={"avail_vcpus": [], "max_vcpus": 0}))
    assert {"vcpus", "maxvcpus"}.isdisjoint(said)
    assert "maxvcpus" not in settings_of(record(b_info={"max_vcpus": 0}))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"b_info": {"max_vcpus": "two"}}, "b_info.max_vcpus: found str where"),
        ({"b_info": {"max_vcpus": True}}, "b_info.max_vcpus: found bool where"),
        ({"b_info": {"sched_params": 7}}, "b_info.sched_params: found int where"),
        ({"b_info": {"avail_vcpus": 7}}, "b_info.avail_vcpus: found int where"),
        ({"nics": {"mac": "x"}}, "nics: found dict where"),
    ],
)
def test_field_of_another_type_is_reported_and_counts_as_absent(
    parts: Recorded, words: str
) -> None:
    composed = compose(record(**parts))
    assert any(words in sentence for sentence in composed.unwritten), composed.unwritten
    assert "web" == read(composed).name


def test_bytes_of_names_that_are_no_utf8_come_out_as_they_went_in() -> None:
    composed = compose(record(b_info={"kernel": "/boot/\udcff"}))
    assert b'kernel = "/boot/\xff"' in composed.content


def test_pci_device_with_a_virtual_slot_of_no_sense_is_refused() -> None:
    assert "0000:03:01.0" == parse_pci_specification("03:01.0@1f")
    with pytest.raises(ConfigurationError):
        parse_pci_specification("03:01.0@zz")


def test_list_that_is_never_closed_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"x:2: .*never closed"):
        parse_configuration("name = 'a'\ndisk = [ 'b',\n", "x")


def test_last_disk_of_a_list_without_a_comma_behind_it_is_dropped() -> None:
    text = "name = 'a'\ndisk = [ 'phy:/dev/a,xvda,w', 'phy:/dev/b,xvdb,w' ]\n"
    written = rewrite(text, dropped_disks=["xvdb"])
    assert ["xvda"] == [disk.vdev for disk in read_file(written).disks]


def test_text_that_would_say_something_else_is_never_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewriting, "quote_string", lambda text: '"something else"')
    with pytest.raises(ConfigurationError, match="would not say what it should"):
        rewrite(FILE, name="web2")


def test_path_that_reads_as_another_disk_is_said_in_the_new_form() -> None:
    for path in ("/srv/a,xvdb", "/srv/a,xvdb,r", "/dev/a,w", "/srv/a,raw"):
        for before in ("phy:/dev/a,xvda,w", "/dev/a,raw,xvda,rw", "/dev/a,,xvda"):
            written = retarget_specification(before, path, in_file=True)
            found = parse_disk_specification(written)
            assert (path, "xvda") == (found.target, found.vdev)
    with pytest.raises(ConfigurationError, match="its new target ' /b' cannot be written"):
        retarget_specification("phy:/dev/a,xvda,w", " /b", in_file=True)


class VanishingHost(RecordedHost):
    """A file is removed between its listing and the look at it."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def test_file_that_vanishes_while_folders_are_read_is_told_as_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc/xen"
    folder.mkdir(parents=True)
    (folder / "web.cfg").write_text("name = 'web'\n")
    lstat = os.lstat

    def vanish(path: Path) -> os.stat_result:
        path.unlink()
        return lstat(path)

    monkeypatch.setattr(os, "lstat", vanish)
    (found,) = find_configurations(VanishingHost(tmp_path))
    assert isinstance(found, ConfigurationFile)
    assert "/etc/xen/web.cfg" in found.problem
    assert found.configuration is None


JSON = """{"c_info": {"name": "web"}, "b_info": {"type.hvm": {"vga": {"kind": "std"},
 "xen_platform_pci": "False"}, "vnuma_nodes": [{}, {}]},
 "nics": [{"mac": "00:16:3e:00:00:01", "bridge": "xenbr0", "model": "e1000",
 "nictype": "vif_ioemu", "backend_domid": 5}, "odd", {"backend_domname": "net"}], "vfbs": [{}]}"""
SEXP = """(domain (name linux01) (image (hvm (stdvga 1) (nographic 0) (xen_platform_pci 0)))
 (device (vif (bridge xenbr0) (mac 00:16:3e:00:00:01) (model e1000) (type ioemu) (backend 3)))
 (device (vfb (type vnc))))"""


def make_domain(json: str = "", sexp: str = "", kind: GuestKind = GuestKind.HVM) -> Domain:
    return Domain(
        name="web",
        domid=1,
        uuid="",
        kind=kind,
        state=DomainState(letters=""),
        memory_mib=1,
        vcpus=1,
        disks=(),
        configuration_json=json,
        configuration_sexp=sexp,
    )


def test_devices_of_a_guest_under_xl() -> None:
    found = guest_devices.read_guest_devices(make_domain(JSON), None)
    assert found is not None
    assert ("stdvga", False, 2) == (found.video, found.has_platform_device, found.numa_nodes)
    first, second = found.boards
    assert ("00:16:3e:00:00:01", "xenbr0", "e1000", "ioemu", "5") == (
        first.mac,
        first.bridge,
        first.model,
        first.kind,
        first.backend,
    )
    assert ("", "net") == (second.mac, second.backend)


def test_devices_of_a_guest_under_xm() -> None:
    found = guest_devices.read_guest_devices(make_domain(sexp=SEXP), None)
    assert found is not None
    assert ("stdvga", False) == (found.video, found.has_platform_device)
    (board,) = found.boards
    assert ("xenbr0", "ioemu", "3") == (board.bridge, board.kind, board.backend)


@pytest.mark.parametrize(
    ("text", "kind", "video"),
    [
        ('{"b_info": {"type.hvm": {"vga": {"kind": "qxl"}}}}', GuestKind.HVM, "qxl"),
        ('{"b_info": {"type.hvm": {"nographic": "True", "vga": 5}}}', GuestKind.HVM, "none"),
        ('{"b_info": {"type.hvm": {"vga": {"kind": "unknown"}}}}', GuestKind.HVM, "cirrus"),
        ('{"b_info": 5, "nics": 5, "vfbs": 5}', GuestKind.HVM, "cirrus"),
        ('{"vfbs": [{}]}', GuestKind.PV, "vfb"),
        ("{}", GuestKind.PV, "none"),
    ],
)
def test_video_of_a_guest_under_xl(text: str, kind: GuestKind, video: str) -> None:
    found = guest_devices.read_json_devices(text, kind)
    assert (video, 0, ()) == (found.video, found.numa_nodes, found.boards)


@pytest.mark.parametrize(
    ("text", "kind", "video"),
    [
        ("(domain (image (hvm (nographic 1) (stdvga 1))))", GuestKind.HVM, "none"),
        ("(domain (image (hvm (stdvga 0))))", GuestKind.HVM, "cirrus"),
        ("(domain (image (linux (kernel x))))", GuestKind.PV, "none"),
        ("(domain (device (vfb)) (device (vbd)))", GuestKind.PV, "vfb"),
        ("", GuestKind.PV, "none"),
    ],
)
def test_video_of_a_guest_under_xm(text: str, kind: GuestKind, video: str) -> None:
    found = guest_devices.read_sexp_devices(text, kind)
    assert (video, True) == (found.video, found.has_platform_device)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_record_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput):
        guest_devices.read_json_devices(text, GuestKind.PV)


def test_guest_whose_record_cannot_be_read_is_known_by_its_file() -> None:
    file = parse_configuration(
        "name = 'web'\ntype = 'hvm'\nvif = ['mac=00:16:3e:00:00:01,bridge=xenbr0,type=ioemu']\n"
        "nographic = 1\nxen_platform_pci = 0\nvnuma = [['pnode=0'], ['pnode=0']]\n",
        "web.cfg",
    )
    for domain in (make_domain("{"), make_domain(sexp="(domain"), make_domain()):
        found = guest_devices.read_guest_devices(domain, file)
        assert found is not None
        assert ("none", False, 2) == (found.video, found.has_platform_device, found.numa_nodes)
        assert ["ioemu"] == [board.kind for board in found.boards]
        assert guest_devices.read_guest_devices(domain, None) is None


def test_file_that_says_nothing_of_devices_has_the_defaults() -> None:
    file = parse_configuration("name = 'web'\nnographic = 0\nvnuma = 5\n", "web.cfg")
    found = guest_devices.read_file_devices(file)
    assert (True, 0, ()) == (found.has_platform_device, found.numa_nodes, found.boards)


def test_names_of_disks_under_xm_are_read_and_a_broken_text_has_none() -> None:
    text = "(domain (device (vbd (dev xvda:disk) (uname phy:/dev/a)))"
    text += " (device (tap2 (dev xvdb) (uname tap:aio:/srv/b))))"
    assert {"xvda": "phy:/dev/a", "xvdb": "tap:aio:/srv/b"} == guest_devices.list_unames(text)
    assert {} == guest_devices.list_unames("(domain")


def test_emulated_disks_of_an_older_xend_are_told_apart() -> None:
    """Up to Xen 3.1 the device's name kept the `ioemu:` of the configuration file."""
    devices = "".join(
        f" (device (vbd (dev ioemu:{dev}) (uname {uname}) (mode {mode})))"
        for dev, uname, mode in (
            ("hda", "phy:/dev/vg/a", "w"),
            ("hdb", "tap:aio:/srv/b.img", "w"),
            ("hdc:cdrom", "file:/isos/c.iso", "r"),
        )
    )
    text = f"(domain (domid 3) (name win) (image (hvm)) (memory 512){devices})"
    (domain,) = parse_xm_domains(text)
    assert [
        ("hda", "/dev/vg/a", True, False),
        ("hdb", "/srv/b.img", True, False),
        ("hdc", "/isos/c.iso", False, True),
    ] == [(disk.vdev, disk.target, disk.writable, disk.cdrom) for disk in domain.disks]
    assert "tap:aio:/srv/b.img" == guest_devices.list_unames(domain.configuration_sexp)["hdb"]
    assert "(dev ioemu:hda)" in domain.configuration_sexp
