"""Plans: (job, inventory, configuration) → what each run will do, or why it will not. Pure."""

from __future__ import annotations

from dataclasses import replace

from xenbackup.errors import XenbackupError
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import (
    Configuration,
    Consistency,
    DestinationSpec,
    Job,
    PipelineSpec,
)
from xenbackup.model.pipeline import AUTO
from xenbackup.model.plan import (
    DomainPlan,
    Plan,
    PlannedStep,
    RefusedDomain,
)
from xenbackup.model.run import RunResult
from xenbackup.planning.choice import AUTO_ORDER, OFFLINE, Trial, choose_plan, explain_trials
from xenbackup.planning.disk_plan import plan_disks
from xenbackup.planning.estimate import estimate_run
from xenbackup.planning.obstacles import MEMORY_STEPS, list_obstacles
from xenbackup.planning.presets import (
    consistency_of,
    expand_pipeline,
    find_idle_patterns,
    select_domains,
    select_pipeline,
    select_requirement,
)
from xenbackup.planning.refusal import Refusal

# A saved image is the guest's pages, the page frame table (8 bytes a page), vCPU and device
# records and the configuration: a hundredth and 2 MiB cover what the lab showed.
IMAGE_OVERHEAD_SHARE = 100
IMAGE_OVERHEAD_BYTES = 2 * 1024 * 1024
MIB = 1024 * 1024


def plan_backup(
    job: Job,
    inventory: Inventory,
    configuration: Configuration,
    only_domain: str = "",
    history: tuple[RunResult, ...] = (),
) -> Plan:
    """What the job will do on this host. `only_domain` narrows it to one guest.

    `history` are past runs of this host, newest first: what they took is what is foretold.

    Raises: XenbackupError (usage) when the job selects no domain at all.
    """
    destination = configuration.find_destination(job.destination)
    if destination is None:
        raise XenbackupError(
            f"Job {job.name} names destination {job.destination!r}, which is not configured.",
            hint=f"add [destination.{job.destination}] to config.toml",
        )
    names = [domain.name for domain in inventory.domains]
    selected = set(select_domains(job, names))
    if only_domain:
        selected &= {only_domain}
    plans: list[DomainPlan] = []
    refused: list[RefusedDomain] = []
    for domain in inventory.domains:
        if domain.name not in selected or _is_left_out(job, domain):
            continue
        try:
            plans.append(_plan_domain(job, domain, inventory, destination, history))
        except Refusal as refusal:
            refused.append(
                RefusedDomain(
                    name=domain.name, uuid=domain.uuid, reason=refusal.reason, hint=refusal.hint
                )
            )
    return Plan(
        job=job.name,
        domains=tuple(plans),
        refused=tuple(refused),
        idle_patterns=find_idle_patterns(job, names),
    )


def _is_left_out(job: Job, domain: Domain) -> bool:
    """A shut off guest belongs to a job only when its pipeline is one for shut off guests."""
    pipeline = select_pipeline(job, domain.name)
    if domain.exists or pipeline.preset == AUTO:
        return False
    return consistency_of(expand_pipeline(pipeline)) is not Consistency.OFFLINE


def _plan_domain(
    job: Job,
    domain: Domain,
    inventory: Inventory,
    destination: DestinationSpec,
    history: tuple[RunResult, ...],
) -> DomainPlan:
    pipeline = select_pipeline(job, domain.name)
    if pipeline.preset != AUTO:
        plan = _plan_pipeline(job, domain, inventory, destination, pipeline)
        return replace(plan, estimate=estimate_run(plan, history))
    return _choose_preset(job, domain, inventory, destination, history)


def _choose_preset(
    job: Job,
    domain: Domain,
    inventory: Inventory,
    destination: DestinationSpec,
    history: tuple[RunResult, ...],
) -> DomainPlan:
    """What `auto` means for this guest. Raises: Refusal when no preset fits it."""
    trials = []
    for preset in AUTO_ORDER if domain.exists else (OFFLINE,):
        try:
            plan = _plan_pipeline(job, domain, inventory, destination, PipelineSpec(preset=preset))
        except Refusal as refusal:
            trials.append(Trial(preset=preset, reason=refusal.reason))
        else:
            estimated = replace(plan, estimate=estimate_run(plan, history))
            trials.append(Trial(preset=preset, plan=estimated))
    chosen = choose_plan(tuple(trials), select_requirement(job, domain.name))
    if chosen is None:
        hint = 'choose one in an [[override]], or give it require = "crash" there'
        raise Refusal(
            f"no preset fits it ({explain_trials(tuple(trials))})",
            hint if domain.exists else "leave it out with `exclude`, or back it up while it runs",
        )
    return chosen


def _plan_pipeline(
    job: Job,
    domain: Domain,
    inventory: Inventory,
    destination: DestinationSpec,
    pipeline: PipelineSpec,
) -> DomainPlan:
    specs = expand_pipeline(pipeline)
    obstacle = next(list_obstacles(job, domain, inventory, specs), None)
    if obstacle is not None:
        raise Refusal(obstacle.reason, obstacle.hint)
    takes_memory = any(spec.step in MEMORY_STEPS for spec in specs)
    disks, excluded = plan_disks(job, domain, inventory, specs)
    return DomainPlan(
        domain=domain,
        preset=pipeline.preset or "steps",
        steps=tuple(PlannedStep(step=spec.step, snapshot_size=spec.size) for spec in specs),
        disks=disks,
        excluded_disks=excluded,
        consistency=consistency_of(specs),
        destination=destination,
        memory_image_bytes=estimate_image_bytes(domain) if takes_memory else 0,
        max_away_seconds=job.max_away_seconds,
        reason=_explain_choice(job, domain, pipeline.preset, takes_memory),
    )


def _explain_choice(job: Job, domain: Domain, preset: str, takes_memory: bool) -> str:
    chosen = f"preset {preset}" if preset else "the steps"
    overridden = select_pipeline(job, domain.name) is not job.pipeline
    reason = f"{chosen} of an [[override]]" if overridden else f"{chosen} of the job"
    if domain.pci_devices and not takes_memory:
        devices = ", ".join(domain.pci_devices)
        reason += f"; PCI device {devices} is passed through to it, its memory cannot be saved"
    return reason


def estimate_image_bytes(domain: Domain) -> int:
    """About how large a memory image of the domain gets, in bytes; never too small."""
    memory_bytes = domain.memory_mib * MIB
    return memory_bytes + memory_bytes // IMAGE_OVERHEAD_SHARE + IMAGE_OVERHEAD_BYTES
