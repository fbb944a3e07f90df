"""`config.toml`: the toolstack, the spool, and the places that recovery points go to."""

from __future__ import annotations

from pathlib import Path

from xenbackup.config.document import read_document
from xenbackup.config.keys import Section
from xenbackup.config.table import Notes, TableReader
from xenbackup.config.values import (
    NAME_RULE,
    Choice,
    describe_value,
    is_name,
    read_path,
    read_rate,
    read_spool_path,
    read_volume_group,
)
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec

_KINDS = tuple(kind.value for kind in DestinationKind)
_TOOLSTACKS = ("auto", "xl", "xm")


def load_configuration(path: Path) -> Configuration:
    """Read `config.toml`, and check it whole.

    Paths inside are returned as configured, without doubled slashes: the host places them. For a
    destination of kind `volume` the path is the volume group's bare name.

    Raises: ConfigurationError with every problem of the file.
    """
    document = read_document(path)
    notes = Notes(document)
    reader = TableReader(document.table, section=Section.CONFIGURATION, notes=notes)
    defaults = Configuration()
    spool = reader.open_table("spool", Section.SPOOL)
    configuration = Configuration(
        toolstack=reader.read("toolstack", Choice(_TOOLSTACKS), defaults.toolstack),
        bandwidth_limit_bytes_per_second=reader.read(
            "bandwidth_limit", read_rate, defaults.bandwidth_limit_bytes_per_second
        ),
        spool_path=spool.read("path", read_spool_path, defaults.spool_path),
        destinations=_read_destinations(reader, notes),
        source_path=path,
    )
    _note_shared_paths(configuration, notes)
    notes.raise_if_found()
    return configuration


def jobs_folder(configuration_path: Path) -> Path:
    """Where the job files lie: the folder `jobs` beside `config.toml`."""
    return configuration_path.parent / "jobs"


def _read_destinations(reader: TableReader, notes: Notes) -> tuple[DestinationSpec, ...]:
    tables = reader.get("destination") if reader.has("destination") else {}
    if not isinstance(tables, dict):
        reader.note(
            "destination",
            f"is {describe_value(tables)}, expected tables",
            "give each its name, as in [destination.local]",
        )
        return ()
    specs = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            notes.add(
                ("destination", name),
                f"`destination` has {describe_value(table)} under {describe_value(name)}, "
                "expected a table",
                "give each destination its name, as in [destination.local]",
            )
            continue
        if not is_name(name):
            notes.add(
                ("destination", name),
                f"a destination's name is {describe_value(name)}, expected {NAME_RULE}",
            )
            continue
        entry = reader.open_entry(
            table,
            name="destination",
            section=Section.DESTINATION,
            context=f" in [destination.{name}]",
            within=(name,),
        )
        kind = entry.read_required("kind", Choice(_KINDS), DestinationKind.IMAGES.value)
        reads_group = kind == DestinationKind.VOLUME
        target = entry.read_required("path", read_volume_group if reads_group else read_path, "")
        specs.append(DestinationSpec(name=name, kind=DestinationKind(kind), path=target))
    return tuple(specs)


def _note_shared_paths(configuration: Configuration, notes: Notes) -> None:
    """Two destinations in one place would delete each other's points; the spool is no place."""
    seen: dict[tuple[DestinationKind, str], str] = {}
    for spec in configuration.destinations:
        if not spec.path:
            continue
        first = seen.setdefault((spec.kind, spec.path), spec.name)
        if first != spec.name:
            notes.add(
                ("destination", spec.name, "path"),
                f"`path` in [destination.{spec.name}] is that of [destination.{first}] too",
                "give each destination its own",
            )
        if spec.kind is DestinationKind.IMAGES and spec.path == configuration.spool_path:
            notes.add(
                ("destination", spec.name, "path"),
                f"`path` in [destination.{spec.name}] is that of the spool too",
                "give the destination a folder of its own",
            )
