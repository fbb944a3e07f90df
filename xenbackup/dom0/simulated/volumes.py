"""Bytes of volumes: what is written preserves the old content for every snapshot above it first.

Every volume has a sparse file. A thick snapshot keeps what its origin lost in an exception store;
a thin one owns blocks of 64 KiB, marked in a map file, and reads the rest from its origin. Nothing
here knows of domains or time. The store's lock is held by whoever calls.
"""

from __future__ import annotations

import os

from xenbackup.dom0.simulated.exception_store import CHUNK_BYTES, ExceptionStore, StoreFull
from xenbackup.dom0.simulated.state import HostState, Volume
from xenbackup.dom0.simulated.store import Store

THIN_BLOCK_BYTES = 64 << 10
MAPPED = 1
KNOWN_EMPTY = 2
"""Marks in a thin volume's map: a block of its own; or one that was nobody's when its snapshot was
taken, and must stay zeros though the origin has written it since. 0: look at the origin."""


class VolumeSuspended(Exception):
    """The device is suspended: whoever reads or writes it waits."""


class VolumeBroken(Exception):
    """EIO: an invalid snapshot, an inactive volume, a full pool; the text says which."""


class PoolFull(VolumeBroken):
    """The thin pool has no block left: a guest's write queues."""


class VolumeLayer:
    """Reads and writes of the volumes of one state; made anew for every look under the lock."""

    def __init__(self, store: Store, state: HostState, stores: dict[str, ExceptionStore]) -> None:
        self._store = store
        self._state = state
        self._exceptions = stores
        self._fresh: set[str] = set()
        self._children: dict[str, list[Volume]] = {}
        self._maps: dict[str, bytearray] = {}
        for volume in state.volumes.values():
            if volume.origin:
                self._children.setdefault(volume.origin, []).append(volume)

    def exceptions_of(self, volume: Volume) -> ExceptionStore:
        """The exception store of a thick snapshot, read anew once per look."""
        kept = self._exceptions.get(volume.uuid)
        if kept is None:
            fd = self._store.open_file(volume.uuid + ".cow")
            kept = self._exceptions[volume.uuid] = ExceptionStore(fd, volume.size_bytes)
        elif volume.uuid not in self._fresh:
            kept.refresh()
        kept.size_bytes = volume.size_bytes
        self._fresh.add(volume.uuid)
        return kept

    def visible_bytes(self, volume: Volume) -> int:
        """Size of the device: a thick snapshot shows its origin's size, not its store's."""
        if volume.kind == "snapshot":
            return self._state.volumes[volume.origin].size_bytes
        return volume.size_bytes

    def create_files(self, volume: Volume) -> None:
        """Empty files for a new volume."""
        if volume.kind == "snapshot":
            ExceptionStore.format(self._store.open_file(volume.uuid + ".cow", create=True))
        elif volume.kind != "pool":
            os.ftruncate(
                self._store.open_file(volume.uuid + ".img", create=True), volume.size_bytes
            )
            if volume.kind == "thin":
                self._resize_map(volume)

    def remove_files(self, volume: Volume) -> None:
        self._exceptions.pop(volume.uuid, None)
        for suffix in (".img", ".cow", ".map"):
            self._store.remove_file(volume.uuid + suffix)

    def grow_files(self, volume: Volume) -> None:
        """Follow a volume's new size; a store's capacity is simply its volume's size."""
        if volume.kind not in ("snapshot", "pool"):
            os.ftruncate(self._store.open_file(volume.uuid + ".img"), volume.size_bytes)
            if volume.kind == "thin":
                self._resize_map(volume)

    def read(self, volume: Volume, offset: int, buffer: memoryview) -> int:
        """Fill `buffer`; short only at the device's end.

        Raises: VolumeSuspended; VolumeBroken for an invalid snapshot or an inactive volume.
        """
        self._check(volume)
        length = max(min(len(buffer), self.visible_bytes(volume) - offset), 0)
        self._fill(volume, offset, buffer[:length])
        return length

    def read_bytes(self, volume: Volume, offset: int, length: int) -> bytes:
        """As `read`, for a few bytes."""
        self._check(volume)
        if volume.kind == "linear":
            return os.pread(self._store.open_file(volume.uuid + ".img"), length, offset)
        content = bytearray(length)
        self._fill(volume, offset, memoryview(content))
        return bytes(content)

    def write(self, volume: Volume, offset: int, content: bytes | memoryview) -> None:
        """Write inside the volume; every snapshot above keeps what it must not lose.

        Raises: VolumeSuspended; VolumeBroken; PoolFull when a thin pool has no block left.
        """
        self._check(volume)
        volume.written_bytes += len(content)
        if volume.kind == "snapshot":
            self._write_snapshot(volume, offset, content)
            return
        for child in self._children.get(volume.uuid, ()):
            if child.kind == "snapshot":
                self._preserve(child, volume, offset, len(content))
            else:
                self._own_blocks(child, offset, len(content), preserving=True)
        if volume.kind == "thin":
            self._own_blocks(volume, offset, len(content))
        os.pwrite(self._store.open_file(volume.uuid + ".img"), content, offset)

    def used_pool_blocks(self, pool: Volume) -> int:
        """Blocks that the pool's volumes own between them."""
        return sum(
            self._map_of(volume).count(MAPPED)
            for volume in self._state.volumes.values()
            if volume.pool == pool.uuid
        )

    def mapped_percent(self, volume: Volume) -> float:
        """Share of a thin volume's blocks that are its own or its origin's."""
        owned = self._map_of(volume)
        mapped = sum(
            mark == MAPPED or (not mark and self._shares_block(volume, block))
            for block, mark in enumerate(owned)
        )
        return round(100.0 * mapped / max(len(owned), 1), 2)

    def detach_thin_children(self, volume: Volume) -> None:
        """Before a thin origin goes: its snapshots take over every block that they still share.

        Its thick snapshots have gone before it.
        """
        for child in self._children.get(volume.uuid, ()):
            self._own_blocks(child, 0, child.size_bytes, preserving=True)
            child.origin = ""

    def _check(self, volume: Volume) -> None:
        if not volume.active:
            raise VolumeBroken(f"{volume.group}/{volume.name} is not active")
        if volume.suspended:
            raise VolumeSuspended(f"{volume.group}/{volume.name}")
        if volume.kind == "snapshot" and not self.exceptions_of(volume).valid:
            raise VolumeBroken(f"snapshot {volume.group}/{volume.name} is invalid")

    def _fill(self, volume: Volume, offset: int, buffer: memoryview) -> None:
        if volume.kind == "snapshot":
            self._fill(self._state.volumes[volume.origin], offset, buffer)
            self._overlay_exceptions(volume, offset, buffer)
            return
        fd = self._store.open_file(volume.uuid + ".img")
        if not volume.origin:
            got = os.preadv(fd, [buffer], offset)
            if got < len(buffer):
                buffer[got:] = bytes(len(buffer) - got)
            return
        self._fill(self._state.volumes[volume.origin], offset, buffer)
        owned = self._map_of(volume)
        for block in range(offset // THIN_BLOCK_BYTES, _last(offset, len(buffer)) + 1):
            if block < len(owned) and owned[block]:  # a larger snapshot reads on behind its origin
                begin = max(block * THIN_BLOCK_BYTES, offset)
                end = min((block + 1) * THIN_BLOCK_BYTES, offset + len(buffer))
                os.preadv(fd, [buffer[begin - offset : end - offset]], begin)

    def _overlay_exceptions(self, volume: Volume, offset: int, buffer: memoryview) -> None:
        kept = self.exceptions_of(volume)
        first, last = offset // CHUNK_BYTES, (offset + len(buffer) - 1) // CHUNK_BYTES
        near = (
            [chunk for chunk in kept.table if first <= chunk <= last]
            if len(kept.table) < last - first
            else [chunk for chunk in range(first, last + 1) if chunk in kept.table]
        )
        for chunk in near:
            content = kept.read_chunk(chunk) or b""
            begin = max(chunk * CHUNK_BYTES, offset)
            end = min((chunk + 1) * CHUNK_BYTES, offset + len(buffer))
            skip = begin - chunk * CHUNK_BYTES
            buffer[begin - offset : end - offset] = content[skip : skip + end - begin]

    def _preserve(self, snapshot: Volume, origin: Volume, offset: int, length: int) -> None:
        kept = self.exceptions_of(snapshot)
        if not kept.valid:
            return
        for chunk in range(offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES + 1):
            if chunk in kept.table:
                continue
            old = bytearray(CHUNK_BYTES)
            self._fill(origin, chunk * CHUNK_BYTES, memoryview(old))
            try:
                kept.preserve(chunk, bytes(old))
            except StoreFull:
                return  # the snapshot is lost; the origin's writer never notices

    def _write_snapshot(self, volume: Volume, offset: int, content: bytes | memoryview) -> None:
        kept = self.exceptions_of(volume)
        position = 0
        while position < len(content):
            chunk, skip = divmod(offset + position, CHUNK_BYTES)
            take = min(CHUNK_BYTES - skip, len(content) - position)
            whole = bytearray(CHUNK_BYTES)
            self._fill(volume, chunk * CHUNK_BYTES, memoryview(whole))
            whole[skip : skip + take] = content[position : position + take]
            try:
                kept.overwrite(chunk, bytes(whole))
            except StoreFull:
                raise VolumeBroken(f"snapshot {volume.group}/{volume.name} is full") from None
            position += take

    def _own_blocks(
        self, volume: Volume, offset: int, length: int, *, preserving: bool = False
    ) -> None:
        """Give the volume its own copy of the blocks in the range.

        When `preserving` for a snapshot, a block that nobody has mapped is only marked as such: it
        stays zeros and takes no room in the pool.
        """
        owned = self._map_of(volume)
        fd = -1
        for block in range(offset // THIN_BLOCK_BYTES, _last(offset, length) + 1):
            if block >= len(owned) or owned[block] == MAPPED or (owned[block] and preserving):
                continue
            fd = fd if fd >= 0 else self._store.open_file(volume.uuid + ".map")
            shares = not owned[block] and self._shares_block(volume, block)
            mark = KNOWN_EMPTY if preserving and not shares else MAPPED
            if mark == MAPPED:
                self._check_pool_space(volume)
            if shares:
                self._copy_shared_block(volume, block)
            os.pwrite(fd, bytes([mark]), block)
            owned[block] = mark

    def _copy_shared_block(self, volume: Volume, block: int) -> None:
        begin = block * THIN_BLOCK_BYTES
        shared = bytearray(min(THIN_BLOCK_BYTES, volume.size_bytes - begin))
        self._fill(self._state.volumes[volume.origin], begin, memoryview(shared))
        os.pwrite(self._store.open_file(volume.uuid + ".img"), shared, begin)

    def _shares_block(self, volume: Volume, block: int) -> bool:
        ancestor = self._state.volumes.get(volume.origin)
        while ancestor is not None:
            owned = self._map_of(ancestor)
            if block < len(owned) and owned[block]:
                return owned[block] == MAPPED
            ancestor = self._state.volumes.get(ancestor.origin)
        return False

    def _check_pool_space(self, volume: Volume) -> None:
        pool = self._state.volumes[volume.pool]
        if self.used_pool_blocks(pool) * THIN_BLOCK_BYTES >= pool.size_bytes:
            raise PoolFull(f"thin pool {pool.group}/{pool.name} is full")

    def _map_of(self, volume: Volume) -> bytearray:
        known = self._maps.get(volume.uuid)
        if known is None:
            fd = self._store.open_file(volume.uuid + ".map")
            blocks = -(-volume.size_bytes // THIN_BLOCK_BYTES)
            known = self._maps[volume.uuid] = bytearray(
                os.pread(fd, blocks, 0).ljust(blocks, b"\0")
            )
        return known

    def _resize_map(self, volume: Volume) -> None:
        fd = self._store.open_file(volume.uuid + ".map", create=True)
        os.ftruncate(fd, -(-volume.size_bytes // THIN_BLOCK_BYTES))
        self._maps.pop(volume.uuid, None)


def _last(offset: int, length: int) -> int:
    return (offset + max(length, 1) - 1) // THIN_BLOCK_BYTES
