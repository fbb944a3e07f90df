"""Mistakes in configuration and job files: line, what was found, what was expected, a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config_files import (
    MINIMAL,
    configuration_problems,
    job_problems,
)
from xenbackup.config import (
    load_configuration,
)
from xenbackup.errors import ConfigurationError, ExitCode


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'destinaton = "local"',
            ", line 4: unknown key `destinaton`. Hint: did you mean `destination`?",
        ),
        (
            "Max-Away = 3",
            ", line 4: unknown key `Max-Away`. Hint: did you mean `max_away`?",
        ),
        ("frobnicate = 3", ", line 4: unknown key `frobnicate`. Hint: the keys here are"),
        ("daily = 7", "`daily` belongs to [retention]: put it below that header."),
        ("description = 3", ", line 4: `description` is 3, expected text in quotes."),
        ('description = "a\\nb"', "expected one line of at most 1000 printable letters."),
        ("schedule = 2", "`schedule` is 2, expected five cron fields"),
        ('schedule = "30 2 * *"', "Hint: there are 4 fields."),
        ('schedule = "nightly"', "Hint: there is 1 field."),
        ('schedule = "0 30 2 * * *"', "Hint: there are 6 fields."),
        ('schedule = "30 24 * * *"', "Hint: the hour goes from 0 to 23."),
        ('schedule = "60 2 * * *"', "Hint: the minute goes from 0 to 59."),
        ('schedule = "0 0 31 2 *"', "Hint: the day-of-month goes from 1 to 31"),
        ('schedule = "0 0 * 13 *"', "Hint: the month goes from 1 to 12"),
        ('schedule = "0 0 * * 8"', "Hint: the day-of-week goes from 0 to 7"),
        ('schedule = "0 0 */31 2 1#5"', "expected a schedule that ever comes due"),
        ('schedule = "@daily"', 'Hint: write "0 0 * * *".'),
        ('schedule = "1²  * * * *"', "expected five cron fields"),
        (f'schedule = "{"9" * 190} * * * *"', "expected five cron fields"),
        ('timezone = "Europe/Berln"', "Hint: did you mean `Europe/Berlin`?"),
        ('timezone = "berlin"', "Hint: did you mean `Europe/Berlin`?"),
        ('timezone = "Europe"', "expected a zone of the tz database"),
        ('timezone = "../../etc/passwd"', "expected a zone of the tz database"),
        ('timezone = "/etc/localtime"', "expected a zone of the tz database"),
        ('timezone = ""', "Hint: leave the key out for the host's own zone."),
        ("timezone = 2", "expected a zone of the tz database"),
        ('exclude = "web"', 'Hint: write it in brackets: exclude = ["web"].'),
        ("exclude = [7]", "`exclude` has 7 as entry 1, expected text in quotes."),
        ('exclude = ["a", ""]', '`exclude` has "" as entry 2, expected a name or a pattern'),
        ('exclude = ["a\\u001b[2J"]', '`exclude` has "a\\x1b[2J" as entry 1'),
        ('exclude_disks = ["mail:"]', "expected a disk such as xvdb, or GUEST:DISK"),
        ('exclude_disks = [":xvdb"]', "expected a disk such as xvdb, or GUEST:DISK"),
        ("exclude_disks = [1]", "expected text in quotes"),
        ('steps = ["save", "copy", "restore"]', "`steps` stands beside `preset`."),
        ('require = "quiesced"', 'expected one of "memory", "crash"'),
        ('require = "memry"', "Hint: did you mean `memory`?"),
        ("require = 1", '`require` is 1, expected one of "memory", "crash".'),
        ("max_away = true", "`max_away` is true, expected a duration"),
        ("max_away = 1.5", "`max_away` is 1.5, expected a duration"),
        ("max_away = 0", "`max_away` is 0, expected a duration"),
        ("max_away = -5", "`max_away` is -5, expected a duration"),
        ('max_away = "10"', 'Hint: add the unit, as in "10s".'),
        ('max_away = "2 hours"', 'Hint: did you mean "2h"?'),
        ('max_away = "10min"', 'Hint: did you mean "10m"?'),
        ('max_away = "1h30m"', 'Hint: did you mean "90m"?'),
        ('max_away = "8d"', "(1s to 7d)"),
        ('catch_up = "367d"', "(0 to 366d)"),
        ("max_away = 1979-05-27", "`max_away` is 1979-05-27 (a date or time), expected"),
        (f"max_away = 0x{'f' * 6000}", "`max_away` is a number beyond 64 bits, expected"),
        ("retention = 7", "`retention` is 7, expected a table. Hint: write it as [retention]"),
        ("retention = { dayly = 7 }", "unknown key `dayly` in [retention]. Hint: did you mean"),
        ("retention = { daily = -1 }", "`daily` in [retention] is -1, expected a whole number"),
        ("retention = { daily = true }", "`daily` in [retention] is true, expected a whole"),
        ('retention = { daily = "7" }', '`daily` in [retention] is "7", expected a whole number'),
        ("retention = { daily = 100001 }", "expected a whole number from 0 to 100000"),
        (
            "[retention]\ndaily = 7\nschedule = '0 0 * * *'",
            ", line 6: unknown key `schedule` in [retention]. Hint: `schedule` belongs to the job "
            "itself: move it above the first [table].",
        ),
        ('[override]\ndomains = ["a"]', "Hint: write [[override]], with double brackets."),
        ("override = [3]", "`override` has 3 as entry 1, expected a table."),
        ('[[override]]\npreset = "crash"', "`domains` in [[override]] 1 is missing"),
        (
            '[[override]]\ndomains = []\npreset = "crash"',
            ", line 5: `domains` in [[override]] 1 is an empty list, expected one entry or more.",
        ),
        ('[[override]]\ndomains = ["a"]', "`preset` in [[override]] 1 is missing"),
        (
            '[[override]]\ndomains = ["a"]\npreset = "cold"\n'
            '[[override]]\ndomains = ["b"]\npreset = "clod"',
            ', line 9: `preset` in [[override]] 2 is "clod", expected one of "cold", "snapshot", '
            '"checkpoint", "crash", "offline", "auto". Hint: did you mean `cold`?',
        ),
    ],
)
def test_mistake_in_a_job_is_explained(tmp_path: Path, line: str, expected: str) -> None:
    problems = job_problems(tmp_path, MINIMAL + line)

    assert 1 == len(problems), problems
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": `domains` is missing, expected a list of texts."),
        ('domains = []\npreset = "cold"\ndestination = "local"', "`domains` is an empty list"),
        ('domains = ["*"]\npreset = "cold"', ": `destination` is missing, expected 1 to 64"),
        (
            'domains = ["*"]\npreset = "cold"\ndestination = "nass"',
            ', line 3: `destination` is "nass", which config.toml does not define. '
            "Hint: did you mean `nas`?",
        ),
        (
            'domains = ["*"]\npreset = "cold"\ndestination = "elsewhere"',
            "Hint: it defines local, nas.",
        ),
        ('domains = ["*"]\npreset = "cold"\ndestination = "../x"', "expected 1 to 64 letters"),
        ('domains = ["*"]\ndestination = "local"', ": `preset` is missing, expected one of cold"),
        (
            'domains = ["*"]\ndestination = "local"\npreset = "live"',
            '`preset` is "live", expected one of "cold", "snapshot", "checkpoint", "crash", '
            '"offline", "auto".',
        ),
        (
            'domains = ["*"]\ndestination = "local"\nsteps = "save"',
            '`steps` is "save", expected a list of step names',
        ),
        ('domains = ["*"]\ndestination = "local"\nsteps = []', "`steps` cannot work: There are no"),
        (
            'domains = ["*"]\ndestination = "local"\nsteps = ["save", "copy", "restor"]',
            ', line 3: `steps` has "restor" as entry 3, expected one of "save", "save-paused", '
            '"sync", "pause", "unpause", "snapshot", "restore", "copy", "remove-snapshot". '
            "Hint: did you mean `restore`?",
        ),
        (
            'domains = ["*"]\ndestination = "local"\nsteps = ["save", "copy"]',
            ", line 3: `steps` cannot work: `save` is never followed by `restore`: the guest "
            "would stay away. Hint: add `restore`.",
        ),
        (
            'domains = ["*"]\ndestination = "local"\n'
            'steps = ["save", {step = "copy", size = "20%"}, "restore"]',
            "`copy` has a size, which only `snapshot` takes.",
        ),
        (
            'domains = ["*"]\ndestination = "local"\n'
            'steps = [{step = "snapshot", sise = "20%"}, "copy", "remove-snapshot"]',
            "unknown key `sise` in entry 1 of `steps`. Hint: did you mean `size`?",
        ),
        (
            'domains = ["*"]\ndestination = "local"\n'
            'steps = [{step = "snapshot", size = 20}, "copy", "remove-snapshot"]',
            'a bare number is bytes; write "20%" for a share.',
        ),
        (
            'domains = ["*"]\ndestination = "local"\n'
            'steps = [{step = "snapshot", size = "0%"}, "copy", "remove-snapshot"]',
            'a share such as "20%" (1% to 100%)',
        ),
        (
            'domains = ["*"]\ndestination = "local"\n'
            'steps = [{step = "snapshot", size = "1GB"}, "copy", "remove-snapshot"]',
            'Hint: did you mean "1GiB"?',
        ),
        (
            'domains = ["*"]\ndestination = "local"\nsteps = [{}]',
            "`step` in entry 1 of `steps` is missing",
        ),
        (
            'domains = ["*"]\ndestination = "local"\npreset = "crash"\nrequire = "memory"',
            ", line 3: `preset` leaves recovery points of crash consistency, but the job has "
            'require = "memory".',
        ),
        (
            f'require = "memory"\n{MINIMAL}[[override]]\ndomains = ["fw"]\npreset = "crash"',
            "`preset` in [[override]] 1 leaves recovery points of crash consistency",
        ),
    ],
)
def test_mistake_in_what_a_job_needs_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    problems = job_problems(tmp_path, text)

    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('toolstack = "xe"', '`toolstack` is "xe", expected one of "auto", "xl", "xm".'),
        ('bandwidth_limit = "50MB/s"', 'Hint: did you mean "50MiB/s"?'),
        ('bandwidth_limit = "50MiB"', 'Hint: did you mean "50MiB/s"?'),
        ("bandwidth_limit = 0", "Hint: leave the key out for no limit."),
        ("bandwidth_limit = 1", "64KiB/s to 1TiB/s"),
        ("bandwidth_limit = false", "`bandwidth_limit` is false, expected a rate"),
        ("spool = 3", "`spool` is 3, expected a table. Hint: write it as [spool]"),
        ('[spool]\npath = "spool"', 'Hint: did you mean "/spool"?'),
        ('[spool]\npath = "/var/lib/xen/save"', "xendomains restores and deletes what it finds"),
        ('[spool]\npath = "/var/lib/xen/save/mine"', "expected a folder outside of"),
        ("[spool]\npath = 3", "`path` in [spool] is 3, expected an absolute path"),
        ('[spool]\ntoolstack = "xl"', "`toolstack` belongs above the first [table]."),
        ("destination = 3", "`destination` is 3, expected tables."),
        ('[destination]\npath = "/srv"', ', line 2: `destination` has "/srv" under "path"'),
        ('[[destination]]\npath = "/srv"', "`destination` is a list of 1, expected tables."),
        ('[destination."a b"]\n', ', line 1: a destination\'s name is "a b", expected 1 to 64'),
        ('[destination.x]\npath = "/srv"', "`kind` in [destination.x] is missing"),
        ('[destination.x]\nkind = "images"', "`path` in [destination.x] is missing"),
        ('[destination.x]\nkind = "image"\npath = "/a"', "Hint: did you mean `images`?"),
        ('[destination.x]\nkind = "images"\npath = "/"', "expected an absolute path"),
        ('[destination.x]\nkind = "images"\npath = "/a/../b"', "without `..`"),
        ('[destination.x]\nkind = "images"\npath = "/a\\u0000"', '"/a\\x00", expected'),
        ('[destination.x]\nkind = "volume"\npath = "/dev/vg/lv"', "expected a volume group"),
        ('[destination.x]\nkind = "volume"\npath = "-vg"', "expected a volume group"),
        ('[destination.x]\nkind = "volume"\npath = "."', "expected a volume group"),
        (
            '[destination.x]\nkind = "images"\npath = "/a"\n'
            '[destination.y]\nkind = "images"\npath = "/a/"',
            ", line 6: `path` in [destination.y] is that of [destination.x] too.",
        ),
        (
            '[spool]\npath = "/a"\n[destination.y]\nkind = "images"\npath = "/a"',
            ", line 5: `path` in [destination.y] is that of the spool too.",
        ),
    ],
)
def test_mistake_in_the_configuration_is_explained(
    tmp_path: Path, text: str, expected: str
) -> None:
    problems = configuration_problems(tmp_path, text)

    assert any(expected in problem for problem in problems), problems


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines(
    tmp_path: Path,
) -> None:
    problems = job_problems(
        tmp_path,
        'max_away = "x"\nschedule = "x"\nfoo = 1\n[retention]\nweekly = "x"\ndaily = "x"\n',
    )

    lines = [int(p.split("line ")[1].split(":")[0]) for p in problems if ", line " in p]
    missing = [p for p in problems if ", line " not in p]
    assert [1, 2, 3, 5, 6] == lines
    assert 3 == len(missing), problems
    assert missing == list(problems[-3:])


def test_misspelled_key_is_not_reported_as_missing_too(tmp_path: Path) -> None:
    problems = job_problems(tmp_path, MINIMAL.replace("preset", "presett"))

    assert (": unknown key `presett`. Hint: did you mean `preset`?",) == tuple(
        problem.replace(", line 2", "") for problem in problems
    )


def test_line_is_right_beside_texts_that_look_like_keys(tmp_path: Path) -> None:
    problems = job_problems(
        tmp_path,
        'description = """\\\n  max_away = 3 \\\n  [retention] \\\n"""\n'
        "# max_away = 3\n"
        'exclude = [\n  "a", # ]\n  "max_away = 3",\n]\n'
        f'{MINIMAL}"max_away" = 0\n',
    )

    assert 1 == len(problems)
    assert problems[0].startswith(", line 13: `max_away` is 0")


def test_configuration_error_ends_with_the_usage_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(tmp_path / "config.toml")

    assert ExitCode.USAGE is caught.value.exit_code


def test_host_without_a_tz_database_is_told_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)

    problems = job_problems(tmp_path, MINIMAL + 'timezone = "Europe/Berln"')

    assert "Hint: this host has none: install tzdata." in problems[0]
