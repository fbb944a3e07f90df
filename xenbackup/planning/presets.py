"""Which pipeline a job means for which guest, and which guests and disks it selects.

The table of presets and the rules of pipelines are nouns of `model/pipeline.py`, where the
configuration's reader can reach them too; their names are offered here for planning.

Patterns are those of a shell (`*`, `?`, `[abc]`), with letter case counting. A pattern that is
letter for letter a guest's name always matches it, so that a guest called `web[1]` needs no tricks.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from xenbackup.model.job import Consistency, Job, PipelineSpec
from xenbackup.model.pipeline import (
    PRESETS,
    check_pipeline,
    consistency_of,
    expand_pipeline,
    satisfies_requirement,
)

__all__ = [
    "PRESETS",
    "check_pipeline",
    "consistency_of",
    "excludes_disk",
    "expand_pipeline",
    "find_idle_patterns",
    "matches_any",
    "satisfies_requirement",
    "select_domains",
    "select_pipeline",
    "select_requirement",
]


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Whether a name is one of the patterns, or matches one."""
    return any(pattern == name or fnmatchcase(name, pattern) for pattern in patterns)


def select_pipeline(job: Job, domain_name: str) -> PipelineSpec:
    """The pipeline for one guest: that of the last override that matches, else the job's own.

    The last wins so that a file reads from the general to the particular.
    """
    for override in reversed(job.overrides):
        if matches_any(override.domains, domain_name):
            return override.pipeline
    return job.pipeline


def select_requirement(job: Job, domain_name: str) -> Consistency:
    """What a guest's recovery points must be worth: its override's word, else the job's."""
    for override in reversed(job.overrides):
        if matches_any(override.domains, domain_name):
            return override.require or job.require
    return job.require


def select_domains(job: Job, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that the job selects, in the order given; `exclude` always wins."""
    return tuple(
        name
        for name in names
        if matches_any(job.domains, name) and not matches_any(job.exclude, name)
    )


def excludes_disk(job: Job, domain_name: str, vdev: str) -> bool:
    """Whether a job leaves out this disk: an entry is `DISK` or `GUEST:DISK`, both patterns.

    The last colon divides, since a disk has none in its name and a guest may.
    """
    for entry in job.exclude_disks:
        guest, colon, disk = entry.rpartition(":")
        if matches_any((disk,), vdev) and (not colon or matches_any((guest,), domain_name)):
            return True
    return False


def find_idle_patterns(job: Job, names: Iterable[str]) -> tuple[str, ...]:
    """Patterns of `domains` and overrides that match none of the names: probably misspelled."""
    known = tuple(names)
    patterns = dict.fromkeys((*job.domains, *(p for o in job.overrides for p in o.domains)))
    return tuple(
        pattern for pattern in patterns if not any(matches_any((pattern,), name) for name in known)
    )
