"""The command line that only a simulation has: oracle, clock, faults, power cuts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.syncs import cut_power, watch_syncs
from tests.unit.simulated.hosts import (
    SPOOL,
    complaints,
    counter,
    letters,
    look,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import SimulatedHost, build_demo_host
from xenbackup.dom0.simulated.administration import main, parse_duration
from xenbackup.dom0.simulated.faults import read_faults
from xenbackup.dom0.simulated.state import SimulatorFailed


def run(host: SimulatedHost, *words: str) -> int:
    return main([str(host.directory), *words])


def test_oracle_is_silent_about_healthy_guests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    assert 0 == run(host, "oracle")
    assert f"web: running, domid 1, count {counter(host)}\n" == capsys.readouterr().out


def test_oracle_prints_corruption_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    old = read_volume(host, "/dev/xenvols/web_root")
    host.sleep(1.0)
    write_volume(host, "/dev/xenvols/web_root", old)
    host.sleep(1.0)
    assert 1 == run(host, "oracle")
    assert "  CORRUPT running: xvda is at" in capsys.readouterr().out


def test_oracle_remembers_what_a_guest_found_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/image")
    host.sleep(1.0)
    must(host, "xl", "destroy", "web")
    must(host, "xl", "restore", f"{SPOOL}/image")
    must(host, "xl", "destroy", "web")
    assert 1 == run(host, "oracle")
    assert "web: not running" in capsys.readouterr().out


def test_clock_is_shown_advanced_and_stepped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    assert 0 == run(host, "clock")
    assert 0 == run(host, "clock", "advance", "1d")
    before = host.monotonic_seconds()
    assert 0 == run(host, "clock", "step", "-1h")
    shown = capsys.readouterr().out.split()
    assert ["2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z", "2026-11-23T23:00:00Z"] == shown
    assert before == host.monotonic_seconds()
    assert 23 == host.now().hour
    assert 800_000 < counter(host)
    assert [] == complaints(host)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("250ms", 0.25), ("1.5h", 5400), ("1d", 86400), ("2w", 1209600)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "-1", "1y", "d", "1 d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(SimulatorFailed):
        parse_duration(text)


def test_faults_are_added_listed_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    words = ("fault", "add", "lvs", "fail", "--exit-code", "5", "--stderr", "no", "--nth", "1")
    assert 0 == run(host, *words)
    assert 0 == run(host, "fault", "list")
    assert '"exit_code":5' in capsys.readouterr().out
    assert 1 == len(read_faults(host.directory))
    assert 0 == run(host, "fault", "clear")
    assert [] == read_faults(host.directory)


@pytest.mark.parametrize(
    "words",
    [
        ("fault",),
        ("fault", "add", "lvs", "frob"),
        ("fault", "add", "lvs", "fail", "--exit-code", "many"),
        ("fault", "add", "lvs", "fail", "--frob", "1"),
        ("clock", "frob"),
        ("guest", "web"),
        ("guest", "nobody", "crash"),
        ("guest", "web", "fly"),
        ("create",),
    ],
)
def test_what_makes_no_sense_is_refused_without_a_traceback(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    assert 2 == run(host, *words)
    assert "Traceback" not in capsys.readouterr().err


def test_unknown_tool_is_not_found(tmp_path: Path) -> None:
    assert 127 == run(make_host(tmp_path), "virsh", "list")


@pytest.mark.parametrize(
    ("act", "expected"), [("reboot", "2"), ("poweroff", "absent"), ("crash", "absent")]
)
def test_guest_ends_by_itself_and_its_monitor_acts(tmp_path: Path, act: str, expected: str) -> None:
    host = make_host(tmp_path)
    assert 0 == run(host, "guest", "web", act)
    found = letters(host)
    assert expected == (found if found == "absent" else str(look(host).domid))


def test_guest_can_be_told_to_ignore_suspends(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    assert 0 == run(host, "guest", "web", "ignores")
    with host.machine() as machine:
        assert "ignores" == machine.state.program_of("web").suspend


def test_power_cut_takes_guests_and_unsynced_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/kept")
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/lost")
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    boot, monotonic = host.boot_id(), host.monotonic_seconds()
    assert 0 == run(host, "synced", f"{SPOOL}/kept")
    assert 0 == run(host, "reboot-host")
    assert f"lost {SPOOL}/lost\n" == capsys.readouterr().out
    assert boot != host.boot_id()
    assert host.monotonic_seconds() < monotonic
    assert host.place(f"{SPOOL}/kept").exists()
    assert not host.place(f"{SPOOL}/lost").exists()
    assert "absent" == letters(host)
    assert () == host.list_processes()
    assert "swi-a-s---" in must(host, "lvs", "xenvols/s")
    must(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(2.0)
    assert [] == complaints(host)


def test_power_cut_spares_what_this_process_synced(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    with watch_syncs() as synced:
        for name in ("kept", "lost"):
            must(host, "xl", "save", "-c", "web", f"{SPOOL}/{name}")
        with host.place(f"{SPOOL}/kept").open("rb") as file:
            os.fsync(file.fileno())
    assert (f"{SPOOL}/lost",) == cut_power(host, synced)


def test_xendomains_restores_what_it_saved_and_starts_the_rest(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.place("/etc/xen/auto/web.cfg").symlink_to("../web.cfg")
    at = counter(host)
    assert 0 == run(host, "xendomains", "stop")
    assert host.place("/var/lib/xen/save/web").exists()
    assert 0 == run(host, "synced", "/var/lib/xen/save/web")
    assert 0 == run(host, "reboot-host")
    assert 0 == run(host, "xendomains", "start")
    assert not host.place("/var/lib/xen/save/web").exists()
    assert at <= counter(host)
    host.sleep(2.0)
    assert [] == complaints(host)
    run(host, "reboot-host")
    assert 0 == run(host, "xendomains", "start")
    assert look(host).executing


def test_demo_has_its_three_guests_and_stays_small(tmp_path: Path) -> None:
    build_demo_host(tmp_path / "demo")
    host = SimulatedHost(tmp_path / "demo")
    host.sleep(60.0)
    listed = must(host, "xl", "list")
    assert ["web", "db", "router"] == [line.split()[0] for line in listed.splitlines()[2:]]
    assert "0000:03:01.0" in must(host, "xl", "pci-list", "router")
    assert "1073741824" in must(host, "vgs", "--units", "b", "-o", "vg_size")
    allocated = sum(path.stat().st_blocks * 512 for path in (tmp_path / "demo").rglob("*"))
    assert allocated < 100 << 20
    assert [] == complaints(host)
