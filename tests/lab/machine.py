"""One emulated Xen host: a QEMU process, started from a saved state or booted, driven and stopped.

Owns the process, its work folder (disks, sockets, pidfile, console log) and the conversation with
dom0. Every scenario gets a new QEMU process on the same disks: `-loadvm` reverts them.
"""

from __future__ import annotations

import base64
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import recipe
from tests.lab.wire import Agent, LabError, Monitor, WireRefused, WireSilent

BOOT_SECONDS = 900
"""A boot takes well under a minute on a quiet machine; this is when to give up on a noisy one."""
LOAD_SECONDS = 240
BANNER = "(XEN) Xen version "
COMMAND_SECONDS = 900
DOM0_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C",
}


class CommandFailed(LabError):
    """A command in dom0 that had to succeed did not."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a command in dom0 left: its argv, exit code (128 + n for signal n) and both streams."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

    def check(self) -> Completed:
        """Itself, if the command succeeded.

        Raises:
            CommandFailed: it did not; the message holds everything it said.
        """
        if self.exit_code != 0:
            raise CommandFailed(
                f"{' '.join(self.argv)}: exit {self.exit_code}\n"
                f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
            )
        return self


def copy_disks(source: Path, destination: Path) -> None:
    """Copy the disks and boot files of a built lab, sharing blocks where the filesystem can."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*recipe.DISKS, *recipe.BOOT_FILES):
        subprocess.run(
            ["cp", "--reflink=auto", "--sparse=always", source / name, destination / name],
            check=True,
        )


def _die_with_parent() -> None:
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


class Machine:
    """A running emulated host in its work folder."""

    def __init__(self, work: Path, *, detached: bool = False) -> None:
        self.work = work.resolve()
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None
        self._agent = Agent(self.work, recipe.AGENT_SOCKET)

    @property
    def console_log(self) -> Path:
        """What Xen and dom0's kernel printed, since the work folder was made."""
        return self.work / recipe.CONSOLE_LOG

    @property
    def _pidfile(self) -> Path:
        return self.work / recipe.PIDFILE

    # -- the process ------------------------------------------------------------------------

    def boot(self, *, tries: int = 2) -> None:
        """Start from power-off and wait for dom0; a second try if the first does not come up."""
        self._start_with_tries(None, BOOT_SECONDS, tries)

    def load(self, state: str, *, tries: int = 3) -> None:
        """Start from a saved state, disks reverted to it, clock set; tried again if it hangs."""
        self._start_with_tries(state, LOAD_SECONDS, tries)
        self.set_clock()

    def _start_with_tries(self, state: str | None, seconds: float, tries: int) -> None:
        for attempt in range(1, tries + 1):
            try:
                self._launch(state)
                self.wait_for_agent(timeout_seconds=seconds)
                if state is None:
                    self.wait_until_settled()
                return
            except LabError as error:
                tail = self.console_tail()
                self.kill()
                what = f"state {state!r}" if state else "boot"
                if attempt == tries:
                    raise LabError(
                        f"{what} failed {tries} times in {self.work}: {error}\n"
                        f"--- end of the console\n{tail}"
                    ) from error
                print(f"lab: {what} failed, trying again: {error}", flush=True)
                time.sleep(5 * attempt)  # most often the machine below us is short of something

    def _launch(self, state: str | None) -> None:
        self.kill()
        for name in (recipe.MONITOR_SOCKET, recipe.AGENT_SOCKET):
            (self.work / name).unlink(missing_ok=True)
        argv = recipe.qemu_argv(load_state=state)
        log = (self.work / recipe.QEMU_LOG).open("ab")
        with log:
            self._process = subprocess.Popen(
                argv,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Safe here: nothing of ours runs threads while a machine is started.
                preexec_fn=None if self._detached else _die_with_parent,  # noqa: PLW1509
            )
        self._pidfile.write_text(f"{self._process.pid}\n")

    def _qemu_pid(self) -> int | None:
        """The pid in the pidfile, if that process is a QEMU that runs in our work folder."""
        try:
            pid = int(self._pidfile.read_text())
            folder = Path(f"/proc/{pid}/cwd").readlink()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if folder == self.work and b"qemu-system" in command else None

    def is_running(self) -> bool:
        """Whether the QEMU process of this work folder is alive."""
        if self._process is not None:
            return self._process.poll() is None
        return self._qemu_pid() is not None

    def _require_running(self) -> None:
        if not self.is_running():
            said = (self.work / recipe.QEMU_LOG).read_text(errors="replace")[-2000:]
            raise LabError(f"QEMU has ended; its last words:\n{said}")

    def kill(self) -> None:
        """End the QEMU process at once, as if the machine's plug were pulled; always safe."""
        self._agent.close()
        pid = self._qemu_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        deadline = time.monotonic() + 60
        while pid is not None and self._qemu_pid() == pid and time.monotonic() < deadline:
            time.sleep(0.05)
        self._pidfile.unlink(missing_ok=True)

    def quit(self) -> None:
        """End QEMU in an orderly way, so that the disk images are closed clean."""
        self._agent.close()
        if self.is_running():
            try:
                with self._monitor() as monitor:
                    monitor.execute("quit", timeout_seconds=60)
            except LabError:
                pass  # kill() below ends what would not go by itself
            deadline = time.monotonic() + 60
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.05)
        self.kill()

    def _monitor(self) -> Monitor:
        return Monitor(self.work, recipe.MONITOR_SOCKET)

    def save_state(self, name: str) -> None:
        """Save memory and disks under `name` in the disk images, replacing an older one."""
        with self._monitor() as monitor:
            said = monitor.human(f"savevm {name}")
        if said.strip():
            raise LabError(f"savevm {name}: {said.strip()}")

    def has_state(self, name: str) -> bool:
        """Whether the disks hold a saved state of that name (QEMU need not run)."""
        listed = subprocess.run(
            ["qemu-img", "snapshot", "-l", "-U", self.work / recipe.DISKS[0]],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return any(name in line.split()[1:2] for line in listed.splitlines())

    def power_cut(self) -> None:
        """Cut the power and boot again: dom0's unsynced page cache is lost, synced blocks stay."""
        self._agent.close()
        with self._monitor() as monitor:
            monitor.execute("system_reset")
        try:
            self.wait_for_agent(timeout_seconds=BOOT_SECONDS)
            self.wait_until_settled()
        except LabError as error:
            # The reset itself was the power cut; a boot that hung afterwards may be tried again.
            print(f"lab: dom0 did not come back ({error}); starting it again", flush=True)
            self.kill()
            self.boot(tries=1)

    def reboot(self) -> None:
        """Have dom0 reboot in an orderly way, and wait until it is up again."""
        seen = self._count_boots()
        self.spawn("systemctl", "reboot")
        deadline = time.monotonic() + BOOT_SECONDS
        while self._count_boots() == seen:
            self._require_running()
            if time.monotonic() > deadline:
                raise LabError(f"dom0 did not go down to reboot\n{self.console_tail()}")
            time.sleep(1)
        self._agent.close()
        self.wait_for_agent(timeout_seconds=BOOT_SECONDS)
        self.wait_until_settled()

    def _count_boots(self) -> int:
        """How often the hypervisor has come up, by its banner on the console."""
        return self.console_log.read_text(errors="replace").count(BANNER)

    # -- dom0 -------------------------------------------------------------------------------

    def wait_for_agent(self, *, timeout_seconds: float = LOAD_SECONDS) -> None:
        """Wait until dom0's agent answers."""
        self._agent.synchronise(timeout_seconds=timeout_seconds, still_alive=self._require_running)

    def wait_until_settled(self) -> None:
        """Wait until dom0's units have started and Xen lists Domain-0 by its name."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            state = self.run("systemctl", "is-system-running").stdout.strip()
            listed = self.run("xl", "list").stdout
            if state in ("running", "degraded") and "Domain-0" in listed:
                return
            if time.monotonic() > deadline:
                jobs = self.run("systemctl", "list-jobs").stdout
                raise LabError(f"dom0 did not settle: systemd says {state!r}\n{jobs}\n{listed}")
            time.sleep(1)

    def set_clock(self) -> None:
        """Set dom0's clock to ours: a loaded state has the time of its saving."""
        self.run("date", "--set", f"@{time.time():.3f}").check()

    def run(
        self,
        *argv: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = COMMAND_SECONDS,
    ) -> Completed:
        """Run one command in dom0, without a shell, and wait for its end.

        Raises:
            WireSilent: it did not end in time (it was sent SIGKILL), or dom0 fell silent.
        """
        pid = self.spawn(*argv, stdin=stdin, environment=environment)
        return self.wait(pid, argv, timeout_seconds=timeout_seconds)

    def shell(self, script: str, *, timeout_seconds: float = COMMAND_SECONDS) -> Completed:
        """Run a shell script in dom0 (for the tests' own needs; the product never does)."""
        return self.run("/bin/bash", "-c", script, timeout_seconds=timeout_seconds)

    def spawn(
        self,
        *argv: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start one command in dom0 and return its pid at once; `wait` collects it."""
        self._connect()
        variables = {**DOM0_ENVIRONMENT, **(environment or {})}
        arguments: dict[str, object] = {
            "path": argv[0],
            "arg": list(argv[1:]),
            "env": [f"{key}={value}" for key, value in variables.items()],
            "capture-output": True,
        }
        if stdin is not None:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        try:
            return int(self._agent.call("guest-exec", timeout_seconds=300, **arguments)["pid"])
        except WireRefused as error:
            raise CommandFailed(f"{argv[0]} cannot be started in dom0: {error}") from error

    def wait(
        self, pid: int, argv: tuple[str, ...] = (), *, timeout_seconds: float = COMMAND_SECONDS
    ) -> Completed:
        """Wait for a spawned command's end, and return what it left."""
        deadline = time.monotonic() + timeout_seconds
        pause = 0.03
        while True:
            self._connect()
            try:
                status = self._agent.call("guest-exec-status", timeout_seconds=120, pid=pid)
            except WireSilent:
                if time.monotonic() > deadline:
                    raise
                continue
            if status["exited"]:
                return _completed(argv, status)
            if time.monotonic() > deadline:
                self.spawn("kill", "-KILL", str(pid))
                raise WireSilent(f"{' '.join(argv)} did not end within {timeout_seconds:.0f} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    def _connect(self) -> None:
        if not self._agent.is_connected:
            self.wait_for_agent()

    def put_bytes(self, content: bytes, destination: str, *, mode: str = "0644") -> None:
        """Write a file in dom0."""
        view = memoryview(content)
        position = 0

        def next_piece(size_bytes: int) -> bytes:
            nonlocal position
            piece = bytes(view[position : position + size_bytes])
            position += len(piece)
            return piece

        self._connect()
        self._agent.write_file(destination, next_piece)
        self.run("chmod", mode, destination).check()

    def put(self, source: Path, destination: str, *, mode: str = "0644") -> None:
        """Copy a file into dom0."""
        self._connect()
        with source.open("rb") as stream:
            self._agent.write_file(destination, stream.read)
        self.run("chmod", mode, destination).check()

    def get(self, source: str) -> bytes:
        """The content of a file in dom0."""
        self._connect()
        return self._agent.read_file(source)

    # -- diagnosis --------------------------------------------------------------------------

    def console_tail(self, length: int = 3000) -> str:
        """The last characters of the machine's console."""
        try:
            return self.console_log.read_text(errors="replace")[-length:]
        except OSError as error:
            return f"(no console log: {error})"

    def remove(self) -> None:
        """Stop, and delete the work folder."""
        self.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.quit()


def _completed(argv: tuple[str, ...], status: dict[str, Any]) -> Completed:
    def text(key: str) -> str:
        return base64.b64decode(status.get(key, "")).decode(errors="replace")

    code = status.get("exitcode")
    if code is None:
        code = 128 + int(status.get("signal", 0))
    return Completed(
        argv=argv, exit_code=int(code), stdout=text("out-data"), stderr=text("err-data")
    )
