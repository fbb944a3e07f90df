"""`docs/jobs.md` and the reader's table of keys tell the same; so do presets and examples."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.unit.config_files import CONFIGURATION, MINIMAL, write
from xenbackup.config import Key, Section, describe_keys, load_configuration, load_job
from xenbackup.config.keys import REQUIRED, top_of
from xenbackup.config.values import read_path, read_snapshot_size
from xenbackup.errors import ConfigurationError
from xenbackup.model.job import DEFAULT_SNAPSHOT_SIZE, Job, PipelineSpec, StepName, Window
from xenbackup.model.pipeline import PRESETS, consistency_of
from xenbackup.planning.beginnings import choose_begin
from xenbackup.planning.schedule import find_due_times
from xenbackup.records.journal import RESERVE_BYTES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "jobs.md").read_text()
OTHERS_OF_DESTINATION = {"kind": 'path = "/srv"\n', "path": 'kind = "images"\n'}
AROUND_OVERRIDE = {
    "domains": 'preset = "cold"\n',
    "require": 'domains = ["a"]\npreset = "cold"\n',
}


def list_rows(title: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two head lines."""
    body = PAGE.split(f"\n{title}\n", 1)[1] if f"\n{title}\n" in PAGE else ""
    rows: list[list[str]] = []
    for line in body.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows or line.startswith("##"):
            break
    return rows[2:]


def spell_row(key: Key) -> list[str]:
    if key.default == REQUIRED:
        default = "**required**"
    elif key.default.startswith("("):
        default = key.default[1:-1]
    else:
        default = f"`{key.default}`"
    return [f"`{key.name}`", key.type, key.unit, default, f"`{key.example}`", key.meaning]


@pytest.mark.parametrize("section", list(Section), ids=lambda section: section.name)
def test_documents_list_exactly_the_keys_that_the_reader_knows(section: Section) -> None:
    expected = [spell_row(key) for key in describe_keys() if key.section is section]

    assert expected == list_rows(f"### {section.value}")


def spell_with(key: Key, value: str) -> str:
    """A whole file that is good but for the value of one key."""
    line = f"{key.name} = {value}\n"
    match key.section:
        case Section.CONFIGURATION:
            return line
        case Section.DESTINATION:
            return f"[destination.x]\n{OTHERS_OF_DESTINATION[key.name]}{line}"
        case Section.MAIL if key.name != "to":
            return f'[notify.mail]\nto = ["root"]\n{line}'
        case Section.WEBHOOK if key.name != "url":
            return f'[notify.webhook]\nurl = "http://x/"\n{line}'
        case Section.APPRISE if key.name != "urls":
            return f'[notify.apprise]\nurls = ["x://y"]\n{line}'
        case Section.JOB:
            rest = MINIMAL.splitlines(keepends=True)
            replaced = "preset" if key.name == "steps" else key.name
            return line + "".join(entry for entry in rest if not entry.startswith(replaced))
        case Section.STEP:
            step = 'step = "snapshot", ' if key.name == "size" else ""
            steps = f'[{{{step}{line.strip()}}}, "copy", "remove-snapshot"]'
            return f'domains = ["*"]\ndestination = "local"\nsteps = {steps}\n'
        case Section.OVERRIDE:
            around = AROUND_OVERRIDE.get(key.name, 'domains = ["a"]\n')
            return f"{MINIMAL}[[override]]\n{around}{line}"
    header = key.section.value.split("`")[1]
    return f"{MINIMAL if top_of(key.section) is Section.JOB else ''}{header}\n{line}"


def load(folder: Path, key: Key, text: str) -> object:
    path = write(folder, text)
    if top_of(key.section) is Section.CONFIGURATION:
        return load_configuration(path)
    return load_job(path, CONFIGURATION)


def name_key(key: Key) -> str:
    return f"{key.section.name}-{key.name}"


@pytest.mark.parametrize("key", describe_keys(), ids=name_key)
def test_example_of_every_key_is_accepted(tmp_path: Path, key: Key) -> None:
    load(tmp_path, key, spell_with(key, key.example))


@pytest.mark.parametrize("key", describe_keys(), ids=name_key)
def test_value_of_a_wrong_type_is_refused_for_every_key(tmp_path: Path, key: Key) -> None:
    with pytest.raises(ConfigurationError, match=key.name):
        load(tmp_path, key, spell_with(key, "1979-05-27"))


@pytest.mark.parametrize(
    "key", [key for key in describe_keys() if key.default[0] not in "(r"], ids=name_key
)
def test_default_of_every_key_is_what_leaving_it_out_gives(tmp_path: Path, key: Key) -> None:
    spelled = load(tmp_path, key, spell_with(key, key.default))
    if key.section is Section.STEP:
        assert read_snapshot_size(tomllib.loads(f"x = {key.default}")["x"]) == (
            DEFAULT_SNAPSHOT_SIZE
        )
        assert isinstance(spelled, Job)
        assert DEFAULT_SNAPSHOT_SIZE == spelled.pipeline.steps[0].size
        return
    left_out = spell_with(key, key.default).replace(f"{key.name} = {key.default}\n", "")

    assert load(tmp_path, key, left_out) == spelled


@pytest.mark.parametrize(
    "key", [key for key in describe_keys() if key.default == REQUIRED], ids=name_key
)
def test_every_required_key_is_asked_for(tmp_path: Path, key: Key) -> None:
    text = spell_with(key, key.example).replace(f"{key.name} = {key.example}", "")
    with pytest.raises(ConfigurationError, match=f"`{key.name}`.* is missing"):
        load(tmp_path, key, text)


def test_documents_list_exactly_the_presets_there_are() -> None:
    expected = [
        [
            f"`{name}`",
            ", ".join(f"`{spec.step}`" for spec in steps),
            str(consistency_of(steps)),
        ]
        for name, steps in PRESETS.items()
    ]

    assert expected == [row[:3] for row in list_rows("## Presets")]


def test_documents_list_exactly_the_steps_there_are() -> None:
    rows = list_rows("## Spelling the steps")

    assert sorted(f"`{step}`" for step in StepName) == sorted(row[0] for row in rows)


@pytest.mark.parametrize("number", [0, 1])
def test_example_jobs_of_the_documents_load(tmp_path: Path, number: int) -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert 2 == len(examples)

    load_job(write(tmp_path, examples[number]), CONFIGURATION)


def test_messages_shown_in_the_documents_are_the_real_ones(tmp_path: Path) -> None:
    shown = re.findall(r"^/etc/xenbackup/jobs/nightly\.toml, .*$", PAGE, re.MULTILINE)
    text = (
        'description = "x"\ndomains = ["*"]\nschedul = "x"\n\npreset = "snapsot"\n\n\n'
        'destination = "local"\nmax_away = "10"\n'
    )
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_job(path, CONFIGURATION)

    assert shown == [
        problem.replace(str(path), "/etc/xenbackup/jobs/nightly.toml")
        for problem in caught.value.problems
    ]


def test_default_paths_of_the_documents_are_paths_that_are_taken() -> None:
    for key in describe_keys():
        if key.unit == "absolute path" and key.default.startswith('"'):
            path = key.default.strip('"')
            assert path == read_path(path)


def spell_due_times(schedule: str, day: date) -> str:
    """A cell of the table about summer time: what is due on that day in Berlin."""
    zone = ZoneInfo("Europe/Berlin")
    midnight = datetime.combine(day, time(), tzinfo=zone)
    following = datetime.combine(day + timedelta(days=1), time(), tzinfo=zone)
    second = timedelta(seconds=1)
    due = [
        f"`{moment.astimezone(zone):%H:%M%z}`"
        for moment in find_due_times(
            schedule, zone, midnight.astimezone(UTC) - second, following.astimezone(UTC) - second
        )
    ]
    return f"{len(due)} times" if len(due) > 4 else ", ".join(due) or "none"


def test_examples_of_summer_time_are_what_the_daemon_does() -> None:
    rows = list_rows("### Summer time")
    assert 4 == len(rows)
    for schedule, skipped, repeated in rows:
        expression = schedule.strip("`")
        assert spell_due_times(expression, date(2026, 3, 29)) == skipped
        assert spell_due_times(expression, date(2026, 10, 25)) == repeated


def test_room_that_a_journal_sets_aside_is_told() -> None:
    assert f"Each sets {RESERVE_BYTES >> 10} KiB of its disk aside" in PAGE


def test_window_whose_end_is_skipped_closes_an_hour_later_by_the_clock() -> None:
    """As the section on summer time says: 02:30 is skipped, and 03:29 is still within."""
    zone = ZoneInfo("Europe/Berlin")
    window = Window(days=frozenset(range(7)), start_minute=60, end_minute=150)
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="usb",
        domains=("*",),
        schedule="* * * * *",
        windows=(window,),
    )
    for minute, within in ((29, True), (30, False)):
        due_at = datetime(2026, 3, 29, 3, minute, tzinfo=zone).astimezone(UTC)
        assert within == (choose_begin(job, due_at, "xen1", zone).begins_at == due_at)
