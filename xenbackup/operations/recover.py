"""Recovery: every run that was left unfinished is finished or undone, guest first."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from xenbackup.errors import JournalDamaged, Locked, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.job import DestinationKind
from xenbackup.model.progress import RunWatcher, SilentWatcher
from xenbackup.model.record import RunRecord
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.reconciling import refresh_catalog
from xenbackup.operations.runs import complete_catalog, find_unfinished
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.observing import observe_world
from xenbackup.pipeline.undo import undo_run
from xenbackup.planning.rescue import wants_patience
from xenbackup.records.journal import Journal, list_journals, read_journal
from xenbackup.storage.destination import PointStore
from xenbackup.storage.spool import Spool
from xenbackup.storage.unknown import UnknownDestination

_log = structlog.get_logger("xenbackup.recovery")


@dataclass(frozen=True, kw_only=True)
class RecoveredRun:
    """What recovery made of one run: healed, or what is left and why."""

    run: str
    domain: str
    healed: bool
    running: bool
    messages: tuple[str, ...]


def recover_runs(house: House, watcher: RunWatcher) -> tuple[RecoveredRun, ...]:
    """Look at every unfinished run, and finish or undo it. Idempotent, and itself killable.

    A run whose domain is locked is alive in another process: it is left alone and said so. One
    that cannot be recovered, for whatever reason, keeps no other guest waiting.

    Raises: Locked when another recovery works on this host.
    """
    with house.lock_recovery():
        known = {path.stem for path in list_journals(house.journals_folder)}
        unfinished = find_unfinished(house)
        recovered = tuple(
            _try_recovery(house, run_id, record, watcher)
            for run_id, record in _order_guests_first(house, unfinished)
        )
        with suppress(XenbackupError):  # an index: it never fails what it lists
            complete_catalog(house)
        for destination in sorted(_list_written_over(unfinished)):
            refresh_catalog(house, destination)
        with suppress(XenbackupError):  # tried again by every recovery
            _clear_spool(house, known - {run_id for run_id, _ in unfinished})
        return recovered


def _clear_spool(house: House, ended: set[str]) -> None:
    """Remove what ended runs left in the spool: it was away, or full of errors, when they ended.

    Raises: StateFailed.
    """
    spool = Spool(house.host.place(house.configuration.spool_path))
    for run_id in sorted({spooled.run for spooled in spool.list_files()} & ended):
        spool.remove(run_id)


def _list_written_over(found: tuple[tuple[str, RunRecord | None], ...]) -> set[str]:
    """Destinations whose volumes may not hold any more what they held before these runs."""
    specs = {record.start.plan.destination for _, record in found if record is not None}
    return {spec.name for spec in specs if spec.kind is DestinationKind.VOLUME}


def _order_guests_first(
    house: House, found: tuple[tuple[str, RunRecord | None], ...]
) -> tuple[tuple[str, RunRecord | None], ...]:
    """Runs whose guest may be down come first: clearing up after others can take long. Of those
    the ones that can be brought back at once: others wait for minutes for what may never come.
    """
    guests = [run for run in found if run[1] is not None and not run[1].guest_settled]
    waiting = {run for run, _ in guests if len(guests) > 1 and _must_wait(house, run)}
    at_once = [run for run in guests if run[0] not in waiting]
    later = [run for run in guests if run[0] in waiting]
    return (*at_once, *later, *(run for run in found if run not in guests))


def _must_wait(house: House, run_id: str) -> bool:
    """Would recovery only wait at first? Nothing is done and nothing written here, and what cannot
    be seen is found out by recovery itself.
    """
    try:
        journal = Journal(_find_journal(house, run_id), house.host.now)
        journal.look()
        context = RunContext(
            host=house.host,
            toolstack=house.toolstack,
            lvm=house.lvm,
            journal=journal,
            destination=UnknownDestination(journal.record.start.plan.destination.name, ""),
            watcher=SilentWatcher(),
            cancelled=lambda: "",
        )
        return wants_patience(context.record, observe_world(context, ()))
    except (XenbackupError, OSError):
        return False


def settle_debts(house: House, watcher: RunWatcher) -> tuple[RecoveredRun, ...]:
    """Try again to remove what runs owe; their guests need nothing any more.

    Runs that were cut off are left to recovery proper. While that is at work nothing is done here.
    """
    owing = [(run, record) for run, record in find_unfinished(house) if record and record.owes]
    if not owing:
        return ()
    try:
        with house.lock_recovery():
            return tuple(_try_recovery(house, run, record, watcher) for run, record in owing)
    except Locked:
        return ()


def _try_recovery(
    house: House, run_id: str, record: RunRecord | None, watcher: RunWatcher
) -> RecoveredRun:
    """Raises nothing: the next guest is waiting."""
    try:
        return _recover_run(house, run_id, record, watcher)
    except XenbackupError as error:
        message = error.message
    except Exception as error:  # noqa: BLE001 - told, and looked at again by the next recovery
        _log.exception("recovery-defect", run=run_id)
        message = f"{type(error).__name__}: {error}"
    return RecoveredRun(
        run=run_id,
        domain=record.start.plan.domain.name if record is not None else "",
        healed=False,
        running=False,
        messages=(message,),
    )


def _recover_run(
    house: House, run_id: str, record: RunRecord | None, watcher: RunWatcher
) -> RecoveredRun:
    if record is None:
        return RecoveredRun(
            run=run_id,
            domain="",
            healed=False,
            running=False,
            messages=(f"journal {run_id} cannot be read: look at it with `xenbackup show`",),
        )
    domain = record.start.plan.domain
    identity = domain.configured_uuid or domain.name
    try:
        with house.lock_domain(identity, f"recover {domain.name}"):
            return _undo(house, run_id, watcher)
    except Locked:
        return RecoveredRun(
            run=run_id,
            domain=domain.name,
            healed=True,
            running=True,
            messages=("another process is at work on it",),
        )


def _undo(house: House, run_id: str, watcher: RunWatcher) -> RecoveredRun:
    """With the domain's lock held: read the journal once more, since its run may have ended."""
    with ExitStack() as held:
        journal = Journal(_find_journal(house, run_id), house.host.now)
        journal.reopen()
        journal.go_on_unwritten()
        held.callback(journal.close)
        name = journal.record.start.plan.domain.name
        before = len(journal.record.warnings)
        clean = journal.record.ended is not None
        try:
            if not clean:
                rebooted = house.host.boot_id() != journal.record.start.boot_id
                journal.write(e.RecoveryBegan(owes=journal.record.owes, rebooted=rebooted))
            context = _reopen_context(house, journal, watcher, held)
            if not clean:
                _count_absence(context)
            clean = clean or undo_run(context)
        except XenbackupError as error:
            journal.write(e.Failed(message=error.message, hint=error.hint))
        record = journal.record
        if clean and record.ended is None:
            journal.write(e.RunEnded(outcome=_judge(record)))
        messages = record.warnings[before:]
        if journal.unwritten:
            clean, messages = False, (*messages, journal.unwritten)
        if not clean:
            messages += record.failures[-1:] + record.debts[-1:]
        return RecoveredRun(run=run_id, domain=name, healed=clean, running=False, messages=messages)


def _find_journal(house: House, run_id: str) -> Path:
    """Raises: JournalDamaged when somebody has moved it away since."""
    for path in list_journals(house.journals_folder):
        if path.stem == run_id:
            return path
    raise JournalDamaged(f"The journal of run {run_id} is gone.")


def _reopen_context(
    house: House, journal: Journal, watcher: RunWatcher, held: ExitStack
) -> RunContext:
    destination = _find_destination(house, journal.record.start.plan.destination.name)
    held.callback(destination.close)
    return RunContext(
        host=house.host,
        toolstack=house.toolstack,
        lvm=house.lvm,
        journal=journal,
        destination=destination,
        watcher=watcher,
        cancelled=lambda: "",
    )


def _find_destination(house: House, name: str) -> PointStore | UnknownDestination:
    """The run's destination; one that is not configured any more must not keep a guest down."""
    try:
        return house.open_destination(name)
    except XenbackupError as error:
        return UnknownDestination(name, error.message)


def _count_absence(context: RunContext) -> None:
    """A guest that does not run has been away since the run that was cut off took it away."""
    if context.record.guest_settled:
        return
    status = context.toolstack.find_status(context.plan.domain.uuid)
    if status is not None and status.state.alive:
        return
    began = (e.Pausing, e.Saving)
    times = [
        line.at for line in read_journal(context.journal.path) if isinstance(line.entry, began)
    ]
    if times:
        away = max((context.host.now() - times[0]).total_seconds(), 0.0)
        context.away_since_seconds = context.host.monotonic_seconds() - away


def _judge(record: RunRecord) -> Outcome:
    """A run that had published its point before it was cut off left a good backup, late."""
    return Outcome.PARTIAL if record.published else Outcome.FAILED
