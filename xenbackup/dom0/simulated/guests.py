"""What runs inside the guests: an oracle that counts in RAM and on its disks, and notices.

A round of a guest: check every disk against memory, count in RAM, then for disk 1, 2, … in this
order: history block, scratch data, count. Each is a micro-step; a pause or a snapshot may fall
between any two. So at any instant disk1 - 1 <= disk2 <= disk1, and RAM is at most one ahead.

Layout of a guest's disk: label at 0, the count's record at 64 KiB, a ring of 32 history blocks at
128 KiB, scratch data that wraps from 256 KiB on.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from xenbackup.dom0.simulated.state import Domain, Ram

RECORD_OFFSET = 64 << 10
RING_OFFSET = 128 << 10
RING_BLOCKS = 32
BLOCK_BYTES = 4096
SCRATCH_OFFSET = 256 << 10
LEAST_DISK_BYTES = SCRATCH_OFFSET + (64 << 10)

_RECORD = struct.Struct("<8s32sIQQ")
_RECORD_MAGIC = b"XBTICK01"
_RECORD_BYTES = 512
_STEPS_PER_DISK = 3
_SETTLING_ROUNDS = RING_BLOCKS + 4


class DiskBlocked(Exception):
    """The disk does not answer now: the guest waits and counts nothing."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The count on one disk: whose it is, which disk, how far, and in which life of the guest."""

    key: str
    disk: int
    counter: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """A disk as its guest sees it; both calls raise DiskBlocked when it does not answer."""

    vdev: str
    read: Callable[[int, int], bytes]
    write: Callable[[int, bytes], None]
    size_bytes: int


def encode_record(record: Record) -> bytes:
    body = _RECORD.pack(
        _RECORD_MAGIC, record.key.encode()[:32], record.disk, record.counter, record.epoch
    )
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(_RECORD_BYTES, b"\0")


def decode_record(content: bytes) -> Record | None:
    """The record in these bytes; None when there is none, or its checksum does not fit."""
    body = content[: _RECORD.size]
    if len(content) < _RECORD.size + 4 or not body.startswith(_RECORD_MAGIC):
        return None
    if struct.unpack_from("<I", content, _RECORD.size)[0] != zlib.crc32(body):
        return None
    _, key, disk, counter, epoch = _RECORD.unpack(body)
    return Record(
        key=key.rstrip(b"\0").decode("utf-8", "replace"), disk=disk, counter=counter, epoch=epoch
    )


def history_block(key: str, disk: int, counter: int) -> bytes:
    """What round `counter` writes into its slot of the ring."""
    seed = hashlib.blake2b(f"{key}/{disk}/{counter}".encode(), digest_size=64).digest()
    return struct.pack("<Q", counter) + (seed * 64)[8:]


def steps_per_round(disks: int) -> int:
    return 1 + _STEPS_PER_DISK * disks


def boot_guest(ram: Ram, disks: list[GuestDisk]) -> list[str]:
    """A kernel's start: take the count from the disks; returns every sign of corruption.

    Raises: DiskBlocked.
    """
    complaints: list[str] = []
    records: list[Record | None] = []
    for disk in disks:
        record = decode_record(disk.read(RECORD_OFFSET, _RECORD_BYTES))
        if record is None:
            complaints.append(f"boot: {disk.vdev} holds no valid record")
        records.append(record)
    first = records[0] if records else None
    if first is not None:
        ram.key, ram.counter = first.key, first.counter
    complaints += _compare_records(disks, records)
    ram.written, ram.ringed, ram.epochs = [], [], []
    for index, (disk, record) in enumerate(zip(disks, records, strict=True)):
        counter = record.counter if record else ram.counter
        ahead = _ring_slot(disk, counter + 1) == history_block(ram.key, index, counter + 1)
        ram.written.append(counter)
        ram.ringed.append(counter + 1 if ahead else counter)
        ram.epochs.append(record.epoch if record else 0)
        if record is not None:
            complaints += _check_ring(ram, index, disk, "boot")
    ram.step = 1 if disks else 0
    return complaints


def resume_guest(ram: Ram, disks: list[GuestDisk]) -> list[str]:
    """Memory that came out of an image meets its disks: they must be exactly as it knows them.

    Raises: DiskBlocked.
    """
    complaints: list[str] = []
    if len(disks) != len(ram.written):
        return [f"resume: memory knows {len(ram.written)} disks, the machine has {len(disks)}"]
    for index, disk in enumerate(disks):
        complaints += _check_record(ram, index, disk, "resume")
        complaints += _check_ring(ram, index, disk, "resume")
    return complaints


def run_guest(
    domain: Domain, ram: Ram, disks: list[GuestDisk], target_ns: int, *, repeating: bool
) -> list[str]:
    """Run micro-steps up to `target_ns`; returns every sign of corruption that was met.

    `repeating` redoes a stretch that a killed process began: the disks may hold what it wrote, so
    only the writes are repeated, not the checks.
    """
    complaints: list[str] = []
    steps = steps_per_round(len(disks))
    step_ns = max(ram.tick_ns // steps, 1)
    domain.blocked = False
    try:
        while domain.next_step_ns <= target_ns:
            if ram.step == 0:
                _skip_rounds(domain, ram, disks, (target_ns - domain.next_step_ns), step_ns * steps)
                if not repeating:
                    complaints += _check_disks(ram, disks)
                ram.counter += 1
            else:
                complaints += _take_step(ram, disks, repeating=repeating)
            ram.step = (ram.step + 1) % steps
            domain.next_step_ns += step_ns
            domain.cpu_ns += step_ns // 4
    except DiskBlocked:
        domain.blocked = True
        domain.next_step_ns = target_ns + step_ns
    return complaints


def _take_step(ram: Ram, disks: list[GuestDisk], *, repeating: bool) -> list[str]:
    complaints: list[str] = []
    index, act = divmod(ram.step - 1, _STEPS_PER_DISK)
    disk, counter = disks[index], ram.counter
    if act == 0:
        if counter > 0:
            disk.write(_slot_offset(counter), history_block(ram.key, index, counter))
            ram.ringed[index] = counter
    elif act == 1:
        _write_scratch(ram, disk)
    else:
        # Looked at once more before it is overwritten: what was lost in mid-round would not show.
        if not repeating:
            complaints = _check_record(ram, index, disk, "running")
        record = Record(key=ram.key, disk=index, counter=counter, epoch=ram.epoch)
        disk.write(RECORD_OFFSET, encode_record(record))
        ram.written[index] = counter
        ram.epochs[index] = ram.epoch
    return complaints


def _write_scratch(ram: Ram, disk: GuestDisk) -> None:
    region = min(ram.scratch_region_bytes, disk.size_bytes - SCRATCH_OFFSET)
    length = min(ram.scratch_bytes, region)
    if length <= 0:
        return
    begin = (ram.counter * ram.scratch_bytes) % region
    seed = hashlib.blake2b(f"{ram.key}/{ram.counter}".encode(), digest_size=64).digest()
    content = (seed * (length // 64 + 1))[:length]
    upto_end = min(length, region - begin)
    disk.write(SCRATCH_OFFSET + begin, content[:upto_end])
    if upto_end < length:
        disk.write(SCRATCH_OFFSET, content[upto_end:])


def _skip_rounds(
    domain: Domain, ram: Ram, disks: list[GuestDisk], left_ns: int, round_ns: int
) -> None:
    """Over a long time only the last rounds matter: every earlier write is overwritten by them."""
    telling = _SETTLING_ROUNDS
    if ram.scratch_bytes:
        telling += ram.scratch_region_bytes // ram.scratch_bytes + 1
    due = left_ns // round_ns
    if due <= 2 * telling:
        return
    skipped = due - telling
    # All disks answer, or none is written: a guest that waits for one has not gone on with another.
    for disk in disks:
        disk.read(RECORD_OFFSET, _RECORD_BYTES)
    for index, disk in enumerate(disks):
        counter = ram.counter + skipped
        record = Record(key=ram.key, disk=index, counter=counter, epoch=ram.epoch)
        disk.write(RECORD_OFFSET, encode_record(record))
        ram.written[index] = ram.ringed[index] = counter
        ram.epochs[index] = ram.epoch
    ram.counter += skipped
    ram.settled_from = ram.counter
    domain.next_step_ns += skipped * round_ns


def _check_disks(ram: Ram, disks: list[GuestDisk]) -> list[str]:
    complaints: list[str] = []
    for index, disk in enumerate(disks):
        complaints += _check_record(ram, index, disk, "running")
        wanted = _last_in_slot(ram.ringed[index], (ram.counter * 13) % RING_BLOCKS)
        if wanted <= ram.settled_from:
            continue
        if _ring_slot(disk, wanted) != history_block(ram.key, index, wanted):
            complaints.append(f"running: {disk.vdev} lost the history of round {wanted}")
    return complaints


def _check_record(ram: Ram, index: int, disk: GuestDisk, when: str) -> list[str]:
    record = decode_record(disk.read(RECORD_OFFSET, _RECORD_BYTES))
    wanted = ram.written[index]
    if record is None:
        return [f"{when}: {disk.vdev} holds no valid record, memory knows {wanted}"]
    if (record.key, record.disk) != (ram.key, index):
        return [f"{when}: {disk.vdev} is disk {record.disk + 1} of {record.key}"]
    if record.counter != wanted:
        return [f"{when}: {disk.vdev} is at {record.counter}, memory knows {wanted}"]
    if record.epoch != ram.epochs[index]:
        return [f"{when}: {disk.vdev} at {wanted} was written by another life of this guest"]
    return []


def _compare_records(disks: list[GuestDisk], records: list[Record | None]) -> list[str]:
    """The invariant of one instant: counts never rise from disk to disk, nor fall by two."""
    complaints: list[str] = []
    first = records[0] if records else None
    before = first
    for index, record in enumerate(records):
        if record is None or first is None or before is None:
            continue
        vdev = disks[index].vdev
        if (record.key, record.disk) != (first.key, index):
            complaints.append(f"boot: {vdev} is disk {record.disk + 1} of {record.key}")
        elif not first.counter - 1 <= record.counter <= before.counter:
            complaints.append(
                f"boot: disks of two instants: {disks[0].vdev} at {first.counter}, "
                f"{vdev} at {record.counter}"
            )
        before = record
    return complaints


def _check_ring(ram: Ram, index: int, disk: GuestDisk, when: str) -> list[str]:
    ring = disk.read(RING_OFFSET, RING_BLOCKS * BLOCK_BYTES)
    for slot in range(RING_BLOCKS):
        wanted = _last_in_slot(ram.ringed[index], slot)
        content = ring[slot * BLOCK_BYTES : (slot + 1) * BLOCK_BYTES]
        if wanted > ram.settled_from and content != history_block(ram.key, index, wanted):
            return [f"{when}: {disk.vdev} lost the history of round {wanted}"]
    return []


def _ring_slot(disk: GuestDisk, counter: int) -> bytes:
    return disk.read(_slot_offset(counter), BLOCK_BYTES)


def _slot_offset(counter: int) -> int:
    return RING_OFFSET + (counter % RING_BLOCKS) * BLOCK_BYTES


def _last_in_slot(counter: int, slot: int) -> int:
    """The latest round up to `counter` that wrote this slot; 0 or less when none did."""
    return counter - (counter - slot) % RING_BLOCKS
