"""Fully virtualised guests in the lab, with and without paravirtualised drivers."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab.machine import Machine


@pytest.mark.lab_long
@pytest.mark.parametrize("name", ["hvm01", "emu01"])
def test_hvm_guest_counts_and_survives_a_paused_save(bare_host: Machine, name: str) -> None:
    assert () == guests.create(bare_host, name).complaints
    bare_host.run("xl", "save", "-p", name, f"/root/{name}.save").check()
    bare_host.run("xl", "unpause", name).check()
    assert () == guests.wait_for_ticks(bare_host, name).complaints
