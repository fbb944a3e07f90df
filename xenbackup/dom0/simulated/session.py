"""One look at the host under its lock: the state, its volumes, the clock, and what a tool prints.

A tool is a function of a Session. It may commit in the middle (`commit`, `boundary`, `advance`):
what was committed is what a kill at that point leaves behind. After `boundary` other processes may
have changed everything: look domains and volumes up again.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.faults import Fault, FaultKind
from xenbackup.dom0.simulated.guests import (
    LEAST_DISK_BYTES,
    DiskBlocked,
    GuestDisk,
    boot_guest,
    resume_guest,
    run_guest,
)
from xenbackup.dom0.simulated.state import NANOSECONDS, Domain, HostState, Ram, Vbd, Volume
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.volumes import VolumeBroken, VolumeLayer, VolumeSuspended

REAL_PATHS = ("/dev/null", "/dev/stdout", "/dev/stderr")


class ToolFailed(Exception):
    """A tool ends early: its exit code, and what it says on stderr."""

    def __init__(self, exit_code: int, stderr: str = "") -> None:
        super().__init__(stderr)
        self.exit_code = exit_code
        self.stderr = stderr


class ToolKilled(Exception):
    """The tool's process is ended by a signal at this very point."""

    def __init__(self, signal_number: int, *, timed_out: bool = False) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number
        self.timed_out = timed_out


class Machine:
    """The state under lock, its volumes, and the flow of time; shared by tools and devices."""

    def __init__(self, store: Store, kept: dict[str, ExceptionStore]) -> None:
        self.store = store
        self._kept = kept
        self.state: HostState
        self.volumes: VolumeLayer
        self.holds_lock = False

    def open(self) -> None:
        """Take the lock and look; finish a stretch of time that a killed process began."""
        self.state = self.store.lock()
        self.holds_lock = True
        self.volumes = VolumeLayer(self.store, self.state, self._kept)
        if self.state.advancing_to_ns:
            self._run_until(self.state.advancing_to_ns, repeating=True)

    def close(self, *, discard: bool = False) -> None:
        self.holds_lock = False
        self.store.unlock(discard=discard)

    def commit(self) -> None:
        """What memory holds now is what a kill leaves behind."""
        self.store.write(self.state)
        self.volumes = VolumeLayer(self.store, self.state, self._kept)

    def advance(self, seconds: float) -> None:
        """Let time pass: guests tick, promised suspends happen; commits."""
        self._run_until(self.state.clock_ns + round(seconds * NANOSECONDS), repeating=False)

    def place(self, path: str) -> Path:
        """Where an absolute path of this host is: below its directory."""
        return place_below(self.store.directory, path)

    def resolve_volume(self, path: str) -> Volume | None:
        """The logical volume behind `/dev/GROUP/NAME` or `/dev/mapper/GROUP-NAME`, else None."""
        for prefix in (str(self.store.directory), ""):
            stem = prefix + "/dev/"
            if path.startswith(stem):
                name = path.removeprefix(stem)
                break
        else:
            return None
        if name.startswith("mapper/"):
            group, _, volume = name.removeprefix("mapper/").replace("--", "\0").partition("-")
            return self.state.find_volume(group.replace("\0", "-"), volume.replace("\0", "-"))
        group, _, volume = name.partition("/")
        return self.state.find_volume(group, volume)

    def disks_of(self, domain: Domain) -> list[GuestDisk]:
        """The disks that the guest's program uses, in the order of their device numbers."""
        used = [vbd for vbd in domain.vbds if vbd.writable and not vbd.cdrom and vbd.target]
        return [self._guest_disk(vbd) for vbd in sorted(used, key=lambda vbd: vbd.number)]

    def wake_guest(self, domain: Domain) -> None:
        """A domain gets its processors: it boots, or goes on from an image, and checks its disks.

        Corruption is written down before anything can overwrite its traces.
        """
        if not domain.executing:
            return
        domain.next_step_ns = max(domain.next_step_ns, self.state.clock_ns)
        if domain.ram is not None and not domain.verify_exactly:
            return
        _connect_frontends(domain)
        program = self.state.program_of(domain.name)
        try:
            if domain.ram is None:
                ram = Ram(
                    key=domain.name,
                    epoch=self.draw() >> 1,
                    scratch_bytes=program.scratch_bytes,
                    scratch_region_bytes=program.scratch_region_bytes,
                    tick_ns=program.tick_ns,
                )
                complaints = boot_guest(ram, self.disks_of(domain))
                domain.ram = ram
            else:
                complaints = resume_guest(domain.ram, self.disks_of(domain))
                domain.verify_exactly = False
        except DiskBlocked:
            domain.blocked = True
            return
        self._write_down(domain, complaints)

    def draw(self) -> int:
        """64 bits that nobody has seen before on this host; reproducible from its seed."""
        self.state.draws += 1
        text = f"{self.state.seed}/{self.state.draws}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

    def draw_uuid(self) -> str:
        number = (self.draw() << 64 | self.draw()) & ((1 << 128) - 1)
        return str(uuid.UUID(int=number, version=4))

    def _run_until(self, target_ns: int, *, repeating: bool) -> None:
        state = self.state
        due = [
            domain
            for domain in state.domains
            if (domain.executing and domain.next_step_ns <= target_ns)
            or 0 < domain.suspend_due_ns <= target_ns
        ]
        if due:
            if not repeating:
                # Waking only reads: what it finds is written down with the intent to go on.
                for domain in due:
                    self.wake_guest(domain)
                state.advancing_to_ns = target_ns
                self.store.write(state)
            for domain in due:
                self._run_domain(domain, target_ns, repeating=repeating)
        state.advancing_to_ns = 0
        state.clock_ns = max(state.clock_ns, target_ns)
        self.store.write(state)

    def _run_domain(self, domain: Domain, target_ns: int, *, repeating: bool) -> None:
        until = min(target_ns, domain.suspend_due_ns or target_ns)
        if domain.executing and domain.next_step_ns <= until:
            if domain.ram is None or domain.verify_exactly:
                domain.next_step_ns = target_ns + 1  # its disks do not answer: it waits
            else:
                disks = self.disks_of(domain)
                complaints = run_guest(domain, domain.ram, disks, until, repeating=repeating)
                self._write_down(domain, complaints)
        if domain.suspend_due_ns and domain.suspend_due_ns <= target_ns:
            domain.suspend_due_ns = 0
            if domain.executing and domain.control_shutdown == "suspend":
                domain.control_shutdown = ""
                domain.shutdown = "suspend"
                self.notice_shutdown(domain)

    def notice_shutdown(self, domain: Domain) -> None:
        """The domain stopped running: before Xen 4.20 its monitor takes that for the end."""
        if domain.shutdown != "suspend" or self.state.xen_version >= (4, 20):
            return
        self.state.processes = [
            process
            for process in self.state.processes
            if process.domid != domain.domid or process.stopped
        ]

    def _write_down(self, domain: Domain, complaints: list[str]) -> None:
        known = self.state.program_of(domain.name).corruptions
        known.extend(text for text in dict.fromkeys(complaints) if text not in known)

    def _guest_disk(self, vbd: Vbd) -> GuestDisk:
        volume = self.resolve_volume(vbd.target)
        if volume is None:
            path = self.place(vbd.target)
            size = path.stat().st_size if path.is_file() else 0
            return GuestDisk(
                vdev=vbd.vdev,
                read=partial(self._read_file, vbd, path),
                write=partial(self._write_file, vbd, path),
                size_bytes=size,
            )
        return GuestDisk(
            vdev=vbd.vdev,
            read=partial(self._read_volume, vbd, volume),
            write=partial(self._write_volume, vbd, volume),
            size_bytes=max(self.volumes.visible_bytes(volume), LEAST_DISK_BYTES),
        )

    def _read_volume(self, vbd: Vbd, volume: Volume, offset: int, length: int) -> bytes:
        self._answer(vbd)
        try:
            return self.volumes.read_bytes(volume, offset, length)
        except (VolumeSuspended, VolumeBroken) as error:
            raise DiskBlocked from error

    def _write_volume(self, vbd: Vbd, volume: Volume, offset: int, content: bytes) -> None:
        self._answer(vbd)
        try:
            self.volumes.write(volume, offset, content)
        except (VolumeSuspended, VolumeBroken) as error:
            raise DiskBlocked from error

    def _read_file(self, vbd: Vbd, path: Path, offset: int, length: int) -> bytes:
        self._answer(vbd)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DiskBlocked from error
        try:
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)

    def _write_file(self, vbd: Vbd, path: Path, offset: int, content: bytes) -> None:
        self._answer(vbd)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DiskBlocked from error
        try:
            os.pwrite(fd, content, offset)
        finally:
            os.close(fd)

    @staticmethod
    def _answer(vbd: Vbd) -> None:
        """A disk whose front-end left, or whose back-end is closed, is dead."""
        if vbd.frontend < 0 or vbd.backend not in (2, 4):
            raise DiskBlocked


def place_below(directory: Path, path: str) -> Path:
    """An absolute path of the host below its directory; one that is there already stays."""
    if path in REAL_PATHS:
        return Path(path)
    top = str(directory)
    if path == top or path.startswith(f"{top}/"):
        return Path(path)
    return directory / path.lstrip("/")


def _connect_frontends(domain: Domain) -> None:
    """The guest's drivers find their disks; a guest without such drivers uses emulated ones."""
    for vbd in domain.vbds:
        if domain.pv_drivers and vbd.target and (vbd.frontend, vbd.backend) == (1, 2):
            vbd.frontend = vbd.backend = 4


class Session(Machine):
    """A Machine on which one tool runs: its streams, its deadline, its boundaries."""

    def __init__(
        self,
        store: Store,
        kept: dict[str, ExceptionStore],
        *,
        environment: dict[str, str],
        write_out: Callable[[str], None],
        write_err: Callable[[str], None],
        deadline_seconds: float | None = None,
    ) -> None:
        super().__init__(store, kept)
        self.environment = environment
        self.out = write_out
        self.err = write_err
        self.argv: list[str] = []
        self._deadline_seconds = deadline_seconds
        self._prefix = ""
        self._on_boundary: Callable[[str], None] | None = None
        self._strike: Callable[[str], None] | None = None
        self._spent_seconds = 0.0
        self.fault: Fault | None = None
        self.real_child = False
        self.file_mode = 0o644

    def set_boundaries(
        self,
        prefix: str,
        on_boundary: Callable[[str], None] | None,
        strike: Callable[[str], None] | None,
    ) -> None:
        """Who is called at `PREFIX:STAGE`: the test's hook (unlocked), the fault (locked)."""
        self._prefix, self._on_boundary, self._strike = prefix, on_boundary, strike

    def struck_by(self, kind: FaultKind) -> Fault | None:
        """The fault of this call, if it is of this kind."""
        return self.fault if self.fault is not None and self.fault.kind is kind else None

    def pass_real_time(self, wait: Callable[[], None]) -> None:
        """In a real child: let the lock go while real time passes."""
        if not self.real_child:
            return
        self.close()
        try:
            wait()
        finally:
            self.open()

    def spend(self, seconds: float) -> None:
        """The tool works for so long. Raises: ToolKilled when its deadline falls into that time."""
        limit = self._deadline_seconds
        if limit is not None and self._spent_seconds + seconds > limit:
            self.advance(max(limit - self._spent_seconds, 0.0))
            raise ToolKilled(15, timed_out=True)
        self._spent_seconds += seconds
        self.advance(seconds)

    def spend_all(self) -> None:
        """The tool hangs until its deadline. Raises: ToolKilled."""
        if self._deadline_seconds is not None:
            self.advance(max(self._deadline_seconds - self._spent_seconds, 0.0))
        raise ToolKilled(15, timed_out=True)

    def boundary(self, stage: str) -> None:
        """A point at which a kill, a hook of a test, or another process may come in between."""
        self.commit()
        name = f"{self._prefix}:{stage}"
        if self._strike is not None:
            self._strike(name)
        if self._on_boundary is None:
            return
        self.close()
        self._on_boundary(name)
        self.open()

    def qualify(self, text: str) -> tuple[int, Domain | None]:
        """The domid that a qualifier means; a number is taken at its word, as libxl does.

        Raises: ToolFailed for a name that no domain has.
        """
        if text.isascii() and text.isdigit():
            return int(text), self.state.find_domain(int(text))
        if text == "Domain-0":
            return 0, None
        found = next((d for d in self.state.domains if d.name == text and not d.dying), None)
        if found is None:
            raise ToolFailed(1, f"{text} is an invalid domain identifier (rc=-6)\n")
        return found.domid, found

    def domain(self, domid: int) -> Domain:
        """A domain that was there a moment ago. Raises: ToolFailed when it has gone since."""
        found = self.state.find_domain(domid)
        if found is None:
            raise ToolFailed(1, f"libxl: error: Domain {domid}:Domain vanished\n")
        return found
