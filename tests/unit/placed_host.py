"""A host that answers with recordings, and whose files are below a folder of the test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.recorded import RecordedHost


@dataclass
class PlacedHost(RecordedHost):
    """`/etc/x` is `root/etc/x`, links included."""

    root: Path = field(default_factory=Path)

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", errors="surrogateescape")

    def bind(self, slot: str, driver: str) -> None:
        """What sysfs shows of a device; no driver without a name."""
        folder = self.place(f"/sys/bus/pci/devices/{slot}")
        folder.mkdir(parents=True, exist_ok=True)
        if driver:
            (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
