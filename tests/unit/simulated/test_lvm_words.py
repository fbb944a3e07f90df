"""Every way in which the simulated LVM tools take, or refuse, their words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import (
    GROUP,
    THINNY,
    WEB,
    call,
    look,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import GroupSpec, SimulatedHost, create_host
from xenbackup.dom0.simulated.state import KIB, MIB


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return make_host(tmp_path, WEB, THINNY)


def names(host: SimulatedHost, *words: str) -> list[str]:
    return must(host, "lvs", "--noheadings", "-o", "lv_name", *words).split()


def field(host: SimulatedHost, name: str, which: str) -> str:
    words = ("--noheadings", "--units", "b", "--nosuffix", "-o", which)
    return must(host, "lvs", *words, f"xenvols/{name}").strip()


# Creating


def test_volume_without_a_name_gets_the_next_free_one(host: SimulatedHost) -> None:
    for expected in ("lvol0", "lvol1"):
        said = must(host, "lvcreate", "-y", "-L", "256k", "xenvols")
        assert f'  Logical volume "{expected}" created.\n' == said
    must(host, "lvremove", "-y", "xenvols/lvol0")
    must(host, "lvcreate", "-y", "-L", "256k", "/dev/xenvols")
    assert {"lvol0", "lvol1"} <= set(names(host))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--type", "thin-pool", "-L", "2M", "-n", "other", "xenvols"), "other"),
        (("-T", "-L", "2M", "xenvols/other"), "other"),
        (("-L", "2M", "--thinpool", "xenvols/other", "xenvols"), "other"),
    ],
)
def test_pool_is_made_in_each_of_its_spellings_and_takes_volumes(
    host: SimulatedHost, words: tuple[str, ...], name: str
) -> None:
    assert f'  Logical volume "{name}" created.\n' == must(host, "lvcreate", "-y", *words)
    assert "twi-aotz--" == field(host, name, "lv_attr")
    assert f"[{name}_tdata]" in names(host, "-a")
    must(host, "lvcreate", "-y", "-V", "1M", "-n", "inside", f"xenvols/{name}")
    assert name == field(host, "inside", "pool_lv")


def test_pools_parts_have_full_names_of_their_own(host: SimulatedHost) -> None:
    full = must(host, "lvs", "-a", "--noheadings", "-o", "lv_full_name").split()
    assert {"xenvols/pool", "xenvols/pool_tdata", "xenvols/lvol0_pmspare"} <= set(full)


@pytest.mark.parametrize(
    ("extents", "size"),
    [
        ("25%VG", 16 * MIB),
        ("100%FREE", 64 * MIB - 8 * MIB - 3 * MIB - 512 * KIB),
        ("3", 768 * KIB),
    ],
)
def test_extents_are_a_number_or_a_share(host: SimulatedHost, extents: str, size: int) -> None:
    must(host, "lvcreate", "-y", "-l", extents, "-n", "x", "xenvols")
    assert str(size) == field(host, "x", "lv_size")


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("-s", "-L", "1M", "-n", "x"), 3, "Please specify a logical volume to act as"),
        (("-s", "-L", "1M", "-n", "x", "xenvols/pool"), 5, "Snapshots of thin pools are not"),
        (("-s", "-L", "1M", "xenvols/web_root"), 3, "Please provide a name"),
        (("-s", "-L", "1M", "-n", "x", "nosuch/web"), 5, 'Volume group "nosuch" not found'),
        (("-V", "1M", "--thinpool", "web_root", "-n", "x", "xenvols"), 5, "Thin pool web_root not"),
        (("-V", "1M", "--thinpool", "nosuch", "-n", "x", "xenvols"), 5, "Thin pool nosuch not"),
        (("-L", "1M", "--type", "raid1", "-n", "x", "xenvols"), 3, "Invalid argument for --type"),
        (("-l", "50%ORIGIN", "-n", "x", "xenvols"), 3, "Invalid argument for --extents: 50%ORI"),
        (("-l", "many", "-n", "x", "xenvols"), 3, "Invalid argument for --extents: many"),
        (("-T", "-L", "1M", "-n", "x"), 5, 'Volume group "" not found'),
    ],
)
def test_creation_that_makes_no_sense_is_refused(
    host: SimulatedHost, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    before = names(host, "-a")
    result = call(host, "lvcreate", "-y", *words)
    assert exit_code == result.exit_code
    assert said in result.stderr
    assert before == names(host, "-a")


# Removing


def test_selection_alone_removes_what_it_means(host: SimulatedHost) -> None:
    for name, tag in (("a", "old"), ("b", "new")):
        must(host, "lvcreate", "-y", "-L", "256k", "-n", name, "--addtag", tag, "xenvols")
    must(host, "lvremove", "-y", "-S", "lv_tags=old")
    assert {"a", "b"} & set(names(host)) == {"b"}


def test_selection_that_matches_nothing_removes_nothing_as_recorded(host: SimulatedHost) -> None:
    recorded = load_recording("lvremove-selection-matches-nothing")
    selection = 'lv_uuid="none" && lv_tags={"xenbackup"} && origin!=""'
    result = call(host, "lvremove", "--yes", "--select", selection, "xenvols")
    assert (recorded.exit_code, recorded.stdout.strip(), recorded.stderr.strip()) == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


def test_removing_a_group_meets_snapshots_that_went_with_their_origin(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "z", "xenvols/web_data")
    said = must(host, "lvremove", "-y", "xenvols").splitlines()
    assert ['"pool"', '"z"', '"web_data"', '"web_root"'] == [line.split()[2] for line in said]
    assert [] == names(host, "-a")


def test_origin_stays_while_its_snapshot_is_held_open(host: SimulatedHost) -> None:
    must(host, "xl", "destroy", "web")
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    device = host.open_volume("/dev/xenvols/s")
    result = call(host, "lvremove", "-y", "xenvols/web_root")
    assert (5, "  Logical volume xenvols/s in use.\n") == (result.exit_code, result.stderr)
    assert {"s", "web_root"} <= set(names(host))
    device.close()
    must(host, "lvremove", "-y", "xenvols/web_root")
    assert not {"s", "web_root"} & set(names(host))


def test_pool_takes_its_volumes_along(host: SimulatedHost) -> None:
    must(host, "xl", "destroy", "thinny")
    must(host, "lvremove", "-y", "xenvols/pool")
    assert ["web_data", "web_root"] == names(host, "-a")


def test_group_that_is_not_there_is_told(host: SimulatedHost) -> None:
    result = call(host, "lvremove", "-y", "nosuch/x", "xenvols/web_root")
    assert 5 == result.exit_code
    assert 'Volume group "nosuch" not found\n  Cannot process volume group nosuch' in result.stderr
    assert "xenvols/web_root in use" in result.stderr


# Extending


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (("-L", "+300k"), 2 * MIB + 512 * KIB),
        (("-L", "3M"), 3 * MIB),
        (("-l", "+2"), 2 * MIB + 512 * KIB),
        (("-l", "12"), 3 * MIB),
    ],
)
def test_volume_grows_to_a_size_or_by_one(
    host: SimulatedHost, words: tuple[str, ...], size: int
) -> None:
    write_volume(host, "/dev/xenvols/web_root", b"kept", 2 * MIB - 4)
    said = must(host, "lvextend", *words, "xenvols/web_root")
    assert ("  Rounding size to boundary between physical extents: 512.00 KiB.\n" in said) == (
        "+300k" in words
    )
    assert str(size) == field(host, "web_root", "lv_size")
    content = read_volume(host, "/dev/xenvols/web_root")
    assert b"kept" + bytes(size - 2 * MIB) == content[2 * MIB - 4 :]


def test_thin_volume_grows_beyond_its_pool(host: SimulatedHost) -> None:
    must(host, "lvextend", "-L", "100M", "xenvols/thinny_root")
    assert str(100 * MIB) == field(host, "thinny_root", "lv_size")
    host.sleep(2.0)
    must(host, "lvextend", "-l", "+4", "xenvols/pool")
    assert str(9 * MIB) == field(host, "pool", "lv_size")


def test_grown_thin_snapshots_show_zeros_behind_their_origins(host: SimulatedHost) -> None:
    must(host, "xl", "pause", "thinny")
    origin = read_volume(host, "/dev/xenvols/thinny_root")
    must(host, "lvcreate", "-s", "-y", "-kn", "-n", "one", "xenvols/thinny_root")
    must(host, "lvcreate", "-s", "-y", "-kn", "-n", "two", "xenvols/one")
    must(host, "lvextend", "-L", "3M", "xenvols/two")
    assert origin + bytes(MIB) == read_volume(host, "/dev/xenvols/two")
    write_volume(host, "/dev/xenvols/two", b"new", 3 * MIB - 3)
    assert origin + bytes(MIB - 3) + b"new" == read_volume(host, "/dev/xenvols/two")


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("-L", "1M"), 3, "Please specify a logical volume path."),
        (("xenvols/web_root",), 3, "specify either size or extents (not both)"),
        (("-L", "4M", "-l", "4", "xenvols/web_root"), 3, "either size or extents (not both)"),
        (("-l", "+50%FREE", "xenvols/web_root"), 3, "Invalid argument for --extents: +50%FREE"),
        (("-L", "2M", "xenvols/web_root"), 5, "New size (8 extents) matches existing size"),
        (("-L", "1M", "xenvols/web_root"), 5, "not larger than existing size (8 extents)"),
        (("-L", "4M", "nosuch/x"), 5, 'Volume group "nosuch" not found'),
        (("-L", "4M", "xenvols/nosuch"), 5, 'Failed to find logical volume "xenvols/nosuch"'),
    ],
)
def test_growth_that_makes_no_sense_is_refused(
    host: SimulatedHost, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = call(host, "lvextend", *words)
    assert exit_code == result.exit_code
    assert said in result.stderr
    assert str(2 * MIB) == field(host, "web_root", "lv_size")


# Changing


def test_tags_come_once_and_go(host: SimulatedHost) -> None:
    for _ in range(2):
        said = must(host, "lvchange", "--addtag", "mine", "--addtag", "a=1", "xenvols/web_root")
        assert "  Logical volume xenvols/web_root changed.\n" == said
    assert "a=1,mine" == field(host, "web_root", "lv_tags")
    must(host, "lvchange", "--deltag", "mine", "--deltag", "nosuch", "xenvols/web_root")
    assert "a=1" == field(host, "web_root", "lv_tags")


def test_permission_and_skipping_are_set_and_taken_back(host: SimulatedHost) -> None:
    must(host, "lvchange", "-pr", "-ky", "xenvols/web_root")
    assert "-ri-ao---k" == field(host, "web_root", "lv_attr")
    must(host, "lvchange", "-prw", "-kn", "-S", "lv_name=web_root")
    assert "-wi-ao----" == field(host, "web_root", "lv_attr")


def test_volume_that_nobody_has_open_is_deactivated(host: SimulatedHost) -> None:
    must(host, "xl", "destroy", "web")
    must(host, "lvchange", "-an", "xenvols/web_root")
    assert "-wi-------" == field(host, "web_root", "lv_attr")
    must(host, "lvchange", "-aay", "xenvols/web_root")
    assert "-wi-a-----" == field(host, "web_root", "lv_attr")


def test_refreshing_an_origin_resumes_its_snapshots_with_it(host: SimulatedHost) -> None:
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    must(host, "dmsetup", "suspend", "xenvols-web_root", "xenvols-s")
    assert "swi-s-s---" == field(host, "s", "lv_attr")
    must(host, "lvchange", "--refresh", "xenvols/web_root")
    assert "swi-a-s---" == field(host, "s", "lv_attr")
    host.sleep(1.0)
    assert not look(host).blocked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-ay",), "Please give logical volume path(s) or use --select"),
        (("-amaybe", "xenvols/web_root"), "Invalid argument for --activate: maybe"),
        (("--addtag", "no good", "xenvols/web_root"), "Tag no good is not valid."),
    ],
)
def test_change_that_makes_no_sense_is_refused(
    host: SimulatedHost, words: tuple[str, ...], said: str
) -> None:
    result = call(host, "lvchange", *words)
    assert 3 == result.exit_code
    assert said in result.stderr
    assert "-wi-ao----" == field(host, "web_root", "lv_attr")


# Reporting


def test_groups_keep_their_volumes_apart(tmp_path: Path) -> None:
    create_host(tmp_path / "host", groups=(GROUP, GroupSpec(name="backup")), guests=(WEB,))
    host = SimulatedHost(tmp_path / "host")
    must(host, "lvcreate", "-y", "-L", "4M", "-n", "images", "backup")
    assert ["images"] == names(host, "backup")
    assert "images" not in names(host, "xenvols")
    rows = must(host, "vgs", "--noheadings", "-o", "vg_name,lv_count,pv_count").split()
    assert ["backup", "1", "1", "xenvols", "3", "1"] == rows
    assert ["/dev/vdc", "/dev/vdb"] == must(host, "pvs", "--noheadings", "-o", "pv_name").split()


def test_volumes_of_one_group_are_listed_together(host: SimulatedHost) -> None:
    assert ["web_data", "web_root"] == names(host, "xenvols/web_root", "/dev/xenvols/web_data")


def test_path_of_no_volume_is_not_found(host: SimulatedHost) -> None:
    result = call(host, "lvs", "/dev/xenvols/nosuch")
    assert (5, '  Failed to find logical volume "xenvols/nosuch"\n') == (
        result.exit_code,
        result.stderr,
    )


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (("--units", "m"), "2.00m"),
        (("--units", "k", "--nosuffix"), "2048.00"),
        (("--units", "s"), "4096S"),
        ((), "2.00m"),
    ],
)
def test_sizes_come_in_the_unit_asked_for(
    host: SimulatedHost, words: tuple[str, ...], size: str
) -> None:
    listed = must(host, "lvs", "--noheadings", "-o", "lv_size", *words, "xenvols/web_root")
    assert size == listed.strip()


def test_small_size_is_shown_in_kilobytes(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "lvcreate", "-y", "-L", "256k", "-n", "x", "xenvols")
    assert "256.00k" == must(host, "lvs", "--noheadings", "-o", "lv_size", "xenvols/x").strip()


def test_fields_are_added_to_the_usual_ones(host: SimulatedHost) -> None:
    headings = must(host, "lvs", "-o", "+tags").splitlines()[0].split()
    assert (["LV", "VG", "Attr"], "Tags") == (headings[:3], headings[-1])


def test_report_is_basic_or_json(host: SimulatedHost) -> None:
    result = call(host, "lvs", "--reportformat", "xml")
    assert (3, "  Invalid value for report format.\n") == (result.exit_code, result.stderr)
    assert names(host) == names(host, "--reportformat", "basic")
    empty = json.loads(must(host, "lvs", "--reportformat", "json", "-S", "lv_name=nosuch"))
    assert {"report": [{"lv": []}]} == empty


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o",), "lvs: option requires an argument -- 'o'"),
        (("-Q",), "lvs: invalid option -- 'Q'"),
        (("--options",), "lvs: option '--options' requires an argument"),
    ],
)
def test_options_are_refused_in_lvms_words(
    host: SimulatedHost, words: tuple[str, ...], said: str
) -> None:
    result = call(host, "lvs", *words)
    assert (3, f"{said}\n  Error during parsing of command line.\n") == (
        result.exit_code,
        result.stderr,
    )
