"""The list of `make teeth` follows the code: each edit applies, and its tests are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.teeth.acts import TEETH
from tests.teeth.tooth import Tooth, find_missing_test


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_act_can_be_taken_out_of_the_source_and_has_tests(tooth: Tooth) -> None:
    assert "" == tooth.find_misfit()
    assert tooth.tests
    assert [] == [missing for test in tooth.tests if (missing := find_missing_test(test))]


def test_names_are_told_apart() -> None:
    names = [tooth.name for tooth in TEETH]
    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 25


def test_edit_that_does_not_fit_is_told(tmp_path: Path) -> None:
    (tmp_path / "xenbackup").mkdir()
    source = tmp_path / "xenbackup" / "acts.py"
    tooth = Tooth(
        name="n", act="a", file="acts.py", text="    sync()\n", instead="", tests=("tests/t.py::t",)
    )
    assert "there is no xenbackup/acts.py" == tooth.find_misfit(tmp_path)
    source.write_text("def f():\n    write()\n")
    assert "is 0 times in" in tooth.find_misfit(tmp_path)
    source.write_text("def f():\n    sync()\n    sync()\n")
    assert "is 2 times in" in tooth.find_misfit(tmp_path)
    source.write_text("def f():\n    sync()\n")
    assert "is no Python" in tooth.find_misfit(tmp_path)
    source.write_text("def f():\n    write()\n    sync()\n")
    assert "" == tooth.find_misfit(tmp_path)
    assert "there is no tests/t.py" in find_missing_test("tests/t.py::t", tmp_path)
