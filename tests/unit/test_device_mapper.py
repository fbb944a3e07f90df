"""Device mapper: suspended devices are found below a guest's disks, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import RecordedHost, answer, load_recording
from xenbackup.dom0 import device_mapper as dm
from xenbackup.errors import CommandFailed, UnexpectedOutput, UsageError

INFO = load_recording("dmsetup-info").stdout
TABLE = load_recording("dmsetup-table").stdout
STATUS = load_recording("snapshot-overflow").stdout


def suspend(*names: str) -> str:
    """The recorded devices, with some of them suspended."""
    return "\n".join(
        re.sub(r" L--([rw]) ", r" L-s\1 ", line) if line.split(" ", 1)[0] in names else line
        for line in INFO.split("\n")
    )


def make_host(*names: str) -> RecordedHost:
    return RecordedHost({"dmsetup info": suspend(*names), "dmsetup table": TABLE})


def test_recorded_devices() -> None:
    devices = {device.name: device for device in dm.parse_devices(INFO)}
    assert 11 == len(devices)
    real = devices["xenvols-linux01-real"]
    assert (253, 8, False) == (real.major, real.minor, real.suspended)


def test_no_devices_at_all() -> None:
    assert () == dm.parse_devices("No devices found\n")
    assert {} == dm.parse_tables("No devices found\n")


def test_suspended_devices_are_named() -> None:
    assert ("xenvols-linux01",) == dm.list_suspended(make_host("xenvols-linux01"))
    assert () == dm.list_suspended(make_host())


@pytest.mark.parametrize(
    ("suspended", "path", "expected"),
    [
        ("xenvols-linux01", "/dev/xenvols/linux01", ("xenvols-linux01",)),
        ("xenvols-linux01", "/dev/mapper/xenvols-linux01", ("xenvols-linux01",)),
        ("xenvols-linux01-real", "/dev/xenvols/linux01", ("xenvols-linux01-real",)),
        ("xenvols-pool-tpool", "/dev/xenvols/thin01", ("xenvols-pool-tpool",)),
        ("xenvols-pool_tmeta", "/dev/xenvols/thin01", ("xenvols-pool_tmeta",)),
        ("xenvols-pool-tpool", "/dev/xenvols/linux01", ()),
        ("xenvols-web_root", "/dev/xenvols/linux01", ()),
        ("xenvols-linux01", "/srv/images/disk.img", ()),
        ("xenvols-linux01", "", ()),
    ],
)
def test_suspended_devices_below_a_disk(
    suspended: str, path: str, expected: tuple[str, ...]
) -> None:
    assert expected == dm.find_suspended_under(make_host(suspended), [path])


@dataclass
class PlacedHost(RecordedHost):
    """A host whose /dev and /sys are links and folders of the test's."""

    root: Path = Path("/nowhere")

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # xenvols-linux01 is 253:0 in the recording, xenvols-web_root 253:1.
        ("/dev/disk/by-id/dm-name-xenvols-linux01", ("xenvols-linux01-real",)),
        ("/dev/dm-0", ("xenvols-linux01-real",)),
        ("/dev/drbd1", ("xenvols-linux01-real",)),
        ("/dev/dm-1", ()),
        ("/dev/sda", ()),
        ("/srv/dm-0", ()),
    ],
)
def test_suspended_devices_below_a_disk_under_any_name_of_it(
    tmp_path: Path, path: str, expected: tuple[str, ...]
) -> None:
    host = PlacedHost(make_host("xenvols-linux01-real").answers, root=tmp_path)
    by_id = tmp_path / "dev/disk/by-id"
    by_id.mkdir(parents=True)
    (by_id / "dm-name-xenvols-linux01").symlink_to("../../dm-0")
    (tmp_path / "sys/block/drbd1/slaves/dm-0").mkdir(parents=True)

    assert expected == dm.find_suspended_under(host, [path])


def test_tables_are_read_only_when_something_is_suspended() -> None:
    host = make_host()
    dm.find_suspended_under(host, ["/dev/xenvols/linux01"])
    assert ["dmsetup info --columns"] == host.lines


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/dev/xenvols/web_root", "xenvols-web_root"),
        ("/dev/xen-vols/a-b.c", "xen--vols-a--b.c"),
        ("/dev/mapper/xen--vols-a--b", "xen--vols-a--b"),
        ("/dev/sda1", ""),
        ("/dev/disk/by-id/x", ""),
        ("relative", ""),
    ],
)
def test_mapper_names_double_dashes(path: str, name: str) -> None:
    assert name == dm.spell_mapper_name(path)


def test_recorded_snapshot_status() -> None:
    lines = {line.split(":")[0]: line for line in STATUS.splitlines() if ": 0 " in line}
    good = dm.parse_snapshot_status(lines["xenvols-too_big"])
    assert (
        dm.SnapshotStatus(
            used_sectors=24, total_sectors=1056768, metadata_sectors=16, invalid=False
        )
        == good
    )
    assert dm.parse_snapshot_status(lines["xenvols-tiny"]).invalid
    assert dm.parse_snapshot_status("0 65536 snapshot Overflow").invalid
    assert dm.parse_snapshot_status("0 65536 snapshot Merge failed").invalid


@pytest.mark.parametrize(
    "text", ["", "0 65536 linear", "0 65536 snapshot Unknown", "0 65536 snapshot 1/2", "x"]
)
def test_a_status_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="dmsetup status"):
        dm.parse_snapshot_status(text)


def test_the_status_of_one_device_is_asked_by_its_name() -> None:
    host = RecordedHost({"dmsetup status": "0 1048576 snapshot 24/1056768 16 \n"})
    assert 24 == dm.read_snapshot_status(host, "xenvols-too_big").used_sectors
    assert ["dmsetup status xenvols-too_big"] == host.lines


def test_a_device_is_resumed_by_a_checked_name() -> None:
    host = RecordedHost({"dmsetup resume": answer()})
    assert dm.resume_device(host, "xenvols-linux01", run_id="r").succeeded
    assert ["dmsetup resume xenvols-linux01"] == host.lines
    for name in ("", "--all", "a b", "a/b", "x" * 128):
        with pytest.raises(UsageError):
            dm.resume_device(host, name)
    assert 1 == len(host.lines)


def test_settling_is_bounded() -> None:
    host = RecordedHost({"udevadm": answer()})
    dm.settle_devices(host, 7)
    assert ["udevadm settle --timeout=7"] == host.lines
    assert host.calls[0].timeout_seconds > 7


def test_a_failing_dmsetup_is_an_error() -> None:
    failing = answer(exit_code=1, stderr="Permission denied\n")
    with pytest.raises(CommandFailed, match="Permission denied"):
        dm.list_suspended(RecordedHost({"dmsetup": failing}))


@pytest.mark.parametrize("text", ["", "garbage", INFO + "short line\n"])
def test_listings_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(UnexpectedOutput, match="dmsetup info"):
        dm.parse_devices(text)


PARSERS: tuple[Callable[[str], object], ...] = (
    dm.parse_devices,
    dm.parse_tables,
    dm.parse_snapshot_status,
)


@settings(max_examples=150, deadline=None)
@given(
    sample=st.sampled_from(["", INFO, TABLE, STATUS]),
    position=st.integers(0, 1600),
    insert=st.text(max_size=15) | st.text(alphabet="0123456789: \n-Ls٣/", max_size=15),
    remove=st.integers(0, 60),
)
def test_damaged_output_is_read_or_refused(
    sample: str, position: int, insert: str, remove: int
) -> None:
    for parser in PARSERS:
        try:
            parser(sample[:position] + insert + sample[position + remove :])
        except UnexpectedOutput as error:
            assert error.hint
