"""Reports over the socket and on the page: any report survives both."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC

import pytest
from hypothesis import Phase, given, settings

from tests.unit.status_reports import make_bad_morning, make_report, reports
from xenbackup.cli.page import Page
from xenbackup.cli.status_page import report_status
from xenbackup.cli.status_telling import list_performance, shape_status
from xenbackup.cli.text import measure_width
from xenbackup.model.status import StatusReport, decode_report, encode_report

# A report is large: making one smaller step by step takes minutes, and it can be read as it is.
a_few = settings(max_examples=60, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@a_few
@given(reports)
def test_any_report_comes_back_as_it_was_sent(report: StatusReport) -> None:
    """Bytes that are no UTF-8 come back escaped, and then no more of them."""
    received = decode_report(encode_report(report))
    assert encode_report(received) == encode_report(report)
    assert received == decode_report(encode_report(received))
    if "\\udc" not in encode_report(report).decode():
        assert report == received


@a_few
@given(reports)
def test_any_report_is_laid_out_within_eighty_columns(report: StatusReport) -> None:
    page = report_status(report, Page(), UTC)
    assert [] == [line for line in page.splitlines() if measure_width(line) > 80]
    odd = {letter for letter in page if unicodedata.category(letter) in ("Cc", "Cs", "Cf")}
    assert odd <= {"\n"}


@a_few
@given(reports)
def test_any_report_is_one_object_for_a_program(report: StatusReport) -> None:
    assert 1 == json.loads(json.dumps(shape_status(report), allow_nan=False))["schema"]


@a_few
@given(reports)
def test_performance_data_are_one_line_without_bars(report: StatusReport) -> None:
    data = " ".join(list_performance(report))
    assert ("|" in data, "\n" in data) == (False, False)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"host": 1}', b"\xff", b"[" * 10000])
def test_anything_else_than_a_report_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_report(content)


@pytest.mark.parametrize("report", [make_report(), make_bad_morning()])
def test_a_morning_comes_back_as_it_was_sent(report: StatusReport) -> None:
    assert report == decode_report(encode_report(report))
