"""Making a simulated host: its groups, volumes, guests, and the demo's three guests."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.execute import Circumstances, execute
from xenbackup.dom0.simulated.guests import (
    LEAST_DISK_BYTES,
    RECORD_OFFSET,
    Record,
    encode_record,
)
from xenbackup.dom0.simulated.kernel_files import lay_kernel_files
from xenbackup.dom0.simulated.lvm_create import draw_lvm_uuid
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.sparse_files import copy_sparse
from xenbackup.dom0.simulated.state import (
    KIB,
    MIB,
    NANOSECONDS,
    Group,
    GuestProgram,
    HostState,
    PciDevice,
    SimulatorFailed,
    Volume,
)
from xenbackup.dom0.simulated.store import Store, create_store

BOOT_FILES = ("/srv/domu/vmlinuz", "/srv/domu/domu-initrd.gz")
"""Kernel and ramdisk of paravirtual guests: empty files, for nothing here executes them."""
START_NS = 1_795_392_000 * NANOSECONDS
"""The virtual clock of a new host: 2026-11-23 00:00 UTC, whatever the real one says."""


@dataclass(frozen=True, kw_only=True)
class ThinPoolSpec:
    """A thin pool of a group."""

    name: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """A volume group; sizes in bytes. An empty `uuid` is drawn; hosts of one seed draw the same."""

    name: str = "xenvols"
    uuid: str = ""
    size_bytes: int = 256 * MIB
    extent_bytes: int = 4 * MIB
    pools: tuple[ThinPoolSpec, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DiskSpec:
    """A guest's disk. `volume` is a logical volume's name, made for it (thin when `pool` is set).

    An absolute path in `volume` is an image file. `filled_bytes` is how much of it holds content
    that never changes; `writable` False makes a disk that the guest leaves alone.
    """

    volume: str
    size_bytes: int = 4 * MIB
    group: str = "xenvols"
    pool: str = ""
    vdev: str = ""
    writable: bool = True
    filled_bytes: int = 0

    @property
    def target(self) -> str:
        return self.volume if self.volume.startswith("/") else f"/dev/{self.group}/{self.volume}"


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """A guest and how it behaves. An empty `uuid` leaves `uuid=` out of its configuration."""

    name: str
    disks: tuple[DiskSpec, ...]
    kind: str = "pv"
    memory_mib: int = 96
    vcpus: int = 1
    uuid: str = ""
    pci: tuple[str, ...] = ()
    running: bool = True
    ram_bytes: int = 64 * KIB
    scratch_bytes: int = 4 * KIB
    scratch_region_bytes: int = 512 * KIB
    tick_seconds: float = 0.1


DEFAULT_GUESTS = (
    GuestSpec(
        name="web",
        disks=(DiskSpec(volume="web_root"), DiskSpec(volume="web_data")),
        uuid="7b6c97b9-bc1e-4273-8175-79ad2f3505e8",
    ),
)


def create_host(
    directory: Path,
    *,
    groups: Sequence[GroupSpec] = (GroupSpec(),),
    guests: Sequence[GuestSpec] = DEFAULT_GUESTS,
    seed: int = 1,
    xen_version: tuple[int, int] | None = None,
    total_memory_mib: int = 4095,
    pci: Sequence[PciDevice] | None = None,
    hostname: str = "dom0",
    toolstack: str = "xl",
) -> None:
    """Lay out a host below `directory` and start its running guests.

    `toolstack` is xl or xm, `xen_version` then 4.17 or 3.4 unless given.

    Raises: SimulatorFailed when there is one already, or a guest cannot be started.
    """
    if (directory / "host").exists():
        raise SimulatorFailed(f"{directory} holds a simulated host already.")
    version = xen_version or ((3, 4) if toolstack == "xm" else (4, 17))
    chosen = random.Random(seed)  # noqa: S311  (reproducible, nothing secret)
    state = HostState(
        schema=1,
        sequence=0,
        boot_id=_make_uuid(chosen),
        clock_ns=START_NS,
        started_ns=START_NS,
        seed=seed,
        xen_major=version[0],
        xen_minor=version[1],
        total_memory_mib=total_memory_mib,
        hostname=hostname,
        toolstack=toolstack,
        pci=list(_default_pci() if pci is None else pci),
    )
    for folder in (
        "etc/xen/auto",
        "srv/domu",
        "var/log/xen",
        "var/lib/xen/save",
        "var/lib/xenbackup",
    ):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for path in BOOT_FILES:
        (directory / path.lstrip("/")).touch()
    lay_kernel_files(directory, toolstack, hostname)
    create_store(directory, state)
    store = Store(directory)
    kept: dict[str, ExceptionStore] = {}
    try:
        _fill(store, kept, groups, guests)
        for guest in guests:
            if guest.running:
                start_guest(store, kept, guest.name)
    finally:
        store.close()


def copy_host(source: Path, target: Path) -> None:
    """Copy a host that no process uses to `target`, holes as holes; far cheaper than a new one.

    Raises: SimulatorFailed when `source` holds no host or `target` exists.
    """
    if not (source / "host").is_dir() or target.exists():
        raise SimulatorFailed(f"Cannot copy the simulated host {source} to {target}.")
    shutil.copytree(source, target, copy_function=_copy_sparsely, symlinks=True)


def _copy_sparsely(source: str, target: str) -> None:
    copy_sparse(Path(source), Path(target))
    shutil.copystat(source, target)


def start_guest(store: Store, kept: dict[str, ExceptionStore], name: str) -> None:
    """Create a guest from its file. Raises: SimulatorFailed with what the toolstack said."""
    state = store.lock()
    tool = state.toolstack
    store.unlock()
    argv = (tool, "create", f"/etc/xen/{name}.cfg")
    result = execute(store, kept, argv, Circumstances())
    if result.exit_code:
        raise SimulatorFailed(f"Cannot start {name}: {''.join(result.stderr)}")


def _fill(
    store: Store,
    kept: dict[str, ExceptionStore],
    groups: Sequence[GroupSpec],
    guests: Sequence[GuestSpec],
) -> None:
    machine = Machine(store, kept)
    machine.open()
    try:
        for number, spec in enumerate(groups):
            _add_group(machine, spec, number)
        for guest in guests:
            for index, disk in enumerate(guest.disks):
                _add_disk(machine, guest, index, disk)
            machine.state.programs[guest.name] = GuestProgram(
                ram_bytes=guest.ram_bytes,
                scratch_bytes=guest.scratch_bytes,
                scratch_region_bytes=guest.scratch_region_bytes,
                tick_ns=round(guest.tick_seconds * NANOSECONDS),
            )
            text = compose_guest_file(guest)
            (store.directory / "etc" / "xen" / f"{guest.name}.cfg").write_text(text)
        machine.commit()
    finally:
        machine.close()


def compose_guest_file(guest: GuestSpec) -> str:
    """The guest's xl.cfg."""
    vdevs = [disk.vdev or f"xvd{chr(ord('a') + n)}" for n, disk in enumerate(guest.disks)]
    disks = ", ".join(
        f"'{'phy:' if disk.target.startswith('/dev/') else 'file:'}{disk.target},{vdev},"
        f"{'w' if disk.writable else 'r'}'"
        for disk, vdev in zip(guest.disks, vdevs, strict=True)
    )
    lines = [f'name = "{guest.name}"']
    if guest.kind != "pv":
        lines.append(f'type = "{guest.kind}"')
    if guest.uuid:
        lines.append(f'uuid = "{guest.uuid}"')
    if guest.kind == "pv":
        kernel, ramdisk = BOOT_FILES
        lines += [f'kernel = "{kernel}"', f'ramdisk = "{ramdisk}"']
        lines.append('extra = "console=hvc0"')
    lines += [f"memory = {guest.memory_mib}", f"vcpus = {guest.vcpus}", f"disk = [ {disks} ]"]
    if guest.pci:
        lines.append(f"pci = [ {', '.join(repr(slot) for slot in guest.pci)} ]")
    lines.append('on_reboot = "restart"')
    return "\n".join(lines) + "\n"


def _add_group(machine: Machine, spec: GroupSpec, number: int) -> None:
    drawn = draw_lvm_uuid(machine)
    machine.state.groups.append(
        Group(
            name=spec.name,
            uuid=spec.uuid or drawn,
            size_bytes=spec.size_bytes,
            extent_bytes=spec.extent_bytes,
            device=f"/dev/vd{chr(ord('b') + number)}",
            pv_uuid=draw_lvm_uuid(machine),
        )
    )
    for pool in spec.pools:
        volume = _new_volume(machine, spec.name, pool.name, "pool", pool.size_bytes)
        volume.metadata_bytes = spec.extent_bytes
        volume.parts = [draw_lvm_uuid(machine) for _ in range(3)]


def _new_volume(machine: Machine, group: str, name: str, kind: str, size_bytes: int) -> Volume:
    volume = Volume(
        uuid=draw_lvm_uuid(machine),
        name=name,
        group=group,
        kind=kind,
        size_bytes=size_bytes,
        minor=machine.state.next_minor,
    )
    machine.state.next_minor += 1
    machine.state.volumes[volume.uuid] = volume
    return volume


def _add_disk(machine: Machine, guest: GuestSpec, index: int, disk: DiskSpec) -> None:
    if disk.size_bytes < LEAST_DISK_BYTES:
        raise SimulatorFailed(f"{disk.volume} is smaller than {LEAST_DISK_BYTES} bytes.")
    record = Record(key=guest.name, disk=index, counter=0, epoch=0)
    content = [(RECORD_OFFSET, encode_record(record))] if disk.writable else []
    label = f"xenbackup simulated guest {guest.name} disk {index + 1}\n".encode()
    content.append((0, label))
    content += _bulk(guest.name, index, disk)
    if disk.volume.startswith("/"):
        path = machine.place(disk.volume)
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, disk.size_bytes)
            for offset, block in content:
                os.pwrite(fd, block, offset)
        finally:
            os.close(fd)
        return
    volume = machine.state.find_volume(disk.group, disk.volume)
    if volume is None:
        kind = "thin" if disk.pool else "linear"
        volume = _new_volume(machine, disk.group, disk.volume, kind, disk.size_bytes)
        pool = machine.state.find_volume(disk.group, disk.pool) if disk.pool else None
        if pool is not None:
            volume.pool, volume.thin_id = pool.uuid, len(machine.state.volumes)
        machine.volumes.create_files(volume)
    for offset, block in content:
        machine.volumes.write(volume, offset, block)


def _bulk(name: str, index: int, disk: DiskSpec) -> list[tuple[int, bytes]]:
    """Content that never changes: noise, every other MiB, from 1 MiB on."""
    noise = random.Random(f"{name}/{index}")  # noqa: S311  (content of a test disk)
    blocks = []
    left, offset = disk.filled_bytes, MIB
    while left > 0 and offset + 64 * KIB < disk.size_bytes:
        length = min(MIB, left, disk.size_bytes - offset)
        blocks.append((offset, noise.randbytes(length)))
        left, offset = left - length, offset + 2 * MIB
    return blocks


def build_demo_host(directory: Path) -> None:
    """The demo's host: `web` (PV, one disk), `db` (PV, two), `router` (HVM with a PCI card)."""
    create_host(
        directory,
        groups=(GroupSpec(size_bytes=1024 * MIB),),
        guests=(
            GuestSpec(
                name="web",
                disks=(DiskSpec(volume="web_root", size_bytes=64 * MIB, filled_bytes=24 * MIB),),
                uuid="7b6c97b9-bc1e-4273-8175-79ad2f3505e8",
                memory_mib=256,
                ram_bytes=2 * MIB,
            ),
            GuestSpec(
                name="db",
                disks=(
                    DiskSpec(volume="db_root", size_bytes=64 * MIB, filled_bytes=20 * MIB),
                    DiskSpec(volume="db_data", size_bytes=32 * MIB, filled_bytes=12 * MIB),
                ),
                uuid="0d3f2f6e-6a0f-4f1e-9c55-0f0a6f5f8f10",
                memory_mib=384,
                vcpus=2,
                ram_bytes=2 * MIB,
            ),
            GuestSpec(
                name="router",
                kind="hvm",
                disks=(DiskSpec(volume="router_root", size_bytes=48 * MIB, filled_bytes=16 * MIB),),
                uuid="5a1c0b7e-3f64-4c39-8d0b-2e6f7a9c4d21",
                memory_mib=128,
                pci=("0000:03:01.0",),
                ram_bytes=MIB,
            ),
        ),
    )


def _make_uuid(source: random.Random) -> str:
    text = source.randbytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _default_pci() -> tuple[PciDevice, ...]:
    return (
        PciDevice(
            slot="0000:00:00.0",
            class_text="Host bridge [0600]",
            vendor="Intel Corporation [8086]",
            device="82G33/G31/P35/P31 Express DRAM Controller [29c0]",
            subvendor="Red Hat, Inc. [1af4]",
            subdevice="QEMU Virtual Machine [1100]",
            interface="00",
        ),
        PciDevice(
            slot="0000:00:04.0",
            class_text="SCSI storage controller [0100]",
            vendor="Red Hat, Inc. [1af4]",
            device="Virtio block device [1001]",
            subvendor="Red Hat, Inc. [1af4]",
            subdevice="Virtio block device [0002]",
            interface="00",
            driver="virtio-pci",
            module="virtio_pci",
        ),
        PciDevice(
            slot="0000:03:01.0",
            class_text="Ethernet controller [0200]",
            vendor="Intel Corporation [8086]",
            device="82574L Gigabit Network Connection [10d3]",
            subvendor="Intel Corporation [8086]",
            subdevice="Gigabit CT Desktop Adapter [a01f]",
            driver="pciback",
            module="e1000e",
        ),
    )
