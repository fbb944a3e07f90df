"""Power cuts on the lab's host: what was synced stays, what was not is lost, dom0 comes back."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab.machine import Machine


@pytest.mark.lab_long
def test_power_cut_loses_what_was_not_synced_and_dom0_comes_back(bare_host: Machine) -> None:
    bare_host.shell("echo kept >/root/kept && sync /root/kept").check()
    count_before = guests.read_report(bare_host, "web").counts["xvda"]
    bare_host.shell("echo lost >/root/lost").check()
    bare_host.power_cut()
    assert "kept\n" == bare_host.run("cat", "/root/kept").check().stdout
    assert 0 != bare_host.run("test", "-s", "/root/lost").exit_code
    report = guests.read_report(bare_host, "web")
    assert report.domid is None
    assert count_before is not None
    assert (report.counts["xvda"] or 0) >= count_before
    assert () == guests.create(bare_host, "web").corrupt
