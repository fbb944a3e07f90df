"""A recovery point under construction: filled in a hidden folder, then published or discarded."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from xenbackup.errors import CopyFailed, DestinationFailed
from xenbackup.model.point import Manifest, StoredDisk, StoredMemory
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import Cancelled, CopyProgress, CopyResult, copy_blocks
from xenbackup.storage.destination import CopiedDisk
from xenbackup.storage.manifest import (
    CONFIGURATION_FILE,
    DOMAIN_FILE,
    MANIFEST_FILE,
    MEMORY_FILE,
    VDEV_PATTERN,
    encode_manifest,
)
from xenbackup.storage.shelf import PARTIAL_PREFIX, Shelf
from xenbackup.system.block_device import BlockDevice, BlockFile, open_block_device
from xenbackup.system.durable import translate_errors

_VDEV = re.compile(VDEV_PATTERN)
_MORE_SPACE = "free space there, or `xenbackup prune` what is no longer kept"


class StagedImages:
    """A point whose disks are image files. `check_destination` is asked before it is published.

    Everything written is synced at once; `publish` writes the manifest last and then renames.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        domain: str,
        identity: str,
        point: str,
        check_destination: Callable[[], None],
    ) -> None:
        self.point = point
        self._identity = identity
        self._check_destination = check_destination
        self._home, self._folder = shelf.stage(domain, identity, point)
        self._disks: dict[str, StoredDisk] = {}
        self._memory: StoredMemory | None = None
        self._domain_digest = ""
        self._configuration_digest = ""

    @property
    def folder(self) -> Path:
        """Where the point grows, for messages."""
        return self._folder.path

    def add_disk(
        self,
        vdev: str,
        source: BlockDevice,
        *,
        size_bytes: int,
        source_name: str,
        on_progress: CopyProgress | None = None,
        cancelled: Cancelled | None = None,
        limit: BandwidthLimit | None = None,
    ) -> CopiedDisk:
        """Copy a disk into `VDEV.img`, a sparse raw image.

        Raises: CopyFailed when the source cannot be read; CopyCancelled; DestinationFailed when
        the image cannot be written.
        """
        name = f"{check_vdev(vdev)}.img"
        result = self._copy_into(
            name,
            source,
            size_bytes=size_bytes,
            on_progress=on_progress,
            cancelled=cancelled,
            limit=limit,
        )
        return self._keep_disk(vdev, name, size_bytes, source_name, result)

    def _keep_disk(
        self, vdev: str, file: str, size_bytes: int, source_name: str, result: CopyResult
    ) -> CopiedDisk:
        stored = StoredDisk(
            vdev=vdev,
            file=file,
            size_bytes=size_bytes,
            digest=result.digest,
            block_size_bytes=result.block_size_bytes,
            block_digests=result.block_digests,
            source=source_name,
        )
        self._disks[vdev] = stored
        return CopiedDisk(
            stored=stored, bytes_read=result.bytes_read, bytes_written=result.bytes_written
        )

    def add_memory(
        self,
        image: Path,
        *,
        on_progress: CopyProgress | None = None,
        cancelled: Cancelled | None = None,
        limit: BandwidthLimit | None = None,
    ) -> StoredMemory:
        """Copy a memory image out of the spool. Raises: as `add_disk`."""
        source = open_block_device(image)
        try:
            size_bytes = source.size_bytes
            result = self._copy_into(
                MEMORY_FILE,
                source,
                size_bytes=size_bytes,
                on_progress=on_progress,
                cancelled=cancelled,
                limit=limit,
            )
        finally:
            source.close()
        self._memory = StoredMemory(file=MEMORY_FILE, size_bytes=size_bytes, digest=result.digest)
        return self._memory

    def _copy_into(
        self,
        name: str,
        source: BlockDevice,
        *,
        size_bytes: int,
        on_progress: CopyProgress | None,
        cancelled: Cancelled | None,
        limit: BandwidthLimit | None,
    ) -> CopyResult:
        descriptor = self._folder.create_file(name)
        path = str(self._folder.path / name)
        # The device owns the descriptor from here on.
        target = TranslatedTarget(BlockFile(descriptor, path, writable=True))
        try:
            with translate_errors(DestinationFailed, f"size {path} to {size_bytes} bytes"):
                os.ftruncate(descriptor, size_bytes)
            return copy_blocks(
                source,
                target,
                size_bytes=size_bytes,
                sparse=True,
                on_progress=on_progress,
                cancelled=cancelled,
                limit=limit,
            )
        finally:
            target.close()

    def write_domain(self, text: str) -> None:
        """Keep the domain's configuration as `domain.json`. Raises: DestinationFailed."""
        self._domain_digest = self._write_text(DOMAIN_FILE, text)

    def write_configuration(self, text: str) -> None:
        """Keep the domain's own configuration file as `domain.cfg`. Raises: DestinationFailed."""
        self._configuration_digest = self._write_text(CONFIGURATION_FILE, text)

    def _write_text(self, name: str, text: str) -> str:
        """A new private file (0600, as all of a point); returns the digest of its content."""
        content = text.encode("utf-8", "surrogateescape")
        self._folder.write_file(name, content)
        return blake3(content).hexdigest()

    def publish(self, manifest: Manifest) -> None:
        """Make the point exist: the manifest and all names synced, then the rename, synced.

        Raises: DestinationFailed, also when the manifest does not describe what was stored;
        DestinationMissing when the destination's disk went away meanwhile.
        """
        manifest = replace(
            manifest,
            domain_digest=self._domain_digest,
            configuration_digest=self._configuration_digest,
        )
        self._check_manifest(manifest)
        content = encode_manifest(manifest)
        self._folder.write_file(MANIFEST_FILE, content)
        self._folder.sync()
        self._check_destination()
        self._home.rename(PARTIAL_PREFIX + self.point, self.point)
        self._home.sync()
        self.close()

    def _check_manifest(self, manifest: Manifest) -> None:
        described = {disk.vdev: _describe_disk(disk) for disk in manifest.disks}
        stored = {vdev: _describe_disk(disk) for vdev, disk in self._disks.items()}
        wrong = ""
        if (manifest.point, manifest.identity) != (self.point, self._identity):
            wrong = "names another point or domain"
        elif described != stored or len(manifest.disks) != len(stored):
            wrong = "does not describe the disks that were copied"
        elif manifest.memory != self._memory:
            wrong = "does not describe the memory image that was copied"
        if wrong:
            raise DestinationFailed(
                f"Point {self.point} cannot be published: its manifest {wrong}.",
                hint="this is a fault of xenbackup: please report it",
            )

    def discard(self) -> None:
        """Remove the unpublished point; a second call does nothing. Raises: DestinationFailed."""
        if not self._home.closed:
            self._home.remove_tree(PARTIAL_PREFIX + self.point)
            self._home.sync()
        self.close()

    def close(self) -> None:
        """Let go of the folders; what is unpublished stays for `discard_partial`."""
        self._folder.close()
        self._home.close()


class TranslatedTarget:
    """A device of the destination: what goes wrong in writing it is the destination's failure."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device

    @property
    def path(self) -> str:
        return self._device.path

    @property
    def size_bytes(self) -> int:
        return self._device.size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> int:
        return self._device.read_into(offset, buffer)

    def write_at(self, offset: int, content: memoryview) -> None:
        try:
            self._device.write_at(offset, content)
        except CopyFailed as error:
            raise _translate_failure(error) from error

    def flush(self) -> None:
        try:
            self._device.flush()
        except CopyFailed as error:
            raise _translate_failure(error) from error

    def close(self) -> None:
        self._device.close()


def _translate_failure(error: CopyFailed) -> DestinationFailed:
    """What is full often says so only when it is synced: NFS, quotas, what allocates late."""
    if _is_full(error):
        return DestinationFailed(f"The destination is full. {error.message}", hint=_MORE_SPACE)
    return DestinationFailed(error.message, hint=error.hint or _MORE_SPACE)


def _is_full(error: CopyFailed) -> bool:
    """The system had no room for what was written, or the user's share of it is used up."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def check_vdev(vdev: str) -> str:
    """The vdev itself, if a file may be named after it. Raises: DestinationFailed."""
    if _VDEV.fullmatch(vdev) is None:
        raise DestinationFailed(f"Cannot store a disk called {vdev!r}: it is no device name.")
    return vdev


def _describe_disk(disk: StoredDisk) -> tuple[str, int, str, int, tuple[str, ...]]:
    return (disk.file, disk.size_bytes, disk.digest, disk.block_size_bytes, disk.block_digests)
