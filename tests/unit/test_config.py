"""Configuration and job files that are good, and folders of jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.config_files import (
    CONFIGURATION,
    MINIMAL,
    write,
)
from xenbackup.config import (
    choose_job,
    jobs_folder,
    load_configuration,
    load_job,
    load_jobs,
)
from xenbackup.errors import ConfigurationError, UsageError
from xenbackup.model.job import (
    Configuration,
    Consistency,
    DestinationKind,
    DestinationSpec,
    Override,
    PipelineSpec,
    Retention,
    SnapshotSize,
    StepName,
    StepSpec,
)


def test_job_file_with_every_key_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        description = "Every guest"
        schedule = "30  2 * * MON-FRI"
        timezone = "Europe/Berlin"
        domains = ["*", "web[1]"]
        exclude = ["test-*"]
        exclude_disks = ["xvdc", "mail:xvdb"]
        steps = ["save", {step = "snapshot", size = "20%"}, "restore", "copy", "remove-snapshot"]
        require = "memory"
        destination = "nas"
        max_away = "90s"
        catch_up = 3600

        [retention]
        last = 1
        hourly = 2
        daily = 3
        weekly = 4
        monthly = 5
        yearly = 6

        [[override]]
        domains = ["win*"]
        preset = "cold"

        [[override]]
        domains = ["off"]
        steps = [{step = "snapshot", size = "1GiB"}, "copy", {step = "remove-snapshot"}]
        """,
    )

    job = load_job(path, CONFIGURATION)

    assert "nightly" == job.name
    assert "Every guest" == job.description
    assert "30 2 * * MON-FRI" == job.schedule
    assert "Europe/Berlin" == job.timezone
    assert ("*", "web[1]") == job.domains
    assert ("test-*",) == job.exclude
    assert ("xvdc", "mail:xvdb") == job.exclude_disks
    assert (
        PipelineSpec(
            steps=(
                StepSpec(step=StepName.SAVE),
                StepSpec(step=StepName.SNAPSHOT, size=SnapshotSize(percent=20)),
                StepSpec(step=StepName.RESTORE),
                StepSpec(step=StepName.COPY),
                StepSpec(step=StepName.REMOVE_SNAPSHOT),
            )
        )
        == job.pipeline
    )
    assert Consistency.MEMORY is job.require
    assert "nas" == job.destination
    assert 90 == job.max_away_seconds
    assert 3600 == job.catch_up_seconds
    assert Retention(last=1, hourly=2, daily=3, weekly=4, monthly=5, yearly=6) == job.retention
    assert (
        Override(domains=("win*",), pipeline=PipelineSpec(preset="cold")),
        Override(
            domains=("off",),
            pipeline=PipelineSpec(
                steps=(
                    StepSpec(step=StepName.SNAPSHOT, size=SnapshotSize(size_bytes=1 << 30)),
                    StepSpec(step=StepName.COPY),
                    StepSpec(step=StepName.REMOVE_SNAPSHOT),
                )
            ),
        ),
    ) == job.overrides


def test_configuration_with_every_key_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        toolstack = "xm"
        bandwidth_limit = "50MiB/s"

        [spool]
        path = "/srv//spool/"

        [destination.local]
        kind = "images"
        path = "/srv/backup"

        [destination.standby-2]
        kind = "volume"
        path = "/dev/backupvols"
        """,
        "config.toml",
    )

    assert Configuration(
        toolstack="xm",
        bandwidth_limit_bytes_per_second=50 << 20,
        spool_path="/srv/spool",
        destinations=(
            DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup"),
            DestinationSpec(name="standby-2", kind=DestinationKind.VOLUME, path="backupvols"),
        ),
        source_path=path,
    ) == load_configuration(path)


def test_empty_configuration_is_all_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "", "config.toml")

    assert Configuration(source_path=path) == load_configuration(path)


def test_jobs_lie_beside_the_configuration() -> None:
    assert Path("/etc/xenbackup/jobs") == jobs_folder(Path("/etc/xenbackup/config.toml"))


def test_byte_order_mark_is_forgiven(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode())

    assert "nightly" == load_job(path, CONFIGURATION).name


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"90s"', 90), ('"10m"', 600), ('"2h"', 7200), ('"1d"', 86400), ("45", 45), ('"5 m"', 300)],
)
def test_durations_are_read(tmp_path: Path, written: str, seconds: int) -> None:
    path = write(tmp_path, f"{MINIMAL}max_away = {written}")

    assert seconds == load_job(path, CONFIGURATION).max_away_seconds


def test_catching_up_can_be_switched_off(tmp_path: Path) -> None:
    path = write(tmp_path, f"{MINIMAL}catch_up = 0")

    assert 0 == load_job(path, CONFIGURATION).catch_up_seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ('"20%"', SnapshotSize(percent=20)),
        ('"1GiB"', SnapshotSize(size_bytes=1 << 30)),
        ('"512MiB"', SnapshotSize(size_bytes=512 << 20)),
        ('"2048 KiB"', SnapshotSize(size_bytes=2 << 20)),
        ("1073741824", SnapshotSize(size_bytes=1 << 30)),
    ],
)
def test_snapshot_sizes_are_read(tmp_path: Path, written: str, size: SnapshotSize) -> None:
    path = write(
        tmp_path,
        f'domains = ["*"]\ndestination = "local"\n'
        f'steps = [{{step = "snapshot", size = {written}}}, "copy", "remove-snapshot"]',
    )

    assert size == load_job(path, CONFIGURATION).pipeline.steps[0].size


@pytest.mark.parametrize(
    ("written", "rate"),
    [('"50MiB/s"', 50 << 20), ('"1GiB/s"', 1 << 30), ('"64KiB/s"', 64 << 10), ("1000000", 10**6)],
)
def test_rates_are_read(tmp_path: Path, written: str, rate: int) -> None:
    path = write(tmp_path, f"bandwidth_limit = {written}", "config.toml")

    assert rate == load_configuration(path).bandwidth_limit_bytes_per_second


@pytest.mark.parametrize("schedule", ["0 0 29 2 *", "*/15 * * * *", "5 4 * * 7", "0 0 1 JAN,JUL *"])
def test_schedules_of_cron_are_taken(tmp_path: Path, schedule: str) -> None:
    path = write(tmp_path, f'{MINIMAL}schedule = "{schedule}"')

    assert schedule == load_job(path, CONFIGURATION).schedule


def test_good_jobs_are_loaded_beside_broken_ones(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "b.toml")
    write(tmp_path, MINIMAL, "a.toml")
    broken = write(tmp_path, "x = 1", "broken.toml")
    write(tmp_path, "not a job", ".hidden.toml")
    write(tmp_path, "not a job", "README")
    write(tmp_path, "not a job", "a.toml~")

    loaded = load_jobs(tmp_path, CONFIGURATION)

    assert ["a", "b"] == [job.name for job in loaded.jobs]
    assert ["broken"] == [file.name for file in loaded.broken]
    assert loaded.problems
    assert all(problem.startswith(str(broken)) for problem in loaded.problems)


@pytest.mark.parametrize("name", ["my job.toml", "-x.toml", "ä.toml", ".toml.toml", "a.b.toml"])
def test_job_name_that_breaks_the_rule_is_reported(tmp_path: Path, name: str) -> None:
    if name.startswith("."):
        name = "x" * 65 + ".toml"
    write(tmp_path, MINIMAL, name)

    problems = load_jobs(tmp_path, CONFIGURATION).problems

    assert 1 == len(problems)
    assert "expected 1 to 64 letters, digits, - and _" in problems[0]


def test_job_file_with_a_name_that_is_not_utf8_is_reported_printably(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.toml")).write_text(MINIMAL)

    problems = load_jobs(tmp_path, CONFIGURATION).problems

    assert 1 == len(problems)
    assert problems[0].isprintable()
    assert problems[0].encode()


def test_suffix_in_capitals_is_reported_and_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "nightly.TOML")

    assert "Hint: rename it to nightly.toml." in load_jobs(tmp_path, CONFIGURATION).problems[0]


def test_second_of_two_names_that_differ_in_capitals_is_reported(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "Nightly.toml")
    write(tmp_path, MINIMAL, "nightly.toml")

    loaded = load_jobs(tmp_path, CONFIGURATION)

    assert ["Nightly"] == [job.name for job in loaded.jobs]
    assert "differs from that of Nightly.toml in nothing but capitals" in loaded.problems[0]


def test_missing_folder_of_jobs_is_a_problem(tmp_path: Path) -> None:
    loaded = load_jobs(tmp_path / "jobs", CONFIGURATION)

    assert () == loaded.jobs
    assert 1 == len(loaded.problems)
    assert "cannot be read: No such file or directory. Hint: create it" in loaded.problems[0]


def test_empty_folder_of_jobs_is_none(tmp_path: Path) -> None:
    assert () == load_jobs(tmp_path, CONFIGURATION).problems


def test_chosen_job_is_the_one_of_that_name(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    write(tmp_path, "x = 1", "broken.toml")
    jobs = load_jobs(tmp_path, CONFIGURATION)

    assert "nightly" == choose_job(jobs, "nightly").name
    with pytest.raises(UsageError, match=r"no job .nigthly.\. Hint: did you mean `nightly`"):
        choose_job(jobs, "nigthly")
    with pytest.raises(ConfigurationError, match="unknown key `x`"):
        choose_job(jobs, "broken")


def test_job_chosen_from_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no jobs yet"):
        choose_job(load_jobs(tmp_path, CONFIGURATION), "nightly")
    with pytest.raises(ConfigurationError, match="The folder of jobs"):
        choose_job(load_jobs(tmp_path / "jobs", CONFIGURATION), "nightly")
