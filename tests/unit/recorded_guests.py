"""Guests as libxl records them, small ones to vary, and what is composed from them."""

from __future__ import annotations

import json
from typing import Any

from xenbackup.dom0.guest_configuration import (
    ComposedConfiguration,
    GuestConfiguration,
    compose_configuration,
    parse_configuration,
)

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
OTHER_UUID = "66afb5c9-37b1-4244-86b8-765ada17fb18"
Recorded = dict[str, Any]


def record(kind: str = "pv", **parts: object) -> Recorded:
    """A small recorded guest; `b_info` and `c_info` add to what it has, other parts replace."""
    config: Recorded = {
        "c_info": {"type": kind, "name": "web", "uuid": UUID},
        "b_info": {
            "max_vcpus": 1,
            "avail_vcpus": [0],
            "max_memkb": 98304,
            "target_memkb": 98304,
            "kernel": "/boot/vmlinuz",
            f"type.{kind}": {},
        },
        "disks": [{"pdev_path": "/dev/vg/web", "vdev": "xvda", "format": "raw", "readwrite": 1}],
        "on_reboot": "restart",
        "on_soft_reset": "soft_reset",
    }
    for key, value in parts.items():
        if key in ("b_info", "c_info") and isinstance(value, dict):
            config[key] |= value
        else:
            config[key] = value
    return config


def compose(config: object, **options: Any) -> ComposedConfiguration:
    return compose_configuration(json.dumps(config), **options)


def settings_of(config: object) -> dict[str, object]:
    """What the composed file says, read back; nothing may have been left unwritten."""
    composed = compose(config)
    assert () == composed.unwritten
    return {one.key: one.value for one in read(composed).settings}


def read(composed: ComposedConfiguration) -> GuestConfiguration:
    return parse_configuration(composed.text, "composed.cfg")
