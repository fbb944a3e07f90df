"""The files that are shipped to begin with: they load together, and say what they promise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xenbackup.config import jobs_folder, load_configuration, load_jobs
from xenbackup.model.job import Configuration, Consistency, DestinationKind, JobSet, Mail
from xenbackup.model.pipeline import AUTO, consistency_of, expand_pipeline

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "docs" / "examples" / "config.toml"
SHIPPED = ROOT / "jobs"


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The sample, placed as an administrator would; a copy, since a checkout may be anyone's."""
    shutil.copyfile(SAMPLE, tmp_path / "config.toml")
    return load_configuration(tmp_path / "config.toml")


@pytest.fixture
def jobs(configuration: Configuration, tmp_path: Path) -> JobSet:
    folder = jobs_folder(tmp_path / "config.toml")
    folder.mkdir()
    for path in SHIPPED.iterdir():
        shutil.copyfile(path, folder / path.name)
    return load_jobs(folder, configuration)


def test_shipped_jobs_load_with_the_sample_configuration(jobs: JobSet) -> None:
    assert () == jobs.problems
    assert ["nightly", "on-demand", "weekly-cold"] == [job.name for job in jobs.jobs]


def test_sample_configuration_has_one_folder_of_images(configuration: Configuration) -> None:
    assert [("local", DestinationKind.IMAGES, "/srv/backup")] == [
        (spec.name, spec.kind, spec.path) for spec in configuration.destinations
    ]


def test_sample_configuration_spells_out_only_defaults(configuration: Configuration) -> None:
    defaults = Configuration()

    assert defaults.toolstack == configuration.toolstack
    assert defaults.spool_path == configuration.spool_path
    assert defaults.limits == configuration.limits
    assert defaults.politeness == configuration.politeness
    assert defaults.notify == configuration.notify
    assert defaults.keep_journals_seconds == configuration.keep_journals_seconds


@pytest.mark.parametrize(
    ("name", "schedule", "steps", "consistency"),
    [
        ("weekly-cold", "0 4 * * 0", {"save", "copy", "restore"}, "memory"),
        ("on-demand", "", {"save-paused", "snapshot"}, "memory"),
    ],
)
def test_shipped_job_does_what_its_name_says(
    jobs: JobSet, name: str, schedule: str, steps: set[str], consistency: str
) -> None:
    job = jobs.find_job(name)
    assert job is not None
    pipeline = expand_pipeline(job.pipeline)

    assert schedule == job.schedule
    assert steps <= {str(spec.step) for spec in pipeline}
    assert consistency == consistency_of(pipeline)
    assert ("*",) == job.domains
    assert job.description


def test_nightly_job_chooses_for_each_guest_and_keeps_its_memory(jobs: JobSet) -> None:
    job = jobs.find_job("nightly")
    assert job is not None
    assert ("30 2 * * *", ("*",)) == (job.schedule, job.domains)
    assert (AUTO, Consistency.MEMORY) == (job.pipeline.preset, job.require)


def test_comments_of_shipped_files_fit_80_columns() -> None:
    for path in (SAMPLE, *SHIPPED.iterdir()):
        for line in path.read_text().splitlines():
            assert len(line) <= 80, f"{path.name}: {line}"


def test_keys_that_shipped_files_comment_out_are_right_too(
    configuration: Configuration, tmp_path: Path
) -> None:
    """An administrator removes the `#` of a line: what stands there must load."""
    folder = tmp_path / "uncommented"
    folder.mkdir()
    for path in SHIPPED.iterdir():
        lines = uncomment(path)
        presets = [line for line in lines if line.startswith("preset")]
        if path.name == "nightly.toml":
            # The second is the override's.
            assert ["auto", "crash"] == [line.split('"')[1] for line in presets]
        (folder / path.name).write_text("\n".join(lines))

    assert () == load_jobs(folder, configuration).problems
    sample = tmp_path / "uncommented.toml"
    sample.write_text("\n".join(uncomment(SAMPLE)))
    uncommented = load_configuration(sample)
    assert 100 << 20 == uncommented.bandwidth_limit_bytes_per_second
    assert ["local", "standby"] == [spec.name for spec in uncommented.destinations]
    assert Mail(to=("root",)) == uncommented.notify.mail
    assert uncommented.metrics_path.endswith("/xenbackup.prom")
    assert ("/usr/local/sbin/page-me", "backup") == uncommented.hooks.failed


def uncomment(path: Path) -> list[str]:
    """The lines of a file, with keys and headers that are commented out brought to life.

    The `#` stands right before such a one; prose has a blank between.
    """
    return [
        line[1:] if line.startswith("#") and line[1:2] not in ("", " ") else line
        for line in path.read_text().splitlines()
    ]
