"""dom0 goes down in a run and comes back: recovery first, then whoever starts guests."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine

LONG = pytest.mark.lab_long
AUTOSTART = "mkdir -p /etc/xen/auto; ln -sf /etc/xen/{0}.cfg /etc/xen/auto/{0}.cfg; sync"


def assert_recovered_before_guests_were_started(machine: Machine) -> None:
    """The recovery unit ran to its end, and only then did xendomains begin."""
    recover = service.show(
        machine, service.RECOVER, "Result", "ConditionResult", "ExecMainExitTimestampMonotonic"
    )
    assert ("success", "yes") == (recover["Result"], recover["ConditionResult"]), (
        service.tell_story(machine)
    )
    owner = service.show(machine, "xendomains.service", "InactiveExitTimestampMonotonic")
    ended = int(recover["ExecMainExitTimestampMonotonic"])
    began = int(owner["InactiveExitTimestampMonotonic"])
    assert 0 < ended <= began, (ended, began)
    service.wait_for(machine, f"systemctl is-active --quiet {service.SERVICE}", "active")


@pytest.mark.parametrize(
    ("event", "boots_more"),
    [
        # Its memory image is whole, and its disks are as they were: it goes on where it was.
        pytest.param("destroyed", 0),
        # It had been let go on: the image is stale, and the guest that ran is booted afresh.
        pytest.param("resuming", 1, marks=LONG),
    ],
)
def test_power_cut_with_a_guest_away(host: Machine, event: str, boots_more: int) -> None:
    """Guests that xendomains starts are its own affair, and it finds ours running already."""
    service.prepare(host)
    for name in ("web", "thinny"):
        host.shell(AUTOSTART.format(name)).check()
    before = guests.read_reports(host, "web", "thinny")
    service.strike(host, "nightly", event, ":")
    host.power_cut()
    assert_recovered_before_guests_were_started(host)
    web = service.assert_healthy(host, "web")
    assert before["web"].boots + boots_more == web.boots, service.tell_story(host)
    thinny = guests.wait_for_boots(host, "thinny", before["thinny"].boots + 1)
    assert () == thinny.complaints
    assert () == guests.reboot_from_inside(host, "web").complaints


@LONG
def test_guest_whose_memory_xendomains_holds_is_left_to_it(host: Machine) -> None:
    """An administrator stopped the service after it was killed, and saved the guest by hand."""
    service.prepare(host, slow=True)
    before = guests.read_report(host, "web")
    act = f"""
        kill -KILL $pid
        systemctl stop {service.SERVICE}
        mkdir -p /var/lib/xen/save
        xl save web /var/lib/xen/save/web && sync
    """
    service.strike(host, "checkpoint", "staging", act)
    host.power_cut()
    assert_recovered_before_guests_were_started(host)
    web = service.assert_healthy(host, "web")
    assert before.boots == web.boots, "restored from what xendomains held, not booted"


@LONG
@pytest.mark.parametrize("event", ["destroyed", "staging"])
def test_orderly_reboot_in_the_middle_of_a_run(host: Machine, event: str) -> None:
    """The daemon brings the guest back, then xendomains saves it; both hold after the boot."""
    service.prepare(host, slow=True)
    before = guests.read_reports(host, "web", "thinny")
    service.strike(host, "nightly", event, ":")
    host.reboot()
    service.wait_for(host, f"systemctl is-active --quiet {service.SERVICE}", "active")
    for name in ("web", "thinny"):
        report = service.assert_healthy(host, name)
        assert before[name].boots == report.boots, service.tell_story(host)
