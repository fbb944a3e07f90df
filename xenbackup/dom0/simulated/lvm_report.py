"""`lvs`, `vgs` and `pvs`: which rows, which fields, as JSON or as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from xenbackup.dom0.simulated.lvm_fields import (
    HEADINGS,
    LV_FIELDS,
    PV_FIELDS,
    SIZE_FIELDS,
    VG_FIELDS,
    Row,
    list_rows,
)
from xenbackup.dom0.simulated.lvm_select import matches
from xenbackup.dom0.simulated.options import Options, parse_lvm_options
from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import Group

_SHORT = "ao:S:O:qv"
_LONG = (
    "all",
    "options=",
    "select=",
    "sort=",
    "reportformat=",
    "units=",
    "nosuffix",
    "noheadings",
    "separator=",
    "config=",
    "readonly",
    "unbuffered",
    "nolocking",
    "quiet",
    "verbose",
)
_LV_DEFAULT = (
    "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,"
    "mirror_log,copy_percent,convert_lv"
)
_VG_DEFAULT = "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free"
_PV_DEFAULT = "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free"
_UNITS = {"b": 1, "s": 512, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

FieldValues = dict[str, Callable[[], str | int]]
Item = TypeVar("Item")


def run_lvs(session: Session, words: list[str]) -> int:
    options = parse_lvm_options("lvs", words, _SHORT, _LONG)
    session.spend(0.05)
    groups, names, exit_code = _choose_groups(session, options)
    rows = list_rows(session, groups, hidden=options.has("-a", "--all"))
    if names:
        rows = [row for row in rows if (row.group.name, row.name) in names]
        for group, name in names:
            if not any((row.group.name, row.name) == (group, name) for row in rows):
                session.err(f'  Failed to find logical volume "{group}/{name}"\n')
                exit_code = 5
    table = [_bind(LV_FIELDS, session, row) for row in rows]
    _report(session, options, kind="lv", default=_LV_DEFAULT, known=LV_FIELDS, table=table)
    return exit_code


def run_vgs(session: Session, words: list[str]) -> int:
    options = parse_lvm_options("vgs", words, _SHORT, _LONG)
    session.spend(0.05)
    groups, _, exit_code = _choose_groups(session, options)
    table = [_bind(VG_FIELDS, session, group) for group in groups]
    _report(session, options, kind="vg", default=_VG_DEFAULT, known=VG_FIELDS, table=table)
    return exit_code


def run_pvs(session: Session, words: list[str]) -> int:
    options = parse_lvm_options("pvs", words, _SHORT, _LONG)
    session.spend(0.05)
    table = [_bind(PV_FIELDS, session, group) for group in _sorted_groups(session)]
    _report(session, options, kind="pv", default=_PV_DEFAULT, known=PV_FIELDS, table=table)
    return 0


def row_values(session: Session, row: Row) -> FieldValues:
    """The fields of one logical volume, computed when asked for."""
    return _bind(LV_FIELDS, session, row)


def _bind(
    fields: Mapping[str, Callable[[Machine, Item], str | int]], session: Session, item: Item
) -> FieldValues:
    return {name: partial(value, session, item) for name, value in fields.items()}


def _sorted_groups(session: Session) -> list[Group]:
    return sorted(session.state.groups, key=lambda group: group.name)


def _choose_groups(
    session: Session, options: Options
) -> tuple[list[Group], set[tuple[str, str]], int]:
    """Groups and volumes that the arguments name; all of them without arguments."""
    if not options.rest:
        return _sorted_groups(session), set(), 0
    chosen: list[Group] = []
    names: set[tuple[str, str]] = set()
    exit_code = 0
    for word in options.rest:
        group_name, _, volume_name = split_name(session, word)
        group = session.state.find_group(group_name)
        if group is None:
            session.err(
                f'  Volume group "{group_name}" not found\n'
                f"  Cannot process volume group {group_name}\n"
            )
            exit_code = 5
            continue
        if group not in chosen:
            chosen.append(group)
        if volume_name:
            names.add((group_name, volume_name))
    return chosen, names, exit_code


def split_name(session: Session, word: str) -> tuple[str, str, str]:
    """`xenvols/web`, `/dev/xenvols/web`, `/dev/mapper/xenvols-web` or `xenvols`, in its parts."""
    if word.startswith("/"):
        found = session.resolve_volume(word)
        if found is not None:
            return found.group, "/", found.name
        word = word.removeprefix("/dev/")
    return word.partition("/")


def _report(
    session: Session,
    options: Options,
    *,
    kind: str,
    default: str,
    known: Mapping[str, object],
    table: list[FieldValues],
) -> None:
    wanted = _wanted_fields(options, default, known, kind)
    selection = options.value("-S", "--select")
    if selection:
        table = [values for values in table if matches(selection, values)]
    rows = [[_show(field, values[field](), options) for field in wanted] for values in table]
    if options.value("--reportformat") == "json":
        session.out(_as_json(kind, wanted, rows))
    elif options.value("--reportformat", default="basic") == "basic":
        session.out(_as_table(options, wanted, rows))
    else:
        raise ToolFailed(3, "  Invalid value for report format.\n")


def _wanted_fields(
    options: Options, default: str, known: Mapping[str, object], kind: str
) -> list[str]:
    chosen = default
    for text in options.values("-o", "--options"):
        chosen = f"{chosen},{text[1:]}" if text.startswith("+") else text
    wanted = []
    for field in chosen.split(","):
        full = field if field in known else f"{kind}_{field}"
        if full not in known:
            raise ToolFailed(5, f"  Unrecognised field: {field}\n")
        wanted.append(full)
    return wanted


def _show(field: str, value: str | int, options: Options) -> str:
    if field not in SIZE_FIELDS or isinstance(value, str):
        return str(value)
    return format_size(value, options.value("--units"), suffix=not options.has("--nosuffix"))


def format_size(size_bytes: int, unit: str = "", *, suffix: bool = True) -> str:
    """A size in the unit asked for; LVM's own choice (two decimals) without one."""
    unit = unit.lower()
    if unit in ("b", "s"):
        return f"{size_bytes // _UNITS[unit]}" + (unit.upper() if suffix else "")
    if unit not in _UNITS:
        unit = next((u for u in "tgm" if size_bytes >= _UNITS[u]), "k")
    return f"{size_bytes / _UNITS[unit]:.2f}" + (unit if suffix else "")


def _as_json(kind: str, wanted: Sequence[str], rows: list[list[str]]) -> str:
    lines = [
        "                  {"
        # No name or tag that LVM takes holds a character that JSON would escape.
        + ", ".join(f'"{field}":"{value}"' for field, value in zip(wanted, row, strict=True))
        + "}"
        for row in rows
    ]
    body = ",\n".join(lines) + "\n" if lines else ""
    return (
        '  {\n      "report": [\n          {\n'
        f'              "{kind}": [\n{body}              ]\n          }}\n      ]\n  }}\n'
    )


def _as_table(options: Options, wanted: Sequence[str], rows: list[list[str]]) -> str:
    headings = [HEADINGS.get(field, field.split("_", 1)[-1].capitalize()) for field in wanted]
    lines = rows if options.has("--noheadings") else [headings, *rows]
    separator = options.value("--separator")
    if separator:
        return "".join(f"  {separator.join(line)}\n" for line in lines)
    widths = [
        max((len(line[column]) for line in lines), default=0) for column in range(len(wanted))
    ]
    return "".join(
        "  "
        + "".join(cell.ljust(width) + " " for cell, width in zip(line, widths, strict=True))
        + "\n"
        for line in lines
    )
