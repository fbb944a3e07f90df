"""`dmsetup` and `udevadm` of the simulated host, against what the real ones printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import THINNY, WEB, call, look, make_host, make_recorded_host, must
from xenbackup.dom0.simulated import GroupSpec, SimulatedHost
from xenbackup.dom0.simulated.state import MIB


def make_mapped_host(tmp_path: Path) -> SimulatedHost:
    """The host of the recordings, with the snapshot of linux01 that they show."""
    host = make_recorded_host(tmp_path)
    must(host, "lvcreate", "-s", "-y", "-L", "20G", "-n", "too_big", "/dev/xenvols/linux01")
    return host


def without_places(table: str, info: str) -> list[str]:
    """A table with devices by name, and without the places of linear ones on their disk."""
    names = dict(re.findall(r"^(\S+) +(253 +\d+) ", info, re.MULTILINE))
    numbers = {":".join(number.split()): name for name, number in names.items()}
    lines = re.sub(r"(?<=linear )254:16 \d+", "disk", table)
    lines = re.sub(r"253:\d+", lambda match: numbers[match.group()], lines)
    return [line.rstrip() for line in lines.splitlines()]


def test_tables_stack_devices_as_recorded(tmp_path: Path) -> None:
    host = make_mapped_host(tmp_path)
    recorded = without_places(
        load_recording("dmsetup-table").stdout, load_recording("dmsetup-info").stdout
    )
    mine = without_places(must(host, "dmsetup", "table"), must(host, "dmsetup", "info", "-c"))
    assert recorded == mine


def test_layers_of_thin_volumes_with_thick_snapshots(tmp_path: Path) -> None:
    host = make_host(tmp_path, THINNY)
    must(host, "lvcreate", "-s", "-y", "-L", "512k", "-n", "s", "xenvols/thinny_root")
    assert (
        "0 4096 snapshot-origin" == must(host, "dmsetup", "status", "xenvols-thinny_root").rstrip()
    )
    below = must(host, "dmsetup", "status", "xenvols-thinny_root-real").split()
    assert ["0", "4096", "thin"] == below[:3]
    tables = must(host, "dmsetup", "table")
    assert re.search(r"^xenvols-thinny_root-real: 0 4096 thin 253:\d+ \d+$", tables, re.MULTILINE)


def test_long_form_tells_of_each_device(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)
    must(host, "dmsetup", "suspend", "xenvols-web_data")
    told = must(host, "dmsetup", "info", "xenvols-web_root", "xenvols-web_data")
    devices = [
        dict(re.split(r": +", line, maxsplit=1) for line in part.splitlines())
        for part in told.strip().split("\n\n")
    ]
    assert [("xenvols-web_data", "SUSPENDED", "1"), ("xenvols-web_root", "ACTIVE", "1")] == [
        (device["Name"], device["State"], device["Open count"]) for device in devices
    ]
    assert all(re.fullmatch(r"LVM-[0-9A-Za-z]{64}", device["UUID"]) for device in devices)


def test_columns_are_those_of_the_recording(tmp_path: Path) -> None:
    host = make_mapped_host(tmp_path)
    recorded = load_recording("dmsetup-info").stdout.splitlines()
    mine = must(host, "dmsetup", "info", "--columns").splitlines()
    assert recorded[0].split() == mine[0].split()
    assert [row.split()[0] for row in recorded] == [row.split()[0] for row in mine]
    assert [row.split()[3] for row in recorded] == [row.split()[3] for row in mine]
    assert len(recorded) == len({row.split()[2] for row in mine}), "a number for each device"


def test_status_can_be_asked_of_one_target(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    must(host, "xl", "destroy", "web")
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    told = must(host, "dmsetup", "status", "--target", "snapshot")
    assert "xenvols-s: 0 4096 snapshot 16/1024 16\n" == told


def test_inactive_volume_has_no_device(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)
    must(host, "lvcreate", "-y", "-L", "256k", "-n", "idle", "xenvols")
    assert "xenvols-idle\t(253:" in must(host, "dmsetup", "ls")
    must(host, "lvchange", "-an", "xenvols/idle")
    assert "xenvols-idle" not in must(host, "dmsetup", "ls")
    assert 1 == call(host, "dmsetup", "info", "-c", "xenvols-idle").exit_code


def test_host_without_volumes_has_no_devices(tmp_path: Path) -> None:
    host = make_host(tmp_path, group=GroupSpec(size_bytes=MIB * 16))
    must(host, "xl", "destroy", "web")
    must(host, "lvremove", "-y", "xenvols")
    assert "No devices found\n" == must(host, "dmsetup", "ls")
    headings = ["Name", "Maj", "Min", "Stat", "Open", "Targ", "Event", "UUID"]
    assert headings == must(host, "dmsetup", "info", "-c").split()
    assert "" == must(host, "dmsetup", "info", "-c", "--noheadings")


def test_suspended_device_is_resumed_and_a_layer_is_not_its_volume(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    must(host, "dmsetup", "suspend", "xenvols-web_root-real")
    host.sleep(1.0)
    assert not look(host).blocked
    must(host, "dmsetup", "suspend", "/dev/mapper/xenvols-web_root")
    host.sleep(1.0)
    assert look(host).blocked
    must(host, "dmsetup", "resume", "xenvols-web_root")
    host.sleep(1.0)
    assert not look(host).blocked


@pytest.mark.parametrize("verb", ["udevcookies", "udevcomplete_all"])
def test_no_cookie_is_ever_stuck(tmp_path: Path, verb: str) -> None:
    listed = must(make_host(tmp_path), "dmsetup", verb)
    assert ["Cookie"] == [line.split()[0] for line in listed.splitlines()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dmsetup",), "Usage:\n\ndmsetup\n"),
        (("dmsetup", "info", "--frob"), "dmsetup: unrecognized option 'frob'\n"),
        (("dmsetup", "info", "-c", "-o", "name,nosuch"), "  Unrecognised field: nosuch\n"),
        (("dmsetup", "suspend"), "Command does not accept missing device.\n"),
        (("udevadm",), "Unknown command verb .\n"),
        (("udevadm", "settle", "--frob"), "udevadm: unrecognized option '--frob'\n"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = call(make_host(tmp_path), *words)
    assert 1 == result.exit_code
    assert result.stderr.startswith(said)


@pytest.mark.parametrize(
    "words", [("--timeout=30",), ("-t", "30"), ("--exit-if-exists=/dev/x",), ()]
)
def test_settling_is_silent_as_recorded(tmp_path: Path, words: tuple[str, ...]) -> None:
    recorded = load_recording("udevadm-settle")
    result = call(make_host(tmp_path), "udevadm", "settle", *words)
    assert (recorded.exit_code, recorded.stdout.strip(), recorded.stderr.strip()) == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )
    assert 0 < result.duration_seconds
