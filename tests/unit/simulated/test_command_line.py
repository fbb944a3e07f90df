"""The simulated host as a command line: its tools as this very process, and its own words."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import SPOOL, call, counter, letters, look, make_host, must
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.simulated.administration import main
from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.execute import Circumstances, execute
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import SimulatorFailed
from xenbackup.dom0.simulated.store import Store
from xenbackup.model.command import Command

SLEEP = "xenbackup.dom0.simulated.faults.time.sleep"


class Ended(Exception):
    """This process would have ended here."""


def run(host: SimulatedHost, *words: str) -> int:
    return main([str(host.directory), *words])


@pytest.mark.parametrize("words", [(), ("/somewhere",)])
def test_without_a_verb_it_tells_what_there_is(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(words)
    assert "DIR reboot-host                a power cut" in capsys.readouterr().err


def test_tool_of_the_host_prints_to_the_descriptors_themselves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    assert 0 == run(host, "/usr/sbin/lvs", "--noheadings", "-o", "lv_name")
    assert ["pool", "web_data", "web_root"] == capfd.readouterr().out.split()
    assert 5 == run(host, "lvs", "xenvols/nosuch")
    assert '  Failed to find logical volume "xenvols/nosuch"\n' == capfd.readouterr().err


def test_tool_is_listed_as_a_process_with_its_mark_for_as_long_as_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)
    monkeypatch.setenv("XENBACKUP_RUN", "marked")
    seen: list[tuple[int, tuple[str, ...], str]] = []

    def look_around(seconds: float) -> None:
        listed = SimulatedHost(host.directory).list_processes()
        seen.extend((p.pid, p.argv, p.run_mark) for p in listed if p.run_mark == "marked")

    monkeypatch.setattr(SLEEP, look_around)
    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.SLOW, seconds=2.0))
    assert 0 == run(host, "xl", "pause", "web")
    assert [(os.getpid(), ("xl", "pause", "web"), "marked")] == seen
    assert [] == [p for p in host.list_processes() if p.run_mark == "marked"]


def test_slow_tool_takes_real_time_and_virtual_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)
    slept: list[float] = []
    monkeypatch.setattr(SLEEP, slept.append)
    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.SLOW, seconds=12.5))
    before = host.monotonic_seconds()
    assert 0 == run(host, "xl", "pause", "web")
    assert [12.5] == slept
    assert pytest.approx(12.52) == host.monotonic_seconds() - before


def test_who_sleeps_beside_a_real_process_gives_it_real_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)
    beside = SimulatedHost(host.directory)
    slept: list[float] = []

    def sleep_beside(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            beside.sleep(30.0)

    monkeypatch.setattr(SLEEP, sleep_beside)
    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.SLOW, seconds=2.0))
    assert 0 == run(host, "xl", "pause", "web")
    assert [2.0, 0.05] == slept
    beside.sleep(30.0)
    assert [2.0, 0.05] == slept


def test_killed_tool_ends_its_process_by_that_signal_and_leaves_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)

    def end(pid: int, number: int) -> None:
        assert "--p---" == letters(SimulatedHost(host.directory))
        raise Ended(pid, number)

    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.KILL_AFTER))
    monkeypatch.setattr("xenbackup.dom0.simulated.execute.os.kill", end)
    with pytest.raises(Ended) as ended:
        run(host, "xl", "pause", "web")
    assert (os.getpid(), signal.SIGKILL) == ended.value.args


def test_hanging_tool_hangs_through_signals_that_it_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(tmp_path)
    waits: list[float] = []

    def wait() -> None:
        waits.append(host.monotonic_seconds())
        if len(waits) == 3:
            raise Ended

    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.HANG))
    monkeypatch.setattr("xenbackup.dom0.simulated.execute.signal.pause", wait)
    before = host.monotonic_seconds()
    with pytest.raises(Ended):
        run(host, "xl", "pause", "web")
    assert [before] * 3 == waits
    assert "--p---" != letters(host)


def test_listener_that_raises_ends_the_call_and_gives_the_lock_back(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    kept: dict[str, ExceptionStore] = {}

    def refuse(text: str) -> None:
        raise Ended(text)

    with pytest.raises(Ended, match="Name"):
        execute(Store(host.directory), kept, ("xl", "list"), Circumstances(on_stdout=refuse))
    must(host, "xl", "pause", "web")


def test_listener_that_fails_is_asked_no_more_and_told_of_at_the_end(tmp_path: Path) -> None:
    host, image = make_host(tmp_path), f"{SPOOL}/image"
    heard: list[str] = []

    def refuse(line: str) -> None:
        heard.append(line)
        raise ValueError(line)

    command = Command(
        argv=("xl", "save", "web", image), timeout_seconds=60.0, on_stderr_line=refuse
    )
    with pytest.raises(ValueError, match="Saving to"):
        host.run(command)
    assert 1 == len(heard)
    assert inspect_memory_image(host.place(image)).complete


def test_module_is_run_as_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    monkeypatch.setattr(sys, "argv", ["simulated", str(host.directory), "virsh"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("xenbackup.dom0.simulated", run_name="__main__")
    assert 127 == ended.value.code
    assert "virsh: command not found on the simulated host\n" == capfd.readouterr().err


def test_module_that_is_only_imported_runs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_module("xenbackup.dom0.simulated.__main__", run_name="imported")
    assert main is names["main"]
    assert ("", "") == capfd.readouterr()


def test_scratch_of_a_guest_is_set_now_and_for_its_next_boot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert 0 == run(host, "guest", "web", "scratch", "512")
    ram = look(host).ram
    assert ram is not None
    assert 512 == ram.scratch_bytes
    must(host, "xl", "destroy", "web")
    assert 0 == run(host, "guest", "web", "scratch", "1024")
    must(host, "xl", "create", "/etc/xen/web.cfg")
    ram = look(host).ram
    assert ram is not None
    assert 1024 == ram.scratch_bytes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fault", "add", "lvs", "fail", "--nth"), "--nth needs a value."),
        (("fault", "add", "lvs", "fail", "nth", "1"), "nth needs a value."),
        (("xendomains", "restart"), "xendomains takes `start` or `stop`."),
        (("xendomains",), "xendomains takes `start` or `stop`."),
        (("create", "small"), "create takes nothing or `demo`."),
        (("create",), "holds a simulated host already."),
        (("guest", "web", "scratch", "much"), "A guest cannot 'scratch'."),
    ],
)
def test_what_makes_no_sense_is_told(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == run(make_host(tmp_path), *words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("words", "guests"), [((), ["web"]), (("demo",), ["web", "db", "router"])])
def test_hosts_are_made_with_their_guests_running(
    tmp_path: Path, words: tuple[str, ...], guests: list[str]
) -> None:
    assert 0 == main([str(tmp_path / "new"), "create", *words])
    listed = must(SimulatedHost(tmp_path / "new"), "xl", "list")
    assert guests == [line.split()[0] for line in listed.splitlines()[2:]]


def test_what_the_hosts_service_could_not_do_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    host.place("/etc/xen/auto/bad.cfg").write_text("memory = 32\n")
    assert 1 == run(host, "xendomains", "start")
    assert "Domain name must be specified." in capsys.readouterr().err


def test_unreadable_list_of_faults_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    (host.directory / "host" / "faults.json").write_text('[{"tool": 1}]')
    assert 2 == run(host, "fault", "list")
    assert "host/faults.json is unreadable" in capsys.readouterr().err
    with pytest.raises(SimulatorFailed, match="unreadable"):
        call(host, "xl", "list")


def test_oracle_says_in_what_condition_a_guest_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)

    def told() -> str:
        assert 0 == run(host, "oracle")
        return capsys.readouterr().out.removesuffix(f", domid 1, count {counter(host)}\n")

    must(host, "xl", "pause", "web")
    assert "web: paused" == told()
    must(host, "xl", "unpause", "web")
    must(host, "dmsetup", "suspend", "xenvols-web_data")
    host.sleep(2.0)
    assert "web: waiting for its disks" == told()
    must(host, "dmsetup", "resume", "xenvols-web_data")
    host.set_fault(Fault(tool="xl", verb="save", kind=FaultKind.NO_RESUME))
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/image")
    assert "web: shut down (suspend)" == told()


def test_oracle_tells_of_a_guest_that_has_not_booted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    must(host, "xl", "create", "-p", "/etc/xen/web.cfg")
    assert 0 == run(host, "oracle")
    assert "web: paused, domid 2, count 0\n" == capsys.readouterr().out


def test_state_under_lock_is_discarded_when_its_user_fails(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    with pytest.raises(Ended), host.machine() as machine:
        assert isinstance(machine, Machine)
        machine.state.hostname = "other"
        raise Ended
    with host.machine() as machine:
        assert "dom0" == machine.state.hostname
