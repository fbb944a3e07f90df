"""Builds the real objects of the floors below and hands them to each other. The only builder."""

from __future__ import annotations

import os
from pathlib import Path

from xenbackup.config import jobs_folder, load_configuration, load_jobs
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.errors import ConfigurationError, UsageError
from xenbackup.model.job import Configuration, DestinationKind, JobSet
from xenbackup.model.names import encode_folder_name
from xenbackup.operations.house import House
from xenbackup.operations.tools import Tools
from xenbackup.records.catalog import Catalog
from xenbackup.storage.destination import PointStore
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.volume import VolumeDestination
from xenbackup.system import durable

DEFAULT_CONFIGURATION = "/etc/xenbackup/config.toml"
CATALOG_FILE = "catalog.sqlite"
VOLUMES_FOLDER = "volumes"
"""What destinations of kind `volume` keep of their points beside the disks."""


def open_host(simulated: Path | None) -> Host:
    """The machine we run on, or a simulated one in a directory.

    Raises: UsageError when the directory holds no simulated host.
    """
    if simulated is None:
        from xenbackup.dom0.real import RealHost  # noqa: PLC0415 - only one of the two is needed

        return RealHost()
    from xenbackup.dom0.simulated import SimulatedHost  # noqa: PLC0415 - see above

    if not (simulated / "host").is_dir():
        raise UsageError(
            f"{simulated} holds no simulated host.",
            hint=f"`xenbackup demo --directory {simulated}` makes one",
        )
    return SimulatedHost(simulated.resolve())


def locate_configuration(host: Host, given: Path | None) -> Path:
    """The configuration file: as given, else the usual one on that host."""
    return given if given is not None else host.place(DEFAULT_CONFIGURATION)


def open_tools(host: Host, toolstack: str = "auto") -> Tools:
    """The tools of a host that may not be configured yet: to look at it, and to begin.

    Raises: CommandFailed when no toolstack answers.
    """
    return Tools(host=host, toolstack=open_toolstack(host, toolstack), lvm=Lvm(host))


def choose_toolstack(host: Host, configuration_path: Path | None) -> str:
    """The toolstack that a configuration names; `auto` where the usual one is not there yet.

    Raises: ConfigurationError, also when the configuration that was given is missing.
    """
    path = locate_configuration(host, configuration_path)
    if configuration_path is None and not os.path.lexists(path):
        return Configuration().toolstack
    return load_configuration(path).toolstack


def open_house(host: Host, configuration_path: Path | None) -> House:
    """Read configuration and jobs, and build the house around a host.

    Broken job files are kept as problems: the good jobs stay usable.

    Raises: ConfigurationError, CommandFailed when no toolstack answers.
    """
    path = locate_configuration(host, configuration_path)
    configuration = load_configuration(path)
    jobs = load_jobs(jobs_folder(path), configuration)
    lvm = Lvm(host)
    state = durable.make_private_folder(host.place(configuration.state_path))
    return House(
        host=host,
        configuration=configuration,
        jobs=jobs,
        toolstack=open_toolstack(host, configuration.toolstack),
        lvm=lvm,
        catalog=Catalog(state / CATALOG_FILE),
        open_destination=lambda name: build_destination(host, lvm, configuration, name),
        entropy=os.urandom,
    )


def open_house_to_recover(
    host: Host, configuration_path: Path | None
) -> tuple[House, tuple[str, ...]]:
    """The house for recovery, and what is wrong with its configuration, () when nothing.

    A guest must come back even where somebody broke `config.toml`: journals name all that its
    rescue needs. Then there are no jobs and no destinations; what lies there waits.

    Raises: CommandFailed when no toolstack answers.
    """
    try:
        return open_house(host, configuration_path), ()
    except ConfigurationError as error:
        problems = error.problems
    configuration = Configuration()
    lvm = Lvm(host)
    state = durable.make_private_folder(host.place(configuration.state_path))
    house = House(
        host=host,
        configuration=configuration,
        jobs=JobSet(),
        toolstack=open_toolstack(host, configuration.toolstack),
        lvm=lvm,
        catalog=Catalog(state / CATALOG_FILE),
        open_destination=lambda name: build_destination(host, lvm, configuration, name),
        entropy=os.urandom,
    )
    return house, problems


def build_destination(host: Host, lvm: Lvm, configuration: Configuration, name: str) -> PointStore:
    """A destination by its configured name. Raises: UsageError naming those there are."""
    spec = configuration.find_destination(name)
    if spec is None:
        known = ", ".join(found.name for found in configuration.destinations) or "none"
        raise UsageError(f"There is no destination {name!r}.", hint=f"configured: {known}")
    if spec.kind is DestinationKind.VOLUME:
        folder = host.place(configuration.state_path) / VOLUMES_FOLDER
        return VolumeDestination(host, lvm, spec, folder / encode_folder_name(spec.name))
    return ImagesDestination(host.place(spec.path), spec.name)
