"""One seed played: the run, what strikes it, recoveries to the end, and the verdict."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from tests.house import DESTINATION
from tests.simulation.acts import Doings, act, find_guest, remove_foreign_volumes
from tests.simulation.director import EXIT_CODES, MARKED_GONE, Director, Ledger
from tests.simulation.figures import Verdict
from tests.simulation.judging import judge_end, judge_start
from tests.simulation.migrating import AWAY_SUFFIX, MIGRATE, SERVICE_SAVED, end_migration
from tests.simulation.quickening import quickened
from tests.simulation.restoring import restore_a_point
from tests.simulation.schedule import ENDINGS, Event, Schedule, draw_schedule
from tests.simulation.slots import set_active
from tests.simulation.survivors import Leash
from tests.simulation.worlds import (
    ROOMY_EXTENTS,
    Shelf,
    World,
    build_house,
    leave_free,
    run_nightly,
)
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.faults import read_faults
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.xendomains import start_domains, stop_domains
from xenbackup.errors import XenbackupError
from xenbackup.model.command import Command
from xenbackup.operations.house import House
from xenbackup.operations.recover import recover_runs
from xenbackup.operations.runs import find_unfinished

RECOVERIES_LIMIT = 4
SAVING, VERIFIED = "  journal: saving", "  journal: image-verified"
RESTORING = "  journal: restoring"


class Player:
    """Plays seeds in a folder of its own, with hosts that it builds once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = Shelf(folder / "pristine")
        self._moments: dict[tuple[World, str], tuple[str, ...]] = {}
        (folder / "pristine").mkdir(parents=True, exist_ok=True)

    def play(self, seed: int) -> Verdict:
        """The verdict of a seed; a defect of the product or of ours is one of its wrongs."""
        return self.play_schedule(draw_schedule(seed, self.list_moments))

    def play_schedule(self, schedule: Schedule) -> Verdict:
        """The verdict of a story, drawn by a seed or written by hand."""
        with quickened():
            return self._play(schedule)

    def _play(self, schedule: Schedule) -> Verdict:
        began = time.monotonic()
        place = self.folder / f"seed-{schedule.seed}"
        game = _Game(schedule, place)
        self.shelf.copy_to(schedule.world, place)
        try:
            game.play()
        except Exception:  # noqa: BLE001 - whatever it is, the seed that shows it must be told
            game.wrongs.append(traceback.format_exc().strip().splitlines()[-1])
            game.ledger.tell(traceback.format_exc())
        finally:
            game.finish()
            rmtree(place)
        verdict = game.conclude()
        verdict.seconds = time.monotonic() - began
        return verdict

    def list_moments(self, world: World, preset: str) -> tuple[str, ...]:
        """The moments of a run that nothing disturbs."""
        known = self._moments.get((world, preset))
        if known is None:
            place = self.folder / "count"
            self.shelf.copy_to(world, place)
            game = _Game(Schedule(seed=0, world=world, preset=preset), place)
            with quickened():
                known = tuple(game.count_moments())
            rmtree(place)
            self._moments[(world, preset)] = known
        return known


class _Game:
    """The host of one seed and everything that happens to it."""

    def __init__(self, schedule: Schedule, place: Path) -> None:
        self.schedule = schedule
        self.world = schedule.world
        self.place = place
        self.ledger = Ledger()
        self.wrongs: list[str] = []
        self.deaths = self.recoveries = self.survived = 0
        self.survivor: tuple[Leash, int] | None = None
        self.phase = 0
        self.uuid = ""
        self.verdict = Verdict(
            seed=schedule.seed, title=schedule.describe(), wrongs=self.wrongs, story=[], struck=[]
        )
        self._host: SimulatedHost | None = None
        self._foreign_removed = 0

    @property
    def host(self) -> SimulatedHost:
        """The host as this process sees it between phases."""
        if self._host is None:
            self._host = SimulatedHost(self.place)
        return self._host

    def finish(self) -> None:
        self._end_survivor(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None

    def count_moments(self) -> list[str]:
        self._prepare()
        director = self._make_director([])
        director.records_moments = True
        self._run(director, "backup", _back_up)
        outcome = self.ledger.answers.get("outcome")
        if outcome != "ok":
            raise AssertionError(f"an undisturbed run ended as {outcome}: {self.ledger.story}")
        return director.moments

    def play(self) -> None:
        self._prepare()
        self.start = judge_start(self.host, self.world)
        self._begin_phase("backup", _back_up, self._take_events())
        if self.schedule.interlude and self.deaths:
            self._play_interlude()
        while self.phase < len(self.schedule.phases):
            if not self._is_unfinished() and not self.deaths:
                break
            self._begin_phase("recovery", _recover, self._take_events())
            self.recoveries += 1
        self._heal()
        self._recover_to_the_end()
        self._end_survivor()
        self._judge()
        if self.schedule.again and not self.wrongs:
            self._back_up_again()
        if self.schedule.restores and not self.wrongs:
            self.verdict.restored += restore_a_point(
                self.host, self._house(self.host), self.world, self.ledger
            )
            self._judge()

    def _play_interlude(self) -> None:
        """Where nothing but the log of xl will tell it: before our own restore, and all by xl."""
        with self.host.machine() as machine:
            away = find_guest(machine.state, self.world, self.uuid) is None
        done = {"rebooted", MIGRATE, "rename"}.intersection(self.ledger.done)
        if not away or done or self.survivor or self.world.tool != "xl":
            return
        if VERIFIED not in self.ledger.story or RESTORING in self.ledger.story:
            return
        if act(self.host, self.world, "create", "", self.uuid):
            self.ledger.note_act("create")
            self.ledger.note_strike("started by a person, then a power cut")
            self.ledger.tell("a person starts the guest, and works in it")
            self.host.sleep(30.0)
            self._reboot_host(orderly=False)

    def conclude(self) -> Verdict:
        verdict = self.verdict
        verdict.story = self.ledger.story
        verdict.struck = self.ledger.struck
        verdict.deaths, verdict.recoveries = self.deaths, self.recoveries
        verdict.survivors = self.survived
        verdict.outcome = str(self.ledger.answers.get("outcome", "cut off"))
        return verdict

    def _prepare(self) -> None:
        schedule, host = self.schedule, self.host
        with host.machine() as machine:
            found = find_guest(machine.state, self.world, "")
            self.uuid = found.uuid if found is not None else ""
            machine.state.program_of(self.world.guest).suspend = schedule.manner
            if schedule.free_extents:
                leave_free(machine, schedule.free_extents)
            if schedule.read_bytes_per_second:
                machine.state.read_bytes_per_second = schedule.read_bytes_per_second
            machine.commit()
        if schedule.autostart and self.world.guest != "off":
            link = host.place(f"/etc/xen/auto/{self.world.guest}.cfg")
            link.write_text(host.place(f"/etc/xen/{self.world.guest}.cfg").read_text())
        if schedule.paused_before:
            argv = (self.world.tool, "pause", self.world.guest)
            host.run(Command(argv=argv, timeout_seconds=60.0))

    def _take_events(self) -> list[Event]:
        events = self.schedule.phases[self.phase]
        self.phase += 1
        return events

    def _make_director(self, events: list[Event]) -> Director:
        return Director(
            world=self.world,
            preset=self.schedule.preset,
            uuid=self.uuid,
            ledger=self.ledger,
            events=events,
        )

    def _house(self, host: SimulatedHost) -> House:
        chosen = random.Random(f"{self.schedule.seed}/{self.phase}/{self.recoveries}")
        return build_house(host, self.world, chosen.randbytes)

    # Phases

    def _begin_phase(
        self, name: str, work: Callable[[House, Director], None], events: list[Event]
    ) -> None:
        """One process of ours, from its beginning to its end or its death."""
        self.ledger.tell(f"== {name}")
        for event in events:
            if event.fault is not None:
                self.ledger.tell(f"set: {event.describe()}")
                self.host.set_fault(event.fault)
        director = self._make_director(events)
        director.awaits = self.survivor[0] if self.survivor else None
        if not any(event.kind in ENDINGS for event in events):
            self._run(director, name, work)
            self._end_survivor()
            return
        self.close()
        waits = [event.waits for event in events if event.kind == "survivor"]
        leash = Leash(waits=waits[0]) if waits else None
        notes = self.place / "notes"
        descriptor = os.open(notes, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        pid = os.fork()
        if pid == 0:
            gc.disable()
            code = 70
            try:
                if leash is not None:
                    leash.become_caller()
                    director.leash = leash
                self.ledger.descriptor = descriptor
                self._run(director, name, work)
                code = 0
            finally:
                os._exit(code)
        lives_on = leash is not None and leash.become_watcher()
        status = 0 if lives_on else os.waitpid(pid, 0)[1]
        os.close(descriptor)
        self.ledger.take_all(notes.read_bytes())
        notes.unlink()
        if leash is not None and lives_on:
            self.deaths += 1
            self.survivor = (leash, pid)
            return
        if leash is not None:
            leash.close()
        code = os.waitstatus_to_exitcode(status)
        ended = next((kind for kind, known in EXIT_CODES.items() if known == code), "")
        if code and not ended:
            self.wrongs.append(f"the process of the {name} ended with {code}")
        if ended:
            self.deaths += 1
        else:
            self._end_survivor()
        if ended in ("power-cut", "reboot"):
            self._reboot_host(orderly=ended == "reboot")

    def _end_survivor(self, signal_number: int = 0) -> None:
        """A command that still lives on goes on to its end now, or dies with the host."""
        if self.survivor is None:
            return
        leash, pid = self.survivor
        self.survivor = None
        if signal_number:
            os.kill(pid, signal_number)
        leash.let_go()
        leash.close()
        os.waitpid(pid, 0)
        self.survived += 1

    def _run(self, director: Director, name: str, work: Callable[[House, Director], None]) -> None:
        host = SimulatedHost(self.place)
        try:
            with director.direct(host):
                work(self._house(host), director)
        except XenbackupError as error:
            self.ledger.tell(f"{name} raised {type(error).__name__}: {error.message}")
            self.ledger.answer("outcome", f"raised {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - a defect: told with the seed, never hidden
            self.ledger.tell(traceback.format_exc())
            self.ledger.answer("defect", f"{name}: {type(error).__name__}: {error}")
        finally:
            host.close()

    def _reboot_host(self, *, orderly: bool) -> None:
        """The host goes down, with or without its service saving the guests, and comes back."""
        self._end_survivor(signal.SIGKILL)
        host, store = self.host, Store(self.place)
        self._clear_faults()
        with host.machine() as machine:
            found = find_guest(machine.state, self.world, self.uuid)
            running = found is not None and found.executing
            by_hand = found is not None and (
                self.schedule.paused_before or "pause" in self.ledger.done
            )
        saved = False
        if orderly:
            self._end_migration()
            stop_domains(store, {})
            for path in host.place("/var/lib/xen/save").iterdir():
                if path.name == self.world.guest:
                    saved = inspect_memory_image(path).complete
                if path.name.endswith(AWAY_SUFFIX):
                    self.ledger.note_act(SERVICE_SAVED)
                host.mark_synced(str(path))
        lost = host.cut_power()
        marks = [line for line in self.ledger.story if line in (SAVING, VERIFIED)]
        if marks[-1:] == [VERIFIED] and any(path.endswith(".save") for path in lost):
            self.wrongs.append(f"a verified image was lost with the power: {lost}")
        self.ledger.tell(f"the host went down; running {running}, saved {saved}, lost {lost}")
        if (running or by_hand) and not saved and not self.schedule.autostart:
            self.ledger.note_act("cut-while-running")
        self.ledger.note_act("rebooted")
        if self.schedule.xendomains_first:
            self._start_xendomains(store)
        store.close()

    def _start_xendomains(self, store: Store) -> None:
        problems = start_domains(store, {})
        self.ledger.tell(f"xendomains: {problems or 'done'}")

    # The end

    def _is_unfinished(self) -> bool:
        return bool(find_unfinished(self._house(self.host)))

    def _heal(self) -> None:
        """No more faults: commands work, the destination is back and has room."""
        self._clear_faults()
        self._end_migration()
        folder = self.host.place(DESTINATION)
        gone = folder.with_suffix(MARKED_GONE)
        if self.world.into_volumes:
            set_active(self.host, active=True)
        if gone.exists():
            left = [path.name for path in folder.iterdir()]
            if left:
                self.wrongs.append(f"written where no destination was mounted: {left}")
                rmtree(folder)
            else:
                folder.rmdir()
            gone.rename(folder)

    def _end_migration(self) -> None:
        """The other host has answered by now; or it never does, and the guest stands here."""
        if not self.schedule.handshake_fails and end_migration(self.host):
            self.ledger.tell("the migrated guest is gone")

    def _clear_faults(self) -> None:
        for fault in read_faults(self.place):
            if fault.strikes or fault.tool in ("read", "write"):
                self.ledger.note_strike(str(fault.kind))
        self.host.clear_faults()

    def _recover_to_the_end(self) -> None:
        for _ in range(RECOVERIES_LIMIT):
            if not self._is_unfinished():
                break
            self.recoveries += 1
            self._begin_phase("recovery, undisturbed", _recover, [])
        if self._is_unfinished() and self.ledger.done.count("take-snapshot-name"):
            self._expect_debt()
            self._remove_foreign_volumes()
            self._begin_phase("recovery, the way cleared", _recover, [])
        if "rebooted" in self.ledger.done and not self.schedule.xendomains_first:
            store = Store(self.place)
            self._start_xendomains(store)
            store.close()
        if "take-snapshot-name" in self.ledger.done and not self._foreign_removed:
            self._remove_foreign_volumes()

    def _remove_foreign_volumes(self) -> None:
        """The volume that bears a name of ours and is not ours must still be there till now."""
        self._foreign_removed = remove_foreign_volumes(self.host)
        if not self._foreign_removed:
            self.wrongs.append("somebody else's volume was removed")

    def _expect_debt(self) -> None:
        self.verdict.owed += 1
        for run_id, record in find_unfinished(self._house(self.host)):
            if record is None or not record.debts:
                self.wrongs.append(f"run {run_id} is unfinished and says no debt")

    def _judge(self) -> None:
        doings = Doings(done=self.ledger.done)
        found = judge_end(
            self.host, self._house(self.host), self.schedule, self.start, doings, self.ledger
        )
        self.wrongs += found.wrongs
        self.verdict.points, self.verdict.memory_points = found.points, found.memory_points
        self.verdict.points_in_volumes = found.points if self.world.into_volumes else 0
        self.verdict.overflowed, self.verdict.extended = found.overflowed, found.extended
        defect = self.ledger.answers.get("defect")
        if defect:
            self.wrongs.append(f"a traceback: {defect}")

    def _back_up_again(self) -> None:
        """What the first run left must not disturb the next one."""
        with self.host.machine() as machine:
            found = find_guest(machine.state, self.world, self.uuid)
            state = machine.state
            whole = found is not None and found.executing and found.name == self.world.guest
            obeys = found is None or state.program_of(found.name).suspend == "obeys"
            state.read_bytes_per_second = 200 << 20
            if found is not None and found.ram is not None:
                found.ram.scratch_bytes = 4096
            leave_free(machine, ROOMY_EXTENTS)
            machine.commit()
        if not whole or not obeys or not self.start.ran:
            return  # one that was shut off and was started since is no guest for this job any more
        self._begin_phase("second backup", _back_up, [])
        self.verdict.repeated += 1
        if self.ledger.answers.get("outcome") != "ok":
            self.wrongs.append(f"the next backup ended as {self.ledger.answers.get('outcome')}")
        self._judge()


def _back_up(house: House, director: Director) -> None:
    """One round for the guest, as `xenbackup backup JOB` does it."""
    world, preset = director.world, director.preset
    result = run_nightly(house, world, preset, director, lambda: director.stopped)
    for run in result.runs:
        director.ledger.tell(f"run {run.run}: {run.outcome} {run.error}")
        director.ledger.answer("outcome", str(run.outcome))
        director.ledger.answer("point", run.point)


def _recover(house: House, director: Director) -> None:
    for run in recover_runs(house, director):
        director.ledger.tell(f"recovered {run.run}: healed {run.healed} {' / '.join(run.messages)}")
