"""Commands run as real processes: what they inherit, how they end, what is kept of their output."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.system.command import SEARCH_PATH, SystemCommands
from xenbackup.system.output import FIRST_BYTES, LAST_BYTES

RUN = "20261122T023000Z-k3f9qa"


def run(
    *argv: str,
    timeout_seconds: float = 60,
    grace_seconds: float = 5,
    run_id: str = "",
    stderr_path: Path | None = None,
    on_stderr_line: Callable[[str], None] | None = None,
    own_unit: str = "",
    kill_late: bool = False,
) -> CommandResult:
    return SystemCommands(grace_seconds=grace_seconds).run(
        Command(
            argv=argv,
            timeout_seconds=timeout_seconds,
            run_id=run_id,
            stderr_path=stderr_path,
            on_stderr_line=on_stderr_line,
            own_unit=own_unit,
            kill_late=kill_late,
        )
    )


def run_python(code: str, *arguments: str, **options: object) -> CommandResult:
    return run(sys.executable, "-c", code, *arguments, **options)  # type: ignore[arg-type]


def wait_for_file(path: Path) -> str:
    """What a process writes into a file soon; fails after a long wait."""
    for _ in range(3000):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text().strip()
        time.sleep(0.01)
    raise AssertionError(f"{path} was never written")


def list_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_output_streams_and_exit_code_come_apart() -> None:
    result = run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (3, "out\n", "err\n", False) == (
        result.exit_code,
        result.stdout,
        result.stderr,
        result.timed_out,
    )


def test_a_signal_is_a_negative_exit_code() -> None:
    assert run("sh", "-c", "kill -9 $$").exit_code == -signal.SIGKILL


def test_a_tool_that_is_not_installed_is_named() -> None:
    with pytest.raises(CommandFailed, match="no-such-tool"):
        run("no-such-tool")


def test_a_file_that_cannot_be_executed_is_a_failed_command(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(CommandFailed, match="Cannot start"):
        run(str(broken))


def test_arguments_reach_the_tool_unchanged() -> None:
    odd = ("a b", "$HOME", "*", "", "-n", "quote'\"", "new\nline", "ünïcode")
    result = run_python("import sys; print(ascii(sys.argv[1:]))", *odd)
    assert ascii(list(odd)) == result.stdout.strip()


def test_the_environment_is_clean_and_carries_the_runs_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_PRELOAD_LIKE", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    expected = {
        f"PATH={SEARCH_PATH}",
        "LC_ALL=C",
        "LANGUAGE=",
        f"XENBACKUP_RUN={RUN}",
    }
    assert expected == set(run("env", run_id=RUN).stdout.splitlines())


def test_without_a_run_there_is_no_mark() -> None:
    assert "XENBACKUP_RUN" not in run("env").stdout


def test_no_descriptor_is_inherited_and_stdin_is_empty(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as leaking:
        os.set_inheritable(leaking.fileno(), True)
        result = run_python(
            "import os, sys; print(sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd')))"
        )
    # The fourth is the listing's own.
    assert "True ['0', '1', '2', '3']" == result.stdout.strip()


def test_no_descriptor_of_ours_is_left_open(tmp_path: Path) -> None:
    run("true")
    before = list_descriptors()
    for _ in range(3):
        run("sh", "-c", "echo x; echo y >&2", stderr_path=tmp_path / "stderr")
        run("sleep", "60", timeout_seconds=0.05)
        with pytest.raises(CommandFailed):
            run("true", stderr_path=tmp_path / "missing" / "stderr")
    # What an earlier test left may be collected, and so closed, in between: only new ones count.
    assert set() == set(list_descriptors()) - set(before)


def test_children_lead_a_session_and_group_of_their_own() -> None:
    result = run_python("import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))")
    assert "True" == result.stdout.strip()


def test_files_that_a_tool_makes_are_private(tmp_path: Path) -> None:
    made = tmp_path / "image"
    run("touch", str(made))
    assert 0o600 == made.stat().st_mode & 0o777


def test_signals_blocked_in_our_thread_are_not_blocked_in_the_child() -> None:
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        result = run("sleep", "60", timeout_seconds=0.05, grace_seconds=30)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    assert -signal.SIGTERM == result.exit_code


def test_past_its_deadline_a_command_is_asked_to_end() -> None:
    result = run("sleep", "60", timeout_seconds=0.05)
    assert (True, -signal.SIGTERM, False) == (result.timed_out, result.exit_code, result.succeeded)


def test_a_command_that_ignores_the_request_is_killed() -> None:
    script = "trap '' TERM; sleep 300"
    result = run("sh", "-c", script, timeout_seconds=3, grace_seconds=0.2)
    assert (True, -signal.SIGKILL) == (result.timed_out, result.exit_code)


def test_the_whole_group_is_ended_not_the_direct_child_alone(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"(trap '' TERM; echo $$ >/dev/null; exec sleep 300) & echo $! > {pid_file}; wait"
    result = run("sh", "-c", script, timeout_seconds=3, grace_seconds=0.2)
    helper = int(wait_for_file(pid_file))
    assert result.timed_out
    for _ in range(500):
        if not is_running(helper):
            break
        time.sleep(0.01)
    assert not is_running(helper)


def test_a_command_dangerous_to_kill_gets_ten_times_the_grace() -> None:
    script = "trap 'sleep 1; exit 7' TERM; while :; do sleep 0.05; done"
    result = run("sh", "-c", script, timeout_seconds=3, grace_seconds=1, kill_late=True)
    assert (True, 7) == (result.timed_out, result.exit_code)


@pytest.mark.parametrize("session", ["", "setsid "])
def test_a_grandchild_that_holds_the_output_does_not_delay_the_return(
    tmp_path: Path, session: str
) -> None:
    pid_file = tmp_path / "pid"
    script = f"{session}sleep 300 & echo $! > {pid_file}; echo started"
    result = run("sh", "-c", script, timeout_seconds=100)
    holder = int(wait_for_file(pid_file))
    try:
        assert ("started\n", False) == (result.stdout, result.timed_out)
        assert is_running(holder)
        assert result.duration_seconds < 50
    finally:
        os.kill(holder, signal.SIGKILL)


def test_huge_output_is_kept_at_both_ends_and_says_what_is_missing() -> None:
    result = run_python("import sys\nfor n in range(3_000_000): sys.stdout.write(f'{n}\\n')")
    assert result.stdout.startswith("0\n1\n2\n")
    assert result.stdout.endswith("2999998\n2999999\n")
    assert len(result.stdout) < FIRST_BYTES + LAST_BYTES + 100
    total = sum(len(f"{number}\n") for number in range(3_000_000))
    assert f"[{total - FIRST_BYTES - LAST_BYTES} bytes of output left out here]" in result.stdout


def test_bytes_that_are_no_text_survive_unchanged() -> None:
    result = run_python(r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb')")
    assert b"a\xff\xfeb" == result.stdout.encode("utf-8", "surrogateescape")


def test_stderr_lines_are_delivered_as_they_come() -> None:
    lines: list[str] = []
    code = "import sys\nfor n in range(3): print(f'Frames: {n}/3', file=sys.stderr, flush=True)"
    result = run_python(code, on_stderr_line=lines.append)
    assert ["Frames: 0/3", "Frames: 1/3", "Frames: 2/3"] == lines
    assert "Frames: 0/3\nFrames: 1/3\nFrames: 2/3\n" == result.stderr


def test_a_line_is_delivered_while_the_command_still_runs(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    code = (
        "import pathlib, sys, time\n"
        "print('progress', file=sys.stderr, flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
    )

    def hear(line: str) -> None:
        heard.write_text(line)

    for stderr_path in (None, tmp_path / "stderr"):
        heard.unlink(missing_ok=True)
        result = run_python(code, str(heard), stderr_path=stderr_path, on_stderr_line=hear)
        assert (0, "progress") == (result.exit_code, heard.read_text())


def test_a_last_line_without_newline_is_delivered_and_carriage_returns_end_lines() -> None:
    lines: list[str] = []
    run("printf", r"a\rb\n", on_stderr_line=lines.append)
    assert [] == lines  # that was stdout
    run("sh", "-c", r"printf 'a\rb\n\nrest' >&2", on_stderr_line=lines.append)
    assert ["a", "b", "rest"] == lines


def test_stderr_in_a_file_is_read_from_where_it_began(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    path.write_text("an earlier command\n")
    result = run("sh", "-c", "echo now >&2", stderr_path=path)
    assert ("now\n", "an earlier command\nnow\n") == (result.stderr, path.read_text())


def test_stderr_in_a_file_lets_a_command_outlive_its_caller(tmp_path: Path) -> None:
    done = tmp_path / "done"
    caller = (
        "import os, pathlib, sys\n"
        "from xenbackup.model.command import Command\n"
        "from xenbackup.system.command import SEARCH_PATH, SystemCommands\n"
        "script = ('while kill -0 ' + str(os.getpid()) + ' 2>/dev/null;'\n"
        "          ' do echo x >&2; sleep 0.05; done;'\n"
        "          ' echo finished >&2; echo end > ' + sys.argv[1])\n"
        "def die(line): os.kill(os.getpid(), 9)\n"
        "SystemCommands().run(Command(argv=('sh', '-c', script), timeout_seconds=60,\n"
        "    stderr_path=pathlib.Path(sys.argv[2]), on_stderr_line=die))\n"
    )
    result = run_python(caller, str(done), str(tmp_path / "stderr"))
    assert -signal.SIGKILL == result.exit_code
    assert "end" == wait_for_file(done)
    assert "finished" in (tmp_path / "stderr").read_text()


def test_an_error_of_the_listener_is_raised_only_when_the_command_has_ended(tmp_path: Path) -> None:
    done = tmp_path / "done"

    def fail(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="first"):
        run("sh", "-c", f"echo first >&2; echo second >&2; touch {done}", on_stderr_line=fail)
    assert done.exists()


@dataclass(frozen=True, kw_only=True)
class UnitHost:
    """A machine whose systemd and bus are fakes below `root`, and whose tools lie in `tools`."""

    root: Path
    tools: Path
    commands: SystemCommands

    def write_tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def run(self, *argv: str, timeout_seconds: float = 60) -> CommandResult:
        return self.commands.run(
            Command(argv=argv, timeout_seconds=timeout_seconds, run_id=RUN, own_unit="xb-restore")
        )


def make_unit_host(root: Path, *, bus: bool = True, path: str = "/usr/bin:/bin") -> UnitHost:
    tools = root / "bin"
    tools.mkdir()
    (root / "run/systemd/system").mkdir(parents=True)
    if bus:
        (root / "run/dbus").mkdir()
        (root / "run/dbus/system_bus_socket").touch()
    commands = SystemCommands(
        search_path=f"{tools}:{path}" if path else str(tools),
        systemd_folder=root / "run/systemd/system",
        grace_seconds=5,
    )
    return UnitHost(root=root, tools=tools, commands=commands)


def test_own_unit_goes_through_systemd_run_where_systemd_rules(tmp_path: Path) -> None:
    host = make_unit_host(tmp_path)
    host.write_tool("systemd-run", 'printf "%s\\n" "$@"')
    result = host.run("env", "-i")
    expected = [
        *("--wait", "--collect", "--quiet", "--pipe", "--unit=xb-restore"),
        "--property=KillMode=process",
        "--property=DefaultDependencies=no",
        f"--setenv=PATH={host.tools}:/usr/bin:/bin",
        *("--setenv=LC_ALL=C", "--setenv=LANGUAGE=", f"--setenv=XENBACKUP_RUN={RUN}"),
        *("--", "/usr/bin/env", "-i"),
    ]
    assert expected == result.stdout.splitlines()
    assert ("env", "-i") == result.argv


def test_own_unit_needs_no_systemd(tmp_path: Path) -> None:
    commands = SystemCommands(systemd_folder=tmp_path / "missing/below/here")
    command = Command(argv=("echo", "hi"), timeout_seconds=60, own_unit="xenbackup-restore")
    assert "hi\n" == commands.run(command).stdout


def test_own_unit_needs_no_bus(tmp_path: Path) -> None:
    host = make_unit_host(tmp_path, bus=False)
    host.write_tool("systemd-run", 'echo "Failed to connect to bus" >&2; exit 1')
    result = host.run("echo", "hi")
    assert (0, "hi\n") == (result.exit_code, result.stdout)


def test_past_its_deadline_a_command_in_its_own_unit_is_stopped_through_systemd(
    tmp_path: Path,
) -> None:
    host = make_unit_host(tmp_path)
    host.write_tool("systemd-run", "exec sleep 300")
    host.write_tool("systemctl", f'echo "$@" > {tmp_path}/stopped')
    result = host.run("true", timeout_seconds=0.1)
    assert (True, "stop xb-restore.service") == (
        result.timed_out,
        (tmp_path / "stopped").read_text().strip(),
    )


def test_past_its_deadline_a_command_without_a_bus_is_ended_by_us_alone(tmp_path: Path) -> None:
    host = make_unit_host(tmp_path, bus=False)
    host.write_tool("systemctl", f'echo "$@" > {tmp_path}/stopped')
    result = host.run("sleep", "300", timeout_seconds=0.1)
    assert (True, -signal.SIGTERM) == (result.timed_out, result.exit_code)
    assert not (tmp_path / "stopped").exists()


def test_without_systemctl_a_late_command_in_its_own_unit_is_ended_all_the_same(
    tmp_path: Path,
) -> None:
    host = make_unit_host(tmp_path, path="")
    host.write_tool("systemd-run", "exec /bin/sleep 300")
    (host.tools / "true").symlink_to("/bin/true")
    result = host.run("true", timeout_seconds=0.1)
    assert (True, -signal.SIGTERM) == (result.timed_out, result.exit_code)


def test_tools_that_were_built_from_source_are_found_after_those_of_packages() -> None:
    folders = SEARCH_PATH.split(":")
    assert ["/usr/local/sbin", "/usr/local/bin"] == folders[-2:]
    assert {"/usr/sbin", "/usr/bin", "/sbin", "/bin"} == set(folders[:-2])


def test_kernels_without_pidfd_are_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert "late\n" == run("sh", "-c", "sleep 0.3; echo late").stdout
    assert run("sleep", "60", timeout_seconds=0.05).timed_out


def test_a_command_is_logged_with_arguments_and_duration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "xenbackup.system.command"):
        run("sh", "-c", "exit 2")
    record = caplog.records[-1]
    assert "command-ended" == record.getMessage()
    assert (["sh", "-c", "exit 2"], 2) == (record.__dict__["argv"], record.__dict__["exit_code"])
    assert record.__dict__["duration_seconds"] >= 0


def test_importing_the_module_does_not_import_sh() -> None:
    code = "import sys, xenbackup.system.command; print('sh' in sys.modules)"
    assert "False" == run_python(code).stdout.strip()


def test_starts_from_many_threads_do_not_mix_their_output() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda number: run("echo", str(number)).stdout, range(24)))
    assert [f"{number}\n" for number in range(24)] == results


@pytest.mark.parametrize("call", ["pipe", "memfd_create"])
def test_descriptors_that_are_used_up_are_a_tool_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """An OSError of ours would end a rescue in which everything else is tried again."""

    def refuse(*_: object) -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(CommandFailed, match=r"Cannot start .*Too many open files"):
        SystemCommands().run(Command(argv=("cat",), timeout_seconds=5.0, stdin=b"x"))


def test_thread_that_cannot_be_had_is_a_tool_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sh

    def refuse(*_: object, **__: object) -> object:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sh.Command, "__call__", refuse)
    with pytest.raises(CommandFailed, match="can't start new thread"):
        SystemCommands().run(Command(argv=("cat",), timeout_seconds=5.0))
