"""Whole runs, and kills, where the toolstack destroys what it saves: xm, and xl up to 4.3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest

from tests.house import back_up, build_host, build_house, copy_host, find_wrongs, make_job, recover
from tests.pipeline.strikes import at_moment, call, set_fault
from tests.pipeline.test_kills_on_simulation import Executioner, Killed
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished

HOSTS: dict[str, dict[str, object]] = {
    "xm-3.0": {"toolstack": "xm", "xen_version": (3, 0)},
    "xm-3.4": {"toolstack": "xm"},
    "xm-4.1": {"toolstack": "xm", "xen_version": (4, 1)},
    "xl-4.3": {"xen_version": (4, 3)},
}
PRESETS = ("snapshot", "cold", "crash")
Disks = list[dict[str, object]]


def build(host: SimulatedHost) -> House:
    return build_house(host, "auto")


@pytest.fixture(scope="module", params=["xm-3.0", "xm-3.4", "xl-4.3"])
def pristine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "host"
    build_host(folder, **HOSTS[request.param]).close()
    return folder


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", HOSTS)
def test_preset_leaves_a_good_point_and_a_guest_that_goes_on(
    tmp_path: Path, name: str, preset: str
) -> None:
    house = build(build_host(tmp_path / "host", **HOSTS[name]))
    (run,) = back_up(house, preset).runs
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert ("crash" if preset == "crash" else "memory") == run.consistency
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)
    # No word of a lost monitor: that of xl was held and lives, under xm there is none.
    expected = [] if preset == "crash" else ["power cut"]
    assert len(expected) == len(run.warnings), run.warnings
    assert all(part in text for part, text in zip(expected, run.warnings, strict=True))


@pytest.mark.parametrize("name", HOSTS)
def test_checkpoint_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    house = build(build_host(tmp_path / "host", **HOSTS[name]))
    (refused,) = plan_job(house, make_job("checkpoint")).refused
    assert "this toolstack has no `save -p`" == refused.reason


@pytest.mark.parametrize("name", HOSTS)
def test_plan_warns_of_the_window_in_which_only_an_unsynced_file_holds_the_guest(
    tmp_path: Path, name: str
) -> None:
    house = build(build_host(tmp_path / "host", **HOSTS[name]))
    (plan,) = plan_job(house, make_job("snapshot")).domains
    assert any("power cut" in warning for warning in plan.warnings)
    (plan,) = plan_job(house, make_job("crash")).domains
    assert () == plan.warnings


@pytest.mark.parametrize("name", HOSTS)
def test_full_spool_leaves_the_guest_running(tmp_path: Path, name: str) -> None:
    host = build_host(tmp_path / "host", **HOSTS[name])
    house = build(host)
    tool = house.toolstack.name
    host.set_fault(Fault(tool=tool, verb="save", kind=FaultKind.ENOSPC, size_bytes=5000))
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK != run.outcome
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


@pytest.mark.parametrize("name", ["xm-3.0", "xm-3.4", "xl-4.3"])
def test_power_cut_in_the_window_boots_the_guest_afresh(tmp_path: Path, name: str) -> None:
    """The image was never synced: it is gone with the power, and the guest with it."""
    build_host(tmp_path / "host", **HOSTS[name]).close()

    def cut(moment: str) -> None:
        if moment.endswith("save:end"):
            raise Killed(moment)

    host = SimulatedHost(tmp_path / "host", on_boundary=cut)
    with pytest.raises(Killed):
        back_up(build(host), "snapshot")
    host.on_boundary = None
    assert len(host.cut_power()) == 1
    house = build(host)
    (run,) = recover(house)
    assert run.healed, run.messages
    assert any("booted afresh" in message for message in run.messages), run.messages
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("name", ["xm-3.4", "xl-4.3"])
def test_save_that_said_it_failed_and_did_not_is_believed_by_what_is_there(
    tmp_path: Path, name: str
) -> None:
    """The guest is gone and its image whole: looked at before that image can be damaged."""
    host = build_host(tmp_path / "host", **HOSTS[name])
    house = build(host)
    set_fault(house, FaultKind.LIE_FAILED, house.toolstack.name, "save")
    (run,) = back_up(house, "snapshot").runs
    assert (Outcome.OK, "memory") == (run.outcome, run.consistency), run.error
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("name", ["xm-3.4", "xl-4.3"])
def test_guest_that_was_destroyed_in_the_middle_of_its_save_is_not_booted(
    tmp_path: Path, name: str
) -> None:
    """Or migrated away: this toolstack destroys it too, but not before its image is whole."""
    host = build_host(tmp_path / "host", **HOSTS[name])
    house = build(host)
    tool = house.toolstack.name
    at_moment(host, f"{tool}-save:requested", lambda: call(host, tool, "destroy", "1"))
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.FAILED is run.outcome
    assert any("somebody destroyed it during the run" in line for line in run.warnings)
    assert {"thinny"} == {domain.name for domain in house.toolstack.list_domains()}
    assert () == find_unfinished(house)


def test_killed_client_does_not_end_the_save_and_recovery_waits_for_it(tmp_path: Path) -> None:
    build_host(tmp_path / "host", toolstack="xm").close()

    def kill(moment: str) -> None:
        if moment == "xm-save:writing":
            raise Killed(moment)

    host = SimulatedHost(tmp_path / "host", on_boundary=kill)
    with pytest.raises(Killed):
        back_up(build(host), "snapshot")
    host.on_boundary = None
    house = build(host)
    assert {"migrating-web", "thinny"} == {d.name for d in house.toolstack.list_domains()}
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == find_wrongs(house)
    assert not any("afresh" in message for message in run.messages), run.messages


@pytest.mark.parametrize("name", ["xm-3.0", "xm-3.4"])
@pytest.mark.parametrize("stage", ["requested", "suspended", "writing", "written", "destroying"])
def test_death_of_xend_itself_in_the_middle_of_a_save(
    tmp_path: Path, name: str, stage: str
) -> None:
    """Nobody goes on with the save then: the guest stays as the kill left it."""
    build_host(tmp_path / "host", **HOSTS[name]).close()

    def kill(moment: str) -> None:
        if moment == f"xm-save:{stage}":
            raise Killed(moment)

    host = SimulatedHost(tmp_path / "host", on_boundary=kill)
    with pytest.raises(Killed):
        back_up(build(host), "snapshot")
    host.on_boundary = None
    with host.machine() as machine:
        machine.state.xend_works = []
        machine.commit()
    house = build(host)
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)
    assert not any("afresh" in message for message in run.messages), run.messages


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.slow
def test_killed_at_any_boundary_of_any_command(pristine: Path, tmp_path: Path, preset: str) -> None:
    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    assert not _run(tmp_path / "count", preset, counter)
    assert any("save" in moment for moment in counter.moments) or preset == "crash"
    rmtree(tmp_path / "count")
    for at, moment in enumerate(counter.moments):
        folder = tmp_path / f"kill-{at}"
        copy_host(pristine, folder)
        assert _run(folder, preset, Executioner(at))
        house = build(SimulatedHost(folder))
        recovered = recover(house)
        story = [(run.healed, run.messages) for run in recovered]
        assert all(run.healed for run in recovered), (at, moment, story)
        assert [] == find_wrongs(house), (at, moment, story)
        assert () == find_unfinished(house), (at, moment)
        assert not any("afresh" in text for _, told in story for text in told), (at, moment, story)
        rmtree(folder)


def _run(folder: Path, preset: str, executioner: Executioner) -> bool:
    """One backup under the executioner; True when it was killed."""
    name = open_toolstack(SimulatedHost(folder)).name
    host = SimulatedHost(folder, on_boundary=executioner)
    try:
        back_up(build_house(host, name), preset)
    except Killed:
        return True
    finally:
        host.close()
    return False


@pytest.mark.parametrize("preset", PRESETS)
def test_disk_that_xl_does_not_tell_of_fails_the_run_before_the_guest_is_touched(
    tmp_path: Path, preset: str
) -> None:
    """Before Xen 4.5 `xl list -l` forgets what `xl block-attach` attached: xenstore does not."""
    host = build_host(tmp_path / "host", **HOSTS["xl-4.3"])
    whole = replace_configuration(host, lambda disks: disks[:1])
    house = build(host)
    (run,) = back_up(house, preset).runs
    assert Outcome.FAILED == run.outcome
    assert "number 51728 in xenstore" in run.error
    assert () == find_unfinished(house)
    replace_configuration(host, lambda _: whole)
    assert [] == find_wrongs(house)


def replace_configuration(host: SimulatedHost, choose: Callable[[Disks], Disks]) -> Disks:
    """Let xl tell of other disks of web than it has; returns those that it told of before."""
    with host.machine() as machine:
        (web,) = [domain for domain in machine.state.domains if domain.name == "web"]
        configuration = json.loads(web.configuration_json)
        before: Disks = configuration["disks"]
        web.configuration_json = json.dumps({**configuration, "disks": choose(before)})
        machine.commit()
    return before
