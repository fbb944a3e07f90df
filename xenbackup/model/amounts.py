"""Sizes and lengths of time, as people read them."""

from __future__ import annotations

_SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def format_size(size_bytes: float) -> str:
    """`512 B`, `1.5 KiB`, `64.0 MiB`, `512 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    value = size_bytes / 1024
    unit = 0
    # 1023.6 would be printed as 1024.
    while value >= 1023.5 and unit < len(_SIZE_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.{0 if value >= 99.95 else 1}f} {_SIZE_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """`0.35 s`, `4.2 s`, `42 s`, `3 min 05 s`, `2 h 05 min`, `3 d 4 h`."""
    seconds = max(seconds, 0.0)
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
