"""Guest configurations: `xl.cfg` files read, and the JSON that libxl keeps of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from xenbackup.dom0.simulated.state import Vbd
from xenbackup.model.vdev import number_vdev

_ASSIGNMENT = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(.*)$", re.DOTALL)
_STRING_OR_MARK = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[#;\[\]]")
_MEGABYTE_KIB = 1024


class ConfigurationUnreadable(Exception):
    """The file is not what xl's parser takes; the text says where."""


Setting = str | int | list[str]


def parse_configuration(text: str) -> dict[str, Setting]:
    """The settings of an xl.cfg: strings, numbers and lists of strings.

    Raises: ConfigurationUnreadable with the line that cannot be read.
    """
    settings: dict[str, Setting] = {}
    for number, statement in _split_statements(text):
        match = _ASSIGNMENT.match(statement)
        if match is None:
            raise ConfigurationUnreadable(f"{number}: syntax error near `{statement.strip()[:20]}'")
        settings[match.group(1)] = _parse_value(match.group(2).strip(), number)
    return settings


def compose_configuration(settings: Mapping[str, Setting], uuid: str) -> dict[str, object]:
    """What libxl makes of the settings. Raises: ConfigurationUnreadable when one does not fit."""
    name = settings.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationUnreadable("Domain name must be specified.")
    kind = _text(settings, "type") or ("hvm" if settings.get("builder") == "hvm" else "pv")
    if kind not in ("pv", "hvm", "pvh"):
        raise ConfigurationUnreadable(f'Invalid domain type "{kind}".')
    memory = _number(settings, "memory", 32)
    maximum = _number(settings, "maxmem", memory)
    vcpus = _number(settings, "vcpus", 1)
    build: dict[str, object] = {
        "max_vcpus": _number(settings, "maxvcpus", vcpus),
        "avail_vcpus": list(range(vcpus)),
        "max_memkb": maximum * _MEGABYTE_KIB,
        "target_memkb": memory * _MEGABYTE_KIB,
        "video_memkb": 0,
        "sched_params": {
            "sched": "credit2",
            "weight": _number(settings, "cpu_weight", 256),
            "cap": _number(settings, "cap", 0),
        },
        "claim_mode": "True",
    }
    command_line = _text(settings, "cmdline") or _text(settings, "extra")
    for key, value in (
        ("kernel", _text(settings, "kernel")),
        ("cmdline", command_line),
        ("ramdisk", _text(settings, "ramdisk")),
    ):
        if value:
            build[key] = value
    if kind == "hvm":
        build["device_model_version"] = "qemu_xen"
    special: dict[str, object] = {}
    if kind == "hvm" and settings.get("xen_platform_pci") == 0:
        special["xen_platform_pci"] = "False"
    build[f"type.{kind}"] = special
    build["arch_arm"] = {}
    build["arch_x86"] = {"msr_relaxed": "False"}
    configuration: dict[str, object] = {
        "c_info": {
            "type": kind,
            "name": name,
            "domid": 4294967295,
            "uuid": _text(settings, "uuid") or uuid,
            "run_hotplug_scripts": "True",
        },
        "b_info": build,
    }
    disks = [_parse_disk(text) for text in _list(settings, "disk")]
    if disks:
        configuration["disks"] = disks
    vifs = [_parse_vif(text) for text in _list(settings, "vif")]
    if vifs:
        configuration["nics"] = vifs
    devices = [_parse_pci(text) for text in _list(settings, "pci")]
    if devices:
        configuration["pcidevs"] = devices
    for key, default in (
        ("on_poweroff", "destroy"),
        ("on_reboot", "restart"),
        ("on_crash", "destroy"),
    ):
        action = _text(settings, key) or default
        if action != "destroy":  # libxl leaves out what has its own default
            configuration[key] = action
    configuration["on_soft_reset"] = "soft_reset"
    return configuration


def vbds_of(configuration: Mapping[str, object]) -> list[Vbd]:
    """The virtual disks that a domain of this configuration gets, not yet connected."""
    vbds = []
    disks = configuration.get("disks", [])
    for disk in disks if isinstance(disks, list) else []:
        target = disk.get("pdev_path") or ""
        vbds.append(
            Vbd(
                vdev=disk["vdev"],
                number=vdev_number(disk["vdev"]),
                target=target,
                writable=bool(disk.get("readwrite")),
                format=disk.get("format", "raw"),
                cdrom=bool(disk.get("is_cdrom")),
            )
        )
    return vbds


def pci_slots_of(configuration: Mapping[str, object]) -> list[str]:
    """Slots such as `0000:03:01.0` of the devices passed through."""
    devices = configuration.get("pcidevs", [])
    return [
        f"{device.get('domain', 0):04x}:{device.get('bus', 0):02x}:"
        f"{device.get('dev', 0):02x}.{device.get('func', 0):x}"
        for device in (devices if isinstance(devices, list) else [])
    ]


def vdev_number(vdev: str) -> int:
    """Xen's number of a virtual device: xvda is 51712, hda 768, sda 2048."""
    number = number_vdev(vdev)
    if number is None:
        raise ConfigurationUnreadable(f"unknown vdev `{vdev}'")
    return number


def _split_statements(text: str) -> list[tuple[int, str]]:
    """Statements with their line numbers; a list may go over several lines."""
    statements: list[tuple[int, str]] = []
    pending, began, depth = "", 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        code = _strip_comment(line)
        if not pending and not code.strip():
            continue
        began = began if pending else number
        pending = f"{pending}\n{code}" if pending else code
        depth += _bracket_balance(code)
        if depth <= 0:
            statements += [(began, part) for part in _split_semicolons(pending) if part.strip()]
            pending, depth = "", 0
    if pending:
        raise ConfigurationUnreadable(f"{began}: syntax error: list is not closed")
    return statements


def _strip_comment(line: str) -> str:
    """The line up to a `#` that is not inside a string."""
    for match in _STRING_OR_MARK.finditer(line):
        if match.group() == "#":
            return line[: match.start()]
    return line


def _split_semicolons(text: str) -> list[str]:
    parts, begin = [], 0
    for match in _STRING_OR_MARK.finditer(text):
        if match.group() == ";":
            parts.append(text[begin : match.start()])
            begin = match.end()
    return [*parts, text[begin:]]


def _bracket_balance(code: str) -> int:
    marks = [match.group() for match in _STRING_OR_MARK.finditer(code)]
    return marks.count("[") - marks.count("]")


def _parse_value(text: str, number: int) -> Setting:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise ConfigurationUnreadable(f"{number}: syntax error near `{text[:20]}'") from error
    if isinstance(value, bool) or not isinstance(value, str | int | list):
        raise ConfigurationUnreadable(f"{number}: syntax error near `{text[:20]}'")
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ConfigurationUnreadable(f"{number}: a list must hold strings")
        return [str(item) for item in value]
    return value


def _parse_disk(text: str) -> dict[str, object]:
    """A diskspec: key=value words, or `target, format, vdev, access` by position."""
    found: dict[str, str] = {}
    positional: list[str] = []
    # `target=` comes last and takes all the rest, commas too.
    head, given, target = text.partition("target=")
    if given:
        found["target"] = target
    words = [part.strip() for part in (head.rstrip(", ") if given else text).split(",")]
    for word in words:
        key, separator, value = word.partition("=")
        if separator and key in ("format", "vdev", "access", "devtype", "backend"):
            found[key] = value
        elif word == "cdrom":
            found["devtype"] = "cdrom"
        elif word in ("direct-io-safe", "discard", "no-discard"):
            continue
        else:
            positional.append(word)
    names = ("target", "format", "vdev", "access")
    for name, word in zip(names, _reorder(positional), strict=False):
        found.setdefault(name, word)
    target = re.sub(r"^(phy|file|raw):", "", found.get("target", ""))
    vdev, cdrom = found.get("vdev", ""), found.get("devtype") == "cdrom"
    if vdev.endswith(":cdrom"):
        vdev, cdrom = vdev.removesuffix(":cdrom"), True
    if not vdev:
        raise ConfigurationUnreadable(
            f"config parsing error in disk specification: no vdev specified in `{text}'"
        )
    vdev_number(vdev)
    disk: dict[str, object] = {"pdev_path": target, "vdev": vdev}
    if found.get("backend"):
        disk["backend_domname"] = found["backend"]
    disk["format"] = found.get("format") or "raw"
    if cdrom:
        disk["removable"], disk["is_cdrom"] = 1, 1
    elif found.get("access", "rw") in ("w", "rw", ""):
        disk["readwrite"] = 1
    disk["colo_restore_enable"] = "False"
    return disk


def _reorder(words: list[str]) -> list[str]:
    """The old form `phy:/dev/x,xvda,w` has no format: put an empty one in its place."""
    if len(words) >= 2 and re.fullmatch(r"(xvd|hd|sd)[a-z]+\d*(:cdrom)?", words[1]):
        return [words[0], "", *words[1:]]
    return words


def _parse_vif(text: str) -> dict[str, object]:
    nic: dict[str, object] = {}
    for word in (part.strip() for part in text.split(",")):
        key, separator, value = word.partition("=")
        if separator:
            nic[key] = value
    return nic


def _parse_pci(text: str) -> dict[str, object]:
    match = re.match(
        r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", text.strip(), re.IGNORECASE
    )
    if match is None:
        raise ConfigurationUnreadable(f"unable to parse PCI BDF `{text}' for passthrough")
    domain, bus, dev, func = (int(part or "0", 16) for part in match.groups())
    device: dict[str, object] = {"bus": bus, "dev": dev, "rdm_policy": "relaxed"}
    if func:
        device["func"] = func
    if domain:
        device["domain"] = domain
    return device


def _text(settings: Mapping[str, Setting], key: str) -> str:
    value = settings.get(key, "")
    return value if isinstance(value, str) else ""


def _number(settings: Mapping[str, Setting], key: str, default: int) -> int:
    value = settings.get(key, default)
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if not isinstance(value, int):
        raise ConfigurationUnreadable(f"{key} must be a number")
    return value


def _list(settings: Mapping[str, Setting], key: str) -> list[str]:
    value = settings.get(key, [])
    if not isinstance(value, list):
        raise ConfigurationUnreadable(f"{key} must be a list")
    return value
