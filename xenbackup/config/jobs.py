"""Job files: one TOML file for each job, named by its stem, all in one folder."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from xenbackup.config.calendar import read_blackout, read_window
from xenbackup.config.clock import read_schedule, read_timezone
from xenbackup.config.document import read_document, show_path
from xenbackup.config.hooks import read_hooks
from xenbackup.config.keys import Section
from xenbackup.config.table import Notes, TableReader
from xenbackup.config.values import (
    NAME_RULE,
    Choice,
    Unfit,
    WholeNumber,
    describe_value,
    is_name,
    read_away_time,
    read_catch_up,
    read_count,
    read_disk_pattern,
    read_greatest_age,
    read_jitter,
    read_name,
    read_pattern,
    read_retry_wait,
    read_snapshot_size,
    read_text,
    read_time_limit,
    suggest,
)
from xenbackup.errors import ConfigurationError, UsageError
from xenbackup.model.job import (
    BrokenFile,
    Configuration,
    Consistency,
    Job,
    JobSet,
    Override,
    PipelineSpec,
    Retention,
    SnapshotSize,
    StepName,
    StepSpec,
)
from xenbackup.model.pipeline import (
    AUTO,
    PRESET_NAMES,
    check_pipeline,
    consistency_of,
    expand_pipeline,
    satisfies_requirement,
)
from xenbackup.model.printable import show_text

MOST_RETRIES = 10
_SUFFIX = ".toml"
_STEP_NAMES = tuple(step.value for step in StepName)
_REQUIREMENTS = (Consistency.MEMORY.value, Consistency.CRASH.value)
_ALL_GUESTS = 'domains = ["*"] means every guest'


def load_jobs(folder: Path, configuration: Configuration) -> JobSet:
    """Every job of a folder: the good ones, and for each broken file all of its problems.

    Files that do not end in `.toml`, and hidden ones, are none of ours. Never raises for what it
    finds: a broken file must not keep the other jobs from running.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        problem = (
            f"The folder of jobs, {show_path(folder)}, cannot be read: {error.strerror}. "
            "Hint: create it, and put one .toml file into it for each job."
        )
        return JobSet(broken=(BrokenFile(path=folder, name="", problems=(problem,)),))
    jobs: list[Job] = []
    broken: list[BrokenFile] = []
    written: list[tuple[str, datetime]] = []
    seen: dict[str, str] = {}
    for name in names:
        if name.startswith(".") or not name.lower().endswith(_SUFFIX):
            continue
        path = folder / name
        stem = name[: -len(_SUFFIX)]
        namesake = seen.setdefault(stem.lower(), name)
        try:
            if namesake != name:
                raise ConfigurationError((_describe_namesake(path, namesake),))
            jobs.append(load_job(path, configuration))
            written += _look_when_written(path, stem)
        except ConfigurationError as error:
            broken.append(BrokenFile(path=path, name=stem, problems=error.problems))
    return JobSet(jobs=tuple(jobs), broken=tuple(broken), written=tuple(written))


def _look_when_written(path: Path, name: str) -> list[tuple[str, datetime]]:
    """Nothing for a file that went since, or whose time no calendar has."""
    with suppress(OSError, OverflowError, ValueError):
        return [(name, datetime.fromtimestamp(path.stat().st_mtime, tz=UTC))]
    return []


def choose_job(jobs: JobSet, name: str) -> Job:
    """The job of that name.

    Raises: ConfigurationError with its problems when its file is broken; UsageError, naming the
    nearest job, when there is none.
    """
    found = jobs.find_job(name)
    if found is not None:
        return found
    for file in jobs.broken:
        if file.name == name:
            raise ConfigurationError(file.problems)
    known = [job.name for job in jobs.jobs]
    # A folder that cannot be read is the reason itself, whatever the name.
    unreadable = [problem for file in jobs.broken if not file.name for problem in file.problems]
    if unreadable:
        raise ConfigurationError(tuple(unreadable))
    hint = suggest(name, known) or (
        f"the jobs are {', '.join(known)}" if known else "there are no jobs yet"
    )
    raise UsageError(f'There is no job "{show_text(name, limit=80)}".', hint=hint)


def load_job(path: Path, configuration: Configuration) -> Job:
    """Read one job file, and check it whole.

    Raises: ConfigurationError with every problem of the file.
    """
    _check_file_name(path)
    document = read_document(path)
    notes = Notes(document)
    reader = TableReader(document.table, section=Section.JOB, notes=notes)
    require = _read_requirement(reader)
    defaults = Job(name="", pipeline=PipelineSpec(), destination="", domains=())
    job = Job(
        name=path.name[: -len(_SUFFIX)],
        description=reader.read("description", read_text, ""),
        schedule=reader.read("schedule", read_schedule, ""),
        timezone=reader.read("timezone", read_timezone, ""),
        domains=reader.read_list("domains", read_pattern, required=True, hint=_ALL_GUESTS),
        exclude=reader.read_list("exclude", read_pattern),
        exclude_disks=reader.read_list("exclude_disks", read_disk_pattern),
        pipeline=_read_pipeline(reader, notes, require),
        require=require,
        destination=_read_destination(reader, configuration),
        max_away_seconds=float(reader.read("max_away", read_away_time, defaults.max_away_seconds)),
        catch_up_seconds=float(reader.read("catch_up", read_catch_up, defaults.catch_up_seconds)),
        retention=_read_retention(reader),
        overrides=_read_overrides(reader, notes, require),
        windows=reader.read_list("windows", read_window),
        blackouts=reader.read_list("blackouts", read_blackout),
        jitter_seconds=float(reader.read("jitter", read_jitter, 0)),
        time_limit_seconds=float(reader.read("time_limit", read_time_limit, 0)),
        retries=reader.read("retries", WholeNumber(0, MOST_RETRIES), defaults.retries),
        retry_after_seconds=float(
            reader.read("retry_after", read_retry_wait, defaults.retry_after_seconds)
        ),
        max_age_seconds=float(reader.read("max_age", read_greatest_age, 0)),
        hooks=(
            read_hooks(reader, Section.JOB_HOOKS) if reader.has("hooks") else configuration.hooks
        ),
    )
    notes.raise_if_found()
    return job


def _check_file_name(path: Path) -> None:
    stem, suffix = path.name[: -len(_SUFFIX)], path.name[-len(_SUFFIX) :]
    if suffix != _SUFFIX:
        raise ConfigurationError(
            (
                f"{show_path(path)}: a job's file must end in {_SUFFIX}. "
                f"Hint: rename it to {show_text(stem)}{_SUFFIX}.",
            )
        )
    if not is_name(stem):
        raise ConfigurationError(
            (
                f"{show_path(path)}: the job's name is {describe_value(stem)}, "
                f"expected {NAME_RULE}. Hint: rename the file.",
            )
        )


def _describe_namesake(path: Path, namesake: str) -> str:
    return (
        f"{show_path(path)}: the job's name differs from that of {show_text(namesake)} in nothing "
        "but capitals. Hint: rename one of the two."
    )


def _read_requirement(reader: TableReader) -> Consistency:
    return Consistency(reader.read("require", Choice(_REQUIREMENTS), Consistency.CRASH.value))


def _read_destination(reader: TableReader, configuration: Configuration) -> str:
    name = reader.read_required("destination", read_name, "")
    if name and configuration.find_destination(name) is None:
        known = [spec.name for spec in configuration.destinations]
        reader.note(
            "destination",
            f"is {describe_value(name)}, which config.toml does not define",
            suggest(name, known)
            or (f"it defines {', '.join(known)}" if known else f"add a table [destination.{name}]"),
        )
    return name


def _read_retention(reader: TableReader) -> Retention:
    table = reader.open_table("retention", Section.RETENTION)
    return Retention(
        last=table.read("last", read_count, 0),
        hourly=table.read("hourly", read_count, 0),
        daily=table.read("daily", read_count, 0),
        weekly=table.read("weekly", read_count, 0),
        monthly=table.read("monthly", read_count, 0),
        yearly=table.read("yearly", read_count, 0),
    )


def _read_overrides(
    reader: TableReader, notes: Notes, require: Consistency
) -> tuple[Override, ...]:
    entries = reader.get("override") if reader.has("override") else []
    if not isinstance(entries, list):
        reader.note(
            "override",
            f"is {describe_value(entries)}, expected a list of tables",
            "write [[override]], with double brackets",
        )
        return ()
    overrides = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            reader.note(
                "override",
                f"has {describe_value(entry)} as entry {index + 1}, expected a table",
                "write [[override]], with its keys on the lines below",
            )
            continue
        table = reader.open_entry(
            entry,
            name="override",
            section=Section.OVERRIDE,
            context=f" in [[override]] {index + 1}",
            within=(index,),
        )
        domains = table.read_list("domains", read_pattern, required=True)
        own = _read_requirement(table) if table.has("require") else None
        overrides.append(
            Override(
                domains=domains,
                pipeline=_read_pipeline(
                    table, notes, own or require, "the override" if own else "the job"
                ),
                require=own,
            )
        )
    return tuple(overrides)


def _read_pipeline(
    reader: TableReader, notes: Notes, require: Consistency, asker: str = "the job"
) -> PipelineSpec:
    """`preset` or `steps`, whichever is there; checked against each other and `require`."""
    if reader.has("preset") and reader.has("steps"):
        reader.note("steps", "stands beside `preset`", "keep one of the two")
    if not reader.has("preset") and not reader.has("steps"):
        reader.note_missing("preset", f"one of {', '.join(PRESET_NAMES)}", "or spell `steps`")
    before = notes.count
    name = reader.read("preset", Choice(PRESET_NAMES), "")
    pipeline = PipelineSpec(preset=name, steps=() if name else _read_steps(reader, notes))
    if (pipeline.preset or pipeline.steps) and name != AUTO and notes.count == before:
        consistency = consistency_of(expand_pipeline(pipeline))
        if not satisfies_requirement(consistency, require):
            reader.note(
                "preset" if name else "steps",
                f"leaves recovery points of {consistency} consistency, "
                f'but {asker} has require = "{require}"',
                'choose a pipeline that saves the memory, or require = "crash"',
            )
    return pipeline


def _read_steps(reader: TableReader, notes: Notes) -> tuple[StepSpec, ...]:
    if not reader.has("steps"):
        return ()
    entries = reader.get("steps")
    if not isinstance(entries, list):
        reader.note(
            "steps",
            f"is {describe_value(entries)}, expected a list of step names",
            'as in steps = ["save", "copy", "restore"]',
        )
        return ()
    before = notes.count
    specs = tuple(_read_step(reader, index, entry) for index, entry in enumerate(entries))
    if notes.count == before:
        known = tuple(spec for spec in specs if spec is not None)
        for problem in check_pipeline(known):
            sentence, _, hint = problem.partition(" Hint: ")
            reader.note("steps", f"cannot work: {sentence.rstrip('.')}", hint)
        return known
    return ()


def _read_step(reader: TableReader, index: int, entry: object) -> StepSpec | None:
    if not isinstance(entry, dict):
        return _name_step(reader, index, entry)
    table = reader.open_entry(
        entry,
        name="steps",
        section=Section.STEP,
        context=f" in entry {index + 1} of `steps`",
        within=(index,),
    )
    name = table.read_required("step", Choice(_STEP_NAMES), "")
    size = table.read("size", _read_optional_size, None)
    return StepSpec(step=StepName(name), size=size) if name else None


def _read_optional_size(value: object) -> SnapshotSize | Unfit | None:
    return read_snapshot_size(value)


def _name_step(reader: TableReader, index: int, entry: object) -> StepSpec | None:
    name = Choice(_STEP_NAMES)(entry)
    if isinstance(name, Unfit):
        reader.note(
            "steps",
            f"has {describe_value(entry)} as entry {index + 1}, expected {name.expected}",
            name.hint or 'options go as {step = "snapshot", size = "20%"}',
        )
        return None
    return StepSpec(step=StepName(name))
