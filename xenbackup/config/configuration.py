"""`config.toml`: the toolstack, the places, the daemon's limits, and whom to tell."""

from __future__ import annotations

from pathlib import Path

from xenbackup.config.document import read_document
from xenbackup.config.hooks import read_hooks
from xenbackup.config.keys import Section
from xenbackup.config.notifying import read_notify
from xenbackup.config.outside import read_textfile
from xenbackup.config.table import Notes, TableReader
from xenbackup.config.values import (
    NAME_RULE,
    Choice,
    WholeNumber,
    describe_value,
    is_name,
    read_keeping_time,
    read_path,
    read_rate,
    read_spool_path,
    read_volume_group,
)
from xenbackup.model.job import (
    Configuration,
    DestinationKind,
    DestinationSpec,
    IoClass,
    Limits,
    Politeness,
)

_KINDS = tuple(kind.value for kind in DestinationKind)
_TOOLSTACKS = ("auto", "xl", "xm")
_IO_CLASSES = tuple(io_class.value for io_class in IoClass)
_RUNS = WholeNumber(1, 64)


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
    metrics = reader.open_table("metrics", Section.METRICS)
    journals = reader.open_table("journals", Section.JOURNALS)
    configuration = Configuration(
        toolstack=reader.read("toolstack", Choice(_TOOLSTACKS), defaults.toolstack),
        bandwidth_limit_bytes_per_second=reader.read(
            "bandwidth_limit", read_rate, defaults.bandwidth_limit_bytes_per_second
        ),
        spool_path=spool.read("path", read_spool_path, defaults.spool_path),
        destinations=_read_destinations(reader, notes),
        limits=_read_limits(reader),
        politeness=_read_politeness(reader),
        notify=read_notify(reader),
        hooks=read_hooks(reader, Section.HOOKS),
        metrics_path=metrics.read("textfile", read_textfile, defaults.metrics_path),
        keep_journals_seconds=float(
            journals.read("keep", read_keeping_time, defaults.keep_journals_seconds)
        ),
        source_path=path,
    )
    _note_shared_paths(configuration, notes)
    notes.raise_if_found()
    return configuration


def jobs_folder(configuration_path: Path) -> Path:
    """Where the job files lie: the folder `jobs` beside `config.toml`."""
    return configuration_path.parent / "jobs"


def _read_limits(reader: TableReader) -> Limits:
    table = reader.open_table("limits", Section.LIMITS)
    defaults = Limits()
    return Limits(
        runs=table.read("runs", _RUNS, defaults.runs),
        runs_per_group=table.read("runs_per_group", _RUNS, defaults.runs_per_group),
        runs_per_destination=table.read(
            "runs_per_destination", _RUNS, defaults.runs_per_destination
        ),
    )


def _read_politeness(reader: TableReader) -> Politeness:
    table = reader.open_table("politeness", Section.POLITENESS)
    defaults = Politeness()
    return Politeness(
        nice=table.read("nice", WholeNumber(0, 19), defaults.nice),
        io_class=IoClass(table.read("io_class", Choice(_IO_CLASSES), defaults.io_class.value)),
        io_level=table.read("io_level", WholeNumber(0, 7), defaults.io_level),
    )


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
