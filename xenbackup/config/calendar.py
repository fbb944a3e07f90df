"""Windows of the day and blackout dates, as a job file gives them."""

from __future__ import annotations

import re
from datetime import date, datetime

from xenbackup.config.values import Unfit
from xenbackup.model.job import Blackout, Window

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?:(\S{1,40})\s+)?([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")
_WINDOW_EXPECTED = 'a window such as "22:00-06:00", "sat-sun 00:00-24:00" or "mon,wed 20:00-23:30"'
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BLACKOUT_EXPECTED = 'a date such as "2026-12-31", or "2026-12-24..2027-01-02"'
_LONGEST_BLACKOUT_DAYS = 366
_MIDNIGHT = 24 * 60


def read_window(value: object) -> Window | Unfit:
    """`[DAYS] HH:MM-HH:MM`; an end that is not after its begin is one of the next day."""
    found = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return Unfit(expected=_WINDOW_EXPECTED)
    start, end = _read_minute(found.group(2), found.group(3)), _read_minute(*found.group(4, 5))
    if start is None or end is None or start == _MIDNIGHT:
        return Unfit(
            expected=_WINDOW_EXPECTED, hint="it begins at 00:00 to 23:59 and ends by 24:00"
        )
    if start == end:
        return Unfit(expected=_WINDOW_EXPECTED, hint='"00:00-24:00" is the whole day')
    days = frozenset(range(7)) if found.group(1) is None else _read_days(found.group(1))
    if isinstance(days, Unfit):
        return days
    return Window(days=days, start_minute=start, end_minute=end)


def _read_minute(hour: str, minute: str) -> int | None:
    count = int(hour) * 60 + int(minute)
    return count if int(minute) < 60 and count <= _MIDNIGHT else None


def _read_days(text: str) -> frozenset[int] | Unfit:
    """`sat-sun`, `mon,wed`, `fri-mon` (over the end of the week), or a mixture of these."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in _DAYS or last not in _DAYS:
            return Unfit(expected=_WINDOW_EXPECTED, hint=f"the days are {', '.join(_DAYS)}")
        start, end = _DAYS.index(first), _DAYS.index(last)
        days.update(day % 7 for day in range(start, end + (7 if end < start else 0) + 1))
    return frozenset(days)


def read_blackout(value: object) -> Blackout | Unfit:
    """One date, or `FIRST..LAST`, both included and at most a year apart."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return Blackout(first=value, last=value)
    if not isinstance(value, str):
        return Unfit(expected=_BLACKOUT_EXPECTED)
    begin, dots, end = value.partition("..")
    first = _read_date(begin)
    last = _read_date(end) if dots else first
    if first is None or last is None:
        return Unfit(expected=_BLACKOUT_EXPECTED, hint="write year, month and day: 2026-12-31")
    if last < first:
        return Unfit(expected=_BLACKOUT_EXPECTED, hint="the first date comes first")
    if (last - first).days >= _LONGEST_BLACKOUT_DAYS:
        # One mistyped digit of a year would silently end all backups.
        return Unfit(expected=f"at most {_LONGEST_BLACKOUT_DAYS} days", hint="check the year")
    return Blackout(first=first, last=last)


def _read_date(text: str) -> date | None:
    text = text.strip()
    if not _DATE.fullmatch(text) or not text.isascii():
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
