"""Power cut, or our process killed, in the middle of a run on real Xen; then recovery."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

LONG = pytest.mark.lab_long


def assert_whole(machine: Machine) -> None:
    """The guest counts on and has found nothing wrong; nothing of ours is left; points are good."""
    assert () == guests.wait_for_ticks(machine, "web").complaints
    assert [] == product.list_our_volumes(machine)
    assert [] == product.list_spool(machine)
    assert 0 == product.call(machine, "verify").exit_code
    found = machine.shell("find /srv/backup -name '.partial*'").check().stdout
    assert "" == found.strip()


@pytest.mark.parametrize(
    ("preset", "event", "away"),
    [
        pytest.param("snapshot", "destroyed", True),
        pytest.param("cold", "staging", True, marks=LONG),
        pytest.param("snapshot", "saving", False, marks=LONG),
        pytest.param("checkpoint", "snapshotting", False, marks=LONG),
        pytest.param("checkpoint", "staging", False),
    ],
)
def test_power_cut_in_a_run(host: Machine, preset: str, event: str, away: bool) -> None:
    """A guest that we had taken away comes back by its image; another is its owner's to start."""
    product.prepare(host)
    product.slow_down(host)
    before = guests.read_report(host, "web").last_tick
    product.begin_run(host, preset, "web")
    product.wait_for_entry(host, event)
    host.power_cut()
    product.recover(host)
    if away:
        report = guests.read_report(host, "web")
        assert report.domid is not None, "a guest that this run had taken away is brought back"
        assert report.last_tick >= before
    elif guests.read_report(host, "web").domid is None:
        guests.create(host, "web")
    assert_whole(host)


@pytest.mark.parametrize(
    ("preset", "event"),
    [
        pytest.param("snapshot", "saving"),
        pytest.param("snapshot", "restoring"),
        pytest.param("checkpoint", "snapshotting"),
        pytest.param("checkpoint", "staging", marks=LONG),
        pytest.param("cold", "staging", marks=LONG),
        pytest.param("crash", "pausing", marks=LONG),
    ],
)
def test_our_process_killed_in_a_run(host: Machine, preset: str, event: str) -> None:
    """Its command may live on: recovery finds it first, and judges the guest after."""
    product.prepare(host)
    product.slow_down(host)
    product.begin_run(host, preset, "web")
    product.wait_for_entry(host, event)
    product.kill_run(host)
    product.recover(host)
    assert guests.read_report(host, "web").domid is not None
    assert_whole(host)
    assert () == guests.reboot_from_inside(host, "web").complaints
