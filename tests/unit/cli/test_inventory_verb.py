"""Verb `inventory` on a simulated host: with a configuration and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell, copy_host
from tests.unit.cli.inventories import CARD, INVENTORY
from xenbackup.cli.inventory_shapes import shape_inventory
from xenbackup.cli.inventory_verb import PARTS

TOP_KEYS = ["schema", "host", "disks", "groups", "pci", "resources", "drivers",
            "broken_configurations"]  # fmt: skip
DISK_KEYS = {
    *("domain", "vdev", "kind", "target", "path", "format", "writable", "portable", "group"),
    *("volume", "filesystem", "mount_point", "size_bytes", "allocated_bytes", "snapshot"),
    *("presets", "presets_reason", "left_out", "held", "shared_with", "notes", "problem"),
}


@pytest.fixture
def unconfigured(bare_host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The host of two guests before anybody has configured anything."""
    directory = tmp_path / "unconfigured"
    copy_host(bare_host, directory)
    shutil.rmtree(directory / "etc/xenbackup")
    return Shell(directory, capsys)


def list_files(directory: Path) -> set[str]:
    """All files but the simulator's own, which counts its commands."""
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if "host" not in path.relative_to(directory).parts
    }


@pytest.mark.parametrize("part", ["", *PARTS])
def test_inventory_works_without_any_configuration_and_changes_nothing(
    unconfigured: Shell, part: str
) -> None:
    before = list_files(unconfigured.directory)
    called = unconfigured("inventory", *filter(None, [part]))
    assert (0, "") == (called.exit_code, called.err)
    assert "web" in called.out or part == "pci"
    assert "router" in called.out
    assert before == list_files(unconfigured.directory)
    assert max(len(line) for line in called.out.splitlines()) <= 80


def test_configuration_that_was_named_must_be_there(unconfigured: Shell) -> None:
    called = unconfigured("--config", "/nowhere/config.toml", "inventory")
    assert 2 == called.exit_code
    assert "/nowhere/config.toml does not exist" in called.err


def test_toolstack_of_the_configuration_is_the_one_that_is_asked(shell: Shell) -> None:
    path = shell.directory / "etc/xenbackup/config.toml"
    path.write_text('toolstack = "xm"\n' + path.read_text())
    called = shell("inventory")
    assert 1 == called.exit_code
    assert "xm" in called.err


def test_unknown_part_is_named_with_those_that_there_are(shell: Shell) -> None:
    called = shell("inventory", "disk")
    assert (2, "") == (called.exit_code, called.out)
    assert 'The inventory has no part "disk".' in called.err
    assert "did you mean `disks`?" in called.err
    assert "disks, pci, resources, drivers" in called.err


@pytest.mark.parametrize("words", [("--all",), ("disks", "--all")])
def test_all_is_for_pci_devices(shell: Shell, words: tuple[str, ...]) -> None:
    assert 2 == shell("inventory", *words).exit_code
    assert "Host bridge" in shell("inventory", "pci", "--all").out


def test_guest_file_that_cannot_be_read_is_told_below_every_table(shell: Shell) -> None:
    (shell.directory / "etc/xen/odd.cfg").write_text('name = open("/etc/passwd").read()\n')
    for part in ("", *PARTS):
        out = shell("inventory", *filter(None, [part])).out
        assert "Warning: /etc/xen/odd.cfg" in out, part


def test_host_whose_tools_fail_is_an_error(tmp_path: Path, shell: Shell) -> None:
    called = shell.plain("--simulated", str(tmp_path / "nowhere"), "inventory", "--json")
    assert 2 == called.exit_code
    assert "error" == called.json["event"]


# JSON


def test_json_has_the_whole_host(unconfigured: Shell) -> None:
    found = unconfigured("inventory", "--json").json
    assert TOP_KEYS == list(found)
    assert 1 == found["schema"]
    assert isinstance(found["host"], dict)
    guests = {guest["domain"]: guest["domid"] for guest in found["host"]["domains"]}
    assert {"web", "router"} == set(guests)
    assert all(domid > 0 for domid in guests.values())
    assert isinstance(found["disks"], list)
    volumes = {(disk["domain"], disk["vdev"], disk["volume"]) for disk in found["disks"]}
    assert {
        ("web", "xvda", "web_root"),
        ("web", "xvdb", "web_data"),
        ("router", "xvda", "router_root"),
    } == volumes
    assert all(DISK_KEYS == set(disk) for disk in found["disks"])


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("disks", ["schema", "disks", "groups"]),
        ("pci", ["schema", "pci"]),
        ("resources", ["schema", "resources"]),
        ("drivers", ["schema", "drivers"]),
    ],
)
def test_json_of_a_part_has_that_part_alone(
    unconfigured: Shell, part: str, keys: list[str]
) -> None:
    whole = unconfigured("inventory", "--json").json
    found = unconfigured("inventory", part, "--json").json
    assert keys == list(found)
    assert {key: whole[key] for key in keys} == found


def test_json_spells_out_what_the_tables_say() -> None:
    found = json.loads(json.dumps(shape_inventory(INVENTORY, "xl"), allow_nan=False))
    disks = {(disk["domain"], disk["vdev"]): disk for disk in found["disks"]}
    assert ["cold", "offline"] == disks["mail", "xvda"]["presets"]
    assert "reflink" == disks["mail", "xvdb"]["snapshot"]
    assert [{"domain": "numa", "vdev": "xvda"}] == disks["firewall", "hda"]["shared_with"]
    assert [] == disks["old", "xvda"]["presets"]
    assert not disks["old", "xvda"]["left_out"]
    assert disks["mail", "hdc"]["left_out"]
    (group,) = found["groups"]
    assert (1068 << 20, 1, True) == (
        group["snapshot_bytes"], group["snapshot_volumes"], group["snapshots_fit"],
    )  # fmt: skip
    assert [("pool", 86.5)] == [(pool["pool"], pool["data_percent"]) for pool in group["pools"]]
    assert ["two-guests", "not-hidden", "absent"] == sorted(
        (conflict["kind"] for conflict in found["pci"]["conflicts"]),
        key=["two-guests", "not-hidden", "absent"].index,
    )
    assert ["firewall"] == next(
        device["owners"] for device in found["pci"]["devices"] if device["slot"] == CARD
    )
    shares = {share["domain"]: share for share in found["resources"]["domains"]}
    assert (1, 512, 150, 1 << 30, 2 << 30) == (
        shares["web"]["domid"], shares["web"]["weight"], shares["web"]["cap"],
        shares["web"]["memory_bytes"], shares["web"]["maximum_memory_bytes"],
    )  # fmt: skip
    assert (None, None) == (shares["old"]["domid"], shares["old"]["target_memory_bytes"])
    assert not shares["mail"]["restore"]["fits"]
    codes = [fault["code"] for fault in found["resources"]["dom0"]["faults"]]
    assert ["dom0-mem-missing", "dom0-mem-linux"] == codes
    modules = {module["module"]: module["needed_by"] for module in found["drivers"]["modules"]}
    assert [] == modules["drbd"]
    assert "web" in modules["xen-netback"]
    assert "/etc/xen/\x1bodd.cfg" == found["broken_configurations"][0]["path"]
