"""`docs/reliability.md` has every fault once, and each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.teeth.tooth import PROJECT, find_missing_test

PAGE = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
FAULTS = 63
LAB = "(lab)"
_TEST_ID = re.compile(r"`(tests/[\w/]+\.py::\w+)`( \(lab\))?")


def read_section(title: str) -> str:
    (body,) = re.findall(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    return str(body)


def list_rows(text: str) -> list[tuple[int, list[str]]]:
    """Number and further cells of each row that begins with a number."""
    rows = []
    for line in text.splitlines():
        number, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if number.isdigit():
            rows.append((int(number), cells))
    return rows


def list_faults() -> list[tuple[int, list[str]]]:
    return list_rows(read_section("Every fault, and what becomes of it"))


def test_every_fault_is_there_once_with_all_its_cells() -> None:
    faults = list_faults()
    assert list(range(1, FAULTS + 1)) == sorted(number for number, _ in faults)
    for number, cells in faults:
        assert 3 == len(cells), number
        assert all(cells), number
        assert cells[1].endswith("."), number


def test_every_test_that_is_named_exists() -> None:
    named = sorted({match[1] for match in _TEST_ID.finditer(PAGE)})
    assert len(named) > FAULTS
    assert [] == [missing for test in named if (missing := find_missing_test(test))]


def test_every_fault_has_a_test() -> None:
    assert [] == [number for number, cells in list_faults() if not _TEST_ID.search(cells[2])]


def test_what_is_not_there_yet_is_told_of_faults_of_the_page() -> None:
    missing = {number for number, _ in list_rows(read_section("Not there yet"))}
    assert set() == missing - {number for number, _ in list_faults()}


def test_tests_marked_as_of_the_lab_run_there_and_no_others() -> None:
    for match in _TEST_ID.finditer("\n".join(cells[2] for _, cells in list_faults())):
        room = Path(match[1]).parts[1]
        assert (room in ("lab", "contract")) == bool(match[2]), match[1]


def test_every_row_of_the_catalogues_tests_is_a_fault_of_the_page() -> None:
    """A test is named for its rows: those rows name it in turn."""
    faults = dict(list_faults())
    for path in sorted((PROJECT / "tests" / "pipeline").glob("test_catalogue*.py")):
        for name in re.findall(r"^def (test_rows?_\w+)\(", path.read_text("utf-8"), flags=re.M):
            numbers = re.match(r"test_rows?_(\d+)(?:_and_(\d+))?_", name)
            assert numbers is not None, name
            for number in filter(None, numbers.groups()):
                assert name in faults[int(number)][2], f"row {number} does not name {name}"
