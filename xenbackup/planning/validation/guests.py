"""Rules about the guests of a job: what refuses them, their state, names, monitors and memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from xenbackup.errors import ExitCode
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Job, StepName, StepSpec
from xenbackup.model.pipeline import AUTO
from xenbackup.model.plan import DomainPlan, RefusedDomain
from xenbackup.model.problem import Problem
from xenbackup.planning.memory import predict_restore_memory
from xenbackup.planning.obstacles import MEMORY_STEPS, Obstacle, list_obstacles
from xenbackup.planning.presets import PRESETS, select_pipeline
from xenbackup.planning.validation.codes import make_problem
from xenbackup.planning.validation.scene import Scene


def check_guests(scene: Scene) -> Iterator[Problem]:
    """Every obstacle of every guest of the plan, and what else a person should know of it."""
    for refused in scene.plan.refused:
        yield from _explain_refusal(scene, refused)
    for plan in scene.plan.domains:
        specs = tuple(StepSpec(step=found.step) for found in plan.steps)
        for obstacle in list_obstacles(scene.job, plan.domain, scene.inventory, specs):
            yield _report(plan.domain.name, obstacle)
        yield from _check_return(plan, scene.inventory)
        yield from _check_suspend(plan, scene.inventory)
        yield from _check_durability(plan, scene.inventory)
        yield from _check_pause(plan)
        yield from _check_images(plan, scene.inventory)


def _explain_refusal(scene: Scene, refused: RefusedDomain) -> Iterator[Problem]:
    """All that stands in the guest's way; the plan's own reason is always among it."""
    if refused.exit_code == ExitCode.LOCKED:
        yield make_problem(
            "run-unfinished",
            subject=refused.name,
            message=f"{refused.name}: {refused.reason}.",
            hint=refused.hint,
            domain=refused.name,
        )
        return
    domain = scene.inventory.find_domain(refused.name)
    obstacles: tuple[Obstacle, ...] = ()
    if domain is not None:
        steps = find_asked_steps(scene.job, domain)
        obstacles = tuple(list_obstacles(scene.job, domain, scene.inventory, steps))
    for obstacle in obstacles:
        yield _report(refused.name, obstacle)
    if refused.reason not in [obstacle.reason for obstacle in obstacles]:
        chooses = select_pipeline(scene.job, refused.name).preset == AUTO
        code = "no-preset-fits" if chooses else "guest-refused"
        yield _report(refused.name, Obstacle(code=code, reason=refused.reason, hint=refused.hint))


def find_asked_steps(job: Job, domain: Domain) -> tuple[StepSpec, ...]:
    """The steps that a job spells out for a guest; () where they are chosen guest by guest."""
    pipeline = select_pipeline(job, domain.name)
    return pipeline.steps or PRESETS.get(pipeline.preset, ())


def _report(name: str, obstacle: Obstacle) -> Problem:
    return make_problem(
        obstacle.code,
        subject=name,
        message=f"{name}: {obstacle.reason.rstrip('.')}.",
        hint=obstacle.hint,
        domain=name,
    )


def _check_return(plan: DomainPlan, inventory: Inventory) -> Iterator[Problem]:
    """While a guest is destroyed, its memory is anybody's: others may have grown into it.

    Guests that are shut off are left out of this: whether they start is an administrator's own act.
    """
    resources = inventory.resources
    guest = resources.find(plan.domain.name)
    if guest is None or not plan.has_step(StepName.RESTORE):
        return
    name = plan.domain.name
    running = tuple(found for found in resources.domains if found.domid > 0)
    found = predict_restore_memory(guest, replace(resources, domains=running))
    if not found.fits:
        yield make_problem(
            "memory-not-free",
            subject=name,
            message=(
                f"{name}: its restore needs {found.needed_mib} MiB, and only "
                f"{found.free_after_save_mib} MiB are free once it is saved."
            ),
            hint='free memory, or use preset = "checkpoint", which never destroys it',
            domain=name,
        )
    elif not found.fits_whatever_starts:
        yield make_problem(
            "memory-may-be-taken",
            subject=name,
            message=(
                f"{name}: its restore needs {found.needed_mib} MiB; {found.free_after_save_mib} "
                f"MiB are free once it is saved, but other guests may grow by "
                f"{found.could_be_taken_mib} MiB meanwhile."
            ),
            hint='use preset = "checkpoint", which never destroys it, or lower their maximum with '
            "`xl mem-max`",
            domain=name,
        )


def _check_suspend(plan: DomainPlan, inventory: Inventory) -> Iterator[Problem]:
    """What a guest says of itself is no proof: it is saved all the same, and xl finds out."""
    name = plan.domain.name
    if name in inventory.no_suspend and any(plan.has_step(step) for step in MEMORY_STEPS):
        yield make_problem(
            "suspend-not-offered",
            subject=name,
            message=(
                f"{name}: its kernel lists what it obeys in xenstore, and suspend is not among "
                "it: its memory can hardly be saved."
            ),
            hint='if a run fails for it, give it preset = "crash" in an [[override]]',
            domain=name,
        )


def _check_durability(plan: DomainPlan, inventory: Inventory) -> Iterator[Problem]:
    name = plan.domain.name
    if plan.has_step(StepName.SAVE) and not inventory.can_save_paused:
        yield make_problem(
            "image-unchecked",
            subject=name,
            message=(
                f"{name}: this toolstack destroys the guest before its image can be checked or "
                "fsynced: a power cut in that moment loses the guest's memory."
            ),
            hint="Xen 4.4 and newer can leave a saved guest paused",
            domain=name,
        )


def _check_pause(plan: DomainPlan) -> Iterator[Problem]:
    name = plan.domain.name
    if plan.domain.state.paused and plan.has_step(StepName.PAUSE):
        yield make_problem(
            "guest-paused",
            subject=name,
            message=f"{name}: it is paused, and not by us: it is backed up and stays paused.",
            hint=f"`xl unpause {name}`, if it was forgotten",
            domain=name,
        )


def _check_images(plan: DomainPlan, inventory: Inventory) -> Iterator[Problem]:
    """Files of which a copy is worth nothing by itself."""
    name = plan.domain.name
    for disk in plan.disks:
        backing = inventory.find_backing(name, disk.vdev)
        if backing is not None and backing.stands_on_another:
            yield make_problem(
                "image-on-another",
                subject=f"{name}:{disk.vdev}",
                message=(
                    f"{name}: disk {disk.vdev} ({disk.path}) is no disk without the file below it, "
                    "of which no copy is made."
                ),
                hint=f"keep that file (`qemu-img info --backing-chain {disk.path}` names it), or "
                'make the image whole with `qemu-img rebase -b ""` while the guest is off',
                domain=name,
            )


# What holds for any guest, of a job or not


def check_monitors(inventory: Inventory, domains: Iterable[Domain]) -> Iterator[Problem]:
    """Guests that run without the process that acts on their reboot, poweroff or crash."""
    for domain in domains:
        if domain.domid > 0 and domain.name not in inventory.monitored:
            yield make_problem(
                "guest-without-monitor",
                subject=domain.name,
                message=(
                    f"{domain.name}: no xl process watches it: after its own reboot or a crash it "
                    "would stay down."
                ),
                hint="shut it down and `xl create` it at the next occasion",
                domain=domain.name,
            )


def check_names(inventory: Inventory, names: Collection[str]) -> Iterator[Problem]:
    """Guests that cannot be told apart, and ones that are not what their file says."""
    domains = [domain for domain in inventory.domains if domain.name in names]
    for clash in inventory.clashes:
        if clash.guest in names:
            yield make_problem(
                "name-clash",
                subject=clash.guest,
                message=(
                    f"{clash.guest}: {len(clash.paths)} configuration files give this name "
                    f"({', '.join(clash.paths)})."
                ),
                hint="keep one of them in /etc/xen, or give each its own name and `uuid`",
                domain=clash.guest,
            )
    by_name: dict[str, list[Domain]] = {}
    for domain in domains:
        by_name.setdefault(domain.name, []).append(domain)
        if domain.exists and domain.configured_uuid.lower() not in ("", domain.uuid.lower()):
            yield make_problem(
                "uuid-differs",
                subject=domain.name,
                message=(
                    f"{domain.name}: it runs with UUID {domain.uuid}, its configuration file "
                    f"gives it {domain.configured_uuid}."
                ),
                hint="is it the file of another guest? Its recovery points are kept by the UUID "
                "of the file",
                domain=domain.name,
            )
    for name, namesakes in by_name.items():
        if len(namesakes) > 1:
            uuids = " and ".join(found.uuid or "no UUID" for found in namesakes)
            yield make_problem(
                "name-clash",
                subject=name,
                message=f"{name}: {len(namesakes)} guests bear this name ({uuids}).",
                hint="rename all but one: only one of them can run, and their backups would mix",
                domain=name,
            )


def check_drivers(inventory: Inventory, names: Iterable[str]) -> Iterator[Problem]:
    """What the inventory of drivers found in the configurations of these guests."""
    wanted = set(names)
    for guest in inventory.drivers.guests:
        if guest.domain not in wanted:
            continue
        for finding in guest.findings:
            yield make_problem(
                "driver-finding",
                subject=guest.domain,
                message=f"{guest.domain}: {finding.rstrip('.')}.",
                hint="see `xenbackup inventory drivers`",
                domain=guest.domain,
            )
