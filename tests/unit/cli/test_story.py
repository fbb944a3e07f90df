"""`show RUN` as a newcomer reads it: what was done, where it was cut off, what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import Watcher, back_up, build_host, build_house, recover
from xenbackup.cli.page import Page
from xenbackup.cli.story import Story, find_story
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.run import DEBT_HINT
from xenbackup.operations.house import House
from xenbackup.records.journal import Journal, list_journals

NIGHT_SECONDS = 8 * 3600.0


class Killed(BaseException):
    """SIGKILL, as far as our own code can tell."""


def kill_at(moment: str) -> Callable[[str], None]:
    def kill(boundary: str) -> None:
        if boundary == moment:
            raise Killed

    return kill


def run_and_die(folder: Path, preset: str, moment: str) -> House:
    """A run killed at a boundary; the house that another process finds."""
    host = SimulatedHost(folder, on_boundary=kill_at(moment))
    with pytest.raises(Killed):
        back_up(build_house(host), preset)
    host.close()
    return build_house(SimulatedHost(folder))


def read_story(house: House) -> str:
    """The page in one line: how it is wrapped is not what is looked at."""
    story = find_the_story(house)
    page = story.report(Page(), house.host.now())
    assert max(len(line) for line in page.splitlines()) <= 80
    return " ".join(page.split())


def find_the_story(house: House) -> Story:
    (path,) = list_journals(house.journals_folder)
    story = find_story(house, path.stem)
    assert story is not None
    return story


def assert_in_order(text: str, *parts: str) -> None:
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not in its place in: {text}"
        at = found + len(part)


def test_run_that_was_killed_while_its_guest_was_saved_reads_as_a_story(tmp_path: Path) -> None:
    build_host(tmp_path / "host").close()
    house = run_and_die(tmp_path / "host", "snapshot", "xl-restore:begin")
    assert_in_order(
        read_story(house),
        "outcome: unfinished",
        "the guest: is down, saved, and waits for its restore",
        "the backup: none",
        "snapshots: not removed yet: xenvols/xb-",
        "TIME WHAT",
        "about to rebuild the guest from",
        "Hint: if no process is at work on it, `xenbackup recover` finishes or undoes it.",
    )
    house.host.sleep(NIGHT_SECONDS)
    assert [True] == [run.healed for run in recover(house)]
    text = read_story(house)
    assert_in_order(
        text,
        "outcome: failed",
        "away: 8 h 00 min",
        "the guest: came back as domain 3",
        "the backup: none: nothing of it was kept",
        "snapshots: removed",
        "run of job test for domain web began",
        "the memory image is complete and on disk (",
        "KiB)",
        "about to rebuild the guest from",
        "the run was cut off here; `xenbackup recover` took over",
        "rescue: looked at the guest: it is down and its memory image is complete. "
        "Next: restore the memory image",
        "the guest runs, its disks connected (domain 3, away 288",
        "xvdb is gone",
        "run ended: failed",
    )
    assert "Hint:" not in text, "there is nothing left to do"
    assert not re.search(r"\d{5,} bytes", text)


def test_reboot_of_the_host_is_part_of_the_story(tmp_path: Path) -> None:
    build_host(tmp_path / "host").close()
    house = run_and_die(tmp_path / "host", "snapshot", "xl-restore:begin")
    host = house.host
    assert isinstance(host, SimulatedHost)
    host.cut_power()
    recover(house)
    assert_in_order(
        read_story(house), "`xenbackup recover` took over, after the host had rebooted", "Next: "
    )


@pytest.mark.parametrize(
    ("days", "began", "cut_off"),
    [(1, "11-23", "11-24"), (366, "2026-11-23", "2027-11-24")],
    ids=["another day", "another year"],
)
def test_days_and_years_are_told_apart(tmp_path: Path, days: int, began: str, cut_off: str) -> None:
    build_host(tmp_path / "host").close()
    house = run_and_die(tmp_path / "host", "crash", "lvcreate:end")
    assert re.search(r"^00:00:0\d  run of job", find_the_page(house), re.M)
    house.host.sleep(days * 3 * NIGHT_SECONDS)
    recover(house)
    page = find_the_page(house)
    assert re.search(rf"^{began} 00:00:0\d  run of job", page, re.M)
    assert re.search(rf"^{cut_off} 00:00:\d\d  the run was cut off here", page, re.M)


def test_guest_that_was_booted_afresh_is_not_said_to_have_come_back(tmp_path: Path) -> None:
    build_host(tmp_path / "host").close()
    house = run_and_die(tmp_path / "host", "cold", "xl-destroy:end")
    host = house.host
    assert isinstance(host, SimulatedHost)
    (image,) = host.place(house.configuration.spool_path).glob("*.save")
    image.unlink()
    recover(house)
    assert "the guest: was booted afresh as domain 3: its memory is lost" in read_story(house)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (e.Resuming(), "the guest: was let run, and was not seen healthy since"),
        (e.Booting(), "the guest: may be down: it is to be booted afresh, its memory is lost"),
        (
            e.Booted(domid=9),
            "the guest: was booted afresh, and was not seen healthy since: its memory is lost",
        ),
    ],
)
def test_guest_that_was_let_run_does_not_wait_for_its_restore(
    tmp_path: Path, last: e.AnyEntry, told: str
) -> None:
    build_host(tmp_path / "host").close()
    house = run_and_die(tmp_path / "host", "snapshot", "xl-restore:begin")
    (path,) = list_journals(house.journals_folder)
    journal = Journal(path, house.host.now)
    journal.reopen()
    journal.write(last)
    journal.close()
    assert told in read_story(house)


def find_the_page(house: House) -> str:
    return find_the_story(house).report(Page(), house.host.now())


def test_what_is_owed_is_named_with_the_way_out(tmp_path: Path) -> None:
    host = build_host(tmp_path / "host")
    house = build_house(host)
    host.set_fault(
        Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="  web is in use.\n")
    )
    back_up(house, "checkpoint")
    text = read_story(house)
    assert_in_order(
        text,
        "the guest: runs on as domain 1",
        "the backup: good: its recovery point is complete",
        "snapshots: not removed yet: xenvols/xb-",
        "owed: ",
        "in use",
        f"Hint: {DEBT_HINT}",
    )
    host.clear_faults()
    recover(house)
    text = read_story(house)
    assert_in_order(text, "snapshots: removed", "`xenbackup recover` came back for what is owed")
    assert "Hint:" not in text


def test_guest_that_somebody_else_took_is_said_to_be_left_alone(tmp_path: Path) -> None:
    host = build_host(tmp_path / "host")
    house = build_house(host)

    def destroy(step: StepName) -> None:
        if step is StepName.SNAPSHOT:
            from xenbackup.model.command import Command

            host.run(Command(argv=("xl", "destroy", "web"), timeout_seconds=60))

    back_up(house, "crash", watcher=Watcher(on_step=destroy))
    assert "the guest: left alone: somebody destroyed it during the run" in read_story(house)
