"""One story played: a process killed, recoveries killed, one let through, and the host judged."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree

from tests.crash.figures import Verdict
from tests.crash.grounds import Ground, Grounds
from tests.crash.processes import Ending, Processes, await_processes, end_processes
from tests.crash.stories import Story, Strike, draw_story
from tests.crash.tracing import Call
from tests.simulation.acts import Doings, find_guest
from tests.simulation.director import Ledger
from tests.simulation.judging import Start, judge_end, judge_start
from tests.simulation.restoring import restore_a_point
from tests.simulation.schedule import Schedule
from tests.simulation.worlds import build_house
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model.command import Command
from xenbackup.model.rescue import RescueAction
from xenbackup.operations.house import House
from xenbackup.operations.restore import list_incomplete_restores

GOOD, INCOMPLETE = 0, 13
UNKILLED_CODES = (0, 1, 3, 11, 13)
"""Of a process that was not killed itself, though a command of its may have been."""
RESTORES_LIMIT = 4


class Player:
    """Plays stories in a folder of its own; pristine hosts and rehearsals may be shared."""

    def __init__(self, folder: Path, shared: Path | None = None) -> None:
        self.folder = folder
        notes = folder / "notes"
        notes.mkdir(parents=True, exist_ok=True)
        self.processes = Processes(notes)
        self.grounds = Grounds((shared or folder) / "grounds")
        self._rehearsals: dict[str, tuple[Call, ...]] = {}

    def close(self) -> None:
        self.processes.close()

    def play(self, key: str) -> Verdict:
        """The verdict on a seed, or on a place of the sweep."""
        return self.play_story(draw_story(key, self.rehearse))

    def play_story(self, story: Story) -> Verdict:
        """The verdict; a defect of the product or of ours is one of its wrongs."""
        began = time.monotonic()
        place = self.folder / "host"
        self.grounds.copy_to(story.ground, place)
        game = _Game(story, place, self.processes)
        try:
            game.play()
        except Exception:  # noqa: BLE001 - whatever it is, the seed that shows it must be told
            game.verdict.wrongs.append(traceback.format_exc().strip().splitlines()[-1])
            game.tell(traceback.format_exc())
        finally:
            game.close()
            end_processes(place)
            rmtree(place)
        game.verdict.seconds = time.monotonic() - began
        return game.verdict

    def rehearse(self, ground: Ground, words: tuple[str, ...]) -> Sequence[Call]:
        """What these words do on such a host when nothing strikes; done once, kept in a file."""
        name = f"{ground.name}-{words[0]}"
        if name not in self._rehearsals:
            file = self.grounds.folder / f"{name}.json"
            if not file.exists():
                aside = file.with_suffix(f".{os.getpid()}")
                aside.write_text(
                    json.dumps([asdict(call) for call in self._rehearse(ground, words)])
                )
                aside.rename(file)
            kept = json.loads(file.read_text())
            calls = [Call(**{**entry, "tool": tuple(entry["tool"])}) for entry in kept]
            self._rehearsals[name] = tuple(calls)
        return self._rehearsals[name]

    def _rehearse(self, ground: Ground, words: tuple[str, ...]) -> tuple[Call, ...]:
        place = self.folder / "host"
        self.grounds.copy_to(ground, place)
        try:
            if words[0] == "restore":
                destroy_guest(place, ground)
            return self.processes.rehearse(place, words)
        finally:
            end_processes(place)
            rmtree(place)


class _Game:
    """The host of one story and everything that happens to it."""

    def __init__(self, story: Story, place: Path, processes: Processes) -> None:
        self.story = story
        self.ground = story.ground
        self.place = place
        self.processes = processes
        self.verdict = Verdict(key=story.key, title=story.describe(), mode=str(story.ground.mode))
        self.host = SimulatedHost(place, real_children=False)

    def tell(self, line: str) -> None:
        self.verdict.story.append(line)

    def wrong(self, text: str) -> None:
        self.verdict.wrongs.append(text)

    def close(self) -> None:
        self.host.close()

    def play(self) -> None:
        story = self.story
        start = judge_start(self.host, self.ground.world)
        if self.ground.verb == "restore":
            destroy_guest(self.place, self.ground)
        for fault in story.faults:
            self.tell(f"set: {fault.kind} of {fault.tool} {fault.verb} call {fault.nth}")
            self.host.set_fault(fault)
        self.host.close()
        first = self._process(self.ground.words, story.first)
        if first.killed and story.refused:
            self._expect_refusal()
        if first.killed:
            self._recover(story.recoveries)
        if self.ground.verb == "restore":
            self._complete_restore()
        if not await_processes(self.place):
            self.wrong("commands of ours live on and on")
        self.host.clear_faults()
        self._judge(start)
        if story.restores and not self.verdict.wrongs:
            house = self._house()
            done = restore_a_point(self.host, house, self.ground.world, Ledger())
            self.verdict.restored += done
            if done:
                self._judge(start)

    # Processes

    def _process(self, words: tuple[str, ...], strike: Strike | None) -> Ending:
        ending = self.processes.run(self.place, words, strike)
        self.tell(f"{' '.join(words)}: {_tell_ending(ending)}")
        for line in (ending.output + ending.errors).splitlines():
            self.tell(f"    {line}")
        self._look_for_defects(ending)
        if not ending.killed and ending.exit_code not in UNKILLED_CODES:
            self.wrong(f"{words[0]} ended with {ending.exit_code}")
        if ending.killed and strike is not None:
            self.verdict.places.append(ending.place)
            self.verdict.survivors += ending.survivors
            self.verdict.everything += strike.everything
        return ending

    def _look_for_defects(self, ending: Ending) -> None:
        """A traceback that somebody sees, or one that the product keeps in its state folder."""
        if "Traceback" in ending.errors + ending.output:
            said = ending.errors.strip().splitlines()[-1:]
            self.wrong(f"a traceback of {ending.words[0]}: {said}")
        for path in (self.place / "var/lib/xenbackup").glob("defect-*.log"):
            self.wrong(
                f"a defect of {ending.words[0]}: {path.read_text().strip().splitlines()[-1]}"
            )
            path.unlink()

    def _recover(self, strikes: Sequence[Strike]) -> None:
        """Recoveries are killed until one ends by itself; then one is let through undisturbed."""
        for strike in strikes:
            if not self._process(("recover",), strike).killed:
                break
            self.verdict.depth += 1
        ending = self._process(("recover",), None)
        incomplete = bool(list_incomplete_restores(self._house()))
        expected = INCOMPLETE if incomplete else GOOD
        if ending.exit_code != expected:
            self.wrong(f"recover ended with {ending.exit_code}, expected {expected}")
        again = self._process(("recover",), None) if incomplete else None
        if again is not None and again.exit_code != INCOMPLETE:
            self.wrong(f"recover ended with {again.exit_code} the second time")
        self.verdict.awaited += self._count_awaited()

    def _expect_refusal(self) -> None:
        """Another backup before recovery: refused where the guest's run was left unfinished."""
        ending = self._process(self.ground.words, None)
        if ending.exit_code not in (0, 11):
            self.wrong(
                f"{self.ground.words} beside an unfinished run ended with {ending.exit_code}"
            )

    def _complete_restore(self) -> None:
        """The same restore again, as often as it is killed or refused because of a survivor."""
        strike = self.story.again
        for _ in range(RESTORES_LIMIT):
            if self._guest_runs():
                if list_incomplete_restores(self._house()):
                    self._recover(())
                return
            ending = self._process(self.ground.words, strike)
            strike = None
            if ending.killed:
                self._recover(())
            elif ending.exit_code != GOOD and not await_processes(self.place):
                return
        self.wrong("the same restore again does not complete it")

    def _guest_runs(self) -> bool:
        with self.host.machine() as machine:
            guest = find_guest(machine.state, self.ground.world, "")
            return guest is not None and guest.executing

    def _count_awaited(self) -> int:
        told = f'"action":"{RescueAction.END_SURVIVORS}"'
        folder = self.place / "var/lib/xenbackup/journals"
        return sum(path.read_text().count(told) for path in folder.glob("*.jsonl"))

    # The end

    def _house(self) -> House:
        return build_house(self.host, self.ground.world, os.urandom)

    def _judge(self, start: Start) -> None:
        house = self._house()
        schedule = Schedule(seed=0, world=self.ground.world, preset=self.ground.preset)
        found = judge_end(self.host, house, schedule, start, Doings(), Ledger())
        self.verdict.wrongs += found.wrongs
        self.verdict.points = found.points
        for mark in list_incomplete_restores(house):
            self.wrong(f"the restore {mark.restore} is still marked {mark.condition}")
        with self.host.machine() as machine:
            for process in machine.state.processes:
                if process.real:
                    self.tell(f"left in the host's list: {process.argv}")


def destroy_guest(place: Path, ground: Ground) -> None:
    """What a restore is for."""
    host = SimulatedHost(place, real_children=False)
    argv = (ground.world.tool, "destroy", ground.world.guest)
    host.run(Command(argv=argv, timeout_seconds=60.0))
    host.close()


def _tell_ending(ending: Ending) -> str:
    if not ending.killed:
        return f"exit code {ending.exit_code} in {ending.seconds:.2f} s"
    return f"SIGKILL: {ending.place}; {ending.survivors} commands live on"
