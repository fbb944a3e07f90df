"""A guest comes back though somebody broke, moved or changed `config.toml` meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import Watcher, find_wrongs, recover
from tests.pipeline.strikes import run_killed_at
from xenbackup.bootstrap import build_destination, open_house_to_recover
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import DestinationMissing
from xenbackup.operations.house import House
from xenbackup.operations.recover import recover_runs
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.unknown import UnknownDestination

MOMENTS = ("xl-save:end", "lvcreate:end", "xl-restore:begin", "lvremove:begin")


def write_configuration(host: SimulatedHost, text: str) -> None:
    path = host.place("/etc/xenbackup/config.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("text", [None, "destination = [", 'spol = "/srv"\n'])
def test_guest_comes_back_without_a_configuration(
    host: SimulatedHost, house: House, moment: str, text: str | None
) -> None:
    run_killed_at(house, "snapshot", moment)
    if text is not None:
        write_configuration(host, text)
    blind, problems = open_house_to_recover(host, None)
    assert problems
    (run,) = recover_runs(blind, Watcher())
    wrongs = [wrong for wrong in find_wrongs(house) if "partial point" not in wrong]
    assert [] == wrongs, run.messages
    if not run.healed:
        assert "cannot be reached" in " ".join(run.messages)
    assert all(again.healed for again in recover(house))
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_guest_comes_back_though_its_destination_is_not_configured_any_more(
    host: SimulatedHost, house: House
) -> None:
    run_killed_at(house, "cold", "xl-restore:begin")
    lvm, other = house.lvm, replace(house.configuration, destinations=())
    changed = replace(
        house,
        configuration=other,
        open_destination=lambda name: build_destination(host, lvm, other, name),
    )
    recover(changed)
    assert [] == [wrong for wrong in find_wrongs(house) if "partial point" not in wrong]


def test_a_good_configuration_is_used(host: SimulatedHost, house: House) -> None:
    write_configuration(host, '[destination.local]\nkind = "images"\npath = "/srv/backup"\n')
    whole, problems = open_house_to_recover(host, None)
    assert () == problems
    assert ["local"] == [spec.name for spec in whole.configuration.destinations]


def test_an_unknown_destination_refuses_with_the_reason() -> None:
    unknown = UnknownDestination("nas", "there is no destination 'nas'.")
    for act in (
        unknown.open,
        lambda: unknown.has_point("x"),
        lambda: unknown.discard_partial("x"),
        lambda: unknown.stage_point("web", "web", "x"),
    ):
        with pytest.raises(DestinationMissing, match="nas cannot be reached"):
            act()
    unknown.close()
