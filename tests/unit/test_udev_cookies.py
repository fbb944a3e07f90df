"""A command of LVM that waits for a silent udev is let go on, by its own cookie and no other."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.command import Command, CommandResult
from xenbackup.system.command import COOKIES_LIMIT, SEARCH_PATH, SystemCommands
from xenbackup.system.udev_cookies import find_awaited_cookie

COOKIE = 0x0D4D1234
SEMAPHORES = (
    "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    f" {COOKIE}          7   600          1     0     0     0     0          0 1795423820\n"
    " -559038737          8   600          1     0     0     0     0          0 1795423820\n"
    " 305419896          9   600          1     0     0     0     0          0 1795423820\n"
)
WAITING = {"x86_64": (65, 220), "aarch64": (193, 192)}
OTHER_CALL = 61  # wait4 on x86_64
_IPC_CREAT, _IPC_EXCL, _IPC_RMID, _SETVAL = 0o1000, 0o2000, 0, 16


def lay(root: Path, *, syscall: str, semaphores: str = SEMAPHORES) -> Path:
    """A /proc in which process 42 sleeps in this call."""
    (root / "42").mkdir(parents=True)
    (root / "42" / "syscall").write_text(syscall)
    (root / "sysvipc").mkdir()
    (root / "sysvipc" / "sem").write_text(semaphores)
    return root


def sleep_in(number: int, semid: int) -> str:
    return f"{number} 0x{semid:x} 0x7ffd5e0c1a40 0x1 0x0 0x0 0x0 0x7fff3a6bac48 0x7f4513b295da\n"


@pytest.mark.parametrize("machine", sorted(WAITING))
def test_process_that_waits_for_udev_tells_its_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: FakeMachine(machine))
    for number in WAITING[machine]:
        folder = lay(tmp_path / str(number), syscall=sleep_in(number, 7))
        assert COOKIE == find_awaited_cookie(42, proc_folder=folder)


class FakeMachine:
    def __init__(self, machine: str) -> None:
        self.machine = machine


@pytest.mark.parametrize(
    ("machine", "syscall", "semaphores"),
    [
        ("x86_64", sleep_in(OTHER_CALL, 7), SEMAPHORES),
        ("x86_64", sleep_in(220, 8), SEMAPHORES),
        ("x86_64", sleep_in(220, 9), SEMAPHORES),
        ("x86_64", sleep_in(220, 77), SEMAPHORES),
        ("x86_64", sleep_in(220, 7), ""),
        ("x86_64", "running\n", SEMAPHORES),
        ("x86_64", "-1 0x7ffd5e0c1a40 0x7f4513b295da\n", SEMAPHORES),
        ("x86_64", "", SEMAPHORES),
        ("riscv64", sleep_in(220, 7), SEMAPHORES),
    ],
    ids=[
        *("another-call", "negative-key", "semaphore-of-others", "semaphore-gone"),
        *("no-table", "running", "no-call", "unreadable", "machine-unknown"),
    ],
)
def test_process_that_waits_for_anything_else_has_no_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, syscall: str, semaphores: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: FakeMachine(machine))
    folder = lay(tmp_path, syscall=syscall, semaphores=semaphores)
    assert find_awaited_cookie(42, proc_folder=folder) is None


def test_process_that_is_gone_has_no_cookie(tmp_path: Path) -> None:
    assert find_awaited_cookie(42, proc_folder=tmp_path) is None


@given(st.text(), st.text())
def test_garbage_is_no_cookie(syscall: str, semaphores: str) -> None:
    class Folder:
        """A /proc that says this."""

        def __init__(self, name: str = "") -> None:
            self.name = name

        def __truediv__(self, name: str) -> Folder:
            return Folder(name)

        def read_text(self, *how: str) -> str:
            return syscall if self.name == "syscall" else semaphores

    found = find_awaited_cookie(42, proc_folder=Folder())  # type: ignore[arg-type]
    assert found is None or 0x0D4D == found >> 16


class Operation(ctypes.Structure):
    """struct sembuf."""

    _fields_ = (
        ("number", ctypes.c_ushort),
        ("operation", ctypes.c_short),
        ("flags", ctypes.c_short),
    )


@contextmanager
def waiting_child(key: int) -> Iterator[int]:
    """A real process that waits for a real semaphore to become zero, as LVM does."""
    libc = ctypes.CDLL(None, use_errno=True)
    semid = libc.semget(key, 1, 0o600 | _IPC_CREAT | _IPC_EXCL)
    assert semid >= 0, os.strerror(ctypes.get_errno())
    assert 0 == libc.semctl(semid, 0, _SETVAL, 1)
    pid = os.fork()
    if pid == 0:
        libc.semop(semid, ctypes.byref(Operation(0, 0, 0)), 1)
        os._exit(0)
    try:
        yield pid
    finally:
        libc.semctl(semid, 0, _IPC_RMID)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_real_kernel_tells_what_a_child_waits_for() -> None:
    key = 0x0D4D0000 | (os.getpid() & 0xFFFF or 1)
    with waiting_child(key) as pid:
        for _ in range(3000):
            found = find_awaited_cookie(pid)
            if found is not None:
                break
            time.sleep(0.01)
        assert key == found, "this needs a readable /proc/PID/syscall of one's own children"
    assert find_awaited_cookie(pid) is None


# The command that waits


class Udev:
    """Tools in a folder: `lvcreate` goes on once `dmsetup` was called often enough."""

    def __init__(self, folder: Path, *, needed: int, cookies: list[int | None]) -> None:
        self.folder = folder
        self.asked: list[int] = []
        self._cookies = cookies
        self._write("dmsetup", f'echo "$@" >> {folder}/calls')
        lines = f"$(cat {folder}/calls 2>/dev/null | wc -l)"
        self._write(
            "lvcreate",
            f"trap 'exit 7' TERM; : > {folder}/ready\n"
            f"until [ {lines} -ge {needed} ]; do sleep 0.02; done; echo made",
        )

    def _write(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nPATH={SEARCH_PATH}\n{script}\n")
        path.chmod(0o755)

    def find_cookie(self, pid: int) -> int | None:
        """What the process waits for, look by look; the last one stays."""
        for _ in range(6000):
            if (self.folder / "ready").exists():
                break
            time.sleep(0.01)
        self.asked.append(pid)
        return self._cookies.pop(0) if len(self._cookies) > 1 else self._cookies[0]

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self, *, grace_seconds: float, kill_late: bool = True, timeout_seconds: float = 0.3
    ) -> CommandResult:
        commands = SystemCommands(
            search_path=str(self.folder),
            grace_seconds=grace_seconds,
            find_cookie=self.find_cookie,
        )
        return commands.run(
            Command(argv=("lvcreate",), timeout_seconds=timeout_seconds, kill_late=kill_late)
        )


def test_command_past_its_deadline_goes_on_when_its_cookie_is_completed(tmp_path: Path) -> None:
    udev = Udev(tmp_path, needed=1, cookies=[COOKIE])
    result = udev.run(grace_seconds=60)
    assert (0, "made\n", False) == (result.exit_code, result.stdout, result.timed_out)
    assert ["udevcomplete 0xd4d1234"] == udev.calls
    assert 1 == len(set(udev.asked))


def test_every_cookie_that_it_waits_for_is_completed_in_turn(tmp_path: Path) -> None:
    udev = Udev(tmp_path, needed=3, cookies=[COOKIE, COOKIE, COOKIE + 1])
    result = udev.run(grace_seconds=1)
    assert (0, False) == (result.exit_code, result.timed_out)
    assert ["0xd4d1234", "0xd4d1234", "0xd4d1235"] == [call.split()[1] for call in udev.calls[:3]]


def test_command_that_waits_for_something_else_is_asked_to_end(tmp_path: Path) -> None:
    udev = Udev(tmp_path, needed=1, cookies=[None])
    result = udev.run(grace_seconds=5)
    assert (7, True) == (result.exit_code, result.timed_out)
    assert [] == udev.calls


def test_command_that_waits_without_an_end_is_asked_to_end(tmp_path: Path) -> None:
    """udev's count may be beyond what completing it helps: that is bounded too."""
    udev = Udev(tmp_path, needed=1000, cookies=[COOKIE])
    result = udev.run(grace_seconds=0.3)
    assert (7, True) == (result.exit_code, result.timed_out)
    assert COOKIES_LIMIT == len(udev.asked)


@pytest.mark.parametrize("kill_late", [True, False])
def test_no_cookie_is_looked_for_within_the_deadline_or_of_other_commands(
    tmp_path: Path, kill_late: bool
) -> None:
    udev = Udev(tmp_path, needed=0 if kill_late else 1, cookies=[COOKIE])
    result = udev.run(
        grace_seconds=5, kill_late=kill_late, timeout_seconds=60 if kill_late else 0.3
    )
    assert kill_late is not result.timed_out
    assert ([], []) == (udev.asked, udev.calls)


def test_missing_dmsetup_leaves_the_command_to_its_end(tmp_path: Path) -> None:
    udev = Udev(tmp_path, needed=1, cookies=[COOKIE, None])
    (tmp_path / "dmsetup").unlink()
    result = udev.run(grace_seconds=0.5)
    assert result.timed_out
    assert 2 == len(udev.asked)
