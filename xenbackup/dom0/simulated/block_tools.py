"""`dmsetup` and `udevadm`: the device-mapper's view of the volumes."""

from __future__ import annotations

import getopt
from dataclasses import dataclass

from xenbackup.dom0.simulated.exception_store import SECTORS_PER_CHUNK
from xenbackup.dom0.simulated.lvm_fields import dm_name, has_thick_snapshots, metadata_blocks
from xenbackup.dom0.simulated.processes import is_volume_open
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import Volume
from xenbackup.dom0.simulated.volumes import THIN_BLOCK_BYTES

_LAYERS = ("-real", "-cow", "-tpool", "_tdata", "_tmeta")
_FIRST_LAYER_MINOR = 100_000


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device-mapper device: a volume, or a layer of one (`-real`, `-cow`, `-tpool`, …)."""

    name: str
    volume: Volume
    layer: str
    minor: int
    suspended: bool
    opened: int
    uuid: str


def list_devices(session: Session) -> list[Device]:
    """Every device of an active volume, by name."""
    devices = []
    for volume in session.state.volumes.values():
        if not volume.active:
            continue
        base = dm_name(volume.group, volume.name)
        devices.append(_device(session, volume, "", base, volume.suspended))
        layers = {"snapshot": ["-cow"], "pool": ["-tpool", "_tdata", "_tmeta"]}.get(volume.kind, [])
        if has_thick_snapshots(session, volume):
            layers = ["-real"]
        devices += [_device(session, volume, layer, base + layer, False) for layer in layers]
    return sorted(devices, key=lambda device: device.name)


def _device(session: Session, volume: Volume, layer: str, name: str, suspended: bool) -> Device:
    group = session.state.find_group(volume.group)
    group_uuid = group.uuid.replace("-", "") if group else ""
    number = volume.minor if not layer else _minor_of_layer(volume, layer)
    opened = 1 if layer or is_volume_open(session, volume) else 0
    return Device(
        name=name,
        volume=volume,
        layer=layer,
        minor=number,
        suspended=suspended,
        opened=opened,
        uuid=f"LVM-{group_uuid}{volume.uuid.replace('-', '')}{layer.replace('_', '-')}",
    )


def _minor_of_layer(volume: Volume, layer: str) -> int:
    """A number of its own for each device, far above those of the volumes themselves."""
    return _FIRST_LAYER_MINOR + volume.minor * len(_LAYERS) + _LAYERS.index(layer)


def run_dmsetup(session: Session, words: list[str]) -> int:
    """dmsetup info|status|table|resume|suspend|ls|udevcookies."""
    if not words:
        raise ToolFailed(1, "Usage:\n\ndmsetup\n")
    try:
        given, rest = getopt.gnu_getopt(
            words[1:],
            "co:v",
            [
                "columns",
                "options=",
                "noheadings",
                "separator=",
                "nameprefixes",
                "target=",
                "noudevsync",
            ],
        )
    except getopt.GetoptError as error:
        raise ToolFailed(
            1, f"dmsetup: unrecognized option '{error.opt}'\nUsage:\n\ndmsetup\n"
        ) from None
    options = dict(given)
    session.spend(0.02)
    verbs = {
        "info": _info,
        "status": _status,
        "table": _table,
        "ls": _list,
        "resume": _resume,
        "suspend": _suspend,
        "udevcookies": _cookies,
        "udevcomplete_all": _cookies,
    }
    verb = verbs.get(words[0])
    if verb is None:
        raise ToolFailed(1, f"Unknown command.\nUsage:\n\ndmsetup {words[0]}\n")
    return verb(session, options, rest)


def _chosen(session: Session, rest: list[str]) -> list[Device]:
    devices = list_devices(session)
    if not rest:
        return devices
    names = {word.rpartition("/")[2] for word in rest}
    found = [device for device in devices if device.name in names]
    if len(found) != len(names):
        raise ToolFailed(1, "Device does not exist.\nCommand failed.\n")
    return found


def _info(session: Session, options: dict[str, str], rest: list[str]) -> int:
    devices = _chosen(session, rest)
    if "-c" not in options and "--columns" not in options:
        for device in devices:
            state = "SUSPENDED" if device.suspended else "ACTIVE"
            session.out(
                f"Name:              {device.name}\nState:             {state}\n"
                f"Read Ahead:        256\nTables present:    LIVE\n"
                f"Open count:        {device.opened}\nEvent number:      0\n"
                f"Major, minor:      253, {device.minor}\nNumber of targets: 1\n"
                f"UUID: {device.uuid}\n\n"
            )
        return 0
    wanted = options.get("-o", options.get("--options", ""))
    fields = wanted.split(",") if wanted else list(_DEFAULT_COLUMNS)
    unknown = [field for field in fields if field not in _COLUMNS]
    if unknown:
        raise ToolFailed(1, f"  Unrecognised field: {unknown[0]}\nCommand failed.\n")
    rows = [[_column(device, field) for field in fields] for device in devices]
    headings = [_COLUMNS[field] for field in fields]
    lines = rows if "--noheadings" in options else [headings, *rows]
    separator = options.get("--separator")
    if separator is not None:
        session.out("".join(separator.join(line) + "\n" for line in lines))
        return 0
    widths = [max(len(line[n]) for line in lines) for n in range(len(fields))] if lines else []
    for line in lines:
        cells = [
            cell.ljust(width) if field in _LEFT else cell.rjust(width)
            for field, cell, width in zip(fields, line, widths, strict=True)
        ]
        session.out(" ".join(cells) + "\n")
    return 0


_DEFAULT_COLUMNS = ("name", "major", "minor", "attr", "open", "segments", "events", "uuid")
_COLUMNS = {
    "name": "Name",
    "major": "Maj",
    "minor": "Min",
    "attr": "Stat",
    "open": "Open",
    "segments": "Targ",
    "events": "Event",
    "uuid": "UUID",
    "suspended": "Suspended",
    "blkdevname": "BlkDevName",
}
_LEFT = frozenset(("name", "uuid", "attr", "suspended", "blkdevname"))


def _column(device: Device, field: str) -> str:
    # What a pool shows under its own name is read-only: writes go to the layer below.
    fixed = not device.layer and (device.volume.kind == "pool" or device.volume.read_only)
    attributes = f"L-{'s' if device.suspended else '-'}{'r' if fixed else 'w'}"
    return {
        "name": device.name,
        "major": "253",
        "minor": str(device.minor),
        "attr": attributes,
        "open": str(device.opened),
        "segments": "1",
        "events": "0",
        "uuid": device.uuid,
        "suspended": "Suspended" if device.suspended else "Active",
        "blkdevname": f"dm-{device.minor}",
    }[field]


def _status(session: Session, options: dict[str, str], rest: list[str]) -> int:
    devices = _chosen(session, rest)
    for device in devices:
        target, text = _status_of(session, device)
        wanted = options.get("--target", target)
        if wanted != target:
            continue
        sectors = _sectors(session, device)
        prefix = "" if rest and len(devices) == 1 else f"{device.name}: "
        session.out(f"{prefix}0 {sectors} {target} {text}\n")
    return 0


def _sectors(session: Session, device: Device) -> int:
    if device.layer == "_tmeta":
        return device.volume.metadata_bytes // 512
    if device.layer == "-cow":
        return device.volume.size_bytes // 512
    return session.volumes.visible_bytes(device.volume) // 512


def _status_of(session: Session, device: Device) -> tuple[str, str]:
    volume = device.volume
    if device.layer == "-tpool":
        used = session.volumes.used_pool_blocks(volume)
        blocks = volume.size_bytes // THIN_BLOCK_BYTES
        meta = metadata_blocks(session, volume)
        return (
            "thin-pool",
            f"2 {meta}/1024 {used}/{blocks} - rw discard_passdown queue_if_no_space - 256 ",
        )
    if device.layer == "-real" and volume.kind == "thin":
        return _thin_status(session, volume)
    if device.layer or volume.kind == "pool":
        return "linear", ""
    if volume.kind == "snapshot":
        kept = session.volumes.exceptions_of(volume)
        if not kept.valid:
            return "snapshot", "Invalid"
        used = kept.allocated_chunks * SECTORS_PER_CHUNK
        metadata = kept.metadata_chunks * SECTORS_PER_CHUNK
        return "snapshot", f"{used}/{volume.size_bytes // 512} {metadata}"
    if has_thick_snapshots(session, volume):
        return "snapshot-origin", ""
    if volume.kind == "thin":
        return _thin_status(session, volume)
    return "linear", ""


def _thin_status(session: Session, volume: Volume) -> tuple[str, str]:
    mapped = round(session.volumes.mapped_percent(volume) * volume.size_bytes / 51200)
    return "thin", f"{mapped} {mapped - 1 if mapped else '-'}"


def _table(session: Session, options: dict[str, str], rest: list[str]) -> int:
    everything = {device.name: device for device in list_devices(session)}
    for device in _chosen(session, rest):
        target, _ = _status_of(session, device)
        below = [everything[name] for name in _names_below(session, device) if name in everything]
        numbers = " ".join(f"253:{lower.minor}" for lower in below)
        tail = {
            "snapshot": f"{numbers} P {SECTORS_PER_CHUNK}",
            "snapshot-origin": numbers,
            "thin": f"{numbers} {device.volume.thin_id}",
            "thin-pool": f"{numbers} {THIN_BLOCK_BYTES // 512} 0 0 ",
        }.get(target, f"{numbers} 0" if numbers else "254:16 2048")
        session.out(f"{device.name}: 0 {_sectors(session, device)} {target} {tail}\n")
    return 0


def _names_below(session: Session, device: Device) -> list[str]:
    """Devices that this one's table names, as LVM stacks them."""
    volume = device.volume
    state = session.state
    base = dm_name(volume.group, volume.name)
    if device.layer == "-tpool":
        return [f"{base}_tmeta", f"{base}_tdata"]
    if device.layer in ("-cow", "_tdata", "_tmeta"):
        return []
    if volume.kind == "pool":
        return [f"{base}-tpool"]
    if volume.kind == "snapshot":
        origin = state.volumes[volume.origin]
        return [f"{dm_name(origin.group, origin.name)}-real", f"{base}-cow"]
    if not device.layer and has_thick_snapshots(session, volume):
        return [f"{base}-real"]
    if volume.kind == "thin":
        pool = state.volumes[volume.pool]
        return [f"{dm_name(pool.group, pool.name)}-tpool"]
    return []


def _list(session: Session, options: dict[str, str], rest: list[str]) -> int:
    devices = list_devices(session)
    if not devices:
        session.out("No devices found\n")
    for device in devices:
        session.out(f"{device.name}\t(253:{device.minor})\n")
    return 0


def _resume(session: Session, options: dict[str, str], rest: list[str]) -> int:
    return _set_suspended(session, rest, suspended=False)


def _suspend(session: Session, options: dict[str, str], rest: list[str]) -> int:
    return _set_suspended(session, rest, suspended=True)


def _set_suspended(session: Session, rest: list[str], *, suspended: bool) -> int:
    if not rest:
        raise ToolFailed(1, "Command does not accept missing device.\nCommand failed.\n")
    for device in _chosen(session, rest):
        if not device.layer:
            device.volume.suspended = suspended
    return 0


def _cookies(session: Session, options: dict[str, str], rest: list[str]) -> int:
    session.out("Cookie       Semid      Value      Last semop time           Last change time\n")
    return 0


def run_udevadm(session: Session, words: list[str]) -> int:
    if not words or words[0] != "settle":
        raise ToolFailed(1, f"Unknown command verb {words[0] if words else ''}.\n")
    for word in words[1:]:
        if (
            not word.startswith(("--timeout", "-t", "--exit-if-exists", "-E"))
            and not word.isdigit()
        ):
            raise ToolFailed(1, f"udevadm: unrecognized option '{word}'\n")
    session.spend(0.05)
    return 0
