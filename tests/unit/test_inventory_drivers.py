"""Devices of guests from each of the three records of them, and rules that hold for any guest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.recorded import load_recording
from tests.unit.kernel_trees import Tree, shut_off
from xenbackup.dom0.guest_configuration import ConfigurationFile, parse_configuration
from xenbackup.dom0.guest_devices import (
    GuestDevices,
    list_unames,
    read_file_devices,
    read_guest_devices,
    read_json_devices,
    read_sexp_devices,
)
from xenbackup.dom0.xl_parsers import parse_configurations, parse_info
from xenbackup.errors import UnexpectedOutput
from xenbackup.inventory.drivers import describe_guest, name_disk_style, read_drivers
from xenbackup.model.devices import NetworkBoard
from xenbackup.model.domain import Disk, GuestKind

BOARD = NetworkBoard(mac="00:16:3e:00:00:01", bridge="xenbr0", model="e1000", kind="ioemu")
EXPECTED = GuestDevices(boards=(BOARD,), video="stdvga", has_platform_device=False)


def test_three_records_of_one_guest_say_the_same() -> None:
    as_json = {
        "b_info": {"type.hvm": {"vga": {"kind": "std"}, "xen_platform_pci": "False"}},
        "nics": [
            {
                "mac": BOARD.mac,
                "bridge": BOARD.bridge,
                "model": BOARD.model,
                "nictype": "vif_ioemu",
            }
        ],
    }
    as_sexp = (
        "(domain (name web) (image (hvm (stdvga 1) (xen_platform_pci 0))) (device (vif "
        f"(bridge {BOARD.bridge}) (mac {BOARD.mac}) (model {BOARD.model}) (type ioemu))))"
    )
    as_file = (
        'name = "web"\nbuilder = "hvm"\nstdvga = 1\nxen_platform_pci = 0\n'
        f'vif = [ "mac={BOARD.mac}, bridge={BOARD.bridge}, model=e1000, type=ioemu" ]\n'
    )

    assert EXPECTED == read_json_devices(json.dumps(as_json), GuestKind.HVM)
    assert EXPECTED == read_sexp_devices(as_sexp, GuestKind.HVM)
    assert EXPECTED == read_file_devices(parse_configuration(as_file, "web.cfg"))


def test_the_recorded_guests_of_a_real_host_are_read() -> None:
    for record in parse_configurations(load_recording("xl-list-l").stdout):
        devices = read_json_devices(record.configuration_json, record.kind)
        assert ("none", 0) == (devices.video, len(devices.boards))


def test_a_real_xen_says_that_it_lacks_shadow_paging() -> None:
    facts = parse_info("xl info", load_recording("xl-info").stdout)
    domain = replace(builders.make_domain(), memory_mib=512)

    found = describe_guest(domain, GuestDevices(), facts.virtual_capabilities)

    assert (True, False) == (found.can_save, found.can_stream)


def test_a_running_guests_own_record_is_believed_before_its_file() -> None:
    file = parse_configuration('name = "web"\nvif = [ "bridge=old" ]', "web.cfg")
    record = json.dumps({"nics": [{"bridge": "new"}]})

    def bridges(text: str) -> list[str]:
        domain = replace(builders.make_domain(), configuration_json=text)
        devices = read_guest_devices(domain, file)
        assert devices is not None
        return [board.bridge for board in devices.boards]

    assert ["new"] == bridges(record)
    assert ["old"] == bridges("")
    assert ["old"] == bridges("no JSON")


def test_a_guest_that_nothing_describes_is_said_to_be_so(tmp_path: Path) -> None:
    found = read_drivers(Tree(tmp_path).host, (shut_off(),), ()).find("web")
    assert found is not None
    assert "nothing describes its network boards and video" in found.notes


def test_a_backend_domain_of_a_board_is_kept() -> None:
    by_name = read_json_devices('{"nics": [{"backend_domname": "net"}]}', GuestKind.PV)
    by_number = read_json_devices('{"nics": [{"backend_domid": 3}]}', GuestKind.PV)
    assert ["net", "3"] == [devices.boards[0].backend for devices in (by_name, by_number)]


def test_a_renamed_model_is_noted_and_a_pv_guests_model_is_its_own(tmp_path: Path) -> None:
    text = 'name = "web"\nvif = [ "model=pcnet32", "model=tulip" ]'
    file = ConfigurationFile(path="p", configuration=parse_configuration(text, "web.cfg"))

    (guest,) = read_drivers(Tree(tmp_path).host, (shut_off(),), (file,)).guests

    assert "the network board pcnet32 is called pcnet today" in guest.notes
    assert () == guest.findings


@pytest.mark.parametrize(
    ("vdev", "expected"),
    [
        ("xvda", "xvd"),
        ("xvdaa3", "xvd"),
        ("d0p1", "xvd"),
        ("hdc", "hd/sd"),
        ("sda1", "hd/sd"),
        ("51712", "xvd"),
        ("0xca00", "xvd"),
        ("0x10000100", "xvd"),
        ("768", "hd/sd"),
        ("2048", "hd/sd"),
        ("1", ""),
        ("", ""),
        ("0x", ""),
        ("08", ""),
    ],
)
def test_a_vdev_by_name_or_number_has_a_style(vdev: str, expected: str) -> None:
    assert expected == name_disk_style(vdev)


def test_names_of_disks_in_an_expression_are_listed() -> None:
    text = (
        "(domain (device (vbd (uname phy:/dev/a) (dev xvda:disk))) "
        "(device (tap2 (uname tap2:aio:/b) (dev xvdb))))"
    )
    assert {"xvda": "phy:/dev/a", "xvdb": "tap2:aio:/b"} == list_unames(text)
    assert {} == list_unames("(domain")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("nics", "b_info", "type.hvm", "u.hvm", "vga", "kind", "vfbs", "mac", "model"),
                    *("xen_platform_pci", "nographic", "vnuma_nodes", "nictype", "backend_domid"),
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(value=JSON, kind=st.sampled_from(list(GuestKind)))
@settings(max_examples=2000, deadline=None)
def test_any_json_is_read_or_refused(value: object, kind: GuestKind) -> None:
    try:
        found = read_json_devices(json.dumps(value), kind)
    except UnexpectedOutput:
        assert not isinstance(value, dict)
        return
    assert found.video
    assert all(isinstance(board.model, str) for board in found.boards)


SEXP = st.lists(
    st.sampled_from(
        [
            *("(", ")", " ", "domain", "(device ", "(vif ", "(mac x)", "(image ", "(hvm "),
            *("(stdvga 1)", "(vfb)", "'", '"', "\\"),
        ]
    ),
    max_size=20,
).map("".join)


@given(text=SEXP | st.text(max_size=40))
@settings(max_examples=1500, deadline=None)
def test_any_expression_is_read_or_refused(text: str) -> None:
    try:
        found = read_sexp_devices(text, GuestKind.HVM)
    except UnexpectedOutput:
        assert {} == list_unames(text)
        return
    assert found.video in ("cirrus", "stdvga")


VDEVS = st.sampled_from(["xvda", "xvdb1", "hda", "sdb", "51728", "d3", "odd"])


@given(
    kind=st.sampled_from(list(GuestKind)),
    vdevs=st.lists(VDEVS, unique=True),
    memory_mib=st.integers(0, 1024),
    pci=st.lists(st.just("0000:03:01.0"), max_size=1),
    nodes=st.integers(0, 2),
    platform=st.booleans(),
    capabilities=st.sampled_from(["", "pv hvm hap", "pv hvm hap shadow"]),
)
@settings(max_examples=2000, deadline=None)
def test_every_no_has_its_reason_and_nothing_else_has(
    kind: GuestKind,
    vdevs: Sequence[str],
    memory_mib: int,
    pci: list[str],
    nodes: int,
    platform: bool,
    capabilities: str,
) -> None:
    domain = replace(
        shut_off(kind=kind),
        disks=tuple(Disk(vdev=vdev, target="/dev/x") for vdev in vdevs),
        memory_mib=memory_mib,
        pci_devices=tuple(pci),
    )
    devices = GuestDevices(numa_nodes=nodes, has_platform_device=platform)

    found = describe_guest(domain, devices, capabilities)

    allowed = found.can_save and found.can_stream and found.can_balloon
    assert allowed == (found.reasons == ())
    assert found.can_save or not found.can_stream
    assert not (pci and found.can_save)
    assert (found.disk_style == "mixed") == any("mixes" in finding for finding in found.findings)
