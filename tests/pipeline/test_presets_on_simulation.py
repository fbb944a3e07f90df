"""Each preset whole, on the simulated dom0: the point, the guest, and nothing left behind."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.house import back_up, build_host, build_house, find_wrongs, recover
from xenbackup.model.run import Outcome
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import list_journals, read_record

CONSISTENCY = {"snapshot": "memory", "checkpoint": "memory", "cold": "memory", "crash": "crash"}


@pytest.mark.parametrize("preset", CONSISTENCY)
@pytest.mark.parametrize("domain", ["web", "thinny"])
def test_preset_leaves_a_good_point_and_a_guest_that_goes_on(
    tmp_path: Path, preset: str, domain: str
) -> None:
    house = build_house(build_host(tmp_path / "host"))
    result = back_up(house, preset, domain=domain)
    (run,) = result.runs
    assert (Outcome.OK, "", ()) == (run.outcome, run.error, run.warnings)
    assert CONSISTENCY[preset] == run.consistency
    assert run.run == run.point
    assert run.away_seconds > 0
    assert [] == find_wrongs(house, domain)
    assert () == find_unfinished(house)
    (journal,) = list_journals(house.journals_folder)
    assert Outcome.OK == read_record(journal).ended


def test_pinning_is_given_back_after_save_and_restore(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    (web,) = [d for d in house.toolstack.list_domains() if d.name == "web"]
    from xenbackup.model.command import Command

    house.host.run(Command(argv=("xl", "vcpu-pin", str(web.domid), "0", "1"), timeout_seconds=9))
    before = house.toolstack.read_tuning(web)
    assert "1" == before.pinning[0].hard
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK == run.outcome
    (web,) = [d for d in house.toolstack.list_domains() if d.name == "web"]
    assert before == house.toolstack.read_tuning(web)


def test_a_second_backup_of_the_same_guest_works_as_the_first(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    for preset in ("snapshot", "checkpoint", "snapshot"):
        assert Outcome.OK == back_up(house, preset).outcome
    assert [] == find_wrongs(house)


def test_a_round_and_a_recovery_let_go_of_everything_they_opened(tmp_path: Path) -> None:
    """A destination whose folder stayed open could not be unmounted while the service runs."""
    house = build_house(build_host(tmp_path / "host"))
    back_up(house, "checkpoint")
    gc.collect()
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    back_up(house, "checkpoint")
    back_up(house, "crash", cancelled=lambda: "somebody asked to stop")
    recover(house)
    gc.collect()
    # The folder's own descriptor, open while it is listed, may bear another number each time.
    assert len({path.name for path in Path("/proc/self/fd").iterdir()} - before) <= 1
