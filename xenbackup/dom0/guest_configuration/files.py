"""Configuration files of a host: found below /etc/xen, links followed within it, read once."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from xenbackup.dom0.guest_configuration.reading import parse_configuration
from xenbackup.dom0.guest_configuration.values import ConfigurationFile, GuestConfiguration
from xenbackup.dom0.host import Host
from xenbackup.errors import ConfigurationError

CONFIGURATION_FOLDER = "/etc/xen"
AUTOSTART_FOLDER = "/etc/xen/auto"
_LINKS_LIMIT = 40
# A 10,000-line file has less than 1 MiB; anything longer describes no guest.
_SIZE_LIMIT_BYTES = 8 * 1024 * 1024


@dataclass
class _Found:
    """One real file, under all the names that lead to it."""

    real_path: str
    problem: str
    paths: list[str] = field(default_factory=list)


def find_configurations(host: Host) -> tuple[ConfigurationFile, ...]:
    """Every `/etc/xen/*.cfg` and every file in `/etc/xen/auto`, each real file once.

    Sorted by the first name found. A file that cannot be read or understood is there too, with its
    problem as a sentence. Links are followed as the host would follow them: on a simulated host an
    absolute target lies below its root.
    """
    by_identity: dict[object, _Found] = {}
    files: list[ConfigurationFile] = []
    for folder, ending in ((CONFIGURATION_FOLDER, ".cfg"), (AUTOSTART_FOLDER, "")):
        names, problem = _list_folder(host, folder, ending)
        if problem:
            files.append(ConfigurationFile(path=folder, problem=problem))
        for name in names:
            path = f"{folder}/{name}"
            real_path, problem = _resolve_path(host, path)
            identity = path if problem else _identify(host, real_path)
            found = by_identity.setdefault(identity, _Found(real_path=real_path, problem=problem))
            found.paths.append(path)
    return (*files, *(_read_found(host, found) for found in by_identity.values()))


def _list_folder(host: Host, folder: str, ending: str) -> tuple[tuple[str, ...], str]:
    """Names as the shell's `*` gives them, sorted and without hidden ones, and the problem if any.

    No folder is no problem: a host may have no guests to start by itself.
    """
    real_folder, problem = _resolve_path(host, folder)
    if problem:
        return (), problem if os.path.lexists(host.place(folder)) else ""
    try:
        with os.scandir(host.place(real_folder)) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.name.endswith(ending)
                and not entry.is_dir(follow_symlinks=False)
            )
    except OSError as error:
        return (), f"{folder} cannot be listed: {error.strerror or error}."
    return tuple(names), ""


def _resolve_path(host: Host, path: str) -> tuple[str, str]:
    """Where a path leads within the host, and the problem if it leads nowhere.

    Component by component, because the kernel would follow an absolute link out of a simulated
    host's root.
    """
    pending = list(reversed(PurePosixPath(path).parts))
    real: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part in ("/", "//", "."):
            continue
        if part == "..":
            # Above the root is the root.
            del real[-1:]
            continue
        step = "/" + "/".join([*real, part])
        try:
            target = str(host.place(step).readlink())
        except FileNotFoundError:
            return "", f"{_show(path)} leads to {_show(step)}, which does not exist."
        except OSError:
            # No link (EINVAL); whatever else is wrong will show when it is opened.
            real.append(part)
            continue
        links += 1
        if links > _LINKS_LIMIT:
            return (
                "",
                f"{_show(path)} leads through more than {_LINKS_LIMIT} links, perhaps in a circle.",
            )
        if target.startswith("/"):
            real.clear()
        pending.extend(reversed(PurePosixPath(target).parts))
    return "/" + "/".join(real), ""


def _show(path: str) -> str:
    """A path for a sentence: one with new lines or stray bytes in its name comes quoted."""
    return path if path.isprintable() else repr(path)


def _identify(host: Host, real_path: str) -> object:
    """Device and inode, so that hard links count as one file; the path if there is no stat."""
    try:
        status = os.lstat(host.place(real_path))
    except OSError:
        return real_path
    return (status.st_dev, status.st_ino)


def _read_found(host: Host, found: _Found) -> ConfigurationFile:
    configuration, text, problem = None, "", found.problem
    if not problem:
        shown = _show(found.paths[0])
        text, problem = _read_text(host, found.real_path, shown)
        configuration, problem = (None, problem) if problem else _understand(text, shown)
    return ConfigurationFile(
        path=found.paths[0],
        real_path=found.real_path,
        also_at=tuple(found.paths[1:]),
        autostart=any(path.startswith(f"{AUTOSTART_FOLDER}/") for path in found.paths),
        configuration=configuration,
        problem=problem,
        text=text if configuration is not None else "",
    )


def _read_text(host: Host, real_path: str, shown: str) -> tuple[str, str]:
    """The text of the file, and the problem if there is one."""
    try:
        content = _read_regular_file(host, real_path)
    except OSError as error:
        return "", f"{shown} cannot be read: {error.strerror or error}."
    if content is None:
        return "", f"{shown} is no ordinary file of at most {_SIZE_LIMIT_BYTES >> 20} MiB."
    return content.decode("utf-8", "surrogateescape"), ""


def _understand(text: str, shown: str) -> tuple[GuestConfiguration | None, str]:
    try:
        return parse_configuration(text, shown), ""
    except ConfigurationError as error:
        return None, " ".join(error.problems)


def _read_regular_file(host: Host, real_path: str) -> bytes | None:
    """The bytes of the file; None when it is a folder, a pipe, a device, or far too long."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(host.place(real_path), flags)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SIZE_LIMIT_BYTES:
            return None
        return file.read(_SIZE_LIMIT_BYTES)
