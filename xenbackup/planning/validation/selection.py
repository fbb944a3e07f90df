"""Rules about what a job selects: guests, and the disks that it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xenbackup.model.problem import Problem
from xenbackup.planning.presets import excludes_disk, find_idle_patterns, select_domains
from xenbackup.planning.validation.codes import make_problem
from xenbackup.planning.validation.scene import Scene


def check_selection(scene: Scene) -> Iterator[Problem]:
    """Jobs that back up nothing, and patterns that are probably misspelled."""
    job = scene.job
    names = [domain.name for domain in scene.inventory.domains]
    if not scene.names:
        yield _describe_emptiness(scene, select_domains(job, names))
    for pattern in find_idle_patterns(job, names):
        yield make_problem(
            "pattern-idle",
            subject=job.name,
            message=f'Job {job.name}: no guest on this host matches "{pattern}".',
            hint="is it misspelled? Compare with `xl list` and the files in /etc/xen",
        )
    for entry in job.exclude_disks:
        alone = replace(job, exclude_disks=(entry,))
        if scene.names and not any(
            excludes_disk(alone, domain.name, disk.vdev)
            for domain in scene.domains
            for disk in domain.disks
        ):
            yield make_problem(
                "excluded-disk-unknown",
                subject=job.name,
                message=f'Job {job.name}: `exclude_disks` has "{entry}", which matches no disk of '
                "its guests.",
                hint="an entry is DISK or GUEST:DISK, as in `xvdb` or `mail:xvdb`",
            )


def _describe_emptiness(scene: Scene, selected: tuple[str, ...]) -> Problem:
    job = scene.job
    if selected:
        message = (
            f"Job {job.name} selects only guests that are shut off ({', '.join(selected[:3])}"
            f"{', …' if len(selected) > 3 else ''}), and its pipeline is for running ones."
        )
        hint = 'give them preset = "offline" in an [[override]]'
    else:
        message = (
            f"Job {job.name} selects no guest on this host (wanted: {', '.join(job.domains)})."
        )
        hint = "compare `domains` and `exclude` of the job with `xl list`"
    return make_problem("selection-empty", subject=job.name, message=message, hint=hint)
