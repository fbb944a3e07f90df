"""`xl save` and `xl restore`, whole and killed at each stage, and the rescues that follow."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import (
    SPOOL,
    WEB_UUID,
    call,
    complaints,
    counter,
    letters,
    look,
    make_host,
    must,
)
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model.command import Command, Process

IMAGE = f"{SPOOL}/web.save"
OTHER = f"{SPOOL}/other.save"


def connections(host: SimulatedHost) -> list[tuple[int, int]]:
    return [(vbd.frontend, vbd.backend) for vbd in look(host).vbds]


def kill_save(host: SimulatedHost, boundary: str, *options: str) -> None:
    host.set_fault(
        Fault(tool="xl", kind=FaultKind.KILL_MIDDLE, verb="save", boundary=boundary, times=1)
    )
    assert -signal.SIGKILL == call(host, "xl", "save", *options, "web", IMAGE).exit_code
    host.clear_faults()


def monitor(host: SimulatedHost) -> Process:
    (found,) = host.list_processes()
    return found


def test_save_prints_what_xl_prints_and_destroys(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    result = call(host, "xl", "save", "web", IMAGE)
    assert (0, "") == (result.exit_code, result.stdout)
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"Saving to {IMAGE} new xl format (info 0x3/0x0/")
    assert [
        "xc: info: Saving domain 1, type x86 PV",
        "xc: progress: Frames: 2048/8192   25%",
        "xc: progress: Frames: 4096/8192   50%",
        "xc: progress: Frames: 6144/8192   75%",
        "xc: progress: Frames: 8192/8192  100%",
        "xc: progress: End of stream: 0/0    0%",
    ] == lines[1:]
    assert "absent" == letters(host)
    assert inspect_memory_image(host.place(IMAGE)).complete


def test_progress_comes_line_by_line(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    heard: list[str] = []
    command = Command(
        argv=("xl", "save", "web", IMAGE), timeout_seconds=60.0, on_stderr_line=heard.append
    )
    result = host.run(command)
    assert result.stderr.splitlines() == heard


def test_stderr_can_go_to_a_file(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = tmp_path / "messages"
    command = Command(argv=("xl", "save", "web", IMAGE), timeout_seconds=60.0, stderr_path=path)
    assert host.run(command).stderr == path.read_text()


def test_file_is_private_for_children_of_the_product(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    assert 0o600 == stat.S_IMODE(host.place(IMAGE).stat().st_mode)


def test_saved_guest_goes_on_with_a_new_number_and_its_old_uuid(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(2.0)
    must(host, "xl", "save", "web", IMAGE)
    must(host, "xl", "restore", IMAGE)
    assert (2, WEB_UUID) == (look(host).domid, look(host).uuid)
    before = counter(host)
    host.sleep(2.0)
    assert before + 15 < counter(host)
    assert [] == complaints(host)


def test_paused_save_keeps_the_devices(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-p", "web", IMAGE)
    assert ("--p---", [(4, 4), (4, 4)]) == (letters(host), connections(host))
    must(host, "xl", "unpause", "web")
    host.sleep(1.0)
    assert [] == complaints(host)


def test_killed_before_the_guest_answered_it_suspends_later(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    kill_save(host, "requested")
    assert look(host).executing
    request = must(host, "xenstore-read", "/local/domain/1/control/shutdown")
    assert "suspend" == request.strip()
    host.sleep(5.0)
    assert "---ss-" == letters(host)


def test_request_that_is_withdrawn_in_time_does_nothing(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    kill_save(host, "requested")
    must(host, "xenstore-write", "/local/domain/1/control/shutdown", "")
    host.sleep(10.0)
    assert look(host).executing
    assert [] == complaints(host)


@pytest.mark.parametrize("boundary", ["suspended", "writing"])
def test_killed_while_writing_it_hangs_suspended_and_a_continued_save_rescues(
    tmp_path: Path, boundary: str
) -> None:
    host = make_host(tmp_path)
    kill_save(host, boundary)
    assert ("---ss-", [(4, 4), (4, 4)]) == (letters(host), connections(host))
    assert not inspect_memory_image(host.place(IMAGE)).complete
    call(host, "xl", "unpause", "web")
    assert "---ss-" == letters(host)
    before = host.monotonic_seconds()
    result = call(host, "xl", "save", "-c", "web", OTHER)
    assert 0 == result.exit_code
    assert "guest didn't acknowledge suspend, cancelling request" in result.stderr
    assert 60.0 <= host.monotonic_seconds() - before
    at = counter(host)
    host.sleep(3.0)
    assert at < counter(host)
    assert [] == complaints(host)


def test_killed_while_destroying_the_devices_are_gone_and_the_file_is_whole(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    kill_save(host, "destroying")
    assert ("--pss-", [(-1, 6), (-1, 6)]) == (letters(host), connections(host))
    assert inspect_memory_image(host.place(IMAGE)).complete
    gone = call(host, "xenstore-ls", "-f", "/local/domain/1/device/vbd")
    assert "frontend" not in gone.stdout
    back = must(host, "xenstore-read", "/local/domain/0/backend/vbd/1/51712/state")
    assert "6" == back.strip()


def test_continued_save_after_that_runs_with_dead_disks(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    kill_save(host, "destroying")
    must(host, "xl", "unpause", "web")
    assert "---ss-" == letters(host)
    must(host, "xl", "save", "-c", "web", OTHER)
    at = counter(host)
    host.sleep(30.0)
    assert look(host).executing
    assert at == counter(host)


@pytest.mark.parametrize("rescue", ["save again", "first file"])
def test_both_rescues_after_that_bring_the_guest_back(tmp_path: Path, rescue: str) -> None:
    host = make_host(tmp_path)
    kill_save(host, "destroying")
    if rescue == "save again":
        must(host, "xl", "save", "web", OTHER)
        must(host, "xl", "restore", OTHER)
    else:
        must(host, "xl", "destroy", "web")
        must(host, "xl", "restore", IMAGE)
    at = counter(host)
    host.sleep(3.0)
    assert at < counter(host)
    assert [] == complaints(host)


def test_full_disk_resumes_the_guest_and_leaves_a_partial_file(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.ENOSPC, verb="save", size_bytes=8192))
    result = call(host, "xl", "save", "-p", "web", IMAGE)
    assert 1 == result.exit_code
    assert "(28 = No space left on device): Internal error" in result.stderr
    assert result.stderr.endswith("Failed to save domain, resuming domain\n")
    assert look(host).executing
    assert 8192 == host.place(IMAGE).stat().st_size
    host.sleep(2.0)
    assert [] == complaints(host)


@pytest.mark.parametrize(("manner", "seconds"), [("ignores", 120), ("acknowledges", 60)])
def test_guest_that_does_not_suspend_makes_the_save_fail(
    tmp_path: Path, manner: str, seconds: int
) -> None:
    host = make_host(tmp_path)
    with host.machine() as machine:
        machine.state.program_of("web").suspend = manner
        machine.commit()
    before = host.monotonic_seconds()
    result = call(host, "xl", "save", "web", IMAGE)
    assert (1, True) == (result.exit_code, look(host).executing)
    assert "Failed to save domain, resuming domain" in result.stderr
    assert pytest.approx(seconds, abs=1) == host.monotonic_seconds() - before


def test_guest_paused_by_an_administrator_cannot_be_saved(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "pause", "web")
    assert 1 == call(host, "xl", "save", "web", IMAGE).exit_code
    assert "--p---" == letters(host)
    must(host, "xl", "unpause", "web")
    assert look(host).executing


def test_save_that_cannot_resume_says_nothing(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="xl", kind=FaultKind.NO_RESUME, verb="save"))
    must(host, "xl", "save", "-c", "web", IMAGE)
    assert "---ss-" == letters(host)


def test_deadline_in_the_middle_of_a_save_is_a_kill(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    result = call(host, "xl", "save", "web", IMAGE, timeout_seconds=0.1)
    assert (True, -signal.SIGTERM) == (result.timed_out, result.exit_code)
    assert "---ss-" == letters(host)


def test_save_can_go_into_a_fifo(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    fifo = host.place(f"{SPOOL}/fifo")
    os.mkfifo(fifo)
    child = os.fork()
    if child == 0:
        (tmp_path / "received").write_bytes(fifo.read_bytes())
        os._exit(0)
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/fifo")
    os.waitpid(child, 0)
    assert inspect_memory_image(tmp_path / "received").complete


def test_restored_paused_its_disks_connect_only_when_it_runs(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    must(host, "xl", "restore", "-p", IMAGE)
    assert ("--p---", [(1, 2), (1, 2)]) == (letters(host), connections(host))
    must(host, "xl", "unpause", "web")
    assert [(4, 4), (4, 4)] == connections(host)


def test_restore_killed_early_leaves_a_half_built_domain_without_disks(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    host.set_fault(
        Fault(tool="xl", kind=FaultKind.KILL_MIDDLE, verb="restore", boundary="building")
    )
    assert -9 == call(host, "xl", "restore", "-p", IMAGE).exit_code
    host.clear_faults()
    assert "--p---" == letters(host)
    assert 1 == call(host, "xenstore-ls", "-f", "/local/domain/2/device/vbd").exit_code
    listed = json.loads(must(host, "xl", "list", "-l"))
    assert [0] == [entry["domid"] for entry in listed]
    must(host, "xl", "destroy", "web")
    must(host, "xl", "restore", IMAGE)
    host.sleep(1.0)
    assert [] == complaints(host)


def test_half_built_domain_that_is_let_run_crashes_and_is_told_of(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    host.set_fault(
        Fault(tool="xl", kind=FaultKind.KILL_MIDDLE, verb="restore", boundary="building")
    )
    call(host, "xl", "restore", "-p", IMAGE)
    must(host, "xl", "unpause", "web")
    assert "---sc-" == letters(host)
    assert ["resume: a half-built domain was let run"] == complaints(host)


def test_restore_is_refused_while_the_name_is_taken(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-c", "web", IMAGE)
    result = call(host, "xl", "restore", "-p", IMAGE)
    assert 1 == result.exit_code
    assert (
        "libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 2:"
        'Domain with name "web" already exists.'
    ) in result.stderr
    assert look(host).executing


def test_restore_short_of_memory_leaves_the_file_good(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    free = int(must(host, "xl", "info").split("free_memory            : ")[1].split()[0])
    host.place("/etc/xen/hog.cfg").write_text(f'name = "hog"\nmemory = {free - 20}\n')
    must(host, "xl", "create", "/etc/xen/hog.cfg")
    result = call(host, "xl", "restore", IMAGE)
    assert 1 == result.exit_code
    assert "Failed to populate physmap (16 = Device or resource busy)" in result.stderr
    assert "absent" == letters(host)
    must(host, "xl", "destroy", "hog")
    must(host, "xl", "restore", IMAGE)
    host.sleep(1.0)
    assert [] == complaints(host)


@pytest.mark.parametrize("cut", [40, 2000, -8])
def test_truncated_file_restores_nothing(tmp_path: Path, cut: int) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    place = host.place(IMAGE)
    place.write_bytes(place.read_bytes()[:cut])
    assert 1 == call(host, "xl", "restore", IMAGE).exit_code
    assert "absent" == letters(host)


def test_garbage_is_no_save_file(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.place(IMAGE).write_bytes(b"garbage" * 600)
    result = call(host, "xl", "restore", IMAGE)
    assert (1, "File has wrong magic number - corrupt or for a different tool?\n") == (
        result.exit_code,
        result.stderr,
    )


def test_restore_under_another_configuration(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", IMAGE)
    text = host.place("/etc/xen/web.cfg").read_text()
    changed = text.replace('"web"', '"copy"').replace(WEB_UUID, WEB_UUID[::-1].replace("-", "0"))
    lines = [line for line in changed.splitlines() if not line.startswith("uuid")]
    host.place("/etc/xen/copy.cfg").write_text("\n".join(lines) + "\n")
    must(host, "xl", "restore", "/etc/xen/copy.cfg", IMAGE)
    assert WEB_UUID != look(host, "copy").uuid
    host.sleep(1.0)
    assert [] == complaints(host)


def test_pinning_is_lost_and_the_weight_survives(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "vcpu-pin", "web", "0", "1")
    must(host, "xl", "sched-credit2", "-d", "web", "-w", "128")
    must(host, "xl", "save", "web", IMAGE)
    must(host, "xl", "restore", IMAGE)
    assert must(host, "xl", "vcpu-list", "web").splitlines()[1].endswith("all / all")
    assert ["web", "2", "128", "0"] == must(host, "xl", "sched-credit2", "-d", "web").split()[-4:]


def test_suspend_kills_a_waking_monitor_and_spares_a_stopped_one(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    watching = monitor(host)
    host.signal_process(watching, signal.SIGSTOP)
    must(host, "xl", "save", "-p", "web", IMAGE)
    must(host, "xl", "unpause", "web")
    assert host.signal_process(watching, signal.SIGCONT)
    assert [watching] == list(host.list_processes())
    must(host, "xl", "save", "-p", "web", IMAGE)
    assert () == host.list_processes()
    assert not host.signal_process(watching, signal.SIGCONT)


def test_monitor_woken_while_its_domain_is_suspended_dies(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    watching = monitor(host)
    host.signal_process(watching, signal.SIGSTOP)
    kill_save(host, "writing")
    host.signal_process(watching, signal.SIGCONT)
    assert () == host.list_processes()


def test_monitors_survive_a_suspend_since_xen_4_20(tmp_path: Path) -> None:
    host = make_host(tmp_path, xen_version=(4, 20))
    must(host, "xl", "save", "-c", "web", IMAGE)
    assert 1 == len(host.list_processes())


def test_watched_guest_reboots_itself_with_a_new_number(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "reboot", "web")
    assert (2, WEB_UUID) == (look(host).domid, look(host).uuid)
    host.sleep(2.0)
    assert [] == complaints(host)
    assert [2] == watched_domids(host)


def test_unwatched_guest_that_reboots_itself_stays_down(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.signal_process(monitor(host), signal.SIGKILL)
    must(host, "xl", "reboot", "web")
    assert ("---sr-", 1) == (letters(host), look(host).domid)


def test_stopped_monitor_catches_up_when_it_is_woken(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    watching = monitor(host)
    host.signal_process(watching, signal.SIGSTOP)
    must(host, "xl", "reboot", "web")
    assert "---sr-" == letters(host)
    host.signal_process(watching, signal.SIGCONT)
    assert 2 == look(host).domid


def watched_domids(host: SimulatedHost) -> list[int]:
    with host.machine() as machine:
        return [process.domid for process in machine.state.processes]


def test_monitor_logs_under_its_domains_name(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert "/var/log/xen/xl-web.log" == monitor(host).log_path
    assert ("/usr/lib/xen-4.17/bin/xl", "create", "/etc/xen/web.cfg") == monitor(host).argv
    must(host, "xl", "save", "web", IMAGE)
    must(host, "xl", "restore", "-p", IMAGE)
    assert ("restore", "-p", IMAGE) == monitor(host).argv[1:]
