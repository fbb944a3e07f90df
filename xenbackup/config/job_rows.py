"""The rows of a job file in the table of keys: name, type, unit, default, example, meaning."""

from __future__ import annotations

from xenbackup.config.configuration_rows import REQUIRED

JOB_ROWS = (
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
        "windows",
        "list of texts",
        "`DAYS HH:MM-HH:MM`",
        "(at any time)",
        '["22:00-06:00", "sat-sun 00:00-24:00"]',
        "When scheduled runs may begin; without days, on every day.",
    ),
    (
        "blackouts",
        "list of texts",
        "`DATE` or `DATE..DATE`",
        "[]",
        '["2026-12-24..2027-01-02", "2026-12-31"]',
        "Dates on which no scheduled run begins, the first and the last included.",
    ),
    (
        "jitter",
        "text or number",
        "seconds; s, m, h, d",
        "0",
        '"15m"',
        "How much later than due this host begins at most; each host has its own share of it, the "
        "same every night.",
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
        "time_limit",
        "text or number",
        "seconds; s, m, h, d",
        "(no limit)",
        '"6h"',
        "The longest that the backup of one guest may take; past it the run is undone and fails.",
    ),
    (
        "retries",
        "number",
        "tries",
        "2",
        "0",
        "How often a run is tried again after a failure that may pass, 0 to 10.",
    ),
    (
        "retry_after",
        "text or number",
        "seconds; s, m, h, d",
        '"5m"',
        '"10m"',
        "The wait before the first of these; each further one is twice as long.",
    ),
    (
        "max_age",
        "text or number",
        "seconds; s, m, h, d",
        "(as the schedule promises)",
        '"36h"',
        "How old a guest's last good recovery point may be before `status` warns.",
    ),
    (
        "hooks",
        "table",
        "-",
        "(those of `config.toml`)",
        '{ failed = ["/usr/local/sbin/page-me"] }',
        "Commands around a round; these alone, none of those in `config.toml`.",
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

STEP_ROWS = (
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

RETENTION_ROWS = tuple(
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

OVERRIDE_ROWS = (
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

HOOKS_ROWS = (
    (
        "before",
        "list of texts",
        "a command, by absolute path",
        "[]",
        '["/usr/local/sbin/quiet-hours", "--now"]',
        "Run before a round begins; if it fails, the round does not begin.",
    ),
    (
        "after",
        "list of texts",
        "a command, by absolute path",
        "[]",
        '["/usr/local/sbin/tell", "good"]',
        "Run after a round in which everything went well.",
    ),
    (
        "failed",
        "list of texts",
        "a command, by absolute path",
        "[]",
        '["/usr/local/sbin/page-me"]',
        "Run after any other round.",
    ),
    (
        "timeout",
        "text or number",
        "seconds; s, m, h, d",
        '"10m"',
        '"90s"',
        "How long each of them may take before it is killed.",
    ),
)
