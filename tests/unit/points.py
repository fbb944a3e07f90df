"""Manifests of recovery points, for tests that store and read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning
from xenbackup.model.job import Consistency
from xenbackup.model.point import HostFacts, Manifest

POINT = "20261122T023000Z-k3f9qa"
OTHER_POINT = "20261123T023000Z-abcdef"


def make_manifest(**changes: Any) -> Manifest:
    """A manifest without disks, with the given fields changed."""
    fields: dict[str, Any] = {
        "point": POINT,
        "job": "nightly",
        "round": POINT,
        "domain": "web",
        "uuid": "11111111-2222-3333-4444-555555555555",
        "identity": "web",
        "kind": GuestKind.PV,
        "consistency": Consistency.CRASH,
        "preset": "crash",
        "created_at": datetime(2026, 11, 22, 2, 31, 5, 250000, tzinfo=UTC),
        "disks": (),
        "excluded_disks": ("hdc",),
        "memory": None,
        "tuning": Tuning(
            pinning=(VcpuPinning(vcpu=0, hard="0-1", soft="all"),),
            scheduler="credit2",
            weight=256,
            cap=0,
            vcpus=1,
        ),
        "host": HostFacts(
            hostname="dom0",
            xen_version="4.17.7",
            cpu_model="EPYC",
            cpu_features=("178bf3ff", "76f8320b"),
            product_version="0.1.0",
        ),
        "away_seconds": 1.25,
        "memory_mib": 512,
        "vcpus": 1,
    }
    return Manifest(**(fields | changes))
