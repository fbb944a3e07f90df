"""What a virtual disk is called by people, and by which number xenstore has it. Pure."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(?:d(?P<disk>[0-9]{1,6})(?:p(?P<part>[0-9]{1,3}))?|(?P<bus>xvd|sd|hd)"
    r"(?P<letters>[a-z]{1,3})(?P<number>[0-9]{1,3})?)"
)
_EXTENDED = 1 << 28
_XVD, _SD = 202 << 8, 8 << 8
_HD = (3 << 8, 22 << 8)


def number_vdev(vdev: str) -> int | None:
    """The number of xen-vbd-interface(7) for `xvda1`, `d2p1`, `hdc`, `0xca00` or `51712`.

    None for what is no name of a disk, and for a `sd` or `hd` that has no number.
    """
    if re.fullmatch(r"0x[0-9a-f]{1,8}|[0-9]{1,9}", vdev):
        return int(vdev, 16 if vdev.startswith("0x") else 10)
    match = _NAME.fullmatch(vdev)
    if match is None:
        return None
    if match["disk"] is not None:
        return _number_xvd(int(match["disk"]), int(match["part"] or 0))
    disk, part = _count_letters(match["letters"]), int(match["number"] or 0)
    if match["bus"] == "xvd":
        return _number_xvd(disk, part)
    if match["bus"] == "sd":
        return _SD | disk << 4 | part if disk < 16 and part < 16 else None
    return _HD[disk // 2] | disk % 2 << 6 | part if disk < 4 and part < 64 else None


def _number_xvd(disk: int, part: int) -> int | None:
    if disk < 16 and part < 16:
        return _XVD | disk << 4 | part
    return _EXTENDED | disk << 8 | part if disk < 1 << 20 and part < 256 else None


def _count_letters(letters: str) -> int:
    """a is 0, z is 25, aa is 26."""
    count = 0
    for letter in letters:
        count = count * 26 + ord(letter) - ord("a") + 1
    return count - 1
