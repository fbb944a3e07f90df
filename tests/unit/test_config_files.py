"""Files that are no TOML, that are not to be trusted, or that hold anything at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.config_files import (
    CONFIGURATION,
    MINIMAL,
    job_problems,
    write,
)
from xenbackup.config import (
    load_configuration,
    load_job,
)
from xenbackup.config.document import MAXIMUM_FILE_BYTES, judge_file, read_document
from xenbackup.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'domains = ["*"]\npreset = checkpoint\n',
            ", line 2, column 10: not valid TOML: invalid value, in `preset = checkpoint`. "
            'Hint: put quotes around text, as in preset = "checkpoint".',
        ),
        ("preset\n", ", line 1, column 7: not valid TOML: expected '=' after a key"),
        ('domains = ["*"', "Hint: close the list with ]."),
        ('preset = "cold\n', "close the text with its quotes on the same line."),
        ("a = 1\na = 2\n", "Hint: the same key stands there twice"),
        ("[spool]\n[spool]\n", "Hint: the same table stands there twice: join the two."),
        ("= 3", "a line is `key = value`"),
        ("!a = 3", "a line is `key = value`"),
        ("a.! = 3", "begin a key with a letter"),
        (b'description = "caf\xe9"\n', ", line 1, column 19: byte 0xE9 is not UTF-8"),
        (b"\n\nx = \xff", ", line 3, column 5: byte 0xFF is not UTF-8"),
        ("a = " + "[" * 5000, " is not readable TOML: lists or tables are nested too deeply."),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = 1\x00", "not valid TOML"),
        (" " * (MAXIMUM_FILE_BYTES + 1), " is larger than 1 MiB"),
    ],
)
def test_text_that_is_no_toml_is_explained(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    problems = job_problems(tmp_path, text)

    assert 1 == len(problems)
    assert expected in problems[0]
    assert "Hint: " in problems[0]
    assert "\x00" not in problems[0]


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"/nowhere/config\.toml does not exist"):
        load_configuration(Path("/nowhere/config.toml"))


def test_path_that_no_system_takes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        load_configuration(tmp_path / "a\0b")
    with pytest.raises(ConfigurationError, match="cannot be opened: File name too long"):
        load_configuration(tmp_path / ("x" * 5000))


def test_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, MINIMAL)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    # Root may read every file, so the mode bits alone would prove nothing.
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read: permission denied"):
        load_job(path, CONFIGURATION)


def test_disk_that_fails_while_reading_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, MINIMAL)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("xenbackup.config.document.judge_file", fail)
    with pytest.raises(ConfigurationError, match="cannot be read: Input/output error"):
        load_job(path, CONFIGURATION)


def test_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder, expected a file"):
        load_configuration(tmp_path)


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        load_configuration(tmp_path / "config.toml")


def test_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"may be written by everybody\. Hint: chmod go-w"):
        load_job(path, CONFIGURATION)


def make_status(mode: int, user: int, group: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, user, group, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "user", "group", "refusal"),
    [
        (0o644, 0, 0, None),
        (0o600, 1000, 1000, None),
        (0o664, 1000, 1000, None),
        (0o664, 0, 0, None),
        (0o644, 1001, 1000, "belongs to user 1001"),
        (0o664, 0, 50, "may be written by group 50"),
        (0o646, 0, 0, "may be written by everybody"),
    ],
)
def test_only_files_that_nobody_else_may_write_are_trusted(
    mode: int, user: int, group: int, refusal: str | None
) -> None:
    judged = judge_file(make_status(mode, user, group), user_id=1000, group_id=1000)

    if refusal is None:
        assert judged is None
    else:
        assert judged is not None
        assert judged[0].startswith(refusal)


def test_root_does_not_trust_a_file_of_another_user() -> None:
    judged = judge_file(make_status(0o644, 1000, 0), user_id=0, group_id=0)

    assert judged is not None


# Arbitrary input: a value or a ConfigurationError, nothing else.

_KEY_NAMES = [
    "description", "schedule", "timezone", "domains", "exclude", "exclude_disks", "preset",
    "steps", "require", "destination", "max_away", "catch_up", "retention", "override", "step",
    "size", "daily", "toolstack", "bandwidth_limit", "spool", "path", "kind", "local", "odd key",
]  # fmt: skip
_WORDS = [
    "", "*", "local", "cold", "crash", "memory", "save", "copy", "restore", "images", "volume",
    "30 2 * * *", "0 0 31 2 *", "L L * * 5#1", "Europe/Berlin", "Europe", "10m", "20%", "1GiB",
    "/srv", "50MiB/s", "\x1b[2J", "\ud800", "²", "a:b",
]  # fmt: skip
_SCALARS = (
    st.sampled_from(_WORDS)
    | st.text(max_size=8)
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_KEY_NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


def to_toml(value: object) -> str:
    """TOML's inline spelling of a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        letters = (
            letter if letter.isprintable() and letter not in '"\\' else f"\\U{ord(letter):08X}"
            for letter in value
            if not 0xD800 <= ord(letter) <= 0xDFFF
        )
        return '"' + "".join(letters) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(to_toml(entry) for entry in value) + "]"
    if isinstance(value, dict):
        inner = ", ".join(f"{to_toml(key)} = {to_toml(entry)}" for key, entry in value.items())
        return "{" + inner + "}"
    return str(value)


def load_both(folder: Path, content: bytes) -> list[str]:
    """Load a content as configuration and as job; every problem of both."""
    problems: list[str] = []
    for name in ("config.toml", "job.toml"):
        path = write(folder, content, name)
        try:
            if name == "config.toml":
                load_configuration(path)
            else:
                load_job(path, CONFIGURATION)
        except ConfigurationError as error:
            problems += error.problems
    return problems


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("arbitrary")


@settings(max_examples=300, deadline=None)
@given(document=st.dictionaries(st.sampled_from(_KEY_NAMES), _VALUES, max_size=8))
def test_arbitrary_documents_give_a_value_or_printable_problems(
    scratch: Path, document: dict[str, object]
) -> None:
    text = "".join(f"{to_toml(key)} = {to_toml(value)}\n" for key, value in document.items())
    for problem in load_both(scratch, text.encode()):
        assert problem.isprintable()
        assert len(problem) < 1000


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=60)
    | st.text("abc=[]{}\"'\\#.\n \t019-:TZ,_", max_size=60).map(str.encode)
)
def test_arbitrary_bytes_give_a_value_or_printable_problems(scratch: Path, content: bytes) -> None:
    for problem in load_both(scratch, content):
        assert problem.isprintable()


@settings(max_examples=300, deadline=None)
@given(text=st.text("a=[]{}\"'\\#.\n 1,", max_size=60))
def test_line_numbers_of_arbitrary_documents_lie_within_them(scratch: Path, text: str) -> None:
    path = write(scratch, text, "lines.toml")
    try:
        document = read_document(path)
    except ConfigurationError:
        return
    for line in document.lines.values():
        assert 1 <= line <= text.count("\n") + 1
    for key in document.table:
        assert document.find_line((key,)) is not None
