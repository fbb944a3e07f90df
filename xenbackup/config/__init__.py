"""Configuration: TOML files in, typed values out, or every problem of a file at once.

`config.toml` says where things are, one file in `jobs/` for each job says what to do. Nothing in
here touches a guest, a volume or a destination.
"""

from __future__ import annotations

from xenbackup.config.configuration import jobs_folder, load_configuration
from xenbackup.config.jobs import choose_job, load_job, load_jobs
from xenbackup.config.keys import KEYS, Key, Section, describe_keys
from xenbackup.model.job import BrokenFile, JobSet

__all__ = [
    "KEYS",
    "BrokenFile",
    "JobSet",
    "Key",
    "Section",
    "choose_job",
    "describe_keys",
    "jobs_folder",
    "load_configuration",
    "load_job",
    "load_jobs",
]
