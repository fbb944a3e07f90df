"""Since when a job promises: not since a catalog was lost, nor before anybody knew of the job."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from xenbackup.planning.promises import find_start


def day(number: int) -> datetime:
    return datetime(2026, 11, number, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("noted", "written", "oldest_point", "start"),
    [
        (None, None, None, None),
        (day(9), None, None, day(9)),
        (None, day(3), None, day(3)),
        # As always: the daemon saw the file when it came, or its schedule when that changed.
        (day(3), day(3), day(4), day(3)),
        (day(9), day(9), day(4), day(9)),
        # Somebody changed a comment.
        (day(3), day(9), day(4), day(3)),
        # The catalog was lost, or the file renamed.
        (day(9), day(3), day(4), day(4)),
        (day(9), day(5), day(4), day(5)),
        # A new host, whose files were copied with their times.
        (day(9), day(3), None, day(9)),
        # A point from the future, or of the very day, makes nothing later.
        (day(9), day(3), day(20), day(9)),
    ],
)
def test_start_of_what_a_job_promises(
    noted: datetime | None,
    written: datetime | None,
    oldest_point: datetime | None,
    start: datetime | None,
) -> None:
    assert start == find_start(noted, written, oldest_point)
