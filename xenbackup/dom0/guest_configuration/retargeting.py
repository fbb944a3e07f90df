"""One disk specification with another target; whatever else it says stays as it was written."""

from __future__ import annotations

from dataclasses import replace

from xenbackup.dom0.guest_configuration.disks import list_prefixes, parse_disk_specification
from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk

# What belongs to the old target alone, as in a composed configuration.
_OLD_TARGET_ONLY = ("script=", "backend=", "backendtype=")
_FLAGS = frozenset(
    ("cdrom", "direct-io-safe", "discard", "no-discard", "colo", "no-colo", "trusted", "untrusted")
)
_TAP_PREFIXES = ("tap", "tap2", "tapdisk")
_BLANKS = " \t\n"


def retarget_specification(specification: str, path: str, *, in_file: bool) -> str:
    """The specification with `path` as its target, without the script or back-end of the old one.

    The old prefixes of xm (`phy:`, `file:`) follow what the target is: xm goes by them. A path that
    the old form cannot hold is said in the words of xl-disk-configuration(5).

    Raises: ConfigurationError when the specification, or the path, cannot be said.
    """
    before = parse_disk_specification(specification)
    expected = replace(before, target=path, script="", backend="")
    for candidate in (
        _replace_target(specification, before, path, in_file=in_file),
        _spell_anew(before, path),
    ):
        try:
            if parse_disk_specification(candidate) == expected:
                return candidate
        except ConfigurationError:
            continue
    raise ConfigurationError(
        (f"Disk {before.vdev}: its new target {path!r} cannot be written in an xl.cfg.",)
    )


def _replace_target(specification: str, disk: Disk, path: str, *, in_file: bool) -> str:
    prefixes = list_prefixes(specification)
    rest = specification.lstrip(_BLANKS)
    for prefix in prefixes:
        rest = rest.removeprefix(f"{prefix}:").lstrip(_BLANKS)
    items: list[str] = []
    placed = False
    while rest:
        if rest.startswith("target="):
            items.append(_spell_target(path))
            break
        item, _, rest = rest.partition(",")
        rest = rest.lstrip(_BLANKS)
        if item.startswith(_OLD_TARGET_ONLY):
            continue
        if not placed and "=" not in item and item not in _FLAGS:
            item, placed = path, True
        items.append(item)
    return _choose_prefix(prefixes, disk, in_file=in_file) + ",".join(items)


def _choose_prefix(prefixes: tuple[str, ...], disk: Disk, *, in_file: bool) -> str:
    if not prefixes:
        return ""
    keeps = in_file and prefixes[0] in _TAP_PREFIXES
    if keeps or disk.format not in ("raw", "empty"):
        return "".join(f"{prefix}:" for prefix in prefixes)
    return "file:" if in_file else "phy:"


def _spell_anew(disk: Disk, path: str) -> str:
    access = "devtype=cdrom" if disk.cdrom else f"access={'rw' if disk.writable else 'ro'}"
    return f"vdev={disk.vdev},format={disk.format},{access},{_spell_target(path)}"


def _spell_target(path: str) -> str:
    # xl strips one comma from the end of target=.
    return f"target={path}," if path.endswith(",") else f"target={path}"
