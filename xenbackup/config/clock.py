"""Schedules and time zones, as a job file gives them."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

from xenbackup.config.values import Unfit, suggest

_FIELDS = "minute, hour, day of month, month, day of week"
_EXPECTED = f'five cron fields ({_FIELDS}), such as "30 2 * * *"'
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_RANGES = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, and a day that the month has",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT; 0 and 7 are Sunday",
}
# Any moment does: what is asked is whether the expression ever comes due.
_PROBE = datetime(2026, 1, 1, tzinfo=UTC)


def read_schedule(value: object) -> str | Unfit:
    """A cron expression of five fields that comes due at some time, blanks made single."""
    if not isinstance(value, str):
        return Unfit(expected=_EXPECTED)
    if value.strip().lower() in _NICKNAMES:
        return Unfit(expected=_EXPECTED, hint=f'write "{_NICKNAMES[value.strip().lower()]}"')
    fields = value.split()
    if len(fields) != 5 or len(value) > 200 or not value.isascii():
        count = "is 1 field" if len(fields) == 1 else f"are {len(fields)} fields"
        hint = f"there {count}" if len(fields) != 5 else ""
        return Unfit(expected=_EXPECTED, hint=hint)
    expression = " ".join(fields)
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  (programs that read no job)

    try:
        next(CronSim(expression, _PROBE))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        allowed = _RANGES.get(field)
        hint = f"the {field} goes from {allowed}" if allowed else ""
        return Unfit(expected=_EXPECTED, hint=hint)
    except StopIteration:
        return Unfit(expected="a schedule that ever comes due", hint="check day and month")
    return expression


def read_timezone(value: object) -> str | Unfit:
    """A zone of the tz database."""
    expected = 'a zone of the tz database, such as "Europe/Berlin" or "UTC"'
    if not isinstance(value, str) or not value:
        return Unfit(expected=expected, hint="leave the key out for the host's own zone")
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        # ValueError for paths that leave the database, OSError for one of its folders ("Europe").
        known = zoneinfo.available_timezones()
        if not known:
            return Unfit(expected=expected, hint="this host has none: install tzdata")
        return Unfit(expected=expected, hint=_suggest_zone(value, known))
    return value


def _suggest_zone(value: str, known: set[str]) -> str:
    """Someone who writes `Berlin` means `Europe/Berlin`, which is not close letter by letter."""
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known, reverse=True)}
    city = cities.get(value.rpartition("/")[2].lower().replace(" ", "_"))
    return f"did you mean `{city}`?" if city else suggest(value, known)
