"""Thin pools that do not zero their chunks: a copy into one equals its source all the same.

Such a pool (`lvcreate --zero n`, the eighth letter of lv_attr is no `z`) shows zeros where a volume
was never written; once something is written near by, the rest of that chunk is what it held before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.devices import MemoryDevice
from tests.unit.points import POINT
from tests.unit.restore_house import Site
from tests.unit.restore_world import MIB, ROOT, World, decide, make_point, make_volume
from tests.unit.test_restore_room import make_thin_point, make_world
from tests.unit.test_volume_destination import Scene
from xenbackup.dom0.lvm import Lvm
from xenbackup.errors import CopyCancelled
from xenbackup.model.volume import LogicalVolume
from xenbackup.storage.copying import GRAIN_SIZE_BYTES, CopyResult, write_differences
from xenbackup.storage.grains import LeftZeros

BLOCK = 4 * GRAIN_SIZE_BYTES
STALE = b"\xee"


class ThinDevice(MemoryDevice):
    """A volume of which nothing is written yet, in a pool whose chunks hold what others left."""

    def __init__(self, size_bytes: int, chunk_bytes: int) -> None:
        super().__init__(bytes(size_bytes), "thin")
        self._chunk_bytes = chunk_bytes
        self._provisioned: set[int] = set()

    def write_at(self, offset: int, content: memoryview) -> None:
        size = self._chunk_bytes
        for chunk in range(offset // size, -(-(offset + len(content)) // size)):
            if chunk not in self._provisioned:
                self._provisioned.add(chunk)
                begin, end = chunk * size, min((chunk + 1) * size, len(self.content))
                fill = STALE * (end - begin)
                self.content = self.content[:begin] + fill + self.content[end:]
        super().write_at(offset, content)


def copy_into(
    target: MemoryDevice, content: bytes, *, cancelled: Callable[[], str] = lambda: ""
) -> CopyResult:
    return write_differences(
        MemoryDevice(content),
        target,
        size_bytes=len(content),
        stale_chunks=True,
        block_size_bytes=BLOCK,
        cancelled=cancelled,
    )


@settings(deadline=None)
@given(
    grains=st.lists(st.sampled_from([0, 0, 0, 1, 255]), max_size=14),
    tail=st.one_of(st.just(b""), st.just(bytes(100)), st.binary(min_size=1, max_size=700)),
    chunk_bytes=st.sampled_from([GRAIN_SIZE_BYTES, 3 * GRAIN_SIZE_BYTES, 2 * BLOCK]),
)
def test_zeros_beside_what_is_written_are_zeros_in_the_end(
    grains: list[int], tail: bytes, chunk_bytes: int
) -> None:
    content = b"".join(bytes([value]) * GRAIN_SIZE_BYTES for value in grains) + tail
    target = ThinDevice(len(content), chunk_bytes)

    result = copy_into(target, content)

    assert content == target.content
    assert len(content) == result.bytes_written + result.same_bytes
    assert sum(len(written) for _, written in target.writes) == result.bytes_written


def test_what_no_write_came_near_takes_no_room_in_the_pool() -> None:
    content = b"\1" * GRAIN_SIZE_BYTES + bytes(7 * GRAIN_SIZE_BYTES)
    target = ThinDevice(len(content), 2 * GRAIN_SIZE_BYTES)

    copy_into(target, content)

    assert [0, GRAIN_SIZE_BYTES] == [offset for offset, _ in target.writes]


def test_zeros_are_looked_at_again_before_the_last_flush() -> None:
    target = ThinDevice(2 * BLOCK, BLOCK)
    written_at_flush: list[bytes] = []
    target.flush = lambda: written_at_flush.append(target.content)  # type: ignore[method-assign]
    content = bytes(BLOCK) + b"\1" + bytes(BLOCK - 1)

    copy_into(target, content)

    assert content == written_at_flush[-1]


def test_the_second_look_can_be_cancelled() -> None:
    asked: list[str] = []

    def cancelled() -> str:
        asked.append("")
        return "wanted elsewhere" if len(asked) > 2 else ""

    with pytest.raises(CopyCancelled, match="wanted elsewhere"):
        copy_into(ThinDevice(2 * BLOCK, BLOCK), bytes(2 * BLOCK), cancelled=cancelled)


@given(st.sets(st.integers(0, 40)), st.integers(0, 10), st.integers(1, 10))
def test_noted_grains_are_found_in_their_spans_alone(
    noted: set[int], first: int, count: int
) -> None:
    left = LeftZeros(41 * GRAIN_SIZE_BYTES - 5)
    for grain in noted:
        left.note(grain * GRAIN_SIZE_BYTES)
    last = min(first + count, 41)
    found = left.list_within(first * GRAIN_SIZE_BYTES, last * GRAIN_SIZE_BYTES - 5)
    assert [g * GRAIN_SIZE_BYTES for g in sorted(noted) if first <= g < last] == found


@pytest.mark.parametrize(
    ("attributes", "stale"),
    [
        ("Vwi-a-tz--", False),
        ("Vwi-a-t---", True),
        ("owi-a-t---", True),
        ("owi-a-tz--", False),
        ("twi-aot---", True),
        ("twi-aotz--", False),
        ("-wi-a-----", False),
        ("owi-a-s---", False),
    ],
)
def test_pools_that_do_not_zero_show_it_in_the_eighth_letter(attributes: str, stale: bool) -> None:
    assert stale is make_volume("web", "uuid", attributes=attributes).stale_chunks


def test_restore_knows_a_thin_volume_of_such_a_pool() -> None:
    world = World()
    world.volumes = [
        make_volume("web_root", "root", attributes="Vwi-a-t---", pool="pool"),
        make_volume("web-data", "data", attributes="Vwi-a-tz--", pool="pool"),
    ]
    assert [True, False] == [target.stale_chunks for target in decide(world, make_point()).targets]


@pytest.mark.parametrize(("attributes", "stale"), [("twi-aot---", True), ("twi-aotz--", False)])
def test_restore_knows_it_of_a_volume_that_it_makes(attributes: str, stale: bool) -> None:
    world = make_world(size_bytes=1024 * MIB, attributes=attributes)
    targets = decide(world, make_thin_point()).targets
    assert [stale, stale] == [target.stale_chunks for target in targets]


def take_zeroing_from(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """`lvs` reports these volumes as thin ones of a pool that does not zero."""
    list_volumes = Lvm.list_volumes

    def list_unzeroed(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        return tuple(
            replace(volume, attributes="Vwi-a-t---") if volume.name in names else volume
            for volume in list_volumes(self, group)
        )

    monkeypatch.setattr(Lvm, "list_volumes", list_unzeroed)


def test_point_in_a_slot_of_such_a_pool_is_what_its_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    take_zeroing_from(monkeypatch, "web--xvda")
    content = b"\1" * MIB + bytes(7 * MIB)
    slot = ThinDevice(len(content), 2 * MIB)
    monkeypatch.setattr(scene.destination, "open_slot", lambda chosen: slot)

    scene.store({"xvda": content}, point=POINT)

    assert content == slot.content


def test_restored_volume_of_such_a_pool_is_what_the_point_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "host")
    point = site.back_up()
    site.lose()
    stored = site.stored(point, "xvda.img").read_bytes()
    take_zeroing_from(monkeypatch, "web_root")
    target = ThinDevice(len(stored), 2 * MIB)
    open_volume = site.host.open_volume

    def open_thin(path: str, *, writable: bool = False, **options: bool) -> object:
        if path == ROOT and writable:
            return target
        return open_volume(path, writable=writable, **options)

    monkeypatch.setattr(site.host, "open_volume", open_thin)

    site.restore(point)

    assert stored == target.content
