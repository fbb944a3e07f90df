"""What lvs and vgs print, as recorded on a real host, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lvm_rows import (
    SNAP_UUID,
    group_report,
    make_row,
    make_snapshot_row,
    read,
    read_snapshot,
    report,
)
from tests.recorded import load_recording
from xenbackup.dom0.lvm_parsers import parse_groups, parse_volumes
from xenbackup.errors import UnexpectedOutput


def test_recorded_volumes_of_every_kind() -> None:
    volumes = {lv.name: lv for lv in parse_volumes("lvs", load_recording("lvs-after-snap").stdout)}
    snapshot = volumes["web_root.snap"]
    assert (SNAP_UUID, 12582912, "web_root", 0.0, True, False) == (
        snapshot.uuid,
        snapshot.size_bytes,
        snapshot.origin,
        snapshot.snapshot_percent,
        snapshot.thick_snapshot,
        snapshot.invalid,
    )
    assert frozenset({"run=01", "xenbackup"}) == snapshot.tags
    assert (True, True, None) == (
        volumes["linux01"].open,
        volumes["linux01"].active,
        volumes["linux01"].snapshot_percent,
    )
    thin = volumes["thin01.snap"]
    assert (True, False, "thin01", "pool") == (thin.thin, thin.active, thin.origin, thin.pool)
    assert (True, 4194304) == (
        volumes["lvol0_pmspare"].hidden,
        volumes["lvol0_pmspare"].size_bytes,
    )
    assert 10.94 == volumes["pool"].metadata_percent


def test_recorded_device_mapper_paths() -> None:
    volumes = parse_volumes("lvs", load_recording("lvs-json").stdout)
    assert "/dev/mapper/xenvols-linux01" in [lv.dm_path for lv in volumes]


def test_a_listing_without_rows_is_empty() -> None:
    assert () == parse_volumes("lvs", load_recording("lvs-missing").stdout)


def test_recorded_groups() -> None:
    (group,) = parse_groups("vgs", load_recording("vgs-json").stdout)
    assert ("xenvols", 8585740288, 7402946560, 4194304) == (
        group.name,
        group.size_bytes,
        group.free_bytes,
        group.extent_size_bytes,
    )


@pytest.mark.parametrize(
    ("attributes", "invalid", "suspended", "active"),
    [
        ("swi-a-s---", False, False, True),
        ("swi-I-s---", True, False, True),
        ("swi-S-s---", True, True, True),
        ("owi-sos---", False, True, True),
        ("Vwi---tz-k", False, False, False),
        ("-wi-i-----", False, False, False),
    ],
)
def test_the_fifth_letter_tells_the_state(
    attributes: str, invalid: bool, suspended: bool, active: bool
) -> None:
    volume = read(lv_attr=attributes)
    assert (invalid, suspended, active) == (volume.invalid, volume.suspended, volume.active)


@pytest.mark.parametrize(
    ("attributes", "thin"),
    [
        ("Vwi-aotz--", True),
        # With a thick snapshot, or the origin of a thin volume in another pool.
        ("owi-aotz--", True),
        ("Owi-aotz--", True),
        # A plain volume that thin ones were made from, the pool itself, its data.
        ("owi-aos---", False),
        ("ori-------", False),
        ("twi-aotz--", False),
        ("Twi-ao----", False),
    ],
)
def test_the_first_and_seventh_letter_tell_what_is_thin(attributes: str, thin: bool) -> None:
    assert thin == read(lv_attr=attributes).thin


@pytest.mark.parametrize(
    ("attributes", "locked", "partial"),
    [
        ("-wi-ao----", False, False),
        ("-wI-ao----", True, False),
        ("-wi-ao--p-", False, True),
        ("pwC---m-p-", True, True),
    ],
)
def test_the_third_and_ninth_letter_tell_what_lvm_refuses(
    attributes: str, locked: bool, partial: bool
) -> None:
    volume = read(lv_attr=attributes)
    assert (locked, partial) == (volume.locked, volume.partial)


@pytest.mark.parametrize(
    ("attributes", "partial"), [("wz--n-", False), ("wz-pn-", True), ("", False)]
)
def test_a_group_that_lacks_disks_is_partial(attributes: str, partial: bool) -> None:
    (group,) = parse_groups("vgs", group_report(vg_attr=attributes))
    assert (attributes, partial) == (group.attributes, group.partial)


@pytest.mark.parametrize("attributes", ["wz", "wz--n-x", "٣٣٣٣٣٣", "wz--n "])
def test_group_attributes_of_another_shape_are_refused(attributes: str) -> None:
    with pytest.raises(UnexpectedOutput, match="vgs"):
        parse_groups("vgs", group_report(vg_attr=attributes))


@pytest.mark.parametrize(
    ("opened", "invalid", "expected"),
    [
        ("open", "snapshot invalid", (True, True)),
        ("1", "1", (True, True)),
        ("", "", (False, False)),
        ("0", "0", (False, False)),
        ("unknown", "unknown", (False, False)),
        ("-1", "-1", (False, False)),
    ],
)
def test_fields_of_two_values_are_read_in_words_and_in_numbers(
    opened: str, invalid: str, expected: tuple[bool, bool]
) -> None:
    volume = read(lv_attr="-wi-a-----", lv_device_open=opened, lv_snapshot_invalid=invalid)
    assert expected == (volume.open, volume.invalid)


def test_an_overflowed_snapshot_is_invalid_by_its_own_field() -> None:
    assert read_snapshot(lv_snapshot_invalid="snapshot invalid").invalid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"report": 5}',
        '{"report": [{"lv": [5]}]}',
        report(make_row(lv_uuid="short")),
        report(make_row(lv_name="a b")),
        report(make_row(lv_name="-rf")),
        report(make_row(lv_name="")),
        report(make_row(vg_name="..")),
        report(make_row(lv_size="64m")),
        report(make_row(lv_size="٣")),
        report(make_row(lv_attr="owi")),
        report(make_row(snap_percent="101.00")),
        report(make_row(snap_percent="many")),
        report(make_row(lv_snapshot_invalid="maybe")),
        report(make_row(lv_device_open="half")),
        report(make_row(lv_path="/etc/passwd")),
        report(make_row(lv_path="/dev/xenvols/../sda")),
        report(make_row(origin_uuid="x")),
        report({**make_row(), "lv_tags": 5}),  # type: ignore[dict-item]
    ],
)
def test_listings_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="lvs"):
        parse_volumes("lvs", text)


@settings(max_examples=100, deadline=None)
@given(
    position=st.integers(0, 4700),
    insert=st.text(alphabet='0123456789-:/.,()[]{}"\\ \n٣abz\x00', max_size=12),
    remove=st.integers(0, 40),
)
def test_damaged_listings_are_read_or_refused(position: int, insert: str, remove: int) -> None:
    sample = load_recording("lvs-after-snap").stdout
    check(parse_volumes, sample[:position] + insert + sample[position + remove :])
    groups = load_recording("vgs-json").stdout
    check(parse_groups, groups[:position] + insert + groups[position + remove :])


@settings(max_examples=100, deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(sorted(make_snapshot_row())),
        st.text(max_size=20) | st.integers() | st.none(),
        max_size=4,
    )
)
def test_rows_with_any_fields_are_read_or_refused(fields: dict[str, object]) -> None:
    row: dict[str, object] = {**make_snapshot_row(), **fields}
    check(parse_volumes, json.dumps({"report": [{"lv": [row]}]}))


def check(parser: Callable[[str, str], object], text: str) -> None:
    try:
        parser("lvs", text)
    except UnexpectedOutput as error:
        assert error.hint
