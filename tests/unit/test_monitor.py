"""Monitors: found by the log of their domain, held still and woken, each exactly once."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.recorded import RecordedHost
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
