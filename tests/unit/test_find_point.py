"""Finding a point by what a person types: one answer, or an error that lists what there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xenbackup.errors import PointNotFound
from xenbackup.model.job import Consistency
from xenbackup.model.point import Damage, PointSummary
from xenbackup.storage.points import find_point

NIGHT = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)


def make_point(point: str, domain: str = "web", nights: int = 0) -> PointSummary:
    return PointSummary(
        point=point,
        destination="usb",
        domain=domain,
        identity=domain,
        job="nightly",
        consistency=Consistency.CRASH,
        created_at=NIGHT + timedelta(days=nights),
        size_bytes=0,
        stored_bytes=0,
        has_memory=False,
    )


FIRST = make_point("20261120T023000Z-aaaaaa")
SECOND = make_point("20261121T023000Z-bbbbbb", nights=1)
DB = make_point("20261122T023000Z-cccccc", "db", nights=2)
ODD = make_point("20261122T023001Z-dddddd", "a@latest", nights=2)
POINTS = (SECOND, DB, ODD, FIRST)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FIRST.point, FIRST),
        ("20261121", SECOND),
        (f"  {DB.point}\n", DB),
        ("20261122T023000", DB),
        ("web@latest", SECOND),
        ("db@latest", DB),
        ("a@latest@latest", ODD),
    ],
)
def test_id_unique_beginning_and_latest_of_a_domain_are_found(
    text: str, expected: PointSummary
) -> None:
    assert expected == find_point(text, POINTS)


def test_whole_id_wins_over_a_longer_one_that_begins_with_it() -> None:
    short = make_point("2026")
    assert short == find_point("2026", (*POINTS, short))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026112", r"4 recovery points begin with '2026112': .*-dddddd \(a@latest\)"),
        ("2025", r"No recovery point is called '2025'; there are .*-aaaaaa \(web\)"),
        ("", "No recovery point is called ''"),
        ("web", r"'web' is a domain, not a recovery point; it has .*-bbbbbb \(web\), .*-aaaaaa"),
        ("mail@latest", "Domain 'mail' has no recovery point; .* have one: a@latest, db, web"),
        ("web@oldest", "only `latest` can stand behind the @"),
        ("@latest", "Domain '' has no recovery point"),
    ],
)
def test_what_names_no_point_is_answered_with_candidates(text: str, reason: str) -> None:
    with pytest.raises(PointNotFound, match=reason) as caught:
        find_point(text, POINTS)
    assert caught.value.hint
    assert 2 == caught.value.exit_code


def test_empty_list_says_that_there_is_none_at_all() -> None:
    with pytest.raises(PointNotFound, match="there is none at all"):
        find_point("x", ())
    with pytest.raises(PointNotFound, match="have one: none"):
        find_point("web@latest", ())


def test_long_lists_of_candidates_are_cut_and_newest_first() -> None:
    many = [make_point(f"202611{day:02}T000000Z-aaaaaa", nights=day) for day in range(1, 15)]
    with pytest.raises(PointNotFound, match=r"begin with '2026': 20261114.* and 4 more\."):
        find_point("2026", many)


def test_same_point_in_two_places_is_not_chosen_between() -> None:
    with pytest.raises(PointNotFound, match="2 recovery points"):
        find_point(FIRST.point, (FIRST, FIRST))


def test_latest_is_the_newest_that_was_not_found_damaged() -> None:
    damaged = replace(SECOND, damage=Damage(found_at=None, reason="x"))
    assert FIRST == find_point("web@latest", (FIRST, damaged))
    assert damaged == find_point(damaged.point, (FIRST, damaged))
    with pytest.raises(PointNotFound, match="every recovery point of 'web' damaged"):
        find_point("web@latest", (damaged,))
