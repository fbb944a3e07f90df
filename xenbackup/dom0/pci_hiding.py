"""Who asks for PCI devices to be hidden from dom0: modprobe's files, the kernel's command line.

pciback (`pciback` in Xen's own old kernels, `xen-pciback` since Linux 3.1) takes the devices that
its parameter `hide` names, if it comes before their own drivers: so it belongs into the initrd.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from xenbackup.errors import ConfigurationError

MODULES = ("pciback", "xen_pciback")
"""Names of the module with `-` as `_`, which the kernel takes for the same."""

_GROUP = re.compile(r"\s*\(([^()]{1,32})\)")
_PATTERN = re.compile(
    r"(?:(?P<domain>[0-9a-f]{1,4}):)?(?P<bus>[0-9a-f]{1,2}):"
    r"(?:(?P<device>[01]?[0-9a-f])\.(?P<function>[0-7]|\*)|\*\.\*)",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(r"\s*(?P<key>[A-Za-z_]{1,64})\s*(?P<sign>\+?=)\s*(?P<value>.*)")
_HIDE = re.compile(r"(?:^|\s)hide=(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>\S*))")
_KERNEL_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')


def parse_hide_value(text: str, source: str) -> tuple[str, ...]:
    """Slots of a `hide` parameter: `(0000:03:01.0)(03:02.*)` are two.

    A `*` stands for all functions, `03:*.*` for a whole bus. The kernel refuses to load pciback
    with a parameter that it cannot read to its end, so this is strict as well.

    Raises: ConfigurationError naming the source.
    """
    slots = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        group = _GROUP.match(text, position)
        pattern = _PATTERN.fullmatch(group[1].strip()) if group else None
        if group is None or pattern is None:
            raise ConfigurationError(
                (f"{source}: hide={text[:80]!r}: expected ids such as (0000:03:01.0), each in ().",)
            )
        slots.append(_spell_pattern(pattern))
        position = group.end()
    return tuple(slots)


def parse_modprobe_hiding(text: str, source: str) -> tuple[str, ...]:
    """Slots that `options pciback hide=…` lines of one modprobe file name.

    Comments begin with `#`; a line that ends in a backslash goes on with the next one.
    Raises: ConfigurationError naming the source.
    """
    slots: list[str] = []
    for line in text.replace("\\\n", " ").split("\n"):
        words = line.strip().split(None, 2)
        if len(words) < 3 or words[0] != "options" or not is_pciback(words[1]):
            continue
        for match in _HIDE.finditer(words[2]):
            slots += parse_hide_value(match["quoted"] or match["bare"] or "", source)
    return tuple(slots)


def parse_kernel_line_hiding(text: str, source: str) -> tuple[str, ...]:
    """Slots that `xen-pciback.hide=…` on the Linux kernel's line names.

    Raises: ConfigurationError naming the source.
    """
    slots: list[str] = []
    for word in _KERNEL_WORD.findall(text):
        key, sign, value = word.replace('"', "").partition("=")
        module, dot, parameter = key.partition(".")
        if sign and dot and parameter == "hide" and is_pciback(module):
            slots += parse_hide_value(value, source)
    return tuple(slots)


def is_pciback(name: str) -> bool:
    """Whether a module's name, as anybody spells it, is that of pciback."""
    return name.replace("-", "_") in MODULES


def names_pciback(text: str) -> bool:
    """Whether a list of modules for the initrd, one a line with options, names pciback.

    initramfs-tools reads such a list from /etc/initramfs-tools/modules.
    """
    lines = (line.partition("#")[0].split() for line in text.split("\n"))
    return any(is_pciback(words[0]) for words in lines if words)


def assigns_pciback(text: str, *keys: str) -> bool:
    """Whether one of the shell variables `keys` holds pciback at the end of the file.

    dracut has `add_drivers+=" xen-pciback "` and `force_drivers`, SUSE `INITRD_MODULES="…"`.
    """
    return any(is_pciback(word) for key in keys for word in _read_variable(text, key))


def forces_pciback(kernel_line: str) -> bool:
    """Whether dracut's `rd.driver.pre=` on the kernel's line loads pciback before other drivers."""
    return any(
        is_pciback(name)
        for word in _KERNEL_WORD.findall(kernel_line)
        if word.startswith("rd.driver.pre=")
        for name in word.partition("=")[2].strip('"').split(",")
    )


def has_builtin_pciback(modules_builtin: str) -> bool:
    """Whether the kernel's list modules.builtin has pciback: it then comes before any module."""
    return any(
        is_pciback(line.strip().rpartition("/")[2].removesuffix(".ko"))
        for line in modules_builtin.split("\n")
    )


def _read_variable(text: str, key: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for statement in _join_quoted_lines(text):
        match = _ASSIGNMENT.fullmatch(statement)
        if match is None or match["key"] != key:
            continue
        words = tuple(" ".join(_split_words(match["value"])).split())
        found = (*found, *words) if match["sign"] == "+=" else words
    return found


def _join_quoted_lines(text: str) -> Iterator[str]:
    """Lines, with those joined to one that stand between quotes."""
    pending = ""
    for line in text.replace("\\\n", " ").split("\n"):
        pending = f"{pending} {line}" if pending else line
        if pending.lstrip().startswith("#") or pending.count('"') % 2 == 0:
            yield pending
            pending = ""


def _split_words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:
        return []  # a quote without its end: the shell would not read it either


def _spell_pattern(match: re.Match[str]) -> str:
    front = f"{int(match['domain'] or '0', 16):04x}:{int(match['bus'], 16):02x}"
    if match["device"] is None:
        return f"{front}:*.*"
    return f"{front}:{int(match['device'], 16):02x}.{match['function']}"
