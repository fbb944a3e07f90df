"""Listings of PCI devices, and the places that hide them, however somebody wrote them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import load_recording
from xenbackup.dom0 import pci_hiding
from xenbackup.dom0.guest_configuration import has_pci_option, parse_pci_specification
from xenbackup.dom0.lspci import normalise_slot, parse_lspci_listing, parse_lspci_records
from xenbackup.dom0.pci import parse_pci_slots
from xenbackup.dom0.resource_tables import parse_assignable_list
from xenbackup.errors import ConfigurationError, UnexpectedOutput
from xenbackup.model.devices import covers_slot

RECORD = "Slot:\t0000:03:01.0\nClass:\tEthernet controller [0200]\n"


def test_recorded_records_have_names_and_drivers() -> None:
    devices = parse_lspci_records(load_recording("lspci-D-mm-nn-k").stdout)
    assert 8 == len(devices)
    block = next(device for device in devices if device.slot == "0000:00:04.0")
    assert ("SCSI storage controller", "Red Hat, Inc.", "Virtio block device", "virtio-pci") == (
        block.class_name,
        block.vendor,
        block.device,
        block.driver,
    )


def test_recorded_records_keep_what_brackets_belong_to_a_name() -> None:
    devices = parse_lspci_records(load_recording("lspci-D-mm-nn-k").stdout)
    assert (
        "82801IR/IO/IH (ICH9R/DO/DH) 6 port SATA Controller [AHCI mode]",
        "Vendor [1234]",
        "Device [1111]",
    ) == (devices[6].device, devices[1].vendor, devices[1].device)


def test_the_recorded_listing_has_the_same_devices_as_the_records() -> None:
    listed = parse_lspci_listing(load_recording("lspci").stdout)
    records = parse_lspci_records(load_recording("lspci-D-mm-nn-k").stdout)
    assert [(device.slot, device.class_name) for device in records] == [
        (device.slot, device.class_name) for device in listed
    ]
    assert [device.slot for device in listed] == list(
        parse_pci_slots(load_recording("lspci-D-mm").stdout)
    )
    assert "Intel Corporation 82801IR/IO/IH (ICH9R/DO/DH) 6 port SATA Controller [AHCI mode]" == (
        listed[6].device
    )


def test_keys_of_newer_versions_are_passed_over() -> None:
    text = (
        RECORD + "Driver:\te1000\nModule:\te1000\nModule:\te1000e\nNUMANode:\t0\nIOMMUGroup:\t12\n"
    )
    (device,) = parse_lspci_records(text + "PhySlot:\t4\n\n")
    assert ("0000:03:01.0", "Ethernet controller", "e1000") == (
        device.slot,
        device.class_name,
        device.driver,
    )


def test_domains_above_ffff_are_kept() -> None:
    (device,) = parse_lspci_records(RECORD.replace("0000:03", "10000:03"))
    assert "10000:03:01.0" == device.slot


@pytest.mark.parametrize(
    "text",
    ["garbage", "Slot:\t03:01\nClass:\tx\n", "Class:\tx\n", "Slot:\t0000:03:01.0\n", "Slot 1\n"],
)
def test_records_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="lspci -D -vmm -nn -k"):
        parse_lspci_records(text)


def test_no_device_at_all_is_an_empty_list() -> None:
    assert () == parse_lspci_records("") == parse_lspci_listing("\n")


def test_details_of_a_listing_give_the_driver_and_nothing_else() -> None:
    text = (
        "03:01.0 Ethernet controller: Intel Corporation 82574L (rev 02)\n"
        "\tSubsystem: Intel Corporation Gigabit CT Desktop Adapter\n"
        "\tKernel driver in use: pciback\n"
        "\tKernel modules: e1000e\n"
    )
    (device,) = parse_lspci_listing(text)
    assert ("Intel Corporation 82574L", "pciback") == (device.device, device.driver)


@pytest.mark.parametrize(
    "text", ["Ethernet controller: x\n", "03:01.0 no colon at all\n", "03:01 Ethernet: x\n"]
)
def test_listings_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="lspci"):
        parse_lspci_listing(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03:01.0", "0000:03:01.0"),
        ("0000:03:01.0", "0000:03:01.0"),
        ("0001:0A:1F.7", "0001:0a:1f.7"),
        ("03:20.0", None),
        ("03:01.8", None),
        ("03:01", None),
        ("3:1.0", None),
    ],
)
def test_slots_are_spelled_in_full(text: str, expected: str | None) -> None:
    assert expected == normalise_slot(text)


@pytest.mark.parametrize(
    ("pattern", "slot", "expected"),
    [
        ("0000:03:01.0", "0000:03:01.0", True),
        ("0000:03:01.0", "0000:03:01.1", False),
        ("0000:03:01.*", "0000:03:01.7", True),
        ("0000:03:01.*", "0000:03:02.0", False),
        ("0000:03:*.*", "0000:03:02.0", True),
        ("0000:03:*.*", "0000:04:02.0", False),
        ("name=gpu", "0000:04:02.0", False),
    ],
)
def test_a_star_covers_all_functions(pattern: str, slot: str, expected: bool) -> None:
    assert expected is covers_slot(pattern, slot)


# Hiding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("(0000:03:01.0)", ("0000:03:01.0",)),
        ("(03:01.0)(0000:03:02.1)", ("0000:03:01.0", "0000:03:02.1")),
        (" (03:01.0) (03:02.*) ", ("0000:03:01.0", "0000:03:02.*")),
        ("(0001:3:*.*)", ("0001:03:*.*",)),
    ],
)
def test_hide_values_name_slots(text: str, expected: tuple[str, ...]) -> None:
    assert expected == pci_hiding.parse_hide_value(text, "x")


@pytest.mark.parametrize("text", ["0000:03:01.0", "(03:01.0", "(03:01.0),(03:02.0)", "(zz)", "()"])
def test_hide_values_that_the_kernel_refuses_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^x\.conf: hide="):
        pci_hiding.parse_hide_value(text, "x.conf")


def test_only_options_of_pciback_hide_devices() -> None:
    text = (
        "# options pciback hide=(01:00.0)\n"
        "alias eth0 e1000\n"
        "options e1000 hide=(02:00.0)\n"
        "options pciback\n"
        "options xen-pciback passthrough=1 hide=(03:01.0)(03:02.0) permissive\n"
        'options xen_pciback \\\n  hide="(04:00.0) (04:00.1)"\n'
    )
    assert (
        "0000:03:01.0",
        "0000:03:02.0",
        "0000:04:00.0",
        "0000:04:00.1",
    ) == pci_hiding.parse_modprobe_hiding(text, "x")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("root=/dev/sda1 ro xen-pciback.hide=(0000:03:01.0)(03:02.0)", 2),
        ("pciback.hide=(03:01.0) quiet\n", 1),
        ('xen_pciback.hide="(03:01.0) (03:02.0)" ro', 2),
        ("pciback.permissive hide=(03:01.0)", 0),
        ("", 0),
    ],
)
def test_the_kernel_line_hides_devices(line: str, expected: int) -> None:
    assert expected == len(pci_hiding.parse_kernel_line_hiding(line, "/proc/cmdline"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# pciback\n", False),
        ("ext4\nxen-pciback hide=(03:01.0)\n", True),
        ("pciback # early", True),
        ("xen_pciback\n", True),
        ("pciback-other\n", False),
    ],
)
def test_modules_of_initramfs_tools(text: str, expected: bool) -> None:
    assert expected is pci_hiding.names_pciback(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('add_drivers+=" xen-pciback "\n', True),
        ("force_drivers+=' ext4 xen_pciback '", True),
        ('#add_drivers+=" xen-pciback "\n', False),
        ('omit_drivers+=" xen-pciback "\n', False),
        ('add_drivers="pciback"\nadd_drivers="e1000"\n', False),
        ('add_drivers="pciback"\nadd_drivers+=" e1000"\n', True),
        ('add_drivers="e1000\n  pciback"\n', True),
        ('add_drivers="pciback\n', False),
    ],
)
def test_drivers_of_dracut(text: str, expected: bool) -> None:
    assert expected is pci_hiding.assigns_pciback(text, "add_drivers", "force_drivers")


def test_modules_of_a_suse_initrd() -> None:
    text = (
        '## Type: string\nINITRD_MODULES="piix pciback processor thermal"\nDOMU_INITRD_MODULES=""\n'
    )
    assert pci_hiding.assigns_pciback(text, "INITRD_MODULES")
    assert not pci_hiding.assigns_pciback(text.replace("pciback", ""), "INITRD_MODULES")


def test_pciback_in_the_kernel_or_forced_by_its_line_is_early() -> None:
    assert pci_hiding.has_builtin_pciback("kernel/drivers/xen/xen-pciback/xen-pciback.ko\n")
    assert not pci_hiding.has_builtin_pciback("kernel/fs/ext4/ext4.ko\n")
    assert pci_hiding.forces_pciback("ro rd.driver.pre=ext4,xen-pciback")
    assert not pci_hiding.forces_pciback("ro rd.driver.pre=ext4 xen-pciback")


# What guests ask for, what the toolstack would give


def test_options_of_an_entry_are_found() -> None:
    assert has_pci_option("03:01.0,permissive=1, seize=1", "seize")
    assert not has_pci_option("03:01.0,seize=0", "seize")
    assert not has_pci_option("03:01.0,unseize=1", "seize")


def test_assignable_devices_without_pciback_are_none() -> None:
    recorded = load_recording("xl-pci-assignable-list")
    assert "pciback driver not loaded" in recorded.stderr
    assert () == parse_assignable_list("xl pci-assignable-list", recorded.stdout)


def test_assignable_devices_may_have_names() -> None:
    text = "0000:03:01.0\n0000:0a:00.1 gpu\n"
    assert ("0000:03:01.0", "0000:0a:00.1") == parse_assignable_list("xl", text)
    with pytest.raises(UnexpectedOutput, match="a PCI device"):
        parse_assignable_list("xl", "none\n")


NUMBERS = st.tuples(
    st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7)
)


@given(parts=NUMBERS, options=st.sampled_from(["", "@1f", ",seize=1", "@2,permissive=1"]))
@settings(max_examples=1000)
def test_every_spelling_of_a_device_means_the_same(
    parts: tuple[int, int, int, int], options: str
) -> None:
    domain, bus, device, function = parts
    full = f"{domain:04x}:{bus:02x}:{device:02x}.{function}"
    tail = f"{bus:x}:{device:x}.{function}"
    assert full == parse_pci_specification(f"{domain:x}:{tail}{options}")
    assert full == parse_pci_specification(f"vslot=3,bdf={full.upper()}")
    assert (full,) == pci_hiding.parse_hide_value(f"({domain:x}:{tail})", "x")
    assert full == normalise_slot(full)
    assert f"0000:{full[5:]}" == parse_pci_specification(tail + options)


NAME = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("Zs", "Cc", "Cf")),
    min_size=1,
    max_size=12,
).filter(lambda word: normalise_slot(word) is None and ":" not in word)


@given(
    names=st.lists(st.lists(NAME, min_size=3, max_size=9), min_size=1, max_size=5),
    width=st.integers(1, 8),
)
@settings(max_examples=1000, deadline=None)
def test_listings_wrapped_anywhere_are_read_as_one_line_each(
    names: list[list[str]], width: int
) -> None:
    whole, wrapped = "", ""
    for number, words in enumerate(names):
        shown = [f"{number:02x}:00.0", words[0] + ":", *words[1:]]
        whole += " ".join(shown) + "\n"
        parts = [shown[n : n + width] for n in range(0, len(shown), width)]
        wrapped += "".join(" ".join(part) + "\n" for part in parts)
    assert parse_lspci_listing(whole) == parse_lspci_listing(wrapped)
    assert len(names) == len(parse_lspci_listing(whole))


def read_shell(text: str) -> object:
    return pci_hiding.assigns_pciback(text, "add_drivers", "INITRD_MODULES")


PARSERS: dict[str, Callable[[str], object]] = {
    "records": parse_lspci_records,
    "listing": parse_lspci_listing,
    "slots": parse_pci_slots,
    "assignable": lambda text: parse_assignable_list("xl", text),
    "hide": lambda text: pci_hiding.parse_hide_value(text, "x"),
    "modprobe": lambda text: pci_hiding.parse_modprobe_hiding(text, "x"),
    "kernel-line": lambda text: pci_hiding.parse_kernel_line_hiding(text, "x"),
    "specification": parse_pci_specification,
    "shell": read_shell,
    "modules": pci_hiding.names_pciback,
    "builtin": pci_hiding.has_builtin_pciback,
    "forced": pci_hiding.forces_pciback,
}
PIECES = st.sampled_from(
    [
        "0000:03:01.0",
        "03:01.0 ",
        "Slot:\t0000:03:01.0\n",
        "Class:\tx\n",
        "\n",
        "\n\n",
        "\\\n",
        "options pciback ",
        "hide=",
        "(03:01.*)",
        "xen-pciback.hide=",
        'add_drivers+="',
        "INITRD_MODULES='",
        " pciback ",
        '"',
        "'",
        ",",
        "=",
        "#",
        "\t",
        "bdf=",
        "rd.driver.pre=",
        "\udcff",
        "\u00a0",
    ]
)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(text=st.lists(PIECES | st.text(max_size=8), max_size=25).map("".join))
@settings(max_examples=1000, deadline=None)
def test_hostile_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except (UnexpectedOutput, ConfigurationError) as error:
        assert error.message
