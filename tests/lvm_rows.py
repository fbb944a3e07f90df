"""Rows of `lvs` as its JSON report has them, for tests."""

from __future__ import annotations

import json

from xenbackup.dom0.lvm_parsers import parse_volumes
from xenbackup.model.volume import LogicalVolume

ROOT_UUID = "zm3QWj-EXmO-i3Zw-Aneq-B8mb-T7Hl-hxMGIV"
SNAP_UUID = "CMJVvR-Xk3B-RSY8-SNDy-JQoF-bYK4-nSjf2K"
DATA_UUID = "gFNmrk-SJT5-dbvs-mUQ7-mk0c-R1k9-9BQW3r"
RUN = "20261122T023000Z-k3f9qa"
MARKS = f"xb.origin={ROOT_UUID},xb.run={RUN},xenbackup"


def make_row(**fields: str) -> dict[str, str]:
    row = {
        "lv_uuid": ROOT_UUID,
        "lv_name": "web_root",
        "vg_name": "xenvols",
        "lv_size": "67108864",
        "lv_attr": "owi-aos---",
        "lv_path": "/dev/xenvols/web_root",
        "lv_dm_path": "/dev/mapper/xenvols-web_root",
    }
    return row | fields


def make_snapshot_row(**fields: str) -> dict[str, str]:
    row = make_row(
        lv_uuid=SNAP_UUID,
        lv_name="web_root.xb",
        lv_size="12582912",
        lv_attr="swi-a-s---",
        lv_tags=MARKS,
        origin="web_root",
        origin_uuid=ROOT_UUID,
        lv_path="/dev/xenvols/web_root.xb",
    )
    return row | fields


def report(*rows: dict[str, str]) -> str:
    return json.dumps({"report": [{"lv": list(rows)}]})


def group_report(**fields: str) -> str:
    """One group, as `vgs` has it."""
    row = {
        "vg_uuid": "vqKBFM-YiBT-R8nW-ymQ0-GRpv-9JzV-W2bdIb",
        "vg_name": "xenvols",
        "vg_size": "8585740288",
        "vg_free": "7402946560",
        "vg_extent_size": "4194304",
    }
    return json.dumps({"report": [{"vg": [row | fields]}]})


def read(**fields: str) -> LogicalVolume:
    (volume,) = parse_volumes("lvs", report(make_row(**fields)))
    return volume


def read_snapshot(**fields: str) -> LogicalVolume:
    (volume,) = parse_volumes("lvs", report(make_snapshot_row(**fields)))
    return volume
