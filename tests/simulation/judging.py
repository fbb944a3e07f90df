"""What must hold on the host when nothing is unfinished any more, whatever struck.

The host's own state is looked at, not what the product says of it. What others did is allowed for,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.house import find_wrong_points, list_overflowed, open_store
from tests.simulation.acts import FOREIGN_TAG, Doings, find_guest
from tests.simulation.director import Ledger
from tests.simulation.migrating import (
    AWAY_SUFFIX,
    MIGRATE,
    SERVICE_SAVED,
    is_beyond_notice,
    was_read_elsewhere,
)
from tests.simulation.schedule import Schedule
from tests.simulation.slots import BACKUP_GROUP, RECORDS, judge_slots, read_slot
from tests.simulation.worlds import NEIGHBOUR, SCRATCH_END_BYTES, World, expect_tail
from xenbackup.dom0.memory_image import read_memory_payload
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.guest_memory import decode_memory
from xenbackup.dom0.simulated.guests import GuestDisk, boot_guest, resume_guest
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Domain, Ram
from xenbackup.errors import XenbackupError
from xenbackup.model.entries import SnapshotExtended
from xenbackup.model.point import Manifest
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import list_journals, read_journal, read_record

WRITTEN_OVER = "Its volumes were being written over"
"""Why a point may be damaged: it lay where a later run began to write."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The host before the run."""

    uuid: str
    ran: bool
    monitors: int
    neighbour_domid: int
    volumes: frozenset[tuple[str, str, int]]
    points: frozenset[str]


@dataclass(kw_only=True)
class Judgement:
    wrongs: list[str] = field(default_factory=list)
    points: int = 0
    memory_points: int = 0
    overflowed: int = 0
    extended: int = 0


def judge_start(host: SimulatedHost, world: World) -> Start:
    """What the end is compared with."""
    with host.machine() as machine:
        found = find_guest(machine.state, world, "")
        (neighbour,) = [d for d in machine.state.domains if d.name == NEIGHBOUR]
        return Start(
            uuid=found.uuid if found else "",
            ran=found is not None,
            monitors=len(_monitors_of(machine, found)) if found else 0,
            neighbour_domid=neighbour.domid,
            volumes=_volumes(machine),
            points=frozenset(path.name for path in host.place(RECORDS).glob("*/*/[0-9]*")),
        )


def judge_end(
    host: SimulatedHost,
    house: House,
    schedule: Schedule,
    start: Start,
    doings: Doings,
    ledger: Ledger,
) -> Judgement:
    """Every promise that is broken now."""
    found = Judgement()
    warnings = _read_warnings(house)
    judge = _HostJudge(
        schedule=schedule,
        start=start,
        doings=doings,
        world=schedule.world,
        warnings=warnings,
        unseen=_was_unseen(ledger) or is_beyond_notice(ledger.story),
        in_the_dark=_was_cut_in_the_dark(ledger),
        elsewhere=_runs_elsewhere(schedule, ledger),
    )
    with host.machine() as machine:
        found.wrongs += judge.judge_guest(machine)
        found.wrongs += judge.judge_rest(machine)
    found.wrongs += _judge_files(house)
    found.wrongs += find_wrong_points(house)
    _judge_points(house, schedule.world, start, found)
    if was_read_elsewhere(ledger.story):
        found.wrongs.append("a point is called good of a guest that ran elsewhere already")
    found.overflowed = len(list_overflowed(house))
    found.extended = _count_extended(house)
    point = ledger.answers.get("point")
    if ledger.answers.get("outcome") in ("ok", "partial") and not point:
        found.wrongs.append("the run ended well and made no point")
    return found


def _runs_elsewhere(schedule: Schedule, ledger: Ledger) -> bool:
    """The guest was migrated away, and the host's own service did not start it here again."""
    if MIGRATE not in ledger.done or is_beyond_notice(ledger.story):
        return False
    if SERVICE_SAVED in ledger.done:
        return False
    return not (schedule.autostart and "rebooted" in ledger.done)


def _was_unseen(ledger: Ledger) -> bool:
    """Somebody let the guest run, and the power went before recovery's table had looked."""
    acts = [at for at, line in enumerate(ledger.story) if line.endswith(": unpause")]
    cuts = [at for at, line in enumerate(ledger.story) if line.startswith("the host went down")]
    if not acts or not cuts or cuts[-1] < acts[0]:
        return False
    cut = next(at for at in cuts if at > acts[0])
    return not any("journal: rescue-began" in line for line in ledger.story[acts[0] : cut])


def _was_cut_in_the_dark(ledger: Ledger) -> bool:
    """The image was damaged before anybody had seen it whole: a save that destroyed the guest can
    not be told from one in whose middle others destroyed it, or migrated it.
    """
    story = ledger.story
    cut = next((at for at, line in enumerate(story) if ": image-cut-off" in line), None)
    return cut is not None and not any("journal: saved" in line for line in story[:cut])


def _read_warnings(house: House) -> list[str]:
    warnings: list[str] = []
    for path in list_journals(house.journals_folder):
        if read_journal(path):
            record = read_record(path)
            warnings += [*record.warnings, *record.failures]
    return warnings


@dataclass(frozen=True, kw_only=True)
class _HostJudge:
    schedule: Schedule
    start: Start
    doings: Doings
    world: World
    warnings: list[str]
    unseen: bool
    in_the_dark: bool
    elsewhere: bool

    def judge_guest(self, machine: Machine) -> Iterator[str]:
        name = self.world.guest
        guest = find_guest(machine.state, self.world, self.start.uuid)
        if not self.start.ran:
            if guest is not None and not self.doings.includes("create", "rebooted"):
                yield f"{name} was shut off and is started"
            return
        if guest is None:
            left = any("somebody destroyed it during the run" in line for line in self.warnings)
            if not self.doings.may_be_down and not (self.in_the_dark and left):
                yield f"{name} is down"
            return
        # What its migration has left here is that, whoever might have noticed.
        if self.elsewhere or (guest.name.endswith(AWAY_SUFFIX) and not guest.executing):
            yield from self._judge_left_behind(guest)
            return
        yield from self._judge_state(guest)
        yield from self._judge_disks(guest)
        if guest.executing:
            yield from self._judge_ticking(machine, guest)
            yield from self._judge_monitor(machine, guest)

    def _judge_state(self, guest: Domain) -> Iterator[str]:
        if guest.dying or not guest.built:
            yield f"{guest.name} is dying or half built"
        if guest.shutdown and not (guest.shutdown != "suspend" and self.doings.may_be_shut_down):
            yield f"{guest.name} is shut down ({guest.shutdown})"
        by_hand = self.schedule.paused_before or self.doings.includes("pause")
        if guest.pauses and not by_hand:
            yield f"{guest.name} is paused"
        kept = self.schedule.paused_before and not self.doings.done
        if kept and not guest.pauses:
            yield f"{guest.name} was paused by an administrator and runs"
        if guest.control_shutdown or guest.suspend_due_ns:
            yield f"{guest.name} was asked to {guest.control_shutdown} and will yet"

    def _judge_left_behind(self, guest: Domain) -> Iterator[str]:
        """What may be left here of a guest that runs elsewhere: it stands still."""
        if guest.executing or not (guest.shutdown == "suspend" or guest.pauses):
            yield f"{guest.name} runs elsewhere, and was let run here"
        if guest.dying or not guest.built or guest.control_shutdown:
            yield f"{guest.name} was migrated away, and is not left alone"

    def _judge_disks(self, guest: Domain) -> Iterator[str]:
        if len(guest.vbds) != len(self.world.spec.disks):
            yield f"{guest.name} has {len(guest.vbds)} disks"
        if guest.shutdown:
            return
        for vbd in guest.vbds:
            fresh = guest.pauses and (vbd.frontend, vbd.backend) == (1, 2)
            if (vbd.frontend, vbd.backend) != (4, 4) and not fresh:
                yield f"disk {vbd.vdev} is {vbd.frontend}/{vbd.backend}"

    def _judge_ticking(self, machine: Machine, guest: Domain) -> Iterator[str]:
        before = guest.ram.counter if guest.ram is not None else 0
        machine.advance(3.0)
        if not guest.executing:
            yield f"{guest.name} stopped by itself later"
        elif guest.ram is None or guest.ram.counter <= before:
            yield f"{guest.name} does not tick"

    def _judge_monitor(self, machine: Machine, guest: Domain) -> Iterator[str]:
        monitors = _monitors_of(machine, guest)
        told = any("monitor" in text for text in self.warnings)
        if self.start.monitors and not monitors and not told:
            yield f"{guest.name} has no monitor, and nobody says so"
        if len(monitors) > 1:
            yield f"{guest.name} has {len(monitors)} monitors"

    def judge_rest(self, machine: Machine) -> Iterator[str]:
        state = machine.state
        for process in state.processes:
            if process.stopped:
                yield f"process {' '.join(process.argv[:2])} is still held"
        yield from self._judge_volumes(machine)
        names = [domain.name for domain in state.domains]
        uuids = [domain.uuid for domain in state.domains]
        if len(set(names)) < len(names) or len(set(uuids)) < len(uuids):
            yield f"domains of one name or UUID: {sorted(names)}"
        if not self.doings.includes("rebooted"):
            neighbour = next((d for d in state.domains if d.name == NEIGHBOUR), None)
            if neighbour is None or not neighbour.executing:
                yield "the neighbour was touched"
            elif neighbour.domid != self.start.neighbour_domid:
                yield "the neighbour is another domain"
        if self.unseen:
            return
        for name, program in state.programs.items():
            if name.endswith(AWAY_SUFFIX) and self.doings.includes("rebooted"):
                continue  # the host's own service has shut down and started what was left here
            for text in program.corruptions:
                yield f"oracle: {name}: {text}"

    def _judge_volumes(self, machine: Machine) -> Iterator[str]:
        for volume in machine.state.volumes.values():
            if volume.suspended:
                yield f"volume {volume.name} is suspended"
            prepared = volume.group == BACKUP_GROUP and volume.tags == [TAG_DESTINATION]
            if prepared and not volume.origin:
                continue
            if FOREIGN_TAG not in volume.tags and (
                volume.tags or volume.origin or volume.name.startswith("xb-")
            ):
                yield f"volume {volume.name} is left"
        missing = self.start.volumes - _volumes(machine)
        if missing:
            yield f"volumes of guests are gone or changed: {sorted(missing)}"
        if self.world.into_volumes:
            yield from judge_slots(machine, self.world.spec.disks)


def _volumes(machine: Machine) -> frozenset[tuple[str, str, int]]:
    volumes = machine.state.volumes.values()
    return frozenset(
        (v.uuid, v.name, v.size_bytes)
        for v in volumes
        if v.group == BACKUP_GROUP or not (v.tags or v.name.startswith("xb-"))
    )


def _monitors_of(machine: Machine, guest: Domain) -> list[int]:
    return [p.pid for p in machine.state.processes if p.domid == guest.domid and not p.real]


def _judge_files(house: House) -> Iterator[str]:
    host = house.host
    for run_id, _ in find_unfinished(house):
        yield f"run {run_id} is unfinished"
    for path in host.place("/srv").rglob(".xb-*"):
        yield f"clone {path.name} is left"
    spool = host.place(house.configuration.spool_path)
    for path in spool.iterdir() if spool.exists() else ():
        yield f"the spool holds {path.name}"


def _judge_points(house: House, world: World, start: Start, found: Judgement) -> None:
    with open_store(house, "local") as store:
        listing = store.scan()
        good = [point.point for point in listing.points]
        found.wrongs += [
            f"a damaged point: {damaged}"
            for damaged in listing.damaged
            if not (world.into_volumes and damaged.reason.startswith(WRITTEN_OVER))
        ]
        if not start.points <= set(good) and not _was_staged(house, start):
            found.wrongs.append("the earlier point is gone, and nothing was to be written over it")
        for point in good:
            found.points += 1
            manifest = store.read_manifest(point)
            folder = store.point_folder(point)
            found.memory_points += manifest.memory is not None
            contents = _read_disks(house, world, manifest, folder)
            for text in judge_point(manifest, folder, contents, world):
                found.wrongs.append(f"a bad point is listed as good: {text}")
        if world.into_volumes and len(good) > 1:
            found.wrongs.append(f"points in the same volumes: {good}")


def _was_staged(house: House, start: Start) -> bool:
    """A later run may have got as far as to write over the volumes of the earlier point."""
    paths = [p for p in list_journals(house.journals_folder) if p.stem not in start.points]
    return any(read_record(path).staged for path in paths if read_journal(path))


def _count_extended(house: House) -> int:
    lines = [line for p in list_journals(house.journals_folder) for line in read_journal(p)]
    return sum(isinstance(line.entry, SnapshotExtended) for line in lines)


def _read_disks(house: House, world: World, manifest: Manifest, folder: Path) -> list[bytes]:
    """What a point holds of each disk, read from below the product."""
    if not world.into_volumes:
        return [(folder / disk.file).read_bytes() for disk in manifest.disks]
    host = house.host
    assert isinstance(host, SimulatedHost)
    with host.machine() as machine:
        return [read_slot(machine, disk.file, disk.size_bytes) for disk in manifest.disks]


def judge_point(
    manifest: Manifest, folder: Path, contents: list[bytes], world: World
) -> Iterator[str]:
    """Do memory and disks of a point agree, and are the disks whole?"""
    if len(manifest.disks) != len(world.spec.disks):
        yield f"{len(manifest.disks)} disks of {len(world.spec.disks)}"
        return
    for disk, spec, content in zip(manifest.disks, world.spec.disks, contents, strict=True):
        if content[SCRATCH_END_BYTES:] != expect_tail(spec):
            yield f"{disk.vdev} does not hold what lay on the disk"
    disks = [_as_disk(d.vdev, content) for d, content in zip(manifest.disks, contents, strict=True)]
    if manifest.memory is None:
        if manifest.consistency == "memory":
            yield "it says memory and has none"
        if world.guest != "off":
            yield from boot_guest(Ram(key=world.guest), disks)
        return
    try:
        ram = decode_memory(read_memory_payload(folder / manifest.memory.file))
    except XenbackupError as error:
        yield f"its memory: {error.message}"
        return
    if ram is None:
        yield "its memory is not what was saved"
        return
    yield from resume_guest(ram, disks)


def _as_disk(vdev: str, content: bytes) -> GuestDisk:
    def write(offset: int, block: bytes) -> None:
        raise AssertionError("a judge writes nothing")

    return GuestDisk(
        vdev=vdev,
        read=lambda offset, length: content[offset : offset + length],
        write=write,
        size_bytes=len(content),
    )
