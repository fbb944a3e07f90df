"""The rows of `config.toml` in the table of keys: name, type, unit, default, example, meaning."""

from __future__ import annotations

REQUIRED = "required"

CONFIGURATION_ROWS = (
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
        "How fast disks are read for a backup at most, so that guests keep their share. All runs "
        "of the daemon share it.",
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
    (
        "limits",
        "table",
        "-",
        "(see `[limits]`)",
        "{ runs = 4 }",
        "How many backups go on at once.",
    ),
    (
        "politeness",
        "table",
        "-",
        "(see `[politeness]`)",
        "{ nice = 19 }",
        "How copying stands back behind the guests.",
    ),
    (
        "notify",
        "table",
        "-",
        "(nobody is told)",
        '{ mail = { to = ["root"] } }',
        "Whom to tell how the night was.",
    ),
    (
        "hooks",
        "table",
        "-",
        "(none)",
        '{ failed = ["/usr/local/sbin/page-me"] }',
        "Commands around the rounds of every job that has no `[hooks]` of its own.",
    ),
    (
        "metrics",
        "table",
        "-",
        "(none are written)",
        '{ textfile = "/var/lib/prometheus/node-exporter/xenbackup.prom" }',
        "Figures for Prometheus.",
    ),
    (
        "journals",
        "table",
        "-",
        "(see `[journals]`)",
        '{ keep = "1d" }',
        "How long the journals of ended runs are kept.",
    ),
)

SPOOL_ROWS = (
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

DESTINATION_ROWS = (
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

LIMITS_ROWS = (
    ("runs", "number", "runs", "2", "4", "In all, 1 to 64."),
    (
        "runs_per_group",
        "number",
        "runs",
        "1",
        "2",
        "With disks in the same volume group, 1 to 64.",
    ),
    (
        "runs_per_destination",
        "number",
        "runs",
        "2",
        "1",
        "To the same destination, 1 to 64.",
    ),
)

POLITENESS_ROWS = (
    (
        "nice",
        "number",
        "0 to 19",
        "10",
        "19",
        "How readily copying gives up the processors; 0 not at all, 19 the most.",
    ),
    (
        "io_class",
        "text",
        "-",
        '"best-effort"',
        '"idle"',
        "Its class at the disks, as in ionice(1): `best-effort`, `idle`, or `none` to leave it "
        "alone.",
    ),
    (
        "io_level",
        "number",
        "0 to 7",
        "7",
        "4",
        "Its place within `best-effort`; 7 stands back the most.",
    ),
)

NOTIFY_ROWS = (
    (
        "mail",
        "table",
        "-",
        "(no mail)",
        '{ to = ["root"] }',
        "A mail, through the host's own `sendmail`.",
    ),
    (
        "webhook",
        "table",
        "-",
        "(none)",
        '{ url = "https://chat.example.org/hook" }',
        "A request with JSON, for a chat or a ticket system.",
    ),
    (
        "ping",
        "table",
        "-",
        "(none)",
        '{ url = "https://ping.example.org/backup" }',
        "A dead man's switch, which raises the alarm when it is *not* called.",
    ),
    (
        "apprise",
        "table",
        "-",
        "(none)",
        '{ urls = ["ntfy://example.org/backup"] }',
        "Whatever the library Apprise can reach.",
    ),
)

_WHEN_MEANING = "`always`, or `trouble`: only when not everything went well."

MAIL_ROWS = (
    (
        "to",
        "list of texts",
        "addresses",
        REQUIRED,
        '["root", "admin@example.org"]',
        "Who gets it.",
    ),
    (
        "sender",
        "text",
        "address",
        "(the mail system's choice)",
        '"xenbackup@example.org"',
        "Whom it comes from.",
    ),
    ("when", "text", "-", '"trouble"', '"always"', _WHEN_MEANING),
)

WEBHOOK_ROWS = (
    (
        "url",
        "text",
        "URL, http or https",
        REQUIRED,
        '"https://chat.example.org/hook"',
        "Where the JSON is sent, with POST.",
    ),
    ("when", "text", "-", '"always"', '"trouble"', _WHEN_MEANING),
)

PING_ROWS = (
    (
        "url",
        "text",
        "URL, http or https",
        REQUIRED,
        '"https://ping.example.org/backup"',
        "Called when all went well; with `/start` added when a round begins, with `/fail` when one "
        "failed.",
    ),
)

APPRISE_ROWS = (
    (
        "urls",
        "list of texts",
        "URLs of Apprise",
        REQUIRED,
        '["ntfy://example.org/backup"]',
        "Needs the library Apprise; see `docs/telling.md`.",
    ),
    ("when", "text", "-", '"trouble"', '"always"', _WHEN_MEANING),
)

METRICS_ROWS = (
    (
        "textfile",
        "text",
        "absolute path, ends in `.prom`",
        '""',
        '"/var/lib/prometheus/node-exporter/xenbackup.prom"',
        "A file in the folder that Prometheus' node exporter reads; see `docs/telling.md`.",
    ),
)

JOURNALS_ROWS = (
    (
        "keep",
        "text or number",
        "seconds; s, m, h, d",
        '"90d"',
        '"1d"',
        "Journals of ended runs older than this are removed, and the catalog forgets such runs; "
        "`0` keeps all.",
    ),
)
