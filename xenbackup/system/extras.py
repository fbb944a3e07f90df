"""Libraries that an administrator added to the program: a folder of their own, outside of the
environment that each upgrade makes anew.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from pathlib import Path

EXTRAS_FOLDER = "/opt/xenbackup/extras"
"""Filled by `pip install --target`. What lies in our own environment goes before it."""


def is_library_there(name: str, folder: str = EXTRAS_FOLDER) -> bool:
    """Whether a library could be imported, here or from the extras, without paying for it."""
    open_extras(folder)
    return importlib.util.find_spec(name) is not None


def open_extras(folder: str = EXTRAS_FOLDER) -> None:
    """Have Python look there too, behind all else; not where somebody else could put code in."""
    if folder not in sys.path and not explain_distrust(folder):
        sys.path.append(folder)
        importlib.invalidate_caches()


def explain_distrust(folder: str = EXTRAS_FOLDER) -> str:
    """Why nothing is imported from there, a clause; "" where it may be trusted.

    Code from there runs as we do. So the folder and all above it must belong to root or to the
    user who runs us, and nobody else may write to them, root's own group apart.
    """
    try:
        real = Path(folder).resolve(strict=True)
        for part in (real, *real.parents):
            if reason := _judge_folder(part.stat(), above=part != real):
                return f"{part} {reason}"
    except FileNotFoundError:
        return f"{folder} is not there"
    except (OSError, RuntimeError) as error:
        return f"{folder} cannot be looked at: {error}"
    return ""


def _judge_folder(status: os.stat_result, *, above: bool) -> str:
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    # Below a folder like /tmp nobody can take another's entry away.
    if above and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "may be written by everybody"
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        return f"may be written by group {status.st_gid}"
    return ""
