"""Device mapper: which devices are suspended, what they stand on, how full a snapshot is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from xenbackup.dom0.host import Host
from xenbackup.dom0.tool_output import parse_count, refuse_output, require_success, split_lines
from xenbackup.errors import UsageError
from xenbackup.model.command import Command, CommandResult

_TIMEOUT_SECONDS = 60.0
_SUFFIXES = ("", "-real", "-cow")
_NAME = re.compile(r"[A-Za-z0-9#+_.:@%\\=-]{1,127}")
_INFO_ROW = re.compile(
    r"(?P<name>\S+)\s+(?P<major>\d{1,7})\s+(?P<minor>\d{1,9})"
    r"\s+(?P<state>[L-][I-][s-][rw])\s+\d+\s+\d+\s+\d+(?:\s+\S+)?\s*"
)
_TABLE_ROW = re.compile(r"(?P<name>\S+): (?P<table>\d+ \d+ \S+.*)")
_DEVICE_NUMBER = re.compile(r"(?<![\w:])(\d{1,7}):(\d{1,9})(?![\w:])")
_SNAPSHOT_STATUS = re.compile(
    r"(?:\S+: )?\d{1,19} \d{1,19} snapshot(?:-merge)? "
    r"(?:(?P<used>\d{1,19})/(?P<total>\d{1,19}) (?P<metadata>\d{1,19})|(?P<word>[A-Z][A-Za-z ]*))"
)


@dataclass(frozen=True, kw_only=True)
class MappedDevice:
    """One row of `dmsetup info --columns`."""

    name: str
    major: int
    minor: int
    suspended: bool


@dataclass(frozen=True, kw_only=True)
class SnapshotStatus:
    """How full a thick snapshot's exception store is, in sectors of 512 bytes.

    `metadata_sectors` is what an untouched snapshot has allocated already. `invalid` says that it
    overflowed or lost its store: the numbers are 0 then.
    """

    used_sectors: int
    total_sectors: int
    metadata_sectors: int
    invalid: bool


def parse_devices(text: str) -> tuple[MappedDevice, ...]:
    """Rows of `dmsetup info --columns`; the third letter of Stat is `s` for a suspended one.

        Name                 Maj Min Stat Open Targ Event  UUID
        xenvols-linux01      253   0 L--w    1    1      0 LVM-vqKBFM1ii9Vl…

    Raises: UnexpectedOutput.
    """
    lines = split_lines("dmsetup info", text)
    if [line.strip() for line in lines] == ["No devices found"]:
        return ()
    if not lines or not re.match(r"Name\s+Maj\s+Min\s+Stat\s+Open\s+Targ\s+Event\b", lines[0]):
        raise refuse_output("dmsetup info", lines[0] if lines else "", expected="the header line")
    devices = []
    for line in lines[1:]:
        match = _INFO_ROW.fullmatch(line)
        if match is None:
            raise refuse_output("dmsetup info", line, expected="a device")
        devices.append(
            MappedDevice(
                name=match["name"],
                major=parse_count("dmsetup info", match["major"]),
                minor=parse_count("dmsetup info", match["minor"]),
                suspended=match["state"][2] == "s",
            )
        )
    return tuple(devices)


def parse_tables(text: str) -> dict[str, frozenset[tuple[int, int]]]:
    """Device numbers that each device's table names, from `dmsetup table`.

    xenvols-too_big: 0 1048576 snapshot 253:8 253:9 P 8

    Raises: UnexpectedOutput.
    """
    tables: dict[str, frozenset[tuple[int, int]]] = {}
    for line in split_lines("dmsetup table", text):
        if line.strip() == "No devices found" or re.fullmatch(r"\S+: *", line):
            continue
        match = _TABLE_ROW.fullmatch(line)
        if match is None:
            raise refuse_output("dmsetup table", line, expected="a table")
        numbers = frozenset(
            (int(major), int(minor)) for major, minor in _DEVICE_NUMBER.findall(match["table"])
        )
        # A device of several segments has one line for each.
        tables[match["name"]] = tables.get(match["name"], frozenset()) | numbers
    return tables


def parse_snapshot_status(text: str) -> SnapshotStatus:
    """The status line of a thick snapshot.

        0 1048576 snapshot 24/1056768 16
        0 65536 snapshot Invalid

    Raises: UnexpectedOutput.
    """
    match = _SNAPSHOT_STATUS.fullmatch(text.strip())
    if match is None:
        raise refuse_output("dmsetup status", text, expected="a snapshot's status")
    if match["word"]:
        if match["word"].strip() not in ("Invalid", "Overflow", "Merge failed"):
            raise refuse_output("dmsetup status", text, expected="a snapshot's status")
        return SnapshotStatus(used_sectors=0, total_sectors=0, metadata_sectors=0, invalid=True)
    used, total, metadata = (
        parse_count("dmsetup status", match[key]) for key in ("used", "total", "metadata")
    )
    return SnapshotStatus(
        used_sectors=used, total_sectors=total, metadata_sectors=metadata, invalid=False
    )


def spell_mapper_name(path: str) -> str:
    """Device-mapper name behind `/dev/GROUP/NAME` or `/dev/mapper/NAME`; "" for other paths.

    LVM doubles the dashes inside group and volume names and joins the two with one.
    """
    parts = path.split("/")
    if len(parts) != 4 or parts[:2] != ["", "dev"] or not (parts[2] and parts[3]):
        return ""
    group, name = parts[2:]
    if group == "mapper":
        return name
    return group.replace("-", "--") + "-" + name.replace("-", "--")


def list_devices(host: Host) -> tuple[MappedDevice, ...]:
    """All mapped devices. Raises: CommandFailed, UnexpectedOutput."""
    return parse_devices(_read(host, "info", "--columns"))


def list_suspended(host: Host) -> tuple[str, ...]:
    """Names of suspended devices: I/O to them hangs. Raises: CommandFailed, UnexpectedOutput."""
    return tuple(device.name for device in list_devices(host) if device.suspended)


def find_suspended_under(host: Host, paths: Iterable[str]) -> tuple[str, ...]:
    """Suspended devices on which one of the device paths stands, directly or through others.

    A suspended thin pool freezes every volume in it, and a suspended origin its guest. Raises:
    CommandFailed, UnexpectedOutput.
    """
    devices = list_devices(host)
    if not any(device.suspended for device in devices):
        return ()
    wanted = tuple(paths)
    kernel_names = {name for path in wanted for name in _list_kernel_names(host, path)}
    roots = {spell_mapper_name(path) for path in wanted} - {""}
    roots |= {device.name for device in devices if f"dm-{device.minor}" in kernel_names}
    needed = {name + suffix for name in roots for suffix in _SUFFIXES}
    tables = parse_tables(_read(host, "table"))
    by_number = {(device.major, device.minor): device.name for device in devices}
    waiting = list(needed)
    while waiting:
        for number in tables.get(waiting.pop(), frozenset()):
            below = by_number.get(number)
            if below is not None and below not in needed:
                needed.add(below)
                waiting.append(below)
    return tuple(device.name for device in devices if device.suspended and device.name in needed)


def _list_kernel_names(host: Host, path: str) -> Iterator[str]:
    """What the kernel calls a device by any of its links (`/dev/disk/by-id/…`), and those below it.

    Devices of another driver (`/dev/drbd1`) are in no table of device mapper's; sysfs tells.
    """
    if not path.startswith("/dev/"):
        return  # a file: it may lie on a server that does not answer
    with suppress(OSError, RuntimeError, ValueError):
        name = host.place(path).resolve().name
        yield name
        yield from (below.name for below in host.place(f"/sys/block/{name}/slaves").iterdir())


def resume_device(host: Host, name: str, *, run_id: str = "") -> CommandResult:
    """Let a suspended device go on: the last cure, after `lvchange --refresh`.

    Raises: UsageError for an impossible name.
    """
    argv = ("dmsetup", "resume", _check_name(name))
    return host.run(Command(argv=argv, timeout_seconds=_TIMEOUT_SECONDS, run_id=run_id))


def read_snapshot_status(host: Host, name: str) -> SnapshotStatus:
    """Status of the thick snapshot with this device-mapper name.

    Raises: CommandFailed, UnexpectedOutput, UsageError.
    """
    return parse_snapshot_status(_read(host, "status", _check_name(name)))


def settle_devices(host: Host, timeout_seconds: int = 30) -> CommandResult:
    """Wait until udev has made the nodes of new devices, or the time is over."""
    argv = ("udevadm", "settle", f"--timeout={timeout_seconds}")
    return host.run(Command(argv=argv, timeout_seconds=timeout_seconds + 10.0))


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name.startswith("-"):
        raise UsageError(f"{name!r} is no device-mapper name.")
    return name


def _read(host: Host, *arguments: str) -> str:
    command = Command(argv=("dmsetup", *arguments), timeout_seconds=_TIMEOUT_SECONDS)
    return require_success(host.run(command)).stdout
