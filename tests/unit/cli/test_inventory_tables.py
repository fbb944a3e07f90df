"""The inventory as a person reads it, at 80 columns and at 140."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.cli.inventories import CARD, IMAGE, INVENTORY
from tests.unit.worlds import make_group
from xenbackup.cli.inventory_guest_tables import (
    report_drivers,
    report_resources,
    report_summary,
    show_affinity,
)
from xenbackup.cli.inventory_tables import report_disks, report_pci
from xenbackup.cli.page import Page
from xenbackup.cli.text import measure_width
from xenbackup.model.devices import DriverInventory, PciInventory
from xenbackup.model.domain import VcpuPinning
from xenbackup.model.inventory import Inventory
from xenbackup.model.resources import Resources

NARROW, WIDE = Page(width=80), Page(width=140)
EMPTY = replace(
    INVENTORY,
    domains=(),
    volumes=(),
    groups=(),
    backings=(),
    pci=PciInventory(),
    resources=Resources(),
    drivers=DriverInventory(),
    broken_configurations=(),
)
Report = Callable[[Inventory, Page], str]
REPORTS: dict[str, Report] = {
    "summary": lambda found, page: report_summary(found, "xl", page),
    "disks": report_disks,
    "pci": report_pci,
    "all pci": lambda found, page: report_pci(found, page, every=True),
    "resources": report_resources,
    "drivers": report_drivers,
}


def flatten(text: str) -> str:
    """Lines joined: a sentence may be wrapped anywhere."""
    return " ".join(text.split())


def find_row(text: str, *words: str) -> str:
    """The line that begins with these words, blanks between them."""
    return next(line for line in text.splitlines() if re.match(r" +".join(words), line))


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("page", [NARROW, WIDE], ids=["80", "140"])
def test_no_line_is_wider_than_the_page(report: Report, page: Page) -> None:
    for line in report(INVENTORY, page).splitlines():
        assert measure_width(line) <= page.width, line


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_host_without_anything_is_told_too(report: Report) -> None:
    assert report(EMPTY, NARROW).strip()


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_names_from_outside_cannot_move_the_cursor(report: Report) -> None:
    evil = "w\x1b[2J\nb"
    odd = replace(
        INVENTORY,
        domains=tuple(replace(found, name=evil) for found in INVENTORY.domains),
        backings=tuple(
            replace(found, domain=evil, target=evil, notes=(evil,), problem=evil, held=evil)
            for found in INVENTORY.backings
        ),
        resources=replace(
            INVENTORY.resources,
            scheduler=evil,
            problems=(evil,),
            domains=tuple(
                replace(found, domain=evil, pool=evil) for found in INVENTORY.resources.domains
            ),
        ),
        drivers=replace(
            INVENTORY.drivers,
            guests=tuple(
                replace(found, domain=evil, video=evil, reasons=(evil,), findings=(evil,))
                for found in INVENTORY.drivers.guests
            ),
        ),
        pci=replace(
            INVENTORY.pci,
            devices=tuple(
                replace(found, device=evil, owners=(evil,), hidden_by=(evil,))
                for found in INVENTORY.pci.devices
            ),
            asked_for=((CARD, (evil, "x")),),
            unregistered=(evil,),
            problem=evil,
        ),
    )
    text = report(odd, NARROW)
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.split()[:1] == ["b"]]


# Disks


def test_disk_shows_its_volume_its_sizes_and_its_snapshot() -> None:
    text = report_disks(INVENTORY, WIDE)
    expected = "web +xvda +LV +10.0 GiB +10.0 GiB +thick +no +xenvols/web_root"
    assert re.fullmatch(expected, find_row(text, "web", "xvda"))
    expected = "thinny +xvda +thin LV +10.0 GiB +3.0 GiB +thin +no +xenvols/thinny_root"
    assert re.fullmatch(expected, find_row(text, "thinny", "xvda"))


def test_image_file_shows_its_file_system_and_that_it_moves() -> None:
    expected = rf"mail +xvda +image file \(ext4\) +20.0 GiB +7.0 GiB +none +yes +{IMAGE}"
    assert re.fullmatch(expected, find_row(report_disks(INVENTORY, WIDE), "mail", "xvda"))
    narrow = find_row(report_disks(INVENTORY, NARROW), "mail", "xvda")
    assert re.match(r"mail +xvda +image \(ext4\) +20.0 GiB +35% +none +yes +/var", narrow)
    narrow = find_row(report_disks(INVENTORY, NARROW), "mail", "xvdb")
    assert re.match(r"mail +xvdb +image \(btrfs\) +20.0 GiB +100% +reflink +yes +/srv", narrow)


def test_path_that_does_not_fit_is_wrapped_and_not_cut() -> None:
    lines = report_disks(INVENTORY, NARROW).splitlines()
    start = next(at for at, line in enumerate(lines) if re.match(r"mail +xvda ", line))
    column = lines[0].index("WHERE")
    rows = [lines[start][column:]]
    rows += [line[column:] for line in lines[start + 1 :][:3] if not line[:column].strip()]
    assert IMAGE == "".join(rows)


def test_drive_without_a_disk_has_no_size() -> None:
    row = find_row(report_disks(INVENTORY, WIDE), "firewall", "hdc")
    assert re.fullmatch("firewall +hdc +empty +- +- +none +no +-", row)


def test_each_kind_says_once_which_presets_it_allows_and_why_not_the_others() -> None:
    text = report_disks(INVENTORY, WIDE)
    table = text[text.index("WHAT ", text.index("\n\n")) :].split("\n\n")[0]
    assert re.search(
        r"^image file \(ext4\) +cold, offline only +no snapshot: its file system", table, re.M
    )
    assert re.search(r"^image file \(btrfs\) +all +the file is cloned", table, re.M)
    assert re.search(r"^partition +cold only +no snapshot: it is no logical volume$", table, re.M)
    assert re.search(r"^iSCSI +cold only +no snapshot: it lies on the network", table, re.M)
    assert re.search(r"^absent +none +there is nothing to read", table, re.M)
    assert re.search(r"^CD-ROM +left out +left out of every backup", table, re.M)
    assert 1 == len(re.findall("^partition ", table, re.M))


def test_notes_problems_and_holders_follow_the_table() -> None:
    text = flatten(report_disks(INVENTORY, NARROW))
    assert "old xvdb: the initiator is not running." in text
    assert "Warning: old xvda: No such file or directory." in text
    assert "Warning: firewall hda: dom0 itself uses it: mounted in dom0 at /mnt." in text


def test_storage_that_two_guests_can_write_is_a_warning() -> None:
    text = flatten(report_disks(INVENTORY, NARROW))
    expected = (
        "Warning: firewall hda, numa xvda: these are one and the same storage (/dev/sdb1), and "
        "firewall, numa can all write it."
    )
    assert expected in text


def test_storage_with_one_writer_is_told_without_a_warning() -> None:
    backings = tuple(
        replace(found, writable=found.domain != "numa") for found in INVENTORY.backings
    )
    text = flatten(report_disks(replace(INVENTORY, backings=backings), NARROW))
    assert "numa xvda: these are one and the same storage (/dev/sdb1)." in text
    assert "can all write" not in text


def test_group_shows_what_snapshots_of_all_its_guests_take() -> None:
    row = find_row(report_disks(INVENTORY, WIDE), "xenvols", "200 GiB")
    # One thick volume of 10 GiB, with 4 MiB extents: 256 extents, and one for the table.
    assert re.fullmatch(r"xenvols +200 GiB +100 GiB +1.0 GiB +1 +yes", row)
    full = replace(INVENTORY, groups=(make_group(free_bytes=0),))
    assert "not all at once" in find_row(report_disks(full, WIDE), "xenvols", "200 GiB")


def test_thin_pool_shows_how_full_it_is() -> None:
    text = report_disks(INVENTORY, WIDE)
    assert re.fullmatch(r"xenvols/pool +10.0 GiB +86.5% +5.0%", find_row(text, "xenvols/pool"))


# PCI


def test_devices_of_dom0_alone_are_counted_and_listed_on_request() -> None:
    text = report_pci(INVENTORY, NARROW)
    assert "Host bridge" not in text
    assert "1 other device of dom0's own; `--all` lists it." in text
    text = report_pci(INVENTORY, NARROW, every=True)
    assert "Host bridge" in text
    assert "--all" not in text


def test_device_shows_its_guest_and_who_waits_for_it() -> None:
    row = find_row(report_pci(INVENTORY, WIDE), CARD, "pciback")
    assert re.search(r"pciback +yes +firewall, \(old\) +Ethernet controller: Intel", row)


def test_long_name_of_a_device_is_wrapped() -> None:
    text = report_pci(INVENTORY, NARROW)
    assert "Ethernet controller: Intel Corporation 82574L Gigabit Network" in flatten(text)


def test_what_hides_a_device_is_named() -> None:
    text = flatten(report_pci(INVENTORY, NARROW))
    assert f"{CARD}: hidden by /etc/modprobe.d/pciback.conf." in text
    devices = tuple(replace(found, hidden_by=()) for found in INVENTORY.pci.devices)
    by_hand = replace(INVENTORY, pci=replace(INVENTORY.pci, devices=devices))
    assert f"{CARD}: hidden by hand" in flatten(report_pci(by_hand, NARROW))


def test_conflicts_are_warnings() -> None:
    text = flatten(report_pci(INVENTORY, NARROW))
    assert f"Warning: {CARD} is asked for by firewall, old: only one of them" in text
    assert "Warning: 0000:04:00.0 is asked for by old, and not hidden from dom0." in text
    assert "Warning: 0000:05:00.0 is asked for by old, and not in this host." in text


@pytest.mark.parametrize(
    ("early", "words"),
    [
        (True, "pciback comes early"),
        (False, "pciback does not come early"),
        (None, "early is unknown"),
    ],
)
def test_whether_pciback_comes_early_is_told(early: bool | None, words: str) -> None:
    found = replace(INVENTORY, pci=replace(INVENTORY.pci, early=early))
    assert words in flatten(report_pci(found, NARROW))


# Resources


def test_rule_for_dom0_gets_a_verdict_and_its_reasons() -> None:
    text = report_resources(INVENTORY, NARROW)
    assert re.search("^verdict on the rule: +not as it should be$", text, re.M)
    assert "Warning: Xen's command line has no dom0_mem=" in text
    assert "Warning: dom0_mem=512M is on the Linux kernel's line" in text
    dom0 = replace(INVENTORY.resources.dom0, on_xen_line="1024M", on_linux_line="", limit_mib=1024)
    good = replace(INVENTORY, resources=replace(INVENTORY.resources, dom0=dom0))
    text = report_resources(good, NARROW)
    assert re.search("^verdict on the rule: +good$", text, re.M)
    assert "Warning" not in text


def test_guest_shows_its_memory_and_whether_it_would_be_free_again() -> None:
    text = report_resources(INVENTORY, WIDE)
    row = find_row(text, "web", "1 ")
    assert re.match(r"web +1 +1.0 GiB +2.0 GiB +1.0 GiB +yes, unless others take over", row)
    assert re.match(r"mail +3 +1.0 GiB +9.0 GiB +9.0 GiB +no: .* short", find_row(text, "mail"))
    assert re.match(r"old +off +1.0 GiB +1.0 GiB +- ", find_row(text, "old"))


def test_guest_shows_its_weight_cap_pool_and_affinity() -> None:
    row = find_row(report_resources(INVENTORY, WIDE), "web", "2 ")
    expected = r"web +2 +512 +150 +Pool-0 +vCPU 0: 0; vCPU 1: 2-3 \(soft 2\)"
    assert re.fullmatch(expected, row)


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        ((), "-"),
        ((("all", "all"), ("all", "all")), "all"),
        ((("1", "all"), ("1", "all")), "1"),
        ((("0-3", "2"),), "0-3 (soft 2)"),
        ((("2", "2"),), "2"),
        ((("0", "all"), ("1", "all")), "vCPU 0: 0; vCPU 1: 1"),
    ],
)
def test_affinity_is_as_short_as_it_can_be(
    pins: tuple[tuple[str, str], ...], expected: str
) -> None:
    pinning = [
        VcpuPinning(vcpu=number, hard=hard, soft=soft) for number, (hard, soft) in enumerate(pins)
    ]
    assert expected == show_affinity(pinning)


# Drivers


def test_guest_shows_what_can_be_done_with_it_and_why_not() -> None:
    text = report_drivers(INVENTORY, WIDE)
    expected = "firewall +hvm +hd/sd +no +no +yes +cirrus +2: e1000, rtl8139"
    assert re.fullmatch(expected, find_row(text, "firewall", "hvm"))
    assert f"firewall: PCI device {CARD} is passed through to it." in text
    assert "Warning: firewall: it has 4 network boards." in text
    assert 1 == text.count("no effect on a backup")


def test_reason_that_several_guests_share_is_said_once() -> None:
    guests = tuple(replace(found, reasons=("it is odd",)) for found in INVENTORY.drivers.guests)
    drivers = replace(INVENTORY.drivers, guests=guests)
    text = report_drivers(replace(INVENTORY, drivers=drivers), NARROW)
    assert "web, thinny, mail, firewall, numa, old: it is odd." in text
    assert 1 == text.count("it is odd")


def test_missing_module_names_the_guests_that_need_it_and_only_then_warns() -> None:
    text = flatten(report_drivers(INVENTORY, NARROW))
    expected = (
        "Warning: xen-netback is missing, which web, thinny, mail, firewall, old need: serves "
        "network boards."
    )
    assert expected in text
    assert "drbd is missing" not in text


# The summary


def test_summary_has_a_line_for_each_guest() -> None:
    text = report_summary(INVENTORY, "xl", NARROW)
    expected = r"mail +3 +pv +1.0 GiB +1 +yes +2 +40.0 GiB +none, reflink"
    assert re.fullmatch(expected, find_row(text, "mail"))
    assert re.match(r"old +off ", find_row(text, "old"))
    assert re.search("^host: +dom0, Xen 4.17.7 \\(xl\\)$", text, re.M)


def test_summary_warns_of_what_is_wrong() -> None:
    text = flatten(report_summary(INVENTORY, "xl", NARROW))
    for words in (
        "Xen's command line has no dom0_mem=",
        "old xvda (/dev/gone/disk): there is nothing to read",
        "firewall, numa can all write the storage /dev/sdb1.",
        "Thin pool xenvols/pool is filling up.",
        "0000:05:00.0 is asked for by old, and not in this host.",
        "xen-netback is missing",
        "/etc/xen/\\x1bodd.cfg: line 3: holds code; while it is shut off, its guest is unknown.",
    ):
        assert f"Warning: {words}" in text
