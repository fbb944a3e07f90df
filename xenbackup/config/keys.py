"""Every key of `config.toml` and of a job file: one table for the reader, the docs and the tests.

The reader refuses what is not here; a test compares each row with `docs/jobs.md`, reads each
example, and compares each default with what the reader gives when the key is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xenbackup.config import configuration_rows, job_rows
from xenbackup.config.configuration_rows import REQUIRED

__all__ = [
    "KEYS",
    "REQUIRED",
    "Key",
    "Section",
    "describe_keys",
    "names_in",
    "sections_of",
    "top_of",
]


class Section(StrEnum):
    """A table in one of the two kinds of file; the value is its title in the documents."""

    CONFIGURATION = "`config.toml`, above all tables"
    SPOOL = "`[spool]` in `config.toml`"
    DESTINATION = "`[destination.NAME]` in `config.toml`"
    LIMITS = "`[limits]` in `config.toml`"
    POLITENESS = "`[politeness]` in `config.toml`"
    NOTIFY = "`[notify]` in `config.toml`"
    MAIL = "`[notify.mail]` in `config.toml`"
    WEBHOOK = "`[notify.webhook]` in `config.toml`"
    PING = "`[notify.ping]` in `config.toml`"
    APPRISE = "`[notify.apprise]` in `config.toml`"
    HOOKS = "`[hooks]` in `config.toml`"
    METRICS = "`[metrics]` in `config.toml`"
    JOURNALS = "`[journals]` in `config.toml`"
    JOB = "A job file, above all tables"
    STEP = "An entry of `steps`"
    RETENTION = "`[retention]` in a job file"
    JOB_HOOKS = "`[hooks]` in a job file"
    OVERRIDE = "`[[override]]` in a job file"


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. `example` is in TOML's spelling.

    So is `default`, unless it is `required`, or words in parentheses: what happens without the key.
    """

    section: Section
    name: str
    type: str
    unit: str
    default: str
    example: str
    meaning: str


KEYS: tuple[Key, ...] = tuple(
    Key(
        section=section,
        name=name,
        type=kind,
        unit=unit,
        default=default,
        example=example,
        meaning=meaning,
    )
    for section, rows in (
        (Section.CONFIGURATION, configuration_rows.CONFIGURATION_ROWS),
        (Section.SPOOL, configuration_rows.SPOOL_ROWS),
        (Section.DESTINATION, configuration_rows.DESTINATION_ROWS),
        (Section.LIMITS, configuration_rows.LIMITS_ROWS),
        (Section.POLITENESS, configuration_rows.POLITENESS_ROWS),
        (Section.NOTIFY, configuration_rows.NOTIFY_ROWS),
        (Section.MAIL, configuration_rows.MAIL_ROWS),
        (Section.WEBHOOK, configuration_rows.WEBHOOK_ROWS),
        (Section.PING, configuration_rows.PING_ROWS),
        (Section.APPRISE, configuration_rows.APPRISE_ROWS),
        (Section.HOOKS, job_rows.HOOKS_ROWS),
        (Section.METRICS, configuration_rows.METRICS_ROWS),
        (Section.JOURNALS, configuration_rows.JOURNALS_ROWS),
        (Section.JOB, job_rows.JOB_ROWS),
        (Section.STEP, job_rows.STEP_ROWS),
        (Section.RETENTION, job_rows.RETENTION_ROWS),
        (Section.JOB_HOOKS, job_rows.HOOKS_ROWS),
        (Section.OVERRIDE, job_rows.OVERRIDE_ROWS),
    )
    for name, kind, unit, default, example, meaning in rows
)

_OF_A_JOB = (
    Section.JOB,
    Section.STEP,
    Section.RETENTION,
    Section.JOB_HOOKS,
    Section.OVERRIDE,
)


def describe_keys() -> tuple[Key, ...]:
    """All keys in the order of the documents."""
    return KEYS


def names_in(section: Section) -> tuple[str, ...]:
    """The names of a section's keys."""
    return tuple(key.name for key in KEYS if key.section is section)


def sections_of(name: str) -> tuple[Section, ...]:
    """The sections that have a key of this name."""
    return tuple(key.section for key in KEYS if key.name == name)


def top_of(section: Section) -> Section:
    """The section above all tables in the same kind of file."""
    return Section.JOB if section in _OF_A_JOB else Section.CONFIGURATION
