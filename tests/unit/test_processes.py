"""Processes: found by name or mark among the real ones, signalled only when they are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from xenbackup.dom0.host import Host
from xenbackup.dom0.real import RealHost
from xenbackup.errors import CopyFailed
from xenbackup.model.command import Command, Process
from xenbackup.system import processes

RUN = "20261122T023000Z-k3f9qa"


@contextmanager
def start(
    tmp_path: Path, *, program: str = "", environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, under another program name if one is given."""
    executable = Path("/bin/sleep").resolve()
    with (tmp_path / "log").open("ab") as log:
        child = subprocess.Popen(
            [program or "sleep", "300"],
            executable=executable,
            env=environment if environment is not None else {},
            stdout=log,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def find(pid: int) -> Process | None:
    return next((process for process in RealHost().list_processes() if process.pid == pid), None)


def wait_for(pid: int, *, stopped: bool) -> Process:
    for _ in range(1000):
        found = find(pid)
        if found is not None and found.stopped is stopped:
            return found
        time.sleep(0.01)
    raise AssertionError(f"process {pid} never became stopped={stopped}")


def test_a_marked_process_is_found_with_its_mark_and_log(tmp_path: Path) -> None:
    with start(tmp_path, environment={"XENBACKUP_RUN": RUN, "OTHER": "x"}) as child:
        found = wait_for(child.pid, stopped=False)
        assert (RUN, ("sleep", "300"), str(tmp_path / "log")) == (
            found.run_mark,
            found.argv,
            found.log_path,
        )
        assert found.start_ticks > 0


def test_a_process_named_xl_is_found_without_a_mark(tmp_path: Path) -> None:
    with start(tmp_path, program="/usr/lib/xen-4.17/bin/xl") as child:
        assert "" == wait_for(child.pid, stopped=False).run_mark


def test_other_processes_and_our_own_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENBACKUP_RUN", RUN)
    with start(tmp_path, environment={"XENBACKUP_RUNNER": "x"}) as child:
        assert find(child.pid) is None
        assert find(os.getpid()) is None


def test_a_stopped_process_is_told_and_goes_on_when_woken(tmp_path: Path) -> None:
    host = RealHost()
    with start(tmp_path, program="xl") as child:
        found = wait_for(child.pid, stopped=False)
        assert host.signal_process(found, signal.SIGSTOP)
        assert wait_for(child.pid, stopped=True).start_ticks == found.start_ticks
        assert host.signal_process(found, signal.SIGCONT)
        wait_for(child.pid, stopped=False)


def test_a_pid_that_belongs_to_another_process_now_is_not_signalled(tmp_path: Path) -> None:
    with start(tmp_path, program="xl") as child:
        found = wait_for(child.pid, stopped=False)
        earlier = replace(found, start_ticks=found.start_ticks - 1)
        assert not RealHost().signal_process(earlier, signal.SIGKILL)
        assert child.poll() is None


def test_an_ended_process_is_gone_reaped_or_not(tmp_path: Path) -> None:
    with start(tmp_path, program="xl") as child:
        found = wait_for(child.pid, stopped=False)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not RealHost().signal_process(found, signal.SIGCONT)
        assert find(child.pid) is None
        child.wait()
        assert not RealHost().signal_process(found, signal.SIGCONT)


def test_kernels_without_pidfd_are_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with start(tmp_path, program="xl") as child:
        found = wait_for(child.pid, stopped=False)
        assert not processes.signal_exactly(replace(found, start_ticks=1), signal.SIGKILL)
        assert processes.signal_exactly(found, signal.SIGKILL)
        assert -signal.SIGKILL == child.wait()


def test_a_name_with_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    folder = tmp_path / "77"
    folder.mkdir()
    fields = "S " + " ".join(str(number) for number in range(4, 53))
    (folder / "stat").write_text(f"77 (a) b (c) {fields}\n")
    assert processes.ProcessStatus(state="S", start_ticks=22) == processes.read_status(
        77, proc_folder=tmp_path
    )
    (folder / "stat").write_text("77 (a")
    assert processes.read_status(77, proc_folder=tmp_path) is None
    assert processes.read_status(78, proc_folder=tmp_path) is None


def test_the_real_host_runs_commands_and_marks_them() -> None:
    host: Host = RealHost()
    result = host.run(Command(argv=("env",), timeout_seconds=60, run_id=RUN))
    assert f"XENBACKUP_RUN={RUN}" in result.stdout


def test_the_real_host_knows_boot_clock_and_processor(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("the-boot\n")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD  Opteron 23xx\n")
    host = RealHost(proc_folder=tmp_path)
    assert ("the-boot", "AMD  Opteron 23xx") == (host.boot_id(), host.cpu_model())
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert "" == host.cpu_model()
    assert host.now().tzinfo is not None
    before = host.monotonic_seconds()
    host.sleep(0.001)
    assert host.monotonic_seconds() > before


def test_the_real_host_places_paths_where_they_are_and_opens_volumes(tmp_path: Path) -> None:
    host = RealHost()
    assert Path("/etc/xenbackup") == host.place("/etc/xenbackup")
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    device = host.open_volume(str(image))
    assert 4096 == device.size_bytes
    device.close()
    with pytest.raises(CopyFailed):
        host.open_volume(str(tmp_path / "missing"))


def test_listing_real_processes_needs_no_command() -> None:
    code = "from xenbackup.dom0.real import RealHost; import sys; RealHost().list_processes();"
    result = subprocess.run(
        [sys.executable, "-c", code + "print('sh' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "False" == result.stdout.strip()
