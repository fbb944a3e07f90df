"""What `lvs` and `vgs` print as JSON, turned into values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from xenbackup.dom0.tool_output import (
    as_list,
    as_object,
    parse_count,
    parse_json,
    parse_percent,
    pick_list,
    pick_text,
    refuse_output,
)
from xenbackup.model.volume import LogicalVolume, VolumeGroup

VOLUME_FIELDS = (
    "lv_uuid,lv_name,vg_name,lv_size,lv_attr,lv_tags,origin,origin_uuid,pool_lv,snap_percent,"
    "data_percent,metadata_percent,lv_path,lv_dm_path,lv_active,lv_device_open,"
    "lv_snapshot_invalid,lv_merging"
)
GROUP_FIELDS = "vg_uuid,vg_name,vg_size,vg_free,vg_extent_size,vg_attr"

_UUID = re.compile(r"[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}")
_NAME = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}")
_GROUP_ATTRIBUTES = re.compile(r"([A-Za-z-]{6})?")
_ATTRIBUTES = re.compile(r"[A-Za-z-]{10}")
_PATH = re.compile(r"/dev/[A-Za-z0-9+_.:@/-]+")


def is_volume_uuid(text: str) -> bool:
    """LVM's own form of a UUID: `euOmXG-PrJl-xfHA-wUdm-Q4Gh-ZBKr-YpuKBv`."""
    return _UUID.fullmatch(text) is not None


def is_volume_name(text: str) -> bool:
    """A name that LVM accepts for a volume or a group, lvm(8): no leading dash, no dots alone."""
    return _NAME.fullmatch(text) is not None and text not in (".", "..")


def parse_volumes(command: str, text: str) -> tuple[LogicalVolume, ...]:
    """Rows of `lvs -a --reportformat json --units b --nosuffix -o VOLUME_FIELDS`.

        {"lv_uuid":"zm3QWj-…", "lv_name":"web_root", "vg_name":"xenvols", "lv_size":"67108864",
         "lv_attr":"owi-a-s---", "lv_tags":"", "origin":"", "snap_percent":"", …}

    Everything is a string; `[name]` is a hidden volume, `unknown` a field that does not apply.
    Fields that were not asked for count as "". Raises: UnexpectedOutput.
    """
    return tuple(_read_volume(command, row) for row in _rows(command, text, "lv"))


def parse_groups(command: str, text: str) -> tuple[VolumeGroup, ...]:
    """Rows of `vgs --reportformat json --units b --nosuffix -o GROUP_FIELDS`.

        {"vg_uuid":"vqKBFM-…", "vg_name":"xenvols", "vg_size":"8585740288",
         "vg_free":"7402946560", "vg_extent_size":"4194304", "vg_attr":"wz--n-"}

    Raises: UnexpectedOutput.
    """
    return tuple(_read_group(command, row) for row in _rows(command, text, "vg"))


def _read_group(command: str, row: Mapping[str, object]) -> VolumeGroup:
    attributes = pick_text(command, row, "vg_attr")
    if not _GROUP_ATTRIBUTES.fullmatch(attributes):
        raise refuse_output(command, attributes, expected="six attribute letters")
    return VolumeGroup(
        uuid=_pick_uuid(command, row, "vg_uuid"),
        name=_pick_name(command, row, "vg_name"),
        size_bytes=parse_count(command, pick_text(command, row, "vg_size")),
        free_bytes=parse_count(command, pick_text(command, row, "vg_free")),
        extent_size_bytes=parse_count(command, pick_text(command, row, "vg_extent_size")),
        attributes=attributes,
    )


def _rows(command: str, text: str, kind: str) -> Iterator[Mapping[str, object]]:
    report = as_object(command, parse_json(command, text))
    if "report" not in report:
        raise refuse_output(command, sorted(report), expected="a report")
    for section in as_list(command, report["report"]):
        for row in pick_list(command, as_object(command, section), kind):
            yield as_object(command, row)


def _read_volume(command: str, row: Mapping[str, object]) -> LogicalVolume:
    shown = pick_text(command, row, "lv_name")
    hidden = shown.startswith("[") and shown.endswith("]")
    attributes = pick_text(command, row, "lv_attr")
    if not _ATTRIBUTES.fullmatch(attributes):
        raise refuse_output(command, attributes, expected="ten attribute letters")
    invalid = _pick_binary(command, row, "lv_snapshot_invalid", "snapshot invalid")
    opened = _pick_binary(command, row, "lv_device_open", "open")
    return LogicalVolume(
        uuid=_pick_uuid(command, row, "lv_uuid"),
        name=_check_name(command, _bare(shown)),
        group=_pick_name(command, row, "vg_name"),
        size_bytes=parse_count(command, pick_text(command, row, "lv_size")),
        attributes=attributes,
        path=_pick_path(command, row, "lv_path"),
        dm_path=_pick_path(command, row, "lv_dm_path"),
        tags=frozenset(tag for tag in pick_text(command, row, "lv_tags").split(",") if tag),
        origin=_pick_optional_name(command, row, "origin"),
        origin_uuid=_pick_optional_uuid(command, row, "origin_uuid"),
        pool=_pick_optional_name(command, row, "pool_lv"),
        hidden=hidden,
        snapshot_percent=parse_percent(command, pick_text(command, row, "snap_percent")),
        data_percent=parse_percent(command, pick_text(command, row, "data_percent")),
        metadata_percent=parse_percent(command, pick_text(command, row, "metadata_percent")),
        open=opened or attributes[5] == "o",
        invalid=invalid or attributes[4] in "IS",
    )


def _pick_binary(command: str, row: Mapping[str, object], key: str, word: str) -> bool:
    """A field of two values, in words or (report/binary_values_as_numeric) as 1, 0 and -1."""
    shown = pick_text(command, row, key)
    if shown not in (word, "1", "", "0", "unknown", "-1"):
        raise refuse_output(command, shown, expected=key)
    return shown in (word, "1")


def _bare(shown: str) -> str:
    return shown[1:-1] if shown.startswith("[") and shown.endswith("]") else shown


def _check_name(command: str, name: str) -> str:
    if not is_volume_name(name):
        raise refuse_output(command, name, expected="a volume's name")
    return name


def _pick_name(command: str, row: Mapping[str, object], key: str) -> str:
    return _check_name(command, pick_text(command, row, key))


def _pick_optional_name(command: str, row: Mapping[str, object], key: str) -> str:
    shown = _bare(pick_text(command, row, key))
    return _check_name(command, shown) if shown else ""


def _pick_uuid(command: str, row: Mapping[str, object], key: str) -> str:
    uuid = pick_text(command, row, key)
    if not is_volume_uuid(uuid):
        raise refuse_output(command, uuid, expected=f"a UUID in {key}")
    return uuid


def _pick_optional_uuid(command: str, row: Mapping[str, object], key: str) -> str:
    return _pick_uuid(command, row, key) if pick_text(command, row, key) else ""


def _pick_path(command: str, row: Mapping[str, object], key: str) -> str:
    path = pick_text(command, row, key)
    if path and not (_PATH.fullmatch(path) and "/../" not in path):
        raise refuse_output(command, path, expected=f"a device path in {key}")
    return path
