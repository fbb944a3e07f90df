"""Whether a memory image may resume on this machine: Xen not older, processor not lesser. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from xenbackup.model.point import HostFacts
from xenbackup.model.xen import XenFacts

_HEX = re.compile(r"[0-9a-fA-F]{1,16}")
_VENDORS = ("AMD", "Intel", "Hygon", "Zhaoxin")


def compare_machines(then: HostFacts, now: XenFacts, cpu_model: str) -> Iterator[str]:
    """Why a memory image may not resume here: an older Xen, or a lesser processor."""
    before = parse_version(then.xen_version)
    if before and now.version_tuple < before:
        yield (
            f"The memory was saved on Xen {then.xen_version}, this host runs the older Xen "
            f"{now.xen_version}: restore without --memory."
        )
    named = f"{then.cpu_model or 'an unnamed processor'}, this host has {cpu_model or 'another'}"
    vendors = [
        {vendor for vendor in _VENDORS if vendor.lower() in model.lower()}
        for model in (then.cpu_model, cpu_model)
    ]
    if all(vendors) and not vendors[0] & vendors[1]:
        yield (
            f"The memory was saved on {named}: a guest cannot change the maker of its processor "
            "while it runs; restore without --memory."
        )
        return
    lacking = find_lacking_features(then.cpu_features, now.hardware_capabilities.split(":"))
    if lacking is None:
        if then.cpu_model != cpu_model:
            yield (
                f"The memory was saved on {named}, and their features cannot be compared: restore "
                "without --memory."
            )
    elif lacking:
        yield (
            f"The memory was saved on {named}, which lacks features of the former (hw_caps words "
            f"{', '.join(lacking)}): restore without --memory."
        )


def parse_version(text: str) -> tuple[int, ...]:
    """Numbers of a version: `4.17.7` is (4, 17, 7); () when it does not begin with one."""
    match = re.match(r"\d{1,6}(?:\.\d{1,6})*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def find_lacking_features(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...] | None:
    """Feature bits (as `WORD:MASK`) that were there and are not; None when nobody can tell."""
    words = [word for word in before if word]
    if not words or not all(_HEX.fullmatch(word) for word in (*words, *filter(None, now))):
        return None
    present = [int(word, 16) for word in now if word]
    lacking = []
    for index, word in enumerate(words):
        have = present[index] if index < len(present) else 0
        if gone := int(word, 16) & ~have:
            lacking.append(f"{index}:{gone:#x}")
    return tuple(lacking)
