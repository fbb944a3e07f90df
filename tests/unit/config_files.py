"""Writing configuration and job files for tests, and reading the problems found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenbackup.config import load_configuration, load_job
from xenbackup.errors import ConfigurationError
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec

CONFIGURATION = Configuration(
    destinations=(
        DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup"),
        DestinationSpec(name="nas", kind=DestinationKind.IMAGES, path="/mnt/nas"),
    )
)
MINIMAL = 'domains = ["*"]\npreset = "checkpoint"\ndestination = "local"\n'


def write(folder: Path, text: str | bytes, name: str = "nightly.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o644)
    return path


def job_problems(folder: Path, text: str | bytes, name: str = "nightly.toml") -> tuple[str, ...]:
    """The problems of a job file, without its path in front."""
    path = write(folder, text, name)
    with pytest.raises(ConfigurationError) as caught:
        load_job(path, CONFIGURATION)
    return tuple(problem.removeprefix(str(path)) for problem in caught.value.problems)


def configuration_problems(folder: Path, text: str) -> tuple[str, ...]:
    path = write(folder, text, "config.toml")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    return tuple(problem.removeprefix(str(path)) for problem in caught.value.problems)
