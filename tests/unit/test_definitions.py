"""Definitions as they change: what makes them worth another reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import build_host
from xenbackup.errors import ConfigurationError, Locked, StateFailed, XenbackupError
from xenbackup.operations.house import House
from xenbackup.service.definitions import Definitions

CONFIGURATION = '[destination.local]\nkind = "images"\npath = "/srv/backup"\n'
JOB = 'domains = ["web"]\npreset = "checkpoint"\ndestination = "local"\n'


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    host = build_host(tmp_path / "host")
    write(tmp_path, "config.toml", CONFIGURATION)
    (tmp_path / "host/etc/xenbackup/jobs").mkdir()
    return Definitions(host, None)


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / "host/etc/xenbackup" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def refuse_with(error: XenbackupError) -> Callable[[House], None]:
    def refuse(_: House) -> None:
        raise error

    return refuse


def test_what_was_looked_at_has_not_changed(definitions: Definitions) -> None:
    assert not definitions.have_changed()


def test_file_that_comes_has_changed_once(definitions: Definitions, tmp_path: Path) -> None:
    write(tmp_path, "jobs/more.toml", JOB)
    assert definitions.have_changed()
    assert not definitions.have_changed()


def test_file_whose_mode_alone_is_another_has_changed(
    definitions: Definitions, tmp_path: Path
) -> None:
    path = write(tmp_path, "jobs/more.toml", JOB)
    path.chmod(0o666)
    assert definitions.have_changed()
    with pytest.raises(ConfigurationError):
        definitions.reload(lambda _: None)
    assert not definitions.have_changed(), "the files say the same as before"
    path.chmod(0o600)
    assert definitions.have_changed()


@pytest.mark.parametrize("error", [Locked("The catalog is locked."), StateFailed("No room.")])
def test_refusal_that_may_pass_is_worth_another_reading_until_one_succeeds(
    definitions: Definitions, error: XenbackupError
) -> None:
    with pytest.raises(type(error)):
        definitions.reload(refuse_with(error))
    assert definitions.have_changed()
    assert definitions.have_changed()
    assert [error.message] == [*definitions.problems]
    definitions.reload(lambda _: None)
    assert not definitions.have_changed()
    assert [] == [*definitions.problems]


def test_refusal_for_what_a_file_says_ends_the_wait_for_what_may_pass(
    definitions: Definitions, tmp_path: Path
) -> None:
    with pytest.raises(StateFailed):
        definitions.reload(refuse_with(StateFailed("No room.")))
    write(tmp_path, "config.toml", "nonsense")
    with pytest.raises(ConfigurationError):
        definitions.reload(lambda _: None)
    assert not definitions.have_changed()
