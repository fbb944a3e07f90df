"""Verification: every byte of a point read again, past the page cache, and held to its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from blake3 import blake3

from xenbackup.errors import CopyCancelled, CopyFailed, PointDamaged, XenbackupError
from xenbackup.model.point import Manifest, StoredDisk, StoredMemory
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import BLOCK_SIZE_BYTES, Cancelled, CopyProgress, hash_blocks
from xenbackup.storage.damage_marks import tells_damage
from xenbackup.storage.manifest import CONFIGURATION_FILE, DOMAIN_FILE, MANIFEST_FILE
from xenbackup.storage.parts import is_mark
from xenbackup.storage.points import VerifyFinding, VerifyReport
from xenbackup.system.block_device import BlockDevice, BlockFile
from xenbackup.system.folder import Folder

TEXT_FILES = (MANIFEST_FILE, DOMAIN_FILE, CONFIGURATION_FILE)
_SPANS_LIMIT = 100
_DOMAIN_LIMIT_BYTES = 64 << 20


class PointVerifier:
    """Reads one point whole. `open_disk` opens what a stored disk lies in.

    A finding ends the file, not the verification: all of a point's damage is named at once.
    """

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        open_disk: Callable[[StoredDisk], BlockDevice],
        *,
        disks_in_folder: bool,
        on_progress: CopyProgress | None = None,
        cancelled: Cancelled | None = None,
        limit: BandwidthLimit | None = None,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._open_disk = open_disk
        self._disks_in_folder = disks_in_folder
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._limit = limit
        self._bytes_done = 0
        memory_bytes = manifest.memory.size_bytes if manifest.memory else 0
        self._bytes_total = sum(disk.size_bytes for disk in manifest.disks) + memory_bytes

    def verify(self) -> VerifyReport:
        """The report. Raises: CopyCancelled; DestinationFailed when the folder cannot be read."""
        findings = [*self._verify_names(), *self._verify_texts()]
        for disk in self._manifest.disks:
            findings += self._verify_disk(disk)
        if self._manifest.memory is not None:
            findings += self._verify_memory(self._manifest.memory)
        return VerifyReport(
            point=self._manifest.point,
            bytes_checked=self._bytes_done,
            findings=tuple(findings),
        )

    def _verify_names(self) -> Iterator[VerifyFinding]:
        expected = {MANIFEST_FILE, DOMAIN_FILE}
        if self._manifest.configuration_digest:
            expected.add(CONFIGURATION_FILE)
        if self._manifest.memory is not None:
            expected.add(self._manifest.memory.file)
        if self._disks_in_folder:
            expected |= {disk.file for disk in self._manifest.disks}
        for entry in self._folder.list_entries():
            # File servers keep notes of their own beside everything: `@eaDir`, `.nfs0000…`.
            servers_own = entry.name.startswith((".", "@"))
            if entry.name not in expected and not is_mark(entry.name) and not servers_own:
                yield VerifyFinding(file=entry.name, message="is there and not in the manifest")

    def _verify_texts(self) -> Iterator[VerifyFinding]:
        for file, read in (
            (DOMAIN_FILE, read_checked_domain),
            (CONFIGURATION_FILE, read_checked_configuration),
        ):
            try:
                read(self._folder, self._manifest)
            except PointDamaged as error:
                yield explain_unopened(file, error)

    def _verify_disk(self, disk: StoredDisk) -> Iterator[VerifyFinding]:
        try:
            device = self._open_disk(disk)
        except XenbackupError as error:
            yield explain_unopened(disk.file, error)
            return
        try:
            yield from self._verify_device(
                device,
                file=disk.file,
                size_bytes=disk.size_bytes,
                digest=disk.digest,
                block_size_bytes=disk.block_size_bytes,
                block_digests=disk.block_digests,
            )
        finally:
            device.close()

    def _verify_memory(self, memory: StoredMemory) -> Iterator[VerifyFinding]:
        try:
            device = open_stored_file(self._folder, memory.file)
        except XenbackupError as error:
            yield explain_unopened(memory.file, error)
            return
        try:
            yield from self._verify_device(
                device,
                file=memory.file,
                size_bytes=memory.size_bytes,
                digest=memory.digest,
                block_size_bytes=BLOCK_SIZE_BYTES,
                block_digests=(),
            )
        finally:
            device.close()

    def _verify_device(
        self,
        device: BlockDevice,
        *,
        file: str,
        size_bytes: int,
        digest: str,
        block_size_bytes: int,
        block_digests: tuple[str, ...],
    ) -> Iterator[VerifyFinding]:
        found_bytes = device.size_bytes
        if found_bytes != size_bytes:
            yield VerifyFinding(
                file=file, message=f"has {found_bytes} bytes, its manifest says {size_bytes}"
            )
            return
        before = self._bytes_done

        def report(done: int, _total: int) -> None:
            self._bytes_done = before + done
            if self._on_progress is not None:
                self._on_progress(self._bytes_done, self._bytes_total)

        try:
            result = hash_blocks(
                device,
                size_bytes=size_bytes,
                block_size_bytes=block_size_bytes,
                on_progress=report,
                cancelled=self._cancelled,
                limit=self._limit,
            )
        except CopyCancelled:
            raise
        except CopyFailed as error:
            yield VerifyFinding(file=file, message=error.message, certain=False)
            return
        if block_digests:
            yield from _compare_blocks(
                file, size_bytes, block_size_bytes, block_digests, result.block_digests
            )
        if result.digest != digest and result.block_digests == block_digests:
            yield VerifyFinding(file=file, message="its whole differs from its digest")
        elif result.digest != digest and not block_digests:
            yield VerifyFinding(file=file, message="differs from its digest")


def explain_unopened(file: str, error: XenbackupError) -> VerifyFinding:
    """What kept us from reading a file, as a finding."""
    return VerifyFinding(file=file, message=error.message, certain=tells_damage(error))


def read_checked_domain(folder: Folder, manifest: Manifest) -> bytes:
    """Content of `domain.json`. Raises: PointDamaged when it is not what the manifest says."""
    return _read_checked(folder, DOMAIN_FILE, manifest.domain_digest)


def read_checked_configuration(folder: Folder, manifest: Manifest) -> bytes:
    """Content of `domain.cfg`, empty without one. Raises: PointDamaged as above."""
    return _read_checked(folder, CONFIGURATION_FILE, manifest.configuration_digest)


def _read_checked(folder: Folder, name: str, digest: str) -> bytes:
    if not digest:
        return b""
    try:
        content = folder.read_file(name, limit_bytes=_DOMAIN_LIMIT_BYTES)
    except XenbackupError as error:
        raise PointDamaged(error.message, hint=error.hint) from error
    if blake3(content).hexdigest() != digest:
        raise PointDamaged(f"{folder.path / name} differs from its digest.")
    return content


def drop_cached_texts(folder: Folder) -> None:
    """Let what is small in a point be read from the disk: a listing has just left it in memory.

    One that is missing, or cannot be opened, is told when it is read.
    """
    for name in TEXT_FILES:
        with suppress(XenbackupError):
            folder.drop_cached(name)


def open_stored_file(folder: Folder, name: str) -> BlockFile:
    """A file of a point, for reading. Raises: as the folder does, CopyFailed."""
    return BlockFile(folder.open_file(name), str(folder.path / name))


def _compare_blocks(
    file: str,
    size_bytes: int,
    block_size_bytes: int,
    expected: tuple[str, ...],
    found: tuple[str, ...],
) -> Iterator[VerifyFinding]:
    spans = _find_spans(expected, found)
    for first, last in islice(spans, _SPANS_LIMIT):
        offset = first * block_size_bytes
        length = min(last * block_size_bytes, size_bytes) - offset
        yield VerifyFinding(
            file=file,
            message=f"differs from its digests in {length} bytes at byte {offset}",
            offset_bytes=offset,
            length_bytes=length,
        )
    if (more := sum(1 for _ in spans)) > 0:
        yield VerifyFinding(file=file, message=f"differs in {more} more places")


def _find_spans(expected: tuple[str, ...], found: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Neighbouring blocks that differ, as (first, one past the last)."""
    begin = -1
    for index, (want, have) in enumerate(zip(expected, found, strict=True)):
        if want != have and begin < 0:
            begin = index
        elif want == have and begin >= 0:
            yield begin, index
            begin = -1
    if begin >= 0:
        yield begin, len(expected)
