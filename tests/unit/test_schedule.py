"""Due times: each night once whatever the clock does, hourly ones at every real hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedule.oracle import compare, list_changes, read_days
from xenbackup.errors import ConfigurationError
from xenbackup.planning.schedule import find_due_times, find_moment, find_next_due

# One of each kind: an hour at 2, at midnight, before midnight, half an hour, two hours, three,
# seven, a day left out, an offset of quarters, changes within Ramadan, none.
KINDS = (
    "Europe/Berlin",
    "America/Santiago",
    "America/Nuuk",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Antarctica/Vostok",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "America/Caracas",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "UTC",
)

MOVING = (
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Antarctica/Casey",
    "Pacific/Apia",
    "America/Caracas",
)


def shown(expression: str, zone: str, begins: str, ends: str) -> list[str]:
    """Due times between two days of the zone, as its clock shows them."""
    place = ZoneInfo(zone)
    after = datetime.fromisoformat(begins).replace(tzinfo=place) - timedelta(seconds=1)
    until = datetime.fromisoformat(ends).replace(tzinfo=place)
    return [
        f"{moment.astimezone(place):%d %H:%M %z}"
        for moment in find_due_times(expression, place, after, until)
    ]


@pytest.mark.parametrize("zone", KINDS)
def test_due_times_around_changes_are_what_the_clock_shows_minute_by_minute(zone: str) -> None:
    place = ZoneInfo(zone)
    changes = list_changes(place)
    for change in dict.fromkeys([*changes[:2], *changes[-2:]]):
        assert () == compare(place, read_days(place, change)).wrongs


def test_due_times_of_todays_share_of_all_zones_are_right() -> None:
    """Another share each day, so that all come by; `python -m tests.schedule` takes all at once."""
    zones = sorted(available_timezones())
    assert len(zones) > 400, "tzdata is missing"
    day = datetime.now(UTC).toordinal()
    for zone in zones[day % 100 :: 100]:
        place = ZoneInfo(zone)
        changes = list_changes(place)
        for change in changes[day % 7 :: 7][:2]:
            comparison = compare(place, read_days(place, change))
            assert () == comparison.wrongs, f"python -m tests.schedule --zone {zone}"
            assert comparison.times > 0


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "America/Santiago"])
def test_every_daily_expression_has_365_nights_a_year(zone: str) -> None:
    place = ZoneInfo(zone)
    after = datetime(2026, 1, 1, tzinfo=place) - timedelta(seconds=1)
    until = datetime(2026, 12, 31, 23, 59, tzinfo=place)
    for hour in range(24):
        for minute in (0, 30):
            times = list(find_due_times(f"{minute} {hour} * * *", place, after, until))
            assert 365 == len(times), f"{hour}:{minute:02}"
            assert 365 == len({moment.astimezone(place).date() for moment in times})


def test_time_in_the_skipped_hour_is_due_right_after_the_jump() -> None:
    assert ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"] == shown(
        "30 2 * * *", "Europe/Berlin", "2026-03-28", "2026-03-31"
    )


def test_two_times_in_the_skipped_hour_are_due_as_one() -> None:
    assert ["29 03:00 +0200", "29 03:10 +0200"] == shown(
        "10,30 2,3 29 * *", "Europe/Berlin", "2026-03-29", "2026-03-29T03:29"
    )
    assert ["29 03:00 +0200"] == shown("10,30 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-30")


def test_time_in_the_repeated_hour_is_due_when_it_is_shown_first() -> None:
    assert ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"] == shown(
        "30 2 * * *", "Europe/Berlin", "2026-10-24", "2026-10-27"
    )


def test_hourly_times_are_due_at_every_real_hour() -> None:
    assert ["25 01:00 +0200", "25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"] == shown(
        "0 * * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T03:30"
    )
    assert ["29 01:00 +0100", "29 03:00 +0200"] == shown(
        "0 * * * *", "Europe/Berlin", "2026-03-29T00:30", "2026-03-29T03:30"
    )


def test_day_that_a_zone_left_out_has_no_due_time_and_doubles_no_other() -> None:
    # cronsim brings the 30th's to 00:00 of the 31st.
    assert ["29 00:30 -1000", "31 00:30 +1400"] == shown(
        "30 0 * * *", "Pacific/Apia", "2011-12-29", "2011-12-31T12:00"
    )


def test_repeated_half_hour_shows_a_minute_twice() -> None:
    # cronsim knows the first only.
    assert ["05 01:45 +1100", "05 01:45 +1030", "05 02:45 +1030"] == shown(
        "45 * * * *", "Australia/Lord_Howe", "2026-04-05T01:00", "2026-04-05T03:00"
    )


def test_nothing_is_lost_after_an_offset_changes_by_half_an_hour() -> None:
    # cronsim goes on at 00:30, and at 04:00.
    assert ["10 00:00 -0430", "10 00:15 -0430", "10 00:30 -0430", "10 00:45 -0430"] == shown(
        "*/15 0 * * *", "America/Caracas", "2007-12-10", "2007-12-10T12:00"
    )
    assert ["01 02:00 -0430", "01 03:00 -0400", "01 04:00 -0400"] == shown(
        "0 * * * *", "America/Caracas", "2016-05-01T01:30", "2016-05-01T04:30"
    )


def test_wildcard_minute_in_a_skipped_midnight_is_not_due() -> None:
    # cronsim brings it at 01:00.
    assert [] == shown("*/15 0 16 9 *", "America/Santiago", "1990-09-15", "1990-09-18")


def test_time_that_has_passed_never_comes_from_within_the_repeated_hour() -> None:
    # cronsim returns the first 02:30, which was half an hour ago.
    zone = ZoneInfo("Europe/Berlin")
    second = datetime(2026, 10, 25, 2, 10, tzinfo=zone, fold=1)
    expected = datetime(2026, 10, 26, 2, 30, tzinfo=zone).astimezone(UTC)
    assert expected == find_next_due("30 2 * * *", zone, second)


def test_due_time_itself_is_not_after_itself() -> None:
    due = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
    zone = ZoneInfo("UTC")
    assert due == find_next_due("30 2 * * *", zone, due - timedelta(microseconds=1))
    assert due + timedelta(days=1) == find_next_due("30 2 * * *", zone, due)


def test_what_does_not_come_due_for_fifty_years_ends() -> None:
    assert None is find_next_due(
        "0 0 */31 1 MON#5", ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.mark.parametrize("expression", ["0 25 * * *", "x y * * *", "0 0 31 2 *"])
def test_what_is_no_schedule_is_refused_by_name(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="Cannot read the schedule"):
        find_next_due(expression, ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))


def test_moment_of_a_skipped_time_is_the_jump_and_of_a_skipped_day_none() -> None:
    def find(zone: str, *fields: int) -> datetime | None:
        return find_moment(datetime(*fields), ZoneInfo(zone))  # type: ignore[arg-type]  # noqa: DTZ001

    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert (jump, jump) == (
        find("Europe/Berlin", 2026, 3, 29, 2, 1),
        find("Europe/Berlin", 2026, 3, 29, 2, 59),
    )
    assert None is find("Pacific/Apia", 2011, 12, 30, 12)


expressions = st.one_of(
    st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23)),
    st.builds("{} * * * *".format, st.integers(0, 59)),
    st.builds("*/{} {} * * *".format, st.integers(7, 59), st.integers(0, 23)),
)


@cache
def list_some_changes(zone: str) -> list[datetime]:
    return list_changes(ZoneInfo(zone), 2005, 2016)


@settings(max_examples=100)
@given(data=st.data(), expression=expressions, zone=st.sampled_from(MOVING))
def test_due_times_do_not_depend_on_when_one_asks(
    data: st.DataObject, expression: str, zone: str
) -> None:
    """Asked from any moment, the next one is the next of the row: nothing lost by a restart."""
    place = ZoneInfo(zone)
    change = data.draw(st.sampled_from(list_some_changes(zone)))
    asked = change + timedelta(minutes=data.draw(st.integers(-2000, 2000)))
    row = list(find_due_times(expression, place, change - timedelta(days=3), change + timedelta(5)))
    assert sorted(set(row)) == row
    assert next(moment for moment in row if moment > asked) == find_next_due(
        expression, place, asked
    )
