"""LVM's selections, read and answered as `lvmreport(7)` tells."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.dom0.simulated.lvm_select import matches
from xenbackup.dom0.simulated.session import ToolFailed
from xenbackup.dom0.simulated.state import MIB


def row(**fields: str | int) -> dict[str, Callable[[], str | int]]:
    return {
        name: partial(str, value) if isinstance(value, str) else partial(int, value)
        for name, value in fields.items()
    }


ROW = row(lv_name="web_root", lv_tags="mine,run=1", lv_size=8 * MIB, origin="", vg_name="xenvols")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("lv_name=web_root", True),
        ("name=web_root", True),
        ("lv_name != web_root", False),
        ("lv_name='web_root'", True),
        ('origin=""', True),
        ("lv_name=a || lv_name=web_root", True),
        ("lv_name=web_root # lv_name=a", True),
        ("lv_name=a || lv_name=b", False),
        ("lv_name=web_root , vg_name=xenvols", True),
        ("lv_name=web_root && vg_name=other", False),
        ("!lv_name=web_root", False),
        ("!(lv_name=a || lv_name=b)", True),
        ("(lv_name=a || lv_name=web_root) && vg_name=xenvols", True),
        ("lv_name=~^web_", True),
        ("lv_name!~^web_", False),
        ('lv_name=~"_data$"', False),
        ("lv_size>4m", True),
        ("lv_size>=8m", True),
        ("lv_size<8192k", False),
        ("lv_size<=8388608b", True),
        ("lv_size<1g", True),
        (f"lv_size={8 * MIB}", True),
        (f"lv_size!={8 * MIB}", False),
        ("lv_tags=mine", True),
        ("tags=other", False),
        ("lv_tags!=other", True),
        ("lv_tags={mine}", True),
        ("lv_tags=[mine]", False),
        ("lv_tags=[run=1,mine]", True),
        ("lv_tags={other || mine}", True),
        ("lv_tags={other,mine}", False),
        ('lv_tags=""', False),
        ('lv_tags!=""', True),
    ],
)
def test_selection_means_what_it_says(selection: str, expected: bool) -> None:
    assert expected == matches(selection, ROW)


def test_row_without_tags_has_the_empty_list() -> None:
    assert matches('lv_tags=""', row(lv_tags=""))


@pytest.mark.parametrize(
    "selection",
    [
        "",
        "(lv_name=a",
        "lv_name=a )",
        "lv_name=a lv_name=b",
        "&& lv_name=a",
        "lv_name=a ||",
        "!",
        "lv_size>much",
        "?",
    ],
)
def test_what_cannot_be_read_is_refused_with_its_text(selection: str) -> None:
    with pytest.raises(ToolFailed, match="Selection syntax error") as failed:
        matches(selection, ROW)
    assert 5 == failed.value.exit_code
    assert f"at '{selection}'" in failed.value.stderr


def test_field_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolFailed, match="Unrecognised selection field: nonsense"):
        matches("nonsense=1", ROW)


@given(st.text(alphabet="lv_name=a&|#!(){}[]'\" ~<>", max_size=40))
def test_any_text_is_answered_or_refused(text: str) -> None:
    try:
        assert matches(text, ROW) in (True, False)
    except ToolFailed as failed:
        assert 5 == failed.exit_code
