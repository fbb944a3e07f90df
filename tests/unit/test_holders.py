"""Who holds a lock or a device: named from what the kernel tells, or nobody is named at all."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recorded import answer, load_recording
from tests.unit.placed_host import PlacedHost
from xenbackup.dom0.holders import (
    LockRow,
    describe_process,
    list_device_holders,
    list_lock_holders,
    parse_locks,
)
from xenbackup.dom0.real import RealHost
from xenbackup.dom0.toolstack_lock import find_lock_path, tell_lock_holder
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xm import Xm
from xenbackup.model.command import CommandResult

INFO = load_recording("dmsetup-info").stdout
# Number 253:1 in the recording.
PATH = "/dev/xenvols/web_root"
LOCKS = """\
1: POSIX  ADVISORY  READ 612 08:02:131074 128 128
2: FLOCK  ADVISORY  WRITE 733 00:19:988 0 EOF
3: POSIX  ADVISORY  WRITE 1716 00:19:1023 0 EOF
3: -> POSIX  ADVISORY  WRITE 1822 00:19:1023 0 EOF
4: OFDLCK ADVISORY  READ -1 00:06:1033 0 EOF
5: LEASE  ACTIVE    WRITE 900 fd:0a:77 0 EOF
"""


def link(host: PlacedHost, path: str, target: str) -> None:
    host.place(path).parent.mkdir(parents=True, exist_ok=True)
    host.place(path).symlink_to(target)


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    return PlacedHost(answers={"dmsetup info": INFO}, root=tmp_path)


def number_of(path: Path) -> str:
    """The file as /proc/locks spells it."""
    found = path.stat()
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def lock(host: PlacedHost, path: str, *pids: int) -> None:
    host.write(path, "")
    number = number_of(host.place(path))
    rows = [f"{n}: POSIX  ADVISORY  WRITE {pid} {number} 0 EOF\n" for n, pid in enumerate(pids)]
    host.write("/proc/locks", "".join((*rows, LOCKS)))


# Locks


def test_granted_locks_are_read_and_those_who_wait_are_not() -> None:
    assert (
        LockRow(pid=612, major=8, minor=2, inode=131074),
        LockRow(pid=733, major=0, minor=0x19, inode=988),
        LockRow(pid=1716, major=0, minor=0x19, inode=1023),
        LockRow(pid=900, major=0xFD, minor=0x0A, inode=77),
    ) == parse_locks(LOCKS)


@given(st.text())
def test_garbage_among_locks_is_left_out(text: str) -> None:
    assert LockRow(pid=1716, major=0, minor=25, inode=1023) in parse_locks(f"{text}\n{LOCKS}")


def test_holder_of_a_lock_is_named_with_its_command(host: PlacedHost) -> None:
    lock(host, "/var/lock/xl", 4242)
    host.write("/proc/4242/cmdline", "xl\0create\0/etc/xen/web.cfg\0")
    assert ("process 4242 (xl create /etc/xen/web.cfg)",) == list_lock_holders(host, "/var/lock/xl")
    assert (
        "xl's lock /var/lock/xl is held by process 4242 (xl create /etc/xen/web.cfg)"
        == tell_lock_holder(host)
    )


def test_several_holders_are_told_in_order(host: PlacedHost) -> None:
    lock(host, "/var/lock/xl", 4242, 77)
    expected = "xl's lock /var/lock/xl is held by process 77 and process 4242"
    assert expected == tell_lock_holder(host)


@pytest.mark.parametrize("laid", ["nothing", "file", "others"])
def test_free_lock_has_no_holder(host: PlacedHost, laid: str) -> None:
    if laid != "nothing":
        host.write("/var/lock/xl", "")
    if laid == "others":
        host.write("/proc/locks", LOCKS)
    assert "" == tell_lock_holder(host)


def test_real_kernels_locks_are_understood(tmp_path: Path) -> None:
    """This very process locks a file as xl does, and is found in the real /proc."""
    path = tmp_path / "xl"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        (held,) = list_lock_holders(RealHost(), str(path))
        assert held.startswith(f"process {os.getpid()} (")
    assert () == list_lock_holders(RealHost(), str(path))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, "/var/lock/xl"),
        ("", "/var/lock/xl"),
        ('#lockfile="/run/no"\nautoballoon="off"\n', "/var/lock/xl"),
        ('lockfile="/run/xen/lock"\n', "/run/xen/lock"),
        ("  lockfile = '/run/other' # ours\n", "/run/other"),
        ("lockfile='/run/first'\nlockfile='/run/last'\n", "/run/last"),
        ('lockfile="relative"\n', "/var/lock/xl"),
        ("lockfile=\"/run/unclosed'\n", "/var/lock/xl"),
    ],
)
def test_lock_file_is_the_one_of_the_settings(
    host: PlacedHost, settings: str | None, expected: str
) -> None:
    if settings is not None:
        host.write("/etc/xen/xl.conf", settings)
    assert expected == find_lock_path(host)


# Processes


@pytest.mark.parametrize(
    ("cmdline", "comm", "expected"),
    [
        ("dd\0if=/dev/x\0", "dd\n", "process 9 (dd if=/dev/x)"),
        ("", "kcopyd\n", "process 9 (kcopyd)"),
        ("", "", "process 9"),
        ("a\x1b[2J\0", "", "process 9 (a\\x1b[2J)"),
        ("x" * 200, "", f"process 9 ({'x' * 79}…)"),
    ],
)
def test_process_is_told_in_words_fit_for_a_terminal(
    host: PlacedHost, cmdline: str, comm: str, expected: str
) -> None:
    host.write("/proc/9/cmdline", cmdline)
    host.write("/proc/9/comm", comm)
    assert expected == describe_process(host, 9)


# Devices


def test_process_with_the_node_open_is_named(host: PlacedHost) -> None:
    host.write("/proc/4242/cmdline", "dd\0if=/dev/xenvols/web_root\0")
    link(host, "/proc/4242/fd/0", "/dev/null")
    link(host, "/proc/4242/fd/3", "/dev/dm-1")
    link(host, "/proc/80/fd/3", "/dev/dm-11")
    host.write("/proc/81/fd/3", "no link at all")
    assert ("process 4242 (dd if=/dev/xenvols/web_root)",) == list_device_holders(host, PATH)


@pytest.mark.parametrize(
    "node",
    ["/dev/dm-1", "/dev/mapper/xenvols-web_root", "/dev/xenvols/web_root", "/dev/dm-1 (deleted)"],
)
def test_node_is_known_by_each_of_its_names(host: PlacedHost, node: str) -> None:
    link(host, "/proc/4242/fd/3", node)
    assert ("process 4242",) == list_device_holders(host, PATH)


def test_guest_is_named_by_its_back_end(host: PlacedHost) -> None:
    """The kernel itself holds the device then: no process has it open."""
    devices = "/sys/bus/xen-backend/devices"
    host.write(f"{devices}/vbd-3-51712/physical_device", "fd:1\n")
    host.write(f"{devices}/vbd-4-51712/physical_device", "fd:11\n")
    host.write(f"{devices}/vif-3-0/physical_device", "fd:1\n")
    host.write(f"{devices}/vbd-5-51712/mode", "w\n")
    assert ("domain 3 (virtual disk 51712)",) == list_device_holders(host, PATH)


def test_device_on_top_is_named_as_the_mapper_does(host: PlacedHost) -> None:
    for above in ("dm-8", "md0"):
        host.write(f"/sys/dev/block/253:1/holders/{above}/dev", "")
    expected = ("device xenvols-linux01-real", "device md0")
    assert expected == list_device_holders(host, PATH)


def test_mount_is_told_once_and_whose_it_is(host: PlacedHost) -> None:
    own = (
        "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 1 253:1 / /mnt/a\\040b rw - ext4 /dev/mapper/xenvols-web_root rw\n"
    )
    host.write("/proc/self/mountinfo", own)
    host.write("/proc/77/mountinfo", own + "31 1 0:44 / /srv rw - btrfs /dev/dm-1 rw\n")
    host.write("/proc/9/mountinfo", own)
    expected = ("a mount at /mnt/a b", "a mount at /srv, as process 77 sees it")
    assert expected == list_device_holders(host, PATH)


@pytest.mark.parametrize("path", ["/dev/xenvols/gone", "/srv/images/disk.img"])
def test_what_is_no_mapped_device_has_no_holders(host: PlacedHost, path: str) -> None:
    link(host, "/proc/4242/fd/3", path)
    assert () == list_device_holders(host, path)


@pytest.mark.parametrize(
    "said", [answer(exit_code=1, stderr="no"), answer("garbage\n"), answer(timed_out=True)]
)
def test_mapper_that_does_not_answer_names_nobody(tmp_path: Path, said: CommandResult) -> None:
    host = PlacedHost(answers={"dmsetup info": said}, root=tmp_path)
    link(host, "/proc/4242/fd/3", "/dev/dm-1")
    assert () == list_device_holders(host, PATH)


def test_xend_has_no_lock_that_starts_wait_for(host: PlacedHost) -> None:
    lock(host, "/var/lock/xl", 4242)
    assert "process 4242" in Xl(host).tell_lock_holder()
    assert "" == Xm(host).tell_lock_holder()
