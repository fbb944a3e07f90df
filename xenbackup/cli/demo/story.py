"""The story of the demo: a night's backup, a disaster and a restore, a failure undone."""

from __future__ import annotations

from pathlib import Path

from xenbackup import bootstrap
from xenbackup.cli.demo.building import (
    CONFIGURATION,
    GUESTS,
    PASSTHROUGH_GUEST,
    build_demo,
    job_path,
)
from xenbackup.cli.demo.telling import NotAsTold, Teller
from xenbackup.cli.history import list_history
from xenbackup.cli.invocation import Invocation
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.errors import ExitCode
from xenbackup.model.domain import Domain
from xenbackup.model.job import Consistency
from xenbackup.model.volume import TAG_OURS
from xenbackup.operations.house import House
from xenbackup.operations.points import list_points
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.points import LATEST
from xenbackup.system.durable import replace_file

VICTIM = "web"
VICTIM_VOLUME = "/dev/xenvols/web_root"
BUSY_GUEST = "db"
OVERFLOW_JOB = "too-small"
_OVERFLOW_TEXT = f"""# Written by the demo, and removed again: a snapshot with far too little room.
domains = ["{BUSY_GUEST}"]
destination = "local"
steps = [
    "sync", "pause", {{step = "snapshot", size = "4MiB"}}, "unpause", "copy", "remove-snapshot",
]
"""
_MIB = 1 << 20
_BUSY_BYTES_A_TICK = 4 * _MIB
_BUSY_REGION_BYTES = 16 * _MIB


def tell_story(
    invocation: Invocation, directory: Path, *, kept: bool
) -> tuple[tuple[str, bool], ...]:
    """Build the host in `directory` and tell the story; returns every check, good or not.

    Raises: UsageError for a directory that is not empty; Interrupted.
    """
    teller = Teller(invocation, directory)
    build_demo(directory)
    host = SimulatedHost(directory)
    try:
        _Story(host, teller).tell()
        teller.tell(f"All {len(teller.checks)} checks of the demo hold.")
        if kept:
            _tell_how_to_go_on(teller)
    except NotAsTold as claim:
        invocation.output.remark(f"The demo ends here, for this does not hold: {claim}.")
    finally:
        host.close()
    return tuple(teller.checks)


class _Story:
    """The chapters. `house` sees the host as the commands do, for the checks between them."""

    def __init__(self, host: SimulatedHost, teller: Teller) -> None:
        self._host = host
        self._teller = teller
        self._house = _open_house(host, teller.directory)

    def tell(self) -> None:
        self._open()
        self._back_up()
        self._lose_and_restore()
        self._overflow()
        self._close()

    def _open(self) -> None:
        say = self._teller
        say.chapter("A Xen host")
        say.tell(
            "Simulated, in a directory, with the real tools' commands and output. Its guests "
            "count in memory and write the count to their disks, so each of them notices when "
            "its memory and its disks are not of the same instant, or when a write was lost."
        )
        say.tool(self._host, "xl", "list")
        self._check_all_run()
        say.tell(
            f"{VICTIM} has one disk, {BUSY_GUEST} has two, and {PASSTHROUGH_GUEST} owns a "
            "network card, which is why its memory cannot be saved."
        )
        code = say.xenbackup("destination", "init", "local")
        say.check("the destination is ready", code == ExitCode.GOOD)

    def _back_up(self) -> None:
        say = self._teller
        say.chapter("The night")
        say.tell("The job that is shipped for every night, run now.")
        code = say.xenbackup("run", "nightly")
        say.check("every guest is backed up", code == ExitCode.GOOD)
        self._check_all_run()
        self._check_clean()
        say.xenbackup("points")
        expected = dict.fromkeys(GUESTS, Consistency.MEMORY)
        expected[PASSTHROUGH_GUEST] = Consistency.CRASH
        found = {point.domain: point.consistency for point in list_points(self._house).points}
        say.check(
            f"with memory and disks of one instant; {PASSTHROUGH_GUEST} with its disks alone",
            found == expected,
        )

    def _lose_and_restore(self) -> None:
        say = self._teller
        say.chapter("The disaster")
        self._host.sleep(30)
        counted = self._count_of(VICTIM)
        domain = self._find(VICTIM)
        say.tell(f"Half a minute later {VICTIM} has counted to {counted}. Then somebody errs:")
        say.tool(self._host, "xl", "destroy", str(domain.domid))
        say.tell(f"… and {VICTIM_VOLUME} is overwritten with zeros from end to end.")
        self._zero_volume(VICTIM_VOLUME)
        say.check(f"{VICTIM} is gone", self._house.toolstack.find_domain(domain.uuid) is None)
        say.chapter("The restore")
        code = say.xenbackup("restore", f"{VICTIM}@{LATEST}", "--memory", "--start")
        say.check(f"{VICTIM} is restored with its memory", code == ExitCode.GOOD)
        resumed = self._count_of(VICTIM)
        self._host.sleep(5)
        later = self._count_of(VICTIM)
        say.tell(
            f"It runs on where the night had found it: at {resumed}, not at {counted} and not at "
            f"0. Five seconds later it is at {later}. The guests themselves say:"
        )
        say.quote(*read_oracle(self._host).text.splitlines())
        say.check(
            f"{VICTIM} counts on from its own past", 0 < resumed < counted and resumed < later
        )
        self._check_all_run()

    def _overflow(self) -> None:
        say = self._teller
        say.chapter("A backup that fails")
        say.tell(
            f"{BUSY_GUEST} begins to write a great deal, and a job gives its snapshots 4 MiB of "
            "room. They are watched while they are read, and would be extended in time; but these "
            "are full before anybody can look, and a snapshot that was full is worthless. The run "
            "is undone and tried once more, with twice the room: too little again. It must fail, "
            "and leave nothing behind but the older points."
        )
        before = list_points(self._house).points
        path = job_path(say.directory, OVERFLOW_JOB)
        replace_file(path, _OVERFLOW_TEXT.encode())
        calm = self._set_writing(BUSY_GUEST, _BUSY_BYTES_A_TICK, _BUSY_REGION_BYTES)
        try:
            code = say.xenbackup("run", OVERFLOW_JOB)
        finally:
            self._set_writing(BUSY_GUEST, *calm)
            path.unlink()
        say.check("the run fails and says why", code == ExitCode.FAILED)
        tried = [run for run in list_history(self._house, 2) if run.job == OVERFLOW_JOB]
        say.check("it was tried twice", len(tried) == 2)
        say.tell("What the second did, and how it took it back, as its journal has it:")
        say.xenbackup("show", tried[-1].run)
        listing = list_points(self._house)
        say.check(
            "no point was added, and nothing of a half-made one is left",
            listing.points == before and not listing.leftovers and not listing.damaged,
        )

    def _close(self) -> None:
        say = self._teller
        say.tool(self._host, "lvs", "--options", "lv_name,lv_size,lv_attr,origin", "xenvols")
        self._check_clean()
        say.tool(self._host, "xl", "list")
        self._check_all_run()
        code = say.xenbackup("recover")
        say.check("nothing is left to recover", code == ExitCode.GOOD)

    # What the checks look at

    def _check_all_run(self) -> None:
        domains = self._house.toolstack.list_domains()
        running = {domain.name for domain in domains if domain.state.alive}
        report = read_oracle(self._host)
        self._teller.check(
            "all three guests run, and none found anything wrong with its memory or disks",
            running == set(GUESTS) and not report.corruptions,
        )

    def _check_clean(self) -> None:
        ours = [volume for volume in self._house.lvm.list_volumes() if TAG_OURS in volume.tags]
        unfinished = find_unfinished(self._house)
        self._teller.check("no snapshot is left", not ours and not unfinished)

    def _find(self, name: str) -> Domain:
        for domain in self._house.toolstack.list_domains():
            if domain.name == name:
                return domain
        raise NotAsTold(f"{name} is there")

    def _count_of(self, name: str) -> int:
        """How far a guest has counted in its memory."""
        with self._host.machine() as machine:
            for domain in machine.state.domains:
                if domain.name == name and domain.ram is not None:
                    return domain.ram.counter
        raise NotAsTold(f"{name} counts")

    def _zero_volume(self, path: str) -> None:
        device = self._host.open_volume(path, writable=True)
        try:
            zeros = memoryview(bytes(_MIB))
            for offset in range(0, device.size_bytes, _MIB):
                device.write_at(offset, zeros[: min(_MIB, device.size_bytes - offset)])
            device.flush()
        finally:
            device.close()

    def _set_writing(self, name: str, bytes_a_tick: int, region_bytes: int) -> tuple[int, int]:
        """How much a guest writes from now on; returns what it was."""
        with self._host.machine() as machine:
            program = machine.state.program_of(name)
            before = (program.scratch_bytes, program.scratch_region_bytes)
            targets = [domain.ram for domain in machine.state.domains if domain.name == name]
            for target in (program, *targets):
                if target is not None:
                    target.scratch_bytes = bytes_a_tick
                    target.scratch_region_bytes = region_bytes
            machine.commit()
        return before


def _open_house(host: SimulatedHost, directory: Path) -> House:
    return bootstrap.open_house(host, directory / CONFIGURATION)


def _tell_how_to_go_on(teller: Teller) -> None:
    where = f"xenbackup --simulated {teller.directory}"
    teller.chapter("Go on")
    teller.quote(
        f"{where} points",
        f"{where} show {BUSY_GUEST}@{LATEST}",
        f"{where} run nightly",
        f"{where} plan weekly-cold",
        f"python -m xenbackup.dom0.simulated {teller.directory} xl list",
    )
