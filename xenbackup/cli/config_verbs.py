"""Verbs `config show` and `config validate`: the configuration as it is understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.page import Page
from xenbackup.cli.text import format_rate
from xenbackup.cli.verb import VerbGroup
from xenbackup.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from xenbackup.model.job import Configuration, Job, JobSet, PipelineSpec


@click.group(cls=VerbGroup)
def config() -> None:
    """Look at the configuration and the job files."""


@config.command()
@click.pass_obj
def show(invocation: Invocation) -> int:
    """Show what the configuration and the jobs say, defaults included."""
    path, configuration, jobs = _load(invocation)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "path": str(path),
                "toolstack": configuration.toolstack,
                "bandwidth_limit_bytes_per_second": configuration.bandwidth_limit_bytes_per_second,
                "spool_path": configuration.spool_path,
                "state_path": configuration.state_path,
                "destinations": [
                    {"name": spec.name, "kind": spec.kind.value, "path": spec.path}
                    for spec in configuration.destinations
                ],
                "jobs": [_shape_job(job) for job in jobs.jobs],
                "problems": list(jobs.problems),
            }
        )
    else:
        invocation.output.say(_report(path, configuration, jobs, invocation.page))
        for problem in jobs.problems:
            invocation.warn(problem)
    return int(ExitCode.GOOD)


@config.command()
@click.pass_obj
def validate(invocation: Invocation) -> int:
    """Check the configuration and every job file; name all problems at once."""
    path, configuration, jobs = _load(invocation)
    if jobs.problems:
        raise ConfigurationError(jobs.problems)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "path": str(path),
                "destinations": [spec.name for spec in configuration.destinations],
                "jobs": [job.name for job in jobs.jobs],
                "problems": [],
            }
        )
    else:
        names = ", ".join(job.name for job in jobs.jobs)
        told = {0: "it has no jobs", 1: f"and so is its job: {names}"}.get(
            len(jobs.jobs), f"and so are its {len(jobs.jobs)} jobs: {names}"
        )
        invocation.output.say(invocation.page.note(f"{path} is good, {told}."))
    return int(ExitCode.GOOD)


def _load(invocation: Invocation) -> tuple[Path, Configuration, JobSet]:
    """Files alone: no tool of the host is asked, no folder made. Raises: ConfigurationError."""
    from xenbackup.bootstrap import locate_configuration
    from xenbackup.config import jobs_folder, load_configuration, load_jobs

    path = locate_configuration(invocation.open_host(), invocation.configuration)
    configuration = load_configuration(path)
    return path, configuration, load_jobs(jobs_folder(path), configuration)


def _report(path: Path, configuration: Configuration, jobs: JobSet, page: Page) -> str:
    limit = configuration.bandwidth_limit_bytes_per_second
    fields = [
        ("configuration", str(path)),
        ("toolstack", configuration.toolstack),
        ("spool", configuration.spool_path),
        ("state", configuration.state_path),
        ("bandwidth limit", format_rate(limit) if limit else "none"),
    ]
    parts = [page.fields(fields), ""]
    if configuration.destinations:
        rows = [(spec.name, spec.kind.value, spec.path) for spec in configuration.destinations]
        parts += [page.table(("DESTINATION", "KIND", "PATH"), rows), ""]
    else:
        parts += ["There is no destination: jobs have nowhere to go.", ""]
    if jobs.jobs:
        table = [
            (
                job.name,
                job.schedule or "on demand",
                _name_pipeline(job.pipeline),
                job.destination,
                ", ".join(job.domains)
                + (f"; not {', '.join(job.exclude)}" if job.exclude else "")
                + "".join(
                    f"; {_name_pipeline(override.pipeline)} for {', '.join(override.domains)}"
                    for override in job.overrides
                ),
            )
            for job in jobs.jobs
        ]
        headers = ("JOB", "SCHEDULE", "PIPELINE", "DESTINATION", "GUESTS")
        parts.append(page.table(headers, table))
    else:
        parts.append("There is no job that can be used.")
    return "\n".join(parts)


def _name_pipeline(pipeline: PipelineSpec) -> str:
    return pipeline.preset or "steps"


def _shape_job(job: Job) -> dict[str, object]:
    return {
        "name": job.name,
        "description": job.description,
        "schedule": job.schedule,
        "timezone": job.timezone,
        "domains": list(job.domains),
        "exclude": list(job.exclude),
        "exclude_disks": list(job.exclude_disks),
        **_shape_pipeline(job.pipeline),
        "require": job.require.value,
        "destination": job.destination,
        "max_away_seconds": job.max_away_seconds,
        "catch_up_seconds": job.catch_up_seconds,
        "retention": {
            "last": job.retention.last,
            "hourly": job.retention.hourly,
            "daily": job.retention.daily,
            "weekly": job.retention.weekly,
            "monthly": job.retention.monthly,
            "yearly": job.retention.yearly,
        },
        "overrides": [
            {
                "domains": list(override.domains),
                "require": (override.require or job.require).value,
                **_shape_pipeline(override.pipeline),
            }
            for override in job.overrides
        ],
    }


def _shape_pipeline(pipeline: PipelineSpec) -> dict[str, object]:
    """The preset's name ("" when spelled) and its steps: none for `auto`, before a plan is made."""
    from xenbackup.model.pipeline import AUTO, expand_pipeline

    specs = () if pipeline.preset == AUTO else expand_pipeline(pipeline)
    steps = [
        {"step": spec.step.value, "size": str(spec.size) if spec.size else ""} for spec in specs
    ]
    return {"preset": pipeline.preset, "steps": steps}
