"""A simulated host with one backed up guest, and what happens to its disks afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests import house as houses
from xenbackup.dom0.simulated import GroupSpec, SimulatedHost, create_host
from xenbackup.dom0.simulated.device import SimulatedDevice
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.simulated.state import MIB
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.restore import (
    RestoreOptions,
    RestorePlan,
    RestoreResult,
    SilentRestoreWatcher,
)
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.points import FoundPoint, find_point
from xenbackup.operations.restore import plan_restore, restore_point
from xenbackup.storage.images import ImagesDestination

OTHER_GROUP = GroupSpec(name="other", size_bytes=64 * MIB, extent_bytes=MIB)


@dataclass
class RestoreWatcher(SilentRestoreWatcher):
    """Keeps what it is told."""

    acts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def act_began(self, what: str) -> None:
        self.acts.append(what)

    def warned(self, message: str) -> None:
        self.warnings.append(message)


class Site:
    """The host, its house, and shorthands for what tests do to both."""

    device_class = SimulatedDevice

    def __init__(self, directory: Path, **options: object) -> None:
        groups = (*houses.GROUPS, OTHER_GROUP)
        create_host(directory, groups=groups, guests=houses.GUESTS, **options)  # type: ignore[arg-type]
        self.open(directory)
        destination = ImagesDestination(self.host.place(houses.DESTINATION), "local")
        destination.initialise()
        destination.close()

    @classmethod
    def reopen(cls, directory: Path) -> Site:
        """As a process that starts: nothing is remembered but what is on disk."""
        site = cls.__new__(cls)
        site.open(directory)
        return site

    def open(self, directory: Path) -> None:
        self.host = SimulatedHost(directory)
        self.house: House = houses.build_house(self.host, "auto")

    def back_up(self, preset: str = "checkpoint", domain: str = "web") -> FoundPoint:
        result = houses.back_up(self.house, preset, domain=domain)
        assert result.outcome is Outcome.OK, result
        return find_point(self.house, f"{domain}@latest")

    def run(self, *argv: str) -> CommandResult:
        return self.host.run(Command(argv=argv, timeout_seconds=60.0))

    def act(self, *argv: str) -> None:
        result = self.run(*argv)
        assert result.exit_code == 0, result

    def lose(self, *volumes: str, domain: str = "web") -> None:
        """The guest goes on for a while, then it and these volumes are gone."""
        self.host.sleep(5.0)
        self.act("xl", "destroy", domain)
        for volume in volumes:
            self.act("lvremove", "-y", f"xenvols/{volume}")

    def plan(self, point: FoundPoint, **options: object) -> RestorePlan:
        return plan_restore(self.house, point, RestoreOptions(**options))  # type: ignore[arg-type]

    def restore(
        self, point: FoundPoint, watcher: RestoreWatcher | None = None, **options: object
    ) -> RestoreResult:
        plan = self.plan(point, **options)
        return restore_point(self.house, plan, watcher or RestoreWatcher(), lambda: "")

    def stored(self, point: FoundPoint, name: str) -> Path:
        """A file of the point."""
        folder = self.host.place(houses.DESTINATION) / point.manifest.domain / point.point
        return folder / name

    def read(self, path: str) -> bytes:
        """All of a volume or file of the host."""
        device = self.host.open_volume(path)
        try:
            buffer = bytearray(device.size_bytes)
            device.read_into(0, memoryview(buffer))
            return bytes(buffer)
        finally:
            device.close()

    def write(self, path: str, offset: int, content: bytes) -> None:
        device = self.host.open_volume(path, writable=True)
        try:
            device.write_at(offset, memoryview(content))
            device.flush()
        finally:
            device.close()

    def count(self, domain: str = "web") -> int:
        return houses.count_of(self.host, domain)

    def state_of(self, domain: str) -> str:
        found = [d for d in self.house.toolstack.list_domains() if d.name == domain]
        return found[0].state.letters if found else ""

    def corruptions(self) -> dict[str, tuple[str, ...]]:
        return dict(read_oracle(self.host).corruptions)


def damage(path: Path, offset: int) -> None:
    """Flip one byte, as bit rot does: the size and the rest stay."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
