"""Every key of `config.toml` and of a job file: one table for the reader, the docs and the tests.

The reader refuses what is not here; a test compares each row with `docs/jobs.md`, reads each
example, and compares each default with what the reader gives when the key is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Section(StrEnum):
    """A table in one of the two kinds of file; the value is its title in the documents."""

    CONFIGURATION = "`config.toml`, above all tables"
    SPOOL = "`[spool]` in `config.toml`"
    DESTINATION = "`[destination.NAME]` in `config.toml`"
    JOB = "A job file, above all tables"
    STEP = "An entry of `steps`"
    RETENTION = "`[retention]` in a job file"
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


REQUIRED = "required"

_CONFIGURATION_ROWS = (
    (
        "toolstack",
        "text",
        "-",
        '"auto"',
        '"xl"',
        "The tool that commands the guests: `xl`, the older `xm`, or `auto` for whichever answers.",
    ),
    (
        "bandwidth_limit",
        "text or number",
        "bytes per second; B/s, KiB/s, MiB/s, GiB/s",
        "(no limit)",
        '"50MiB/s"',
        "How fast disks are read for a backup at most, so that guests keep their share.",
    ),
    (
        "spool",
        "table",
        "-",
        "(see `[spool]`)",
        '{ path = "/srv/spool" }',
        "Where memory images wait for their copy.",
    ),
    (
        "destination",
        "tables",
        "-",
        "(no destination)",
        '{ local = { kind = "images", path = "/srv/backup" } }',
        "One table for each place that recovery points go to.",
    ),
)

_SPOOL_ROWS = (
    (
        "path",
        "text",
        "absolute path",
        '"/var/lib/xenbackup/spool"',
        '"/srv/spool"',
        "Folder for memory images while a run lasts. It needs as much room as the largest guest "
        "has memory, times the guests saved at once. Never `/var/lib/xen/save`.",
    ),
)

_DESTINATION_ROWS = (
    (
        "kind",
        "text",
        "-",
        REQUIRED,
        '"images"',
        "`images`: plain image files in a folder. `volume`: logical volumes prepared for it.",
    ),
    (
        "path",
        "text",
        "absolute path; for `volume` a volume group",
        REQUIRED,
        '"/srv/backup"',
        "The folder, or the volume group, made ready with `xenbackup destination init NAME`.",
    ),
)

_JOB_ROWS = (
    (
        "description",
        "text",
        "-",
        '""',
        '"Every guest, every night"',
        "One line for people.",
    ),
    (
        "schedule",
        "text",
        "cron, five fields",
        "(on demand only)",
        '"30 2 * * *"',
        "When the job is due: minute, hour, day of month, month, day of week.",
    ),
    (
        "timezone",
        "text",
        "IANA zone name",
        "(the host's zone)",
        '"Europe/Berlin"',
        "The clock by which `schedule` and the days of `[retention]` are meant.",
    ),
    (
        "domains",
        "list of texts",
        "patterns",
        REQUIRED,
        '["*"]',
        "The guests to back up. `*`, `?` and `[abc]` work as in a shell.",
    ),
    (
        "exclude",
        "list of texts",
        "patterns",
        "[]",
        '["test-*"]',
        "Guests to leave out; wins over `domains`.",
    ),
    (
        "exclude_disks",
        "list of texts",
        "patterns",
        "[]",
        '["mail:xvdb"]',
        "Disks to leave out: `DISK` of every guest, or `GUEST:DISK`.",
    ),
    (
        "preset",
        "text",
        "-",
        "(`steps` instead)",
        '"checkpoint"',
        "How to back up: `cold`, `snapshot`, `checkpoint`, `crash`, `offline`, or `auto` for the "
        "best of these.",
    ),
    (
        "steps",
        "list",
        "-",
        "(`preset` instead)",
        '["save", "copy", "restore"]',
        "The same spelled out; see the rules below. Either `preset` or `steps`, never both.",
    ),
    (
        "require",
        "text",
        "-",
        '"crash"',
        '"memory"',
        "The least that a recovery point must be worth: `memory` or `crash`.",
    ),
    (
        "destination",
        "text",
        "-",
        REQUIRED,
        '"local"',
        "The NAME of a `[destination.NAME]` in `config.toml`.",
    ),
    (
        "max_away",
        "text or number",
        "seconds; s, m, h, d",
        '"10m"',
        '"2h"',
        "The longest that a guest may be paused, suspended or gone; past it the run gives up and "
        "brings the guest back.",
    ),
    (
        "catch_up",
        "text or number",
        "seconds; s, m, h, d",
        '"12h"',
        '"1d"',
        "How late a missed due time is still run; `0` never catches up.",
    ),
    (
        "retention",
        "table",
        "-",
        "(everything is kept)",
        "{ daily = 7 }",
        "Which recovery points to keep.",
    ),
    (
        "override",
        "tables",
        "-",
        "(none)",
        '[{ domains = ["fw"], preset = "crash" }]',
        "Another pipeline for some of the guests; the last that matches wins.",
    ),
)

_STEP_ROWS = (
    (
        "step",
        "text",
        "-",
        REQUIRED,
        '"snapshot"',
        "The step's name.",
    ),
    (
        "size",
        "text or number",
        "% of the disk, or bytes; KiB, MiB, GiB, TiB",
        '"10%"',
        '"20%"',
        "Room for what the guest writes while the copy lasts; of `snapshot` alone. Thin volumes "
        "need none and ignore it.",
    ),
)

_RETENTION_ROWS = tuple(
    (name, "number", "recovery points of a guest", "0", example, meaning)
    for name, example, meaning in (
        ("last", "3", "The newest ones, whatever their age."),
        ("hourly", "24", "The newest of each of so many hours."),
        ("daily", "7", "The newest of each of so many days."),
        ("weekly", "4", "The newest of each of so many weeks."),
        ("monthly", "6", "The newest of each of so many months."),
        ("yearly", "2", "The newest of each of so many years."),
    )
)

_OVERRIDE_ROWS = (
    (
        "domains",
        "list of texts",
        "patterns",
        REQUIRED,
        '["win*"]',
        "The guests that it is for.",
    ),
    (
        "preset",
        "text",
        "-",
        "(`steps` instead)",
        '"crash"',
        "As in the job.",
    ),
    (
        "steps",
        "list",
        "-",
        "(`preset` instead)",
        '["save", "copy", "restore"]',
        "As in the job.",
    ),
    (
        "require",
        "text",
        "-",
        "(as the job says)",
        '"crash"',
        "The least that the recovery points of these guests must be worth.",
    ),
)

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
        (Section.CONFIGURATION, _CONFIGURATION_ROWS),
        (Section.SPOOL, _SPOOL_ROWS),
        (Section.DESTINATION, _DESTINATION_ROWS),
        (Section.JOB, _JOB_ROWS),
        (Section.STEP, _STEP_ROWS),
        (Section.RETENTION, _RETENTION_ROWS),
        (Section.OVERRIDE, _OVERRIDE_ROWS),
    )
    for name, kind, unit, default, example, meaning in rows
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
