"""Small valid values for tests: a domain, its plan, a run's start."""

from __future__ import annotations

from xenbackup.model.command import Process
from xenbackup.model.domain import (
    Disk,
    DiskConnection,
    Domain,
    DomainIdentity,
    DomainState,
    GuestKind,
    HealthBaseline,
    ShutdownReason,
    Tuning,
)
from xenbackup.model.job import Consistency, DestinationKind, DestinationSpec
from xenbackup.model.pipeline import PRESETS, consistency_of
from xenbackup.model.plan import DomainPlan, PlannedDisk, PlannedStep, SnapshotKind, VolumeKind
from xenbackup.model.record import RunRecord, RunStart

RUN = "20261122T023000Z-k3f9qa"
ROUND = "20261122T023000Z-r2v7xw"
BOOT = "6b1e7a2c-0000-4000-8000-000000000001"
OTHER_BOOT = "6b1e7a2c-0000-4000-8000-000000000002"
UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
OTHER_UUID = "11111111-bc1e-4273-8175-79ad2f3505e8"
DOMID = 6
REBUILT_DOMID = 9
LV_UUID = "zm3QWj-EXmO-i3Zw-Aneq-B8mb-T7Hl-hxMGIV"
MIB = 1 << 20

RUNNING = DomainState(letters="-b----", blocked=True)
PAUSED = DomainState(letters="--p---", paused=True)
SUSPENDED = DomainState(letters="---ss-", shutdown=True, shutdown_reason=ShutdownReason.SUSPEND)
REBOOTING = DomainState(letters="---sr-", shutdown=True, shutdown_reason=ShutdownReason.REBOOT)
DYING = DomainState(letters="-----d", dying=True)

CONNECTED = (
    DiskConnection(
        vdev_number=51712,
        frontend_state=4,
        backend_state=4,
        backend_path=f"/local/domain/0/backend/vbd/{DOMID}/51712",
    ),
)
DISCONNECTED = (
    DiskConnection(vdev_number=51712, frontend_state=0, backend_state=6, backend_path=""),
)
MONITOR = Process(
    pid=420,
    start_ticks=1234,
    argv=("/usr/lib/xen-4.17/bin/xl", "create", "/etc/xen/web.cfg"),
    log_path="/var/log/xen/xl-web.log",
    run_mark="",
    stopped=True,
)


def make_domain(
    state: DomainState = RUNNING, domid: int = DOMID, uuid: str = UUID, name: str = "web"
) -> Domain:
    return Domain(
        name=name,
        domid=domid,
        uuid=uuid,
        kind=GuestKind.PV,
        state=state,
        memory_mib=96,
        vcpus=1,
        disks=(Disk(vdev="xvda", target="/dev/xenvols/web_root"),),
    )


def make_plan(preset: str = "checkpoint", domain: Domain | None = None) -> DomainPlan:
    specs = PRESETS[preset]
    return DomainPlan(
        domain=domain or make_domain(),
        preset=preset,
        steps=tuple(PlannedStep(step=spec.step) for spec in specs),
        disks=(
            PlannedDisk(
                vdev="xvda",
                path="/dev/xenvols/web_root",
                kind=VolumeKind.LOGICAL_VOLUME,
                size_bytes=64 * MIB,
                snapshot=SnapshotKind.THICK,
                group="xenvols",
                lv_name="web_root",
                lv_uuid=LV_UUID,
                snapshot_size_bytes=12 * MIB,
            ),
        ),
        excluded_disks=(),
        consistency=consistency_of(specs),
        destination=DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup"),
        memory_image_bytes=96 * MIB if consistency_of(specs) is Consistency.MEMORY else 0,
        max_away_seconds=600.0,
    )


def make_start(preset: str = "checkpoint", paused_by_administrator: bool = False) -> RunStart:
    return RunStart(
        run=RUN,
        round=ROUND,
        job="nightly",
        plan=make_plan(preset),
        boot_id=BOOT,
        baseline=HealthBaseline(
            identity=DomainIdentity(boot_id=BOOT, uuid=UUID, domid=DOMID, name="web"),
            connections=CONNECTED,
            monitor_alive=True,
            paused_by_administrator=paused_by_administrator,
        ),
        tuning=Tuning(vcpus=1),
        monitors=(MONITOR,),
        memory_image_path=f"/var/lib/xenbackup/spool/{RUN}.save",
        product_version="0",
    )


def make_record(preset: str = "checkpoint", **fields: object) -> RunRecord:
    return RunRecord(start=make_start(preset), **fields)  # type: ignore[arg-type]
