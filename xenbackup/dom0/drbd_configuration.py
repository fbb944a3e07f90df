"""DRBD's resource files (drbd.conf(5)): which device stands on which disk, on this host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r'\s+|#[^\n]*+|"(?P<quoted>[^"\n]*+)"|(?P<mark>[{};])|(?P<word>[^\s{};"#]++)')
# resource { on { volume { } } }, and one to spare.
_DEPTH_LIMIT = 4
_DEVICE = re.compile(r"/dev/drbd[A-Za-z0-9_./-]+")


@dataclass(frozen=True, kw_only=True)
class DrbdVolume:
    """One device of a resource: `device` is its path, `disk` what lies below it on this host."""

    resource: str
    device: str
    disk: str


@dataclass
class _Section:
    """A `name arguments { … }` under way, and the device and disk said in it so far."""

    head: tuple[str, ...]
    device: str = ""
    disk: str = ""
    inner: list[_Section] = field(default_factory=list)


def parse_drbd_volumes(text: str, hostname: str) -> tuple[DrbdVolume, ...]:
    """The volumes that `hostname` has of every resource in the text.

        resource web {
          device /dev/drbd1;                    # or: device minor 1;
          on dom0 { disk /dev/vg/web; address 10.0.0.1:7789; }
        }

    A device or disk counts for all sections within its own, until one of them says another. What
    belongs to another host, and statements that say nothing of disks, are passed over; so is a
    text that ends too early, as far as it goes.
    """
    found: list[DrbdVolume] = []
    for section in _read_sections(text).inner:
        if section.head[:1] == ("resource",) and len(section.head) > 1:
            found += _list_volumes(section, hostname, _Inherited(resource=section.head[1]))
    return tuple(dict.fromkeys(found))


def _read_sections(text: str) -> _Section:
    root = _Section(head=())
    open_sections = [root]
    statement: list[str] = []
    for word, marked in _cut_words(text):
        current = open_sections[-1]
        if not marked:
            statement.append(word)
        elif word == "{":
            section = _Section(head=tuple(statement))
            current.inner.append(section)
            open_sections.append(section)
            statement = []
        elif word == ";":
            _apply_statement(current, statement)
            statement = []
        elif len(open_sections) > 1:
            open_sections.pop()
            statement = []
    return root


def _cut_words(text: str) -> Iterator[tuple[str, bool]]:
    """Words, and whether each is one of the marks `{`, `}` and `;`."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # a quotation mark without its like
            position += 1
            continue
        position = match.end()
        if match["mark"]:
            yield match["mark"], True
        elif match["word"] is not None or match["quoted"] is not None:
            yield match["word"] or match["quoted"] or "", False


def _apply_statement(section: _Section, statement: list[str]) -> None:
    match statement:
        case ["device", *words]:
            section.device = _name_device(words)
        case ["disk", path] if path.startswith("/"):
            section.disk = path


def _name_device(words: list[str]) -> str:
    """`/dev/drbd1`, `minor 1`, or both (`/dev/drbd_web minor 1`)."""
    if "minor" in words[:-1]:
        number = words[words.index("minor") + 1]
        if re.fullmatch(r"[0-9]{1,7}", number):
            return f"/dev/drbd{int(number)}"
    return words[0] if words and _DEVICE.fullmatch(words[0]) else ""


@dataclass(frozen=True, kw_only=True)
class _Inherited:
    """What the sections around one have said."""

    resource: str
    device: str = ""
    disk: str = ""
    depth: int = 0


def _list_volumes(section: _Section, hostname: str, outer: _Inherited) -> Iterator[DrbdVolume]:
    said = _Inherited(
        resource=outer.resource,
        device=section.device or outer.device,
        disk=section.disk or outer.disk,
        depth=outer.depth + 1,
    )
    inner = [part for part in section.inner if part.head[:1] in (("volume",), ("on",))]
    if not inner and said.device and said.disk:
        yield DrbdVolume(resource=said.resource, device=said.device, disk=said.disk)
    for part in inner:
        # A section of another host is not ours; `_this_host` is what drbdsetup prints.
        mine = part.head[0] == "volume" or {hostname, "_this_host"} & set(part.head[1:])
        if mine and said.depth < _DEPTH_LIMIT:
            yield from _list_volumes(part, hostname, said)
