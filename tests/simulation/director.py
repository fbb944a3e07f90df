"""Strikes at the moments of one phase: in the place of the kernel, the administrator, the guest.

A kill is real: the phase runs in a forked process that ends there and then, so that no `finally`
of the product runs, its locks fall, and what it held open is closed.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from tests.house import DESTINATION
from tests.simulation.acts import act
from tests.simulation.devices import SOURCE, TARGET, WatchedDevice
from tests.simulation.migrating import MIGRATE
from tests.simulation.schedule import ENDINGS, Event
from tests.simulation.slots import RECORDS, set_active
from tests.simulation.survivors import Leash, Survivor
from tests.simulation.worlds import World
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model.job import StepName
from xenbackup.model.progress import SilentWatcher
from xenbackup.system import durable
from xenbackup.system.block_device import BlockDevice

EXIT_CODES = {"kill": 61, "power-cut": 62, "reboot": 63}
"""A survivor of what is no command that acts is an ordinary kill."""
MARKED_GONE = ".gone"
SPOOL = "/var/lib/xenbackup/spool"


@dataclass(kw_only=True)
class Ledger:
    """What happened: lines for a reader, acts that worked, kinds that struck.

    In a forked process (`descriptor` set) everything goes to a file as well, for the parent.
    """

    story: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    descriptor: int = -1

    def tell(self, line: str) -> None:
        self._add("story", line)

    def note_act(self, what: str) -> None:
        self._add("done", what)

    def note_strike(self, kind: str) -> None:
        self._add("struck", kind)

    def answer(self, name: str, value: object) -> None:
        self._add("answers", [name, value])

    def _add(self, where: str, what: object) -> None:
        self._take(where, what)
        if self.descriptor >= 0:
            os.write(self.descriptor, json.dumps([where, what]).encode() + b"\n")

    def _take(self, where: str, what: object) -> None:
        if where == "answers":
            assert isinstance(what, list)
            self.answers[what[0]] = what[1]
        else:
            getattr(self, where).append(what)

    def take_all(self, content: bytes) -> None:
        """What a forked process wrote down before it ended."""
        for line in content.splitlines():
            self._take(*json.loads(line))


@dataclass(kw_only=True)
class Director(SilentWatcher):
    """Counts the moments of a phase and lets its events strike; also the runner's watcher."""

    world: World
    preset: str
    uuid: str
    ledger: Ledger
    events: list[Event]
    records_moments: bool = False
    moments: list[str] = field(default_factory=list)
    host: SimulatedHost | None = None
    stopped: str = ""
    destination_full: bool = False
    leash: Leash | None = None
    awaits: Leash | None = None
    survivor: Survivor | None = None
    _count: int = 0
    _busy: bool = False

    def reach(self, moment: str, write_part: Callable[[], None] | None = None) -> None:
        """One moment: whatever is due here happens now. Only the main thread has moments."""
        if self._busy or threading.current_thread() is not threading.main_thread():
            return
        at, self._count = self._count, self._count + 1
        if self.records_moments:
            self.moments.append(moment)
        for event in self.events:
            due = event.moment == moment if event.moment else event.at == at
            if event.fault is not None or not due:
                continue
            if event.moment:
                event.moment, event.at = "", at
            if _is_excluded(event, moment, self.world):
                event.at += 1
            elif self._strike(event, moment, write_part):
                return

    def _strike(self, event: Event, moment: str, write_part: Callable[[], None] | None) -> bool:
        """True in a command that has outlived its caller: nobody hears of what strikes there."""
        name = event.what or event.kind
        if event.kind == "act":
            self._busy = True
            try:
                worked = self._act(event.what)
            finally:
                self._busy = False
            self.ledger.tell(f"{moment}: {name}{'' if worked else ' (did not work)'}")
            if worked:
                self.ledger.note_act(event.what)
                self.ledger.note_strike(name)
            return False
        self.ledger.tell(f"{moment}: {name}" + (f" ({event.place})" if write_part else ""))
        self.ledger.note_strike(name)
        if event.kind == "survivor" and self.survivor is not None and self.survivor.can_live_on:
            self._busy = True
            self.survivor.live_on()
            return True
        if event.kind in ENDINGS:
            if write_part is not None and event.place != "before":
                write_part()
            os._exit(EXIT_CODES.get(event.kind, EXIT_CODES["kill"]))
        if event.kind == "ctrl-c":
            self.stopped = "somebody pressed Ctrl-C"
        elif event.kind == "destination-full":
            self.destination_full = True
        elif event.kind == "image-cut-off":
            # What xl does not notice: it neither syncs nor minds what close() says.
            for image in self._host.place(SPOOL).glob("*.save"):
                os.truncate(image, image.stat().st_size * 3 // 4)
        elif event.kind == "destination-gone":
            self._take_destination_away()
        return False

    def _act(self, what: str) -> bool:
        """Nobody starts here a guest that he has sent to another host."""
        if what == "create" and MIGRATE in self.ledger.done:
            return False
        return act(self._host, self.world, what, self._find_run(), self.uuid)

    def _take_destination_away(self) -> None:
        """The disk of the volumes is pulled out, or that of the folder is not mounted any more."""
        if self.world.into_volumes:
            set_active(self._host, active=False)
            return
        folder = self._host.place(DESTINATION)
        if folder.with_suffix(MARKED_GONE).exists():
            return
        folder.rename(folder.with_suffix(MARKED_GONE))
        folder.mkdir()

    @property
    def _host(self) -> SimulatedHost:
        assert self.host is not None
        return self.host

    def _find_run(self) -> str:
        folder = self._host.place("/var/lib/xenbackup/journals")
        names = sorted(path.stem for path in folder.glob("*.jsonl")) if folder.is_dir() else []
        return names[-1] if names else ""

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        if not what.endswith(" memory"):  # told while a command has the host's lock
            self.reach(f"progress:{what}")

    def step_began(self, run_id: str, step: StepName) -> None:
        self.ledger.tell(f"step {step}")

    def rescue_began(self, run_id: str, reason: str) -> None:
        self.ledger.tell(f"rescue: {reason}")

    def warned(self, run_id: str, message: str) -> None:
        self.ledger.tell(f"warning: {message}")

    @contextmanager
    def direct(self, host: SimulatedHost) -> Iterator[None]:
        """The product's journal, its destination's writes and its syncs pass through here."""
        self.host = host
        host.on_boundary = self.reach
        self.survivor = Survivor(host, self.leash) if self.leash is not None else None
        run = self.survivor.wrap(host.run) if self.survivor is not None else host.run
        sleep = self.awaits.wrap(host.sleep) if self.awaits is not None else host.sleep
        open_volume = host.open_volume
        append, write_whole = durable.append_durably, durable.write_whole
        sync, put = os.fsync, os.pwrite

        def append_durably(descriptor: int, content: bytes) -> None:
            event = json.loads(content)["entry"]["event"]
            place = self._place_here()

            def write_part() -> None:
                os.write(descriptor, content[: len(content) // 2] if place == "torn" else content)

            self.reach(f"journal:{event}", write_part)
            self.ledger.tell(f"  journal: {event}")
            append(descriptor, content)

        def open_watched(path: str, *, writable: bool = False) -> BlockDevice:
            name = TARGET if writable else SOURCE
            return WatchedDevice(open_volume(path, writable=writable), name, self.reach)

        def write_all(descriptor: int, content: bytes | memoryview) -> None:
            if self.destination_full and _is_below_destination(host, descriptor):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_whole(descriptor, content)

        def pwrite(descriptor: int, content: bytes | memoryview, offset: int) -> int:
            if self.destination_full and _is_below_destination(host, descriptor):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return put(descriptor, content, offset)

        def fsync(descriptor: int) -> None:
            sync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.suffix == ".save":
                host.mark_synced(str(path))

        with (
            mock.patch.object(host, "run", run),
            mock.patch.object(host, "sleep", sleep),
            mock.patch.object(host, "open_volume", open_watched),
            mock.patch.object(durable, "append_durably", append_durably),
            mock.patch.object(durable, "write_whole", write_all),
            mock.patch("xenbackup.system.folder.write_whole", write_all),
            mock.patch.object(os, "pwrite", pwrite),
            mock.patch.object(os, "fsync", fsync),
        ):
            yield
        host.on_boundary = None

    def _place_here(self) -> str:
        return next(
            (
                event.place
                for event in self.events
                if event.kind in ENDINGS and (event.moment or event.at == self._count)
            ),
            "after",
        )


def _is_excluded(event: Event, moment: str, world: World) -> bool:
    """LVM and xl have locks: nobody else makes volumes or domains while one of them does.

    And nobody lets a domain run of which xl has built the half, nor sends away one that an old xl
    saves, for that destroys whatever it has saved: no program could make that good.
    """
    tool, _, stage = moment.partition(":")
    if event.what == MIGRATE and (tool == "xl-save" or moment == "journal:saving"):
        return world.destroys_what_it_saves
    if stage in ("begin", "end"):
        return False
    if event.what in ("remove-snapshot", "take-snapshot-name"):
        return tool.startswith("lv")
    if event.what == "unpause":
        return tool.endswith("-restore")
    return event.what == "create" and tool.endswith(("-restore", "-create", "-destroy", "-save"))


def _is_below_destination(host: SimulatedHost, descriptor: int) -> bool:
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    return any(path.is_relative_to(host.place(folder)) for folder in (DESTINATION, RECORDS))
