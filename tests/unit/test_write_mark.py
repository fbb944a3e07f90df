"""How it is told that a disk was written: the kernel's count of a device, the time of a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.simulated.hosts import make_host
from xenbackup.dom0.real import RealHost
from xenbackup.dom0.write_mark import UNFINISHED, is_at_rest, is_written_since

# Of a device with 12,345 sectors written: Documentation/block/stat.rst.
STAT = (
    "     101       0     8080      40     777      12    12345     300        0      90     340\n"
)


def make_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> RealHost:
    folder = tmp_path / "dev/block/253:7"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(text)
    found = SimpleNamespace(st_mode=stat.S_IFBLK | 0o660, st_rdev=os.makedev(253, 7))
    monkeypatch.setattr(Path, "stat", lambda path: found)
    return RealHost(sys_folder=tmp_path)


def test_device_is_known_by_its_number_and_its_written_sectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_device(tmp_path, monkeypatch, STAT)
    assert "sectors 253:7 12345" == host.read_write_mark("/dev/vg/web")


@pytest.mark.parametrize("text", ["", "1 2 3\n", "a b c d e f g h\n"])
def test_device_whose_count_cannot_be_read_has_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert "" == make_device(tmp_path, monkeypatch, text).read_write_mark("/dev/vg/web")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("       5        0\n", "sectors 253:7 12345"),
        ("       0        2\n", f"sectors 253:7 12345{UNFINISHED}"),
        ("garbled\n", "sectors 253:7 12345"),
    ],
)
def test_device_tells_of_writes_that_are_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    host = make_device(tmp_path, monkeypatch, STAT)
    (tmp_path / "dev/block/253:7/inflight").write_text(text)
    mark = host.read_write_mark("/dev/vg/web")
    assert expected == mark
    assert is_at_rest(mark) is not mark.endswith(UNFINISHED)


@pytest.mark.parametrize(
    ("noted", "now", "written"),
    [
        ("sectors 253:7 8", "sectors 253:7 8", False),
        ("sectors 253:7 8", "sectors 253:7 16", True),
        ("sectors 253:7 8", f"sectors 253:7 8{UNFINISHED}", True),
        ("sectors 253:7 8", "sectors 253:9 16", True),
        ("sectors 253:7 16", "sectors 253:7 8", True),
        ("sectors 253:7 8", "sectors 253:7 0", False),
        ("sectors 253:7 8", "sectors 253:9 0", False),
        ("sectors 253:7 8", f"sectors 253:7 0{UNFINISHED}", True),
        ("sectors 253:7 8", "", False),
        ("file 3 4096 7", "file 3 4096 0", True),
    ],
)
def test_marks_are_compared_as_the_kernel_counts(noted: str, now: str, written: bool) -> None:
    assert written is is_written_since(noted, now)


def test_file_has_another_mark_once_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "web.img"
    path.write_bytes(bytes(4096))
    os.utime(path, ns=(0, 0))
    before = RealHost().read_write_mark(str(path))
    assert before
    path.read_bytes()
    assert before == RealHost().read_write_mark(str(path))
    with path.open("r+b") as file:
        file.write(b"more")
    assert before != RealHost().read_write_mark(str(path))


@pytest.mark.parametrize("path", ["/nowhere", "/dev/null", "/"])
def test_what_is_neither_device_nor_file_has_no_mark(path: str) -> None:
    assert "" == RealHost().read_write_mark(path)


def test_simulated_volume_has_a_mark_while_it_is_active(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = "/dev/xenvols/web_root"
    before = host.read_write_mark(path)
    host.sleep(2.0)
    assert before != host.read_write_mark(path), "the guest writes"
    with host.machine() as machine:
        volume = machine.resolve_volume(path)
        assert volume is not None
        volume.active = False
        machine.commit()
    assert "" == host.read_write_mark(path)


def test_simulated_file_has_the_mark_of_a_file(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    place = host.place("/srv/web.img")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"1")
    os.utime(place, ns=(0, 0))
    before = host.read_write_mark("/srv/web.img")
    assert before.startswith("file ")
    place.write_bytes(b"2")
    assert before != host.read_write_mark("/srv/web.img")
    assert "" == host.read_write_mark("/srv/nowhere.img")
