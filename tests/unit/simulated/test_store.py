"""One truth on disk: shared between processes, whole after a SIGKILL at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import SPOOL, call, complaints, counter, make_host, must
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost, copy_host, create_host
from xenbackup.dom0.simulated.state import SimulatorFailed
from xenbackup.model.command import Command


def start(host: SimulatedHost, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "xenbackup.dom0.simulated", str(host.directory), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = child.communicate(timeout=60)
    return child.returncode, stdout, stderr


def test_two_processes_see_one_host(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    code, _, _ = wait(start(host, "xl", "pause", "web"))
    assert 0 == code
    assert "--p---" in must(host, "xl", "list")
    must(host, "xl", "unpause", "web")
    code, stdout, _ = wait(start(host, "xl", "list"))
    assert "--p---" not in stdout
    assert must(host, "xl", "list").splitlines()[0] == stdout.splitlines()[0]


def test_processes_at_once_lose_no_act(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    children = [
        start(host, "lvcreate", "-y", "-L", "256k", "-n", f"v{number}", "xenvols")
        for number in range(6)
    ]
    assert [0] * 6 == [wait(child)[0] for child in children]
    listed = set(must(host, "lvs", "--noheadings", "-o", "lv_name").split())
    assert {f"v{number}" for number in range(6)} <= listed


def test_two_objects_in_one_process_see_one_host(tmp_path: Path) -> None:
    first = make_host(tmp_path)
    second = SimulatedHost(first.directory)
    must(first, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    second.sleep(1.0)
    must(second, "xl", "pause", "web")
    fill = must(first, "lvs", "--noheadings", "-o", "snap_percent", "xenvols/s")
    assert fill == must(second, "lvs", "--noheadings", "-o", "snap_percent", "xenvols/s")
    assert 0 < float(fill)


def test_a_forked_child_takes_the_lock_anew(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    counter(host)
    child = os.fork()
    if child == 0:
        host.sleep(5.0)
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]
    assert 45 < counter(host)


def test_torn_slot_leaves_the_state_before_it(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "pause", "web")
    host.close()
    slots = [host.directory / "host" / name for name in ("state.a", "state.b")]
    newest = max(slots, key=lambda slot: slot.read_bytes()[:44])
    content = bytearray(newest.read_bytes())
    content[60] ^= 0xFF
    newest.write_bytes(content)
    assert "web" in must(SimulatedHost(host.directory), "xl", "list")


def test_copied_directory_is_another_host(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    host.close()
    copy_host(host.directory, tmp_path / "copy")
    other = SimulatedHost(tmp_path / "copy")
    other.sleep(1.0)
    assert counter(other) > counter(host)
    assert [] == complaints(other)
    assert other.place("/etc/xen/web.cfg").is_relative_to(tmp_path / "copy")


def test_directory_without_a_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulatorFailed, match="holds no simulated host"):
        SimulatedHost(tmp_path).boot_id()


def test_host_is_not_built_over_another(tmp_path: Path) -> None:
    make_host(tmp_path)
    with pytest.raises(SimulatorFailed, match="already"):
        create_host(tmp_path / "host")


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_a_readable_truth(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    chance = random.Random(4)
    acts = (
        ("clock", "advance", "20m"),
        ("lvcreate", "-s", "-y", "-l", "100%ORIGIN", "-n", "s", "xenvols/web_root"),
        ("clock", "advance", "90s"),
        ("lvremove", "-y", "-S", "lv_name=s", "xenvols"),
        ("xl", "save", "-c", "web", f"{SPOOL}/image"),
    )
    for turn in range(25):
        child = start(host, *acts[turn % len(acts)])
        time.sleep(0.05 + chance.random() * 0.12)
        child.kill()
        wait(child)
        fresh = SimulatedHost(host.directory)
        if "---ss-" in must(fresh, "xl", "list"):
            must(fresh, "xl", "save", "-c", "web", f"{SPOOL}/image")
        must(fresh, "lvchange", "--refresh", "xenvols/web_root")
        at = counter(fresh)
        fresh.sleep(3.0)
        assert at < counter(fresh)
        assert [] == complaints(fresh)
        fresh.close()


def test_stretch_of_time_that_a_killed_process_began_is_finished_alike(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "lvcreate", "-s", "-y", "-l", "8", "-n", "s", "xenvols/web_root")
    host.sleep(1.0)
    host.close()
    copy_host(host.directory, tmp_path / "whole")
    whole = SimulatedHost(tmp_path / "whole")
    whole.sleep(10.0)
    killed = SimulatedHost(host.directory)
    with pytest.raises(KeyboardInterrupt), killed.machine() as machine:
        write = machine.volumes.write
        left = 40

        def die_in_the_middle(*arguments: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            write(*arguments)  # type: ignore[arg-type]

        machine.volumes.write = die_in_the_middle  # type: ignore[method-assign, assignment]
        machine.advance(10.0)
    again = SimulatedHost(host.directory)
    assert counter(whole) == counter(again)
    for command in (("dmsetup", "status"), ("xl", "list", "-v")):
        assert must(whole, *command) == must(again, *command)
    again.sleep(10.0)
    assert [] == complaints(again)


def test_real_children_run_the_same_tools(tmp_path: Path) -> None:
    inside = make_host(tmp_path)
    outside = SimulatedHost(inside.directory, real_children=True)
    for argv in (("xl", "list", "-l"), ("vgs",), ("xl", "frobnicate"), ("lvremove", "xenvols/x")):
        mine, theirs = call(inside, *argv), call(outside, *argv)
        assert (mine.exit_code, mine.stdout, mine.stderr) == (
            theirs.exit_code,
            theirs.stdout,
            theirs.stderr,
        )


def test_real_child_is_listed_with_its_mark_while_it_runs(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.HANG, verb="save", boundary="writing"))
    environment = {**os.environ, "XENBACKUP_RUN": "marked"}
    argv = [sys.executable, "-m", "xenbackup.dom0.simulated", str(host.directory)]
    child = subprocess.Popen(
        [*argv, "xl", "save", "web", f"{SPOOL}/image"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (marked := [p for p in host.list_processes() if p.run_mark == "marked"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [child.pid] == [process.pid for process in marked]
    while "---ss-" not in must(host, "xl", "list"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert host.signal_process(marked[0], signal.SIGKILL)
    child.communicate(timeout=60)
    assert [] == [p for p in host.list_processes() if p.run_mark == "marked"]
    assert not host.signal_process(marked[0], signal.SIGKILL)


def test_real_child_dies_of_its_deadline(tmp_path: Path) -> None:
    inside = make_host(tmp_path)
    inside.set_fault(Fault(tool="lvs", kind=FaultKind.HANG))
    outside = SimulatedHost(inside.directory, real_children=True)
    result = outside.run(Command(argv=("lvs",), timeout_seconds=1.0))
    assert result.timed_out
    assert result.exit_code < 0
