"""Finding a point by what a person types: one answer, or an error that lists what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xenbackup.errors import PointNotFound
from xenbackup.model.job import Consistency
from xenbackup.model.point import Damage, PointSummary
from xenbackup.storage import points as stored

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


def find_point(
    text: str, points: Sequence[PointSummary], *, nights: float = 30, hostname: str = "xen1"
) -> PointSummary:
    """As it is found so many nights after the first."""
    now = NIGHT + timedelta(days=nights)
    return stored.find_point(text, points, now=now, hostname=hostname)


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
    with pytest.raises(PointNotFound, match="Every recovery point of 'web' is damaged"):
        find_point("web@latest", (damaged,))


def test_latest_is_the_newest_of_a_time_that_has_come() -> None:
    ahead = make_point("20371105T023000Z-zzzzzz", nights=4000)
    assert SECOND == find_point("web@latest", (FIRST, SECOND, ahead))
    assert ahead == find_point(ahead.point, (FIRST, SECOND, ahead))
    # Clocks of running hosts differ by seconds, those of guests that were just made by minutes.
    assert SECOND == find_point("web@latest", (FIRST, SECOND), nights=1 - 4 / (24 * 60))
    assert FIRST == find_point("web@latest", (FIRST, SECOND), nights=1 - 6 / (24 * 60))


def test_latest_of_points_that_are_all_of_the_future_is_refused_with_their_ids() -> None:
    ahead = make_point("20371105T023000Z-zzzzzz", nights=4000)
    gone = replace(SECOND, damage=Damage(found_at=None, reason="x"))
    with pytest.raises(PointNotFound, match=r"yet to come.*: 2037\S+ \(web\)\.") as caught:
        find_point("web@latest", (gone, ahead))
    assert "2026-12-20 02:30 UTC" in caught.value.hint


def test_latest_of_a_mere_name_is_of_this_host_where_there_is_one() -> None:
    mine = replace(FIRST, host="xen1")
    theirs = replace(SECOND, host="xen2")
    assert mine == find_point("web@latest", (mine, theirs))
    assert theirs == find_point("web@latest", (mine, theirs), hostname="xen2")
    assert theirs == find_point("web@latest", (mine, theirs), hostname="xen3")
    assert theirs == find_point("web@latest", (theirs,))


def test_latest_of_a_guest_that_has_a_uuid_may_be_of_any_host() -> None:
    mine = replace(FIRST, host="xen1", identity="u-1")
    theirs = replace(SECOND, host="xen2", identity="u-1")
    assert theirs == find_point("web@latest", (mine, theirs))


def test_good_point_of_another_host_stands_for_no_damaged_one_of_this() -> None:
    mine = replace(FIRST, host="xen1", damage=Damage(found_at=None, reason="x"))
    theirs = replace(SECOND, host="xen2")
    with pytest.raises(PointNotFound, match=r"that xen1 made of 'web' is damaged: .*-aaaaaa"):
        find_point("web@latest", (mine, theirs))
