"""The toolstack takes what is composed for it, and understands by it what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xenbackup.dom0.guest_configuration import ComposedConfiguration, compose_configuration
from xenbackup.dom0.host import Host
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.model.domain import Domain

PATH = "/var/tmp/xenbackup-composed.cfg"
OTHER_UUID = "66afb5c9-37b1-4244-86b8-765ada17fb18"
HOSTILE_NAME = 'it\'s a "guest" \\ of # many; words = [é]'


@pytest.fixture
def guest(toolstack: Toolstack) -> Domain:
    """Any guest that runs on the host."""
    domains = [domain for domain in toolstack.list_domains() if domain.configuration_json]
    assert domains, "the host runs no guest to compose a configuration of"
    return domains[0]


@pytest.fixture
def place(host: Host) -> Iterator[Path]:
    """Where a configuration file may lie on the host; gone after the test."""
    path = host.place(PATH)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink(missing_ok=True)


def let_toolstack_read(
    toolstack: Toolstack, place: Path, composed: ComposedConfiguration
) -> dict[str, Any]:
    """The configuration that the toolstack prints of the file, having created nothing."""
    place.write_bytes(composed.content)
    result = toolstack.check_configuration(Path(PATH))
    assert result.succeeded, f"refused: {result.stderr}\n{composed.text}"
    printed: dict[str, Any] = json.loads(result.stdout)
    # xl 4.17 prints the configuration bare, as no domain carries it yet.
    config: dict[str, Any] = printed.get("config", printed)
    return config


def test_every_running_guest_can_be_composed_and_is_understood(
    toolstack: Toolstack, place: Path
) -> None:
    domains = [domain for domain in toolstack.list_domains() if domain.configuration_json]
    assert domains, "the host runs no guest to compose a configuration of"
    for domain in domains:
        recorded = json.loads(domain.configuration_json)
        composed = compose_configuration(domain.configuration_json)
        assert () == composed.unwritten
        understood = let_toolstack_read(toolstack, place, composed)
        for key in ("name", "uuid", "type"):
            assert recorded["c_info"][key] == understood["c_info"][key]
        for key in ("max_memkb", "target_memkb", "max_vcpus", "kernel", "cmdline", "ramdisk"):
            assert recorded["b_info"].get(key) == understood["b_info"].get(key), key
        for key in ("pdev_path", "vdev", "format", "readwrite", "is_cdrom"):
            assert [disk.get(key) for disk in recorded.get("disks", [])] == [
                disk.get(key) for disk in understood.get("disks", [])
            ]
        for key in ("on_poweroff", "on_reboot", "on_crash", "on_soft_reset"):
            assert recorded.get(key, "destroy") == understood.get(key, "destroy")


def test_another_name_uuid_and_target_reach_the_toolstack(
    toolstack: Toolstack, guest: Domain, place: Path
) -> None:
    vdev = guest.disks[0].vdev
    composed = compose_configuration(
        guest.configuration_json,
        name=HOSTILE_NAME,
        uuid=OTHER_UUID,
        disks={vdev: "/dev/xenvols/a,b=c:d"},
    )
    understood = let_toolstack_read(toolstack, place, composed)
    assert (HOSTILE_NAME, OTHER_UUID) == (
        understood["c_info"]["name"],
        understood["c_info"]["uuid"],
    )
    assert "/dev/xenvols/a,b=c:d" == understood["disks"][0]["pdev_path"]


def test_a_check_creates_no_domain(toolstack: Toolstack, guest: Domain, place: Path) -> None:
    before = {domain.domid for domain in toolstack.list_domains()}
    composed = compose_configuration(guest.configuration_json, name="unborn", uuid=OTHER_UUID)
    let_toolstack_read(toolstack, place, composed)
    assert before == {domain.domid for domain in toolstack.list_domains()}
