"""A run's context on the simulated host, without its runner: for tests of single acts."""

from __future__ import annotations

from dataclasses import replace

from tests.house import DESTINATION, Watcher, make_job
from xenbackup import __version__
from xenbackup.dom0 import health, monitor
from xenbackup.model import entries as e
from xenbackup.model.domain import HealthBaseline
from xenbackup.model.names import make_run_id
from xenbackup.model.record import RunStart
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.pipeline.context import RunContext
from xenbackup.records.journal import SUFFIX, Journal, list_journals
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.spool import Spool
from xenbackup.system import durable


def open_context(
    house: House, preset: str = "checkpoint", *, with_baseline: bool = True
) -> RunContext:
    """What the steps of a run of `web` are given; its journal has begun, its guest is untouched."""
    host = house.host
    (plan,) = plan_job(house, make_job(preset)).domains
    run_id = make_run_id(host.now(), house.entropy(6))
    Spool(host.place(house.configuration.spool_path)).open()
    durable.make_private_folder(house.journals_folder)
    baseline: HealthBaseline | None = None
    if with_baseline:
        baseline = health.take_baseline(host, house.toolstack, plan.domain)
    journal = Journal(house.journals_folder / f"{run_id}{SUFFIX}", host.now)
    journal.create(
        e.RunStarted(
            start=RunStart(
                run=run_id,
                round=run_id,
                job="test",
                plan=plan,
                boot_id=host.boot_id(),
                baseline=baseline,
                tuning=house.toolstack.read_tuning(plan.domain),
                monitors=monitor.find_monitors(host, plan.domain.name),
                memory_image_path=f"{house.configuration.spool_path}/{run_id}.save",
                product_version=__version__,
            )
        )
    )
    return RunContext(
        host=host,
        toolstack=house.toolstack,
        lvm=house.lvm,
        journal=journal,
        destination=ImagesDestination(host.place(DESTINATION), "local"),
        watcher=Watcher(),
        cancelled=lambda: "",
    )


def reopen_context(house: House) -> RunContext:
    """What recovery is given of the one run there is; its journal is only looked at."""
    (path,) = list_journals(house.journals_folder)
    journal = Journal(path, house.host.now)
    journal.look()
    return RunContext(
        host=house.host,
        toolstack=house.toolstack,
        lvm=house.lvm,
        journal=journal,
        destination=ImagesDestination(house.host.place(DESTINATION), "local"),
        watcher=Watcher(),
        cancelled=lambda: "",
    )


def change_start(context: RunContext, **changes: object) -> None:
    """Another beginning of the same run, as if its journal had said so."""
    record = context.journal.record
    start = replace(record.start, **changes)  # type: ignore[arg-type]
    context.journal._record = replace(record, start=start)


def told(context: RunContext) -> list[str]:
    """The warnings of the run so far."""
    return list(context.record.warnings)
