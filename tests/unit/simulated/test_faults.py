"""Faults strike the calls that they match, and do exactly what their kind says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import SPOOL, call, complaints, letters, make_host, must
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model.command import Command

SNAPSHOT = ("lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")


def volumes(host: SimulatedHost) -> list[str]:
    return must(host, "lvs", "--noheadings", "-o", "lv_name,lv_attr").split()


def test_failing_command_does_nothing(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.FAIL, exit_code=5, stderr="  No.\n"))
    result = call(host, *SNAPSHOT)
    assert (5, "  No.\n") == (result.exit_code, result.stderr)
    assert "s" not in volumes(host)


def test_lying_success_does_nothing(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    said = '  Logical volume "s" created.\n'
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.LIE_OK, stdout=said))
    result = call(host, *SNAPSHOT)
    assert (0, said) == (result.exit_code, result.stdout)
    assert "s" not in volumes(host)


def test_lying_failure_does_everything(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.LIE_FAILED, exit_code=5, stderr="no\n"))
    assert 5 == call(host, *SNAPSHOT).exit_code
    assert "s" in volumes(host)


def test_garbage_is_printed_in_place_of_the_output(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.GARBAGE, verb="list"))
    result = call(host, "xl", "list")
    assert 0 == result.exit_code
    assert "Domain-0" not in result.stdout
    assert "free_memory" in must(host, "xl", "info")


def test_hanging_command_takes_its_whole_deadline(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.HANG, verb="list"))
    before = host.monotonic_seconds()
    result = call(host, "xl", "list", timeout_seconds=30.0)
    assert (True, -signal.SIGTERM) == (result.timed_out, result.exit_code)
    assert pytest.approx(30.0) == host.monotonic_seconds() - before == result.duration_seconds
    assert [] == complaints(host)


def test_command_that_is_killed_late_gets_ten_times_the_grace(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.HANG, boundary="suspended"))
    result = host.run(Command(argv=SNAPSHOT, timeout_seconds=30.0, kill_late=True))
    assert result.timed_out
    assert pytest.approx(130.0) == result.duration_seconds


def test_slow_command_is_as_slow_as_told(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.SLOW, verb="pause", seconds=12.5))
    assert 12.5 <= call(host, "xl", "pause", "web").duration_seconds < 12.6


def test_kill_before_leaves_everything_as_it_was(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.KILL_BEFORE, verb="pause"))
    assert -9 == call(host, "xl", "pause", "web").exit_code
    assert "--p---" != letters(host)


def test_kill_after_leaves_everything_done(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.KILL_AFTER, verb="pause"))
    assert -9 == call(host, "xl", "pause", "web").exit_code
    assert "--p---" == letters(host)


def test_lvcreate_killed_early_leaves_a_plain_volume_of_that_name(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.KILL_MIDDLE, boundary="plain"))
    call(host, *SNAPSHOT)
    found = must(host, "lvs", "--noheadings", "-o", "lv_attr,origin", "xenvols/s")
    assert ["-wi-a-----"] == found.split()


def test_lvcreate_killed_in_its_suspended_window_freezes_the_origin(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.KILL_MIDDLE, boundary="suspended"))
    call(host, *SNAPSHOT)
    attributes = must(host, "lvs", "--noheadings", "-o", "lv_attr", "xenvols/web_root")
    assert "owi-sos---" == attributes.strip()
    assert "L-sw" in must(host, "dmsetup", "info", "-c", "xenvols-web_root")
    host.sleep(5.0)
    assert "-b----" == letters(host)
    must(host, "lvchange", "--refresh", "xenvols/web_root")
    host.sleep(5.0)
    assert [] == complaints(host)


@pytest.mark.parametrize(("nth", "expected"), [(0, [5, 5, 5]), (2, [0, 5, 0])])
def test_fault_strikes_the_call_it_is_set_for(
    tmp_path: Path, nth: int, expected: list[int]
) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvs", kind=FaultKind.FAIL, exit_code=5, nth=nth))
    assert expected == [call(host, "lvs").exit_code for _ in range(3)]


def test_fault_strikes_no_more_often_than_told(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvs", kind=FaultKind.FAIL, times=1))
    assert [1, 0] == [call(host, "lvs").exit_code for _ in range(2)]


def test_fault_can_be_for_one_argument(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvs", kind=FaultKind.FAIL, containing="web_data"))
    assert 0 == call(host, "lvs", "xenvols/web_root").exit_code
    assert 1 == call(host, "lvs", "xenvols/web_data").exit_code


def test_cleared_faults_strike_no_more(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvs", kind=FaultKind.FAIL))
    host.clear_faults()
    assert 0 == call(host, "lvs").exit_code
    assert not (host.directory / "host" / "faults.json").exists()


def test_full_group_refuses_a_snapshot_with_the_numbers(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.ENOSPC))
    result = call(host, *SNAPSHOT)
    assert 5 == result.exit_code
    assert 'Volume group "xenvols" has insufficient free space' in result.stderr


def test_boundaries_are_seen_in_order(tmp_path: Path) -> None:
    seen: list[str] = []
    host = make_host(tmp_path, on_boundary=seen.append)
    call(host, *SNAPSHOT)
    call(host, "xl", "save", "web", f"{SPOOL}/image")
    assert ["lvcreate:begin", "lvcreate:plain", "lvcreate:suspended", "lvcreate:end"] == seen[:4]
    writing = ["xl-save:writing"] * 3
    assert [
        "xl-save:begin",
        "xl-save:requested",
        "xl-save:suspended",
        *writing,
        "xl-save:written",
        "xl-save:destroying",
        "xl-save:end",
    ] == seen[4:]


def test_what_a_boundary_raises_comes_out_and_the_command_ends_there(tmp_path: Path) -> None:
    def die(name: str) -> None:
        if name == "xl-save:written":
            raise KeyboardInterrupt

    host = make_host(tmp_path, on_boundary=die)
    with pytest.raises(KeyboardInterrupt):
        call(host, "xl", "save", "web", f"{SPOOL}/image")
    assert "---ss-" == letters(host)


def test_a_boundary_may_use_the_host_itself(tmp_path: Path) -> None:
    seen: list[str] = []
    host = make_host(tmp_path)

    def look(name: str) -> None:
        host.on_boundary = None
        seen.append(letters(host))
        host.on_boundary = look

    host.on_boundary = look
    call(host, "xl", "save", "-p", "web", f"{SPOOL}/image")
    assert {"---ss-", "--p---"} <= set(seen)
