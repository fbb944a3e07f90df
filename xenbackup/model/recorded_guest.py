"""What a point's configuration says of its guest, as far as a restore decides from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RecordedDisk:
    """A disk as recorded; `path` is "" for an empty drive, and need not be one of the host."""

    vdev: str
    path: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class RecordedGuest:
    """A guest as recorded in its point, by the toolstack or by its own configuration file.

    `kernel` and `ramdisk` are "" where the guest brings its own, `pci_devices` ids like
    `0000:03:01.0`, `addresses` one network address for each interface ("" where none is set),
    `interface_names` what each is called in dom0 (`vifname`; "" where Xen names it).
    """

    disks: tuple[RecordedDisk, ...] = ()
    kernel: str = ""
    ramdisk: str = ""
    pci_devices: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    interface_names: tuple[str, ...] = ()

    def find_path(self, vdev: str) -> str:
        """Where the guest has that disk; "" when it has none."""
        return next((disk.path for disk in self.disks if disk.vdev == vdev), "")

    def list_needed_files(self) -> tuple[str, ...]:
        """Absolute paths that it cannot start without: kernel, ramdisk, every disk."""
        paths = (self.kernel, self.ramdisk, *(disk.path for disk in self.disks))
        return tuple(path for path in paths if path.startswith("/"))
