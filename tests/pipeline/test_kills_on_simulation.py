"""The process killed at every boundary of every command and at every journal line, then recovered.

In-process death: an exception that nothing of ours catches, thrown inside the command or in the
place of the journal's write, so that no undo runs. A new house on the same directory recovers.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest

from tests.house import (
    Watcher,
    back_up,
    build_host,
    build_house,
    copy_host,
    find_wrongs,
    recover,
)
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.operations.runs import find_unfinished
from xenbackup.system import durable

pytestmark = pytest.mark.timeout(1800)

PRESETS = ("snapshot", "checkpoint", "cold", "crash")


class Killed(BaseException):
    """SIGKILL, as far as our own code can tell."""


class Executioner:
    """Counts the moments it is called at, and kills at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.moments: list[str] = []

    def __call__(self, moment: str) -> None:
        self.moments.append(moment)
        if self.at is not None and len(self.moments) - 1 == self.at:
            raise Killed(moment)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host to copy: building one costs more than a test of it."""
    folder = tmp_path_factory.mktemp("pristine") / "host"
    build_host(folder).close()
    return folder


def run_with(folder: Path, preset: str, executioner: Executioner, domain: str = "web") -> bool:
    """One backup under the executioner; True when it was killed."""
    host = SimulatedHost(folder, on_boundary=executioner)
    try:
        back_up(build_house(host), preset, domain=domain)
    except Killed:
        return True
    finally:
        host.close()
    return False


def assert_recovers(folder: Path, domain: str, moment: str) -> None:
    house = build_house(SimulatedHost(folder))
    recovered = recover(house)
    story = [(run.healed, run.messages) for run in recovered]
    assert all(run.healed for run in recovered), (moment, story)
    assert [] == find_wrongs(house, domain), (moment, story)
    assert () == find_unfinished(house), moment
    assert () == recover(house), "a second recovery finds nothing to do"
    assert [] == find_wrongs(house, domain)
    rmtree(folder)


@pytest.mark.parametrize("domain", ["web", "thinny"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.slow
def test_killed_at_any_boundary_of_any_command(
    pristine: Path, tmp_path: Path, preset: str, domain: str
) -> None:
    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    assert not run_with(tmp_path / "count", preset, counter, domain)
    assert len(counter.moments) > 5
    for at, moment in enumerate(counter.moments):
        folder = tmp_path / f"kill-{at}"
        copy_host(pristine, folder)
        assert run_with(folder, preset, Executioner(at), domain)
        assert_recovers(folder, domain, f"{preset} {at} {moment}")


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.slow
def test_killed_at_any_journal_line(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, place: str
) -> None:
    append = durable.append_durably

    def run_killed_at(folder: Path, executioner: Executioner) -> bool:
        def mortal(descriptor: int, content: bytes) -> None:
            if place == "before":
                executioner(content.decode())
            append(descriptor, content)
            if place == "after":
                executioner(content.decode())

        monkeypatch.setattr(durable, "append_durably", mortal)
        try:
            return run_with(folder, preset, Executioner(), "web")
        except Killed:
            return True
        finally:
            monkeypatch.setattr(durable, "append_durably", append)

    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    assert not run_killed_at(tmp_path / "count", counter)
    for at, line in enumerate(counter.moments):
        folder = tmp_path / f"kill-{at}"
        copy_host(pristine, folder)
        assert run_killed_at(folder, Executioner(at))
        assert_recovers(folder, "web", f"{preset} {place} line {at}: {line}")


@pytest.mark.slow
def test_recovery_itself_killed_at_any_boundary(pristine: Path, tmp_path: Path) -> None:
    """Killed in the middle of the save's destroy, then recovery killed at each of its moments."""
    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    run_with(tmp_path / "count", "snapshot", counter)
    destroying = [at for at, moment in enumerate(counter.moments) if "destroy" in moment]
    assert destroying
    half_way = tmp_path / "half-way"
    copy_host(pristine, half_way)
    assert run_with(half_way, "snapshot", Executioner(destroying[0]))
    moments = Executioner()
    copy_host(half_way, tmp_path / "recover-count")
    recover(build_house(SimulatedHost(tmp_path / "recover-count", on_boundary=moments)))
    assert moments.moments
    for at, moment in enumerate(moments.moments):
        folder = tmp_path / f"recover-kill-{at}"
        copy_host(half_way, folder)
        with pytest.raises(Killed):
            recover(build_house(SimulatedHost(folder, on_boundary=Executioner(at))))
        assert_recovers(folder, "web", f"recovery {at} {moment}")


def test_ctrl_c_between_steps_undoes_and_says_so(pristine: Path, tmp_path: Path) -> None:
    copy_host(pristine, tmp_path / "host")
    house = build_house(SimulatedHost(tmp_path / "host"))
    asked: list[str] = []
    stops = iter(("save-paused", "snapshot", "unpause", "copy", "remove-snapshot"))
    for stop_at in stops:
        asked.clear()

        def explain(stop_at: str = stop_at) -> str:
            return "Ctrl-C" if stop_at in asked else ""

        watcher = Watcher(on_step=asked.append)
        (run,) = back_up(house, "checkpoint", watcher=watcher, cancelled=explain).runs
        assert run.point == "" or run.outcome in ("ok", "cancelled")
        assert [] == find_wrongs(house), stop_at
        assert () == find_unfinished(house)
