"""Validation: (job, inventory, setting) → everything that is or may go wrong, with codes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xenbackup.errors import XenbackupError
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Job
from xenbackup.model.problem import Problem
from xenbackup.model.setting import Setting
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.validation.codes import CODES, Check, Code, make_problem
from xenbackup.planning.validation.disks import check_holders, check_sharing
from xenbackup.planning.validation.guests import (
    check_drivers,
    check_guests,
    check_monitors,
    check_names,
)
from xenbackup.planning.validation.host import (
    check_bus,
    check_completeness,
    check_dom0_memory,
    check_files,
    check_pci,
    check_pciback,
)
from xenbackup.planning.validation.places import (
    check_circles,
    check_destination,
    check_destination_room,
    check_spool,
    check_spool_room,
)
from xenbackup.planning.validation.scene import EMPTY_PLAN, Scene
from xenbackup.planning.validation.schedules import check_collisions
from xenbackup.planning.validation.selection import check_selection
from xenbackup.planning.validation.volumes import (
    check_backend_module,
    check_groups,
    check_pools,
    check_snapshot_modules,
    find_pools,
    find_pools_of,
)

__all__ = ["CODES", "Check", "Code", "make_problem", "validate", "validate_host"]


def validate(job: Job, inventory: Inventory, setting: Setting) -> tuple[Problem, ...]:
    """Every problem of a job on this host, each once. Never raises for what the host holds.

    An error with a domain means that this guest cannot be backed up, one without that the job
    cannot. Guests that the job does not select, and the host as such, are `validate_host`'s.
    """
    return tuple(dict.fromkeys(_list_problems(job, inventory, setting)))


def _list_problems(job: Job, inventory: Inventory, setting: Setting) -> Iterator[Problem]:
    spec = setting.configuration.find_destination(job.destination)
    if spec is None:
        yield make_problem(
            "destination-unknown",
            subject=job.destination,
            message=f"Job {job.name} names destination {job.destination!r}, which is not "
            "configured.",
            hint=f"add [destination.{job.destination}] to config.toml",
        )
        return
    plan = setting.plan
    if plan is None:
        try:
            plan = plan_backup(job, inventory, setting.configuration)
        except XenbackupError:
            # A job that selects nothing; the rule of selections says so.
            plan = EMPTY_PLAN
    scene = Scene(job=job, plan=plan, inventory=inventory, setting=setting)
    names = scene.names
    yield from check_selection(scene)
    yield from check_collisions(scene)
    yield from check_destination(spec, inventory)
    yield from check_destination_room(scene, spec)
    yield from check_spool(inventory)
    yield from check_spool_room(scene)
    yield from check_circles(scene, spec)
    yield from check_guests(scene)
    yield from check_groups(scene)
    yield from check_snapshot_modules(scene)
    for domain_plan in plan.domains:
        for problem in check_pools(find_pools_of(domain_plan, inventory)):
            yield replace(problem, domain=domain_plan.domain.name)
    yield from check_names(inventory, names)
    yield from check_monitors(inventory, scene.domains)
    yield from check_holders(inventory, names)
    yield from check_sharing(inventory, names)
    yield from check_drivers(inventory, names)


def validate_host(inventory: Inventory, setting: Setting) -> tuple[Problem, ...]:
    """Every problem of the host itself, its files and its places, without any job, each once."""
    return tuple(dict.fromkeys(_list_host_problems(inventory, setting)))


def _list_host_problems(inventory: Inventory, setting: Setting) -> Iterator[Problem]:
    names = frozenset(domain.name for domain in inventory.domains)
    yield from check_completeness(inventory)
    yield from check_bus(inventory)
    yield from check_files(inventory, setting)
    yield from check_names(inventory, names)
    yield from check_dom0_memory(inventory)
    yield from check_backend_module(inventory)
    yield from check_pools(find_pools(inventory))
    yield from check_holders(inventory, names)
    yield from check_sharing(inventory, names)
    yield from check_pci(inventory)
    yield from check_pciback(inventory)
    yield from check_drivers(inventory, names)
    yield from check_monitors(inventory, inventory.domains)
    for spec in setting.configuration.destinations:
        yield from check_destination(spec, inventory)
    yield from check_spool(inventory)
