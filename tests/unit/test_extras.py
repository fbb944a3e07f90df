"""Libraries of the administrator's own: found behind ours, and only where nobody else put them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xenbackup.system import extras
from xenbackup.system.extras import explain_distrust, is_library_there, open_extras

LIBRARY = "library_of_an_administrator"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "xenbackup" / "extras"
    folder.mkdir(parents=True)
    (folder / f"{LIBRARY}.py").write_text("WORD = 'extra'\n")
    return folder


def test_library_in_the_folder_is_there_and_one_that_is_nowhere_is_not(folder: Path) -> None:
    assert is_library_there(LIBRARY, str(folder))
    assert not is_library_there("library_of_nobody", str(folder))
    assert str(folder) == sys.path[-1], "behind our own libraries"
    open_extras(str(folder))
    assert 1 == sys.path.count(str(folder))


def test_folder_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    assert not is_library_there(LIBRARY, str(tmp_path / "none"))
    assert explain_distrust(str(tmp_path / "none")).endswith("is not there")
    assert str(tmp_path / "none") not in sys.path


@pytest.mark.parametrize("part", ["", ".."], ids=["itself", "above"])
@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_nothing_is_taken_from_where_everybody_may_write(
    folder: Path, part: str, mode: int
) -> None:
    place = (folder / part).resolve()
    place.chmod(mode)
    assert not is_library_there(LIBRARY, str(folder))
    assert str(folder) not in sys.path
    assert f"{place} may be written by everybody" == explain_distrust(str(folder))


def test_folder_like_tmp_may_be_above_it_and_never_the_folder_itself(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    assert "" == explain_distrust(str(folder))
    folder.chmod(0o1777)
    assert explain_distrust(str(folder)).endswith("may be written by everybody")


def test_nothing_is_taken_from_a_folder_of_another_user_or_group(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "getegid", lambda: 4711)
    if folder.stat().st_uid:
        assert "belongs to user" in explain_distrust(str(folder))
        return
    assert "" == explain_distrust(str(folder)), "root's own is everybody's"
    folder.chmod(0o775)
    assert "" == explain_distrust(str(folder)), "root's own group"


def test_a_link_is_judged_by_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "" == explain_distrust(str(link))
    folder.chmod(0o777)
    assert explain_distrust(str(link))
    folder.chmod(0o755)
    assert explain_distrust(str(folder / f"{LIBRARY}.py")).endswith("is no folder")


def test_program_that_is_isolated_finds_it_too(folder: Path) -> None:
    """As the package starts it: `python3 -I`, which knows no PYTHONPATH."""
    root = Path(extras.__file__).resolve().parents[2]
    program = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from xenbackup.system.extras import is_library_there\n"
        f"print(is_library_there({LIBRARY!r}, {str(folder)!r}))\n"
        f"import {LIBRARY}; print({LIBRARY}.WORD)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    assert (0, ["True", "extra"]) == (done.returncode, done.stdout.split()), done.stderr
