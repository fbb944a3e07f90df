"""The inventory of a real Xen host agrees with the host's own tools; `init` fits it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

MIB = 1 << 20
FRESH = "/tmp/xenbackup-init"


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    """The module's machine as it is installed: nothing is configured. Its guests run."""
    assert shared_host.run("test", "-e", "/etc/xenbackup/config.toml").exit_code != 0
    for name in ("web", "thinny"):
        if guests.read_report(shared_host, name).domid is None:
            guests.create(shared_host, name)
    return shared_host


@pytest.fixture(scope="module")
def found(dom0: Machine) -> dict[str, Any]:
    return product.ask(dom0, "inventory")


def list_report(machine: Machine, tool: str, fields: str) -> list[dict[str, str]]:
    """Rows of `lvs` or `vgs`, as its own JSON has them, sizes in bytes."""
    done = machine.run(
        tool, "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields
    ).check()
    (report,) = json.loads(done.stdout)["report"]
    rows: list[dict[str, str]] = report[tool.removesuffix("s")]
    return rows


def list_rows(machine: Machine, *argv: str) -> list[list[str]]:
    """Rows of one of xl's tables, split at blanks, without its header."""
    lines = machine.run(*argv).check().stdout.splitlines()
    return [line.split() for line in lines[1:]]


def test_running_guests_are_those_of_xl_list(dom0: Machine, found: dict[str, Any]) -> None:
    rows = list_rows(dom0, "xl", "list")
    expected = {row[0]: (int(row[1]), int(row[2])) for row in rows if row[1] != "0"}
    running = {
        guest["domain"]: (guest["domid"], round(guest["memory_bytes"] / MIB))
        for guest in found["resources"]["domains"]
        if guest["domid"] is not None
    }
    assert expected == running
    assert {name: domid for name, (domid, _) in expected.items()} == {
        guest["domain"]: guest["domid"]
        for guest in found["host"]["domains"]
        if guest["domid"] is not None
    }


def test_guests_that_are_shut_off_come_from_their_files(found: dict[str, Any]) -> None:
    names = {guest["domain"] for guest in found["host"]["domains"] if guest["domid"] is None}
    assert {"pvh01", "hvm01", "emu01"} <= names


def test_disks_have_the_sizes_and_groups_of_lvs(dom0: Machine, found: dict[str, Any]) -> None:
    rows = list_report(dom0, "lvs", "lv_name,vg_name,lv_size,pool_lv")
    volumes = {(row["vg_name"], row["lv_name"]): row for row in rows}
    disks = [disk for disk in found["disks"] if disk["volume"]]
    assert {"web", "thinny"} <= {disk["domain"] for disk in disks}
    for disk in disks:
        row = volumes[disk["group"], disk["volume"]]
        assert int(row["lv_size"]) == disk["size_bytes"], disk
        kind, snapshot = ("thin-volume", "thin") if row["pool_lv"] else ("logical-volume", "thick")
        assert (kind, snapshot) == (disk["kind"], disk["snapshot"])
        assert "checkpoint" in disk["presets"]


def test_disks_are_those_that_the_guests_have(dom0: Machine, found: dict[str, Any]) -> None:
    for name in ("web", "thinny"):
        targets = guests.read_report(dom0, name).targets
        disks = {d["vdev"]: d["target"] for d in found["disks"] if d["domain"] == name}
        assert targets.keys() == disks.keys()


def test_groups_are_those_of_vgs(dom0: Machine, found: dict[str, Any]) -> None:
    rows = list_report(dom0, "vgs", "vg_name,vg_size,vg_free")
    expected = {row["vg_name"]: (int(row["vg_size"]), int(row["vg_free"])) for row in rows}
    assert expected == {
        group["group"]: (group["size_bytes"], group["free_bytes"]) for group in found["groups"]
    }


def test_devices_are_those_of_lspci(dom0: Machine, found: dict[str, Any]) -> None:
    lines = dom0.run("lspci", "-D").check().stdout.splitlines()
    expected = [line.split()[0] for line in lines]
    assert sorted(expected) == sorted(device["slot"] for device in found["pci"]["devices"])
    assert "" == found["pci"]["problem"]


def test_affinities_are_those_of_xl_vcpu_list(dom0: Machine) -> None:
    dom0.run("xl", "vcpu-pin", "web", "0", "1").check()
    shares = product.ask(dom0, "inventory", "resources")["resources"]["domains"]
    rows = list_rows(dom0, "xl", "vcpu-list")
    for share in shares:
        if share["domid"] is None:
            continue
        # Name, id, vcpu, cpu, state, time, hard, "/", soft.
        expected = [(int(row[2]), row[6]) for row in rows if row[0] == share["domain"]]
        assert expected == [(entry["vcpu"], entry["hard"]) for entry in share["affinity"]]
    dom0.run("xl", "vcpu-pin", "web", "0", "all").check()


def test_tables_of_every_part_are_printed(dom0: Machine) -> None:
    for part in ("disks", "pci", "resources", "drivers"):
        done = product.call(dom0, "inventory", part).check()
        assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    assert "web" in product.call(dom0, "inventory").check().stdout


@pytest.mark.lab_long
def test_first_configuration_is_one_that_validates(dom0: Machine) -> None:
    dom0.run("rm", "-rf", FRESH).check()
    made = product.ask(dom0, "init", "--directory", FRESH)
    assert [f"{FRESH}/config.toml", f"{FRESH}/jobs/nightly.toml"] == made["written"]
    # The lab mounts a disk of its own there.
    assert "/srv/backup" == made["destination"]["path"]
    assert made["destination"]["free_bytes"] > 0
    product.call(dom0, "--config", f"{FRESH}/config.toml", "config", "validate").check()
    again = product.call(dom0, "init", "--directory", FRESH)
    assert 2 == again.exit_code
