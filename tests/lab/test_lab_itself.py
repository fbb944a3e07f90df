"""The lab judged before it judges the product: is it a Xen host, and has its oracle teeth?"""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab.machine import Machine


def test_dom0_runs_on_xen_with_the_volume_group(shared_bare_host: Machine) -> None:
    information = shared_bare_host.run("xl", "info").check().stdout
    assert "4.17" in next(line for line in information.splitlines() if "xen_version" in line)
    assert "control_d" in shared_bare_host.run("cat", "/proc/xen/capabilities").check().stdout
    volumes = shared_bare_host.run("lvs", "--noheadings", "-o", "lv_name", "xenvols").check().stdout
    assert {"web_root", "web_data", "thinny_root", "thinny_data", "pool"} <= set(volumes.split())


@pytest.mark.parametrize("name", ["web", "thinny"])
def test_guest_counts_and_its_disks_hold_the_count(shared_bare_host: Machine, name: str) -> None:
    report = guests.wait_for_ticks(shared_bare_host, name)
    assert () == report.complaints
    assert 2 == report.bulk_ok
    first, second = report.counts["xvda"], report.counts["xvdb"]
    assert first is not None
    assert second is not None
    assert report.last_tick <= first


def test_paused_save_with_frozen_monitor_keeps_guest_and_monitor(shared_bare_host: Machine) -> None:
    host = shared_bare_host
    (monitor,) = guests.monitor_pids(host, "web")
    host.run("kill", "-STOP", str(monitor)).check()
    host.run("xl", "save", "-p", "web", "/root/web.save").check()
    assert "--p---" == guests.read_report(host, "web").state
    host.run("xl", "unpause", "web").check()
    host.run("kill", "-CONT", str(monitor)).check()
    assert () == guests.wait_for_ticks(host, "web").complaints
    assert [monitor] == guests.monitor_pids(host, "web")
    after = guests.reboot_from_inside(host, "web")
    assert () == after.complaints
    assert 4 == after.bulk_ok


def test_saved_guest_counts_on_from_its_disks_when_restored(shared_bare_host: Machine) -> None:
    host = shared_bare_host
    host.run("xl", "save", "web", "/root/web.save").check()
    stopped = guests.read_report(host, "web")
    assert stopped.domid is None
    host.run(
        "systemd-run", "--wait", "--collect", "--quiet", "--pipe", "-p", "KillMode=process",
        "xl", "restore", "/root/web.save",
    ).check()  # fmt: skip
    assert () == guests.wait_for_ticks(host, "web").complaints
    assert () == guests.check_bulk(host, "web").complaints
    assert () == guests.reboot_from_inside(host, "web").complaints


def test_pvh_guest_counts_and_reboots_itself(shared_bare_host: Machine) -> None:
    assert () == guests.create(shared_bare_host, "pvh01").complaints
    assert () == guests.reboot_from_inside(shared_bare_host, "pvh01").complaints
    shared_bare_host.run("xl", "destroy", "pvh01").check()


def test_oracle_notices_a_disk_of_another_moment(shared_bare_host: Machine) -> None:
    host = shared_bare_host
    volume, older = "/dev/xenvols/thinny_data", "/root/older"
    host.run("dd", f"if={volume}", f"of={older}", "bs=1M", "count=4", "iflag=direct").check()
    guests.wait_for_ticks(host, "thinny", more=4)
    host.run("xl", "save", "thinny", "/root/thinny.save").check()
    host.run("dd", f"if={older}", f"of={volume}", "bs=1M", "conv=notrunc,fsync").check()
    host.run("xl", "restore", "/root/thinny.save").check()
    guests.wait_until(
        host,
        "thinny",
        lambda report: any("CORRUPT xvdb" in line for line in report.corrupt),
        "complaining about its second disk",
    )


def test_guest_says_when_its_writes_fail(shared_bare_host: Machine) -> None:
    host = shared_bare_host
    device = "xenvols-thinny_data"
    table = host.run("dmsetup", "table", device).check().stdout.strip()
    sectors = table.split()[1]
    for text in (f"0 {sectors} error", table):
        host.run("dmsetup", "suspend", "--noflush", device).check()
        host.run("dmsetup", "load", device, "--table", text).check()
        host.run("dmsetup", "resume", device).check()
        if text != table:
            guests.wait_until(
                host,
                "thinny",
                lambda report: any("ERROR write xvdb" in line for line in report.errors),
                "complaining about its second disk",
            )
    assert guests.wait_for_ticks(host, "thinny").last_tick > 0
