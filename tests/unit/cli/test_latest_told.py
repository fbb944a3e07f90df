"""What a person hears who asks for `DOMAIN@latest` and may mean another than the one found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.cli.conftest import CONFIGURATION, Shell

TOLD = "A newer point of router may be in destination offsite"
ELSEWHERE = ("--domain", "other", "--image-dir", "/srv/images")
OFFSITE = """
[destination.offsite]
kind = "images"
path = "/srv/offsite"
"""


@pytest.fixture
def doubtful(shell: Shell) -> Shell:
    """A second destination is configured, and nobody has ever seen it."""
    (shell.directory / "etc/xenbackup/config.toml").write_text(CONFIGURATION + OFFSITE)
    (shell.directory / "srv/images").mkdir()
    return shell


def lay_out(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "router@latest", *ELSEWHERE, "--dry-run"),
        ("pin", "router@latest"),
        ("unpin", "router@latest"),
    ],
)
def test_verbs_that_act_on_the_latest_warn_that_a_newer_one_may_be_away(
    doubtful: Shell, words: tuple[str, ...]
) -> None:
    for json in ((), ("--json",)):
        called = doubtful(*words, *json)
        assert (0, True) == (called.exit_code, TOLD in lay_out(called.err)), called
        assert TOLD not in lay_out(called.out)


def test_show_tells_it_among_the_facts_of_the_point(doubtful: Shell) -> None:
    assert f"Warning: {TOLD}" in lay_out(doubtful("show", "router@latest").out)
    point = doubtful("show", "router@latest", "--json").json["point"]
    assert isinstance(point, dict)
    (told,) = point["warnings"]
    assert told.startswith(TOLD)


def by_id(shell: Shell) -> str:
    return shell.latest_point("router")


def by_beginning(shell: Shell) -> str:
    return shell.latest_point("router")[:-1]


@pytest.mark.parametrize("name", [by_id, by_beginning])
def test_nobody_who_names_an_id_hears_of_it(doubtful: Shell, name: Callable[[Shell], str]) -> None:
    called = doubtful("restore", name(doubtful), *ELSEWHERE, "--dry-run")
    assert (0, "") == (called.exit_code, called.err)
    assert TOLD not in lay_out(doubtful("show", name(doubtful)).out)
