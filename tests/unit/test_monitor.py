"""Monitors: found by the log of their domain, held still and woken, each exactly once."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recorded import RecordedHost
from tests.unit.simulated.hosts import make_host
from xenbackup.dom0 import monitor
from xenbackup.model.command import Process

XL = "/usr/lib/xen-4.17/bin/xl"


def make_process(log_path: str, pid: int = 900, program: str = XL) -> Process:
    return Process(
        pid=pid,
        start_ticks=4242,
        argv=(program, "restore", "-p", "/data/a.sav"),
        log_path=log_path,
        run_mark="",
        stopped=False,
    )


@pytest.mark.parametrize(
    "log_path",
    [
        "/var/log/xen/xl-web.log",
        "/var/log/xen/xl-web.log.1",
        "/var/log/xen/xl-web.log.10",
        "/var/log/xen/xl-web.log.1 (deleted)",
        "/var/log/xen/xl-web.log (deleted)",
        "/var/log/xen/xl-web.log-20261123",
        "/var/log/xen/xl-web.log-20261123-1795392042",
        "/var/log/xen/xl-web.log-20261123 (deleted)",
        "/var/log/xen/xl-web--incoming.log",
        "/var/log/xen/xl-web--incoming.log.1",
    ],
)
def test_a_monitor_is_known_by_its_domains_log_rotated_or_not(log_path: str) -> None:
    process = make_process(log_path)
    assert (process,) == monitor.find_monitors(RecordedHost(processes=(process,)), "web")


@pytest.mark.parametrize(
    ("log_path", "program"),
    [
        ("/var/log/xen/xl-web2.log", XL),
        ("/var/log/xen/xl-web.log.old", XL),
        ("/var/log/xen/xl-web.log-2026", XL),
        ("/var/log/xen/xl-web--migratedaway.log", XL),
        ("/var/log/xen/xl-webxlog", XL),
        ("/home/guest/var/log/xen/xl-web.log", XL),
        ("pipe:[123]", XL),
        ("/var/log/xen/xl-web.log", "/usr/bin/tail"),
        ("/var/log/xen/xl-web.log", "axl"),
    ],
)
def test_other_processes_are_not_monitors(log_path: str, program: str) -> None:
    process = make_process(log_path, program=program)
    assert () == monitor.find_monitors(RecordedHost(processes=(process,)), "web")


def test_a_name_with_special_letters_is_taken_literally() -> None:
    process = make_process("/var/log/xen/xl-a.*b[1].log")
    host = RecordedHost(processes=(process, make_process("/var/log/xen/xl-axxb1.log", 901)))
    assert (process,) == monitor.find_monitors(host, "a.*b[1]")


@pytest.mark.parametrize(
    ("argv", "log_path", "watches"),
    [
        ((XL, "restore", "-p", "/a.save"), "/var/log/xen/xl-web.log", True),
        ((XL, "create", "/etc/xen/web.cfg"), "/var/log/xen/xl-b.log-20261123", True),
        ((XL, "-v", "migrate-receive"), "/var/log/xen/xl-web--incoming.log", True),
        ((XL, "restore", "-p", "/a.save"), "pipe:[123]", False),
        ((XL, "save", "-p", "5", "/a.save"), "/var/log/xen/xl-web.log", False),
        ((XL,), "/var/log/xen/xl-web.log", False),
        (("tail", "restore"), "/var/log/xen/xl-web.log", False),
        ((), "/var/log/xen/xl-web.log", False),
    ],
)
def test_monitor_of_any_domain_is_an_xl_that_built_one_and_writes_to_a_log(
    argv: tuple[str, ...], log_path: str, watches: bool
) -> None:
    assert watches == monitor.is_any_monitor(replace(make_process(log_path), argv=argv))


def test_monitors_whose_name_nobody_bears_are_told_apart() -> None:
    mine, other = make_process("/var/log/xen/xl-old.log"), make_process("/var/log/xen/xl-db.log.1")
    host = RecordedHost(processes=(mine, other, make_process("/var/log/xen/xl-x.log", 7, "tail")))
    assert (mine,) == monitor.find_nameless_monitors(host, ("web", "db"))


def test_freezing_stops_and_waking_continues() -> None:
    process = make_process("/var/log/xen/xl-web.log")
    host = RecordedHost(processes=(process,))
    assert (process,) == monitor.freeze_monitors(host, (process,))
    assert (process,) == monitor.wake_monitors(host, (process,))
    assert [(900, signal.SIGSTOP), (900, signal.SIGCONT)] == host.signals


def test_a_monitor_that_is_gone_is_not_counted_as_alive() -> None:
    gone = make_process("/var/log/xen/xl-web.log")
    assert () == monitor.wake_monitors(RecordedHost(), (gone,))


WAITING = "Waiting for domain web (domid 7) to die [pid 1234]"


def test_log_is_known_by_its_file_and_its_first_line(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    log = host.place("/var/log/xen/xl-web.log")
    log.write_text(f"{WAITING}\nDomain 7 has shut down, reason code 3 0x3\n")
    assert f"inode {log.stat().st_ino}: {WAITING}" == monitor.read_log_mark(host, "web")
    log.write_bytes(b"\xff" * 4096)
    assert len(monitor.read_log_mark(host, "web")) < 600


def test_log_that_is_not_there_has_no_mark_and_no_other_file_is_waited_for(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    log = host.place("/var/log/xen/xl-other.log")
    assert monitor.NO_LOG == monitor.read_log_mark(host, "other")
    os.mkfifo(log)
    assert f"inode {log.stat().st_ino}: " == monitor.read_log_mark(host, "other")


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (f"inode 7: {WAITING}", True),
        ("inode 7: Domain 7 has been destroyed.", True),
        (f"inode 9: {WAITING}", True),
        ("inode 7: ", True),
        ("inode 9: ", True),
        ("inode 9: Waiting for domain web (domid 8) to die [pid 1301]", False),
    ],
)
def test_copy_of_a_log_is_the_same_log(found: str, same: bool) -> None:
    assert same is monitor.is_same_log(f"inode 7: {WAITING}", found)
    emptied = same and found != f"inode 9: {WAITING}"
    assert emptied is monitor.is_same_log("inode 7: ", found), "what it says now, it was told since"
    assert found.endswith(": ") is monitor.is_same_log(monitor.NO_LOG, found)
