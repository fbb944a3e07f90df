"""The simulated LVM tools print what the recorded ones printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import THINNY, WEB, call, make_host, make_recorded_host, must
from xenbackup.dom0.simulated import SimulatedHost

FIELDS = (
    "lv_uuid,lv_name,vg_name,lv_size,lv_attr,lv_tags,origin,pool_lv,snap_percent,data_percent,"
    "metadata_percent,lv_path,lv_active,lv_device_open,lv_snapshot_invalid,lv_merging"
)


def lvs(host: SimulatedHost, *words: str) -> list[dict[str, Any]]:
    report = json.loads(must(host, "lvs", "--reportformat", "json", *words))["report"]
    rows: list[dict[str, Any]] = report[0]["lv"]
    return rows


def test_report_is_the_recorded_one(tmp_path: Path) -> None:
    host = make_recorded_host(tmp_path)
    assert "  Reducing COW size 20.00 GiB down to maximum usable size 516.00 MiB.\n" in must(
        host, "lvcreate", "-s", "-y", "-L", "20G", "-n", "too_big", "/dev/xenvols/linux01"
    )
    must(
        host, "lvcreate", "-s", "-y", "-l", "10%ORIGIN", "-n", "web_root.snap",
        "--addtag", "xenbackup", "--addtag", "run=01", "/dev/xenvols/web_root",
    )  # fmt: skip
    must(
        host, "lvcreate", "-s", "-y", "-n", "thin01.snap", "--addtag", "xenbackup", "xenvols/thin01"
    )
    recorded = json.loads(load_recording("lvs-after-snap").stdout)["report"][0]["lv"]
    mine = lvs(host, "-a", "--units", "b", "--nosuffix", "-o", FIELDS)
    volatile = {"lv_uuid", "snap_percent", "data_percent", "metadata_percent"}
    assert [
        {key: value for key, value in row.items() if key not in volatile} for row in recorded
    ] == [{key: value for key, value in row.items() if key not in volatile} for row in mine]
    assert list(recorded[0]) == list(mine[0])


def test_json_is_laid_out_as_recorded(tmp_path: Path) -> None:
    host = make_recorded_host(tmp_path)
    recorded = load_recording("lvs-domain-running").stdout.splitlines()
    words = ("-a", "--reportformat", "json", "--units", "b", "--nosuffix")
    mine = must(host, "lvs", *words, "-o", "lv_name,lv_attr,lv_device_open", "xenvols").splitlines()
    row = (
        '                  {"lv_name":"linux01", "lv_attr":"-wi-ao----", "lv_device_open":"open"},'
    )
    assert (recorded[:4], row) == (mine[:4], mine[4])
    assert row.replace("ao-", "a--").replace('"open"', '""') == recorded[4]
    assert recorded[-4:] == mine[-4:]


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ("lvs-missing", ("lvs", "--reportformat", "json", "xenvols/nosuch")),
        ("lvremove-missing", ("lvremove", "-y", "xenvols/nosuch")),
    ],
)
def test_missing_volume_is_refused_as_recorded(
    tmp_path: Path, recording: str, words: tuple[str, ...]
) -> None:
    recorded = load_recording(recording)
    result = call(make_host(tmp_path), *words)
    # The recorder ends an empty stream with a newline.
    wanted = recorded.stdout if recorded.stdout.strip() else ""
    assert (recorded.exit_code, wanted, recorded.stderr) == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


def test_volume_of_a_guest_is_in_use_as_recorded(tmp_path: Path) -> None:
    recorded = load_recording("lvremove-in-use-by-domain")
    result = call(make_host(tmp_path), "lvremove", "-y", "xenvols/web_root")
    assert (recorded.exit_code, recorded.stderr) == (result.exit_code, result.stderr)


def test_snapshot_name_that_exists_is_refused_as_recorded(tmp_path: Path) -> None:
    recorded = load_recording("lvcreate-exists")
    host = make_host(tmp_path)
    words = ("lvcreate", "-s", "-y", "-l", "10%ORIGIN", "-n", "web_root.snap", "xenvols/web_root")
    assert load_recording("lvcreate-thick-snap").stdout == must(host, *words)
    result = call(host, *words)
    assert (recorded.exit_code, recorded.stderr) == (result.exit_code, result.stderr)


def test_groups_and_physical_volumes_are_reported_as_recorded(tmp_path: Path) -> None:
    host = make_recorded_host(tmp_path)
    json_words = ("--reportformat", "json", "--units", "b", "--nosuffix")
    fields = "vg_uuid,vg_name,vg_size,vg_free,vg_extent_size,vg_free_count,lv_count"
    recorded = json.loads(load_recording("vgs-json").stdout)["report"][0]["vg"][0]
    mine = json.loads(must(host, "vgs", *json_words, "-o", fields))["report"][0]["vg"][0]
    assert {**recorded, "vg_uuid": ""} == {**mine, "vg_uuid": ""}
    physical = json.loads(load_recording("pvs-json").stdout)["report"][0]["pv"][0]
    assert physical == json.loads(must(host, "pvs", *json_words))["report"][0]["pv"][0]


def test_table_of_thin_volumes_is_the_recorded_one(tmp_path: Path) -> None:
    host = make_recorded_host(tmp_path)
    must(host, "lvcreate", "-s", "-y", "-n", "thin01.snap", "xenvols/thin01")
    must(host, "lvchange", "-ay", "-K", "xenvols/thin01.snap")
    recorded = load_recording("thin-snap-activate").stdout.splitlines()
    mine = must(host, "lvs", "-o", "lv_name,lv_attr,origin,data_percent", "xenvols").splitlines()
    assert recorded[0] == mine[0]
    assert recorded[4] == mine[4]


def test_snapshot_size_is_rounded_to_extents(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    said = must(host, "lvcreate", "-s", "-y", "-L", "300k", "-n", "s", "xenvols/web_root")
    assert "  Rounding up size to full physical extent 512.00 KiB\n" in said
    (row,) = lvs(host, "--units", "b", "--nosuffix", "-o", "lv_size", "xenvols/s")
    assert "524288" == row["lv_size"]


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("lvs", "--frob"), 3, "unrecognized option '--frob'"),
        (("lvs", "-o", "nonsense"), 5, "Unrecognised field: nonsense"),
        (("lvs", "nosuch"), 5, 'Volume group "nosuch" not found'),
        (("lvs", "-S", "lv_name = "), 5, "Selection syntax error"),
        (("lvs", "-S", "nonsense=1"), 5, "Unrecognised selection field"),
        (("lvcreate", "-y", "-n", "x", "xenvols"), 3, "either size or extents"),
        (("lvcreate", "-y", "-L", "1G", "-n", "x", "xenvols"), 5, "insufficient free space"),
        (("lvcreate", "-y", "-L", "junk", "-n", "x", "xenvols"), 3, "Invalid argument"),
        (("lvcreate", "-y", "-L", "1M", "-n", "a b", "xenvols"), 3, "is invalid"),
        (("lvcreate", "-y", "-L", "1M", "-n", "x_tmeta", "xenvols"), 3, "reserved"),
        (("lvcreate", "-s", "-y", "-L", "1M", "-n", "x", "xenvols/nosuch"), 5, "not found"),
        (("lvcreate", "-s", "-y", "-n", "x", "xenvols/web_root"), 3, "either size or extents"),
        (("lvcreate", "-y", "-L", "1M", "-n", "x", "--addtag", "a b", "xenvols"), 3, "not valid"),
        (("lvremove",), 3, "Please provide"),
        (("lvremove", "xenvols/pool"), 5, "not removed"),
        (("lvextend", "-L", "+1G", "xenvols/web_root"), 5, "insufficient free space"),
        (("lvchange", "xenvols/web_root"), 3, "Need 1 or more"),
        (("lvchange", "-an", "xenvols/web_root"), 5, "in use"),
        (("dmsetup", "frob"), 1, "Unknown command"),
        (("dmsetup", "status", "nosuch"), 1, "Device does not exist."),
        (("udevadm", "trigger"), 1, "Unknown command verb"),
        (("lspci", "-Q"), 1, "invalid option"),
        (("xenstore-read", "/nosuch"), 1, "couldn't read path /nosuch"),
        (("xenstore-ls", "/nosuch"), 1, "No such file or directory"),
    ],
)
def test_what_a_tool_does_not_know_is_refused(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = call(make_host(tmp_path, WEB), *words)
    assert exit_code == result.exit_code
    assert said in result.stderr


def test_snapshot_of_a_snapshot_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    result = call(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "t", "xenvols/s")
    assert (5, "  Snapshots of snapshots are not supported.\n") == (result.exit_code, result.stderr)


def test_origin_takes_its_thick_snapshots_along(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    said = must(host, "lvremove", "-y", "xenvols/web_root")
    assert ['"s"', '"web_root"'] == [line.split()[2] for line in said.splitlines()]


def test_extended_snapshot_stops_at_the_useful_maximum(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    said = must(host, "lvextend", "-L", "+4M", "xenvols/s")
    assert "Reached maximum COW size 2.25 MiB (9 extents)." in said
    assert "changed from 512.00 KiB (2 extents) to 2.25 MiB (9 extents)." in said


def test_device_mapper_knows_every_layer(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    rows = must(
        host, "dmsetup", "info", "-c", "--noheadings", "-o", "name,suspended", "--separator", ":"
    )
    assert [
        "xenvols-pool:Active",
        "xenvols-pool-tpool:Active",
        "xenvols-pool_tdata:Active",
        "xenvols-pool_tmeta:Active",
        "xenvols-s:Active",
        "xenvols-s-cow:Active",
        "xenvols-thinny_root:Active",
        "xenvols-web_data:Active",
        "xenvols-web_root:Active",
        "xenvols-web_root-real:Active",
    ] == rows.splitlines()
    header = load_recording("dmsetup-info").stdout.splitlines()[0].split()
    assert header == must(host, "dmsetup", "info", "-c").splitlines()[0].split()


def test_dashes_in_names_are_doubled(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "lvcreate", "-y", "-L", "256k", "-n", "a-b", "xenvols")
    row = must(host, "lvs", "--noheadings", "-o", "lv_dm_path", "xenvols/a-b").strip()
    assert "/dev/mapper/xenvols-a--b" == row
    host.open_volume(row).close()
    assert "a-b" in must(host, "lvs", "/dev/mapper/xenvols-a--b")


def test_pci_devices_are_printed_as_recorded(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    for recording, words in (
        ("lspci-D-mm-nn-k", ("-D", "-vmm", "-nn", "-k")),
        ("lspci-D-mm", ("-D", "-mm")),
        ("lspci", ()),
    ):
        recorded, mine = load_recording(recording).stdout, must(host, "lspci", *words)
        for slot in ("00:00.0", "00:04.0"):
            wanted = next(
                part for part in recorded.split("\n\n" if "-vmm" in words else "\n") if slot in part
            )
            assert wanted.strip() in mine
