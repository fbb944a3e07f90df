"""The demo's host in a directory: three guests, the configuration, and the jobs that are shipped.

`etc/` beside this file holds copies of the shipped example configuration and jobs, so that an
installed wheel has them too; a test keeps them equal to those in `docs/examples` and `jobs`.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from xenbackup.errors import UsageError
from xenbackup.system.durable import replace_file

GUESTS = ("web", "db", "router")
PASSTHROUGH_GUEST = "router"
CONFIGURATION = "etc/xenbackup/config.toml"
JOBS = ("nightly", "weekly-cold", "on-demand")

# A job's file may end in a table; an array of tables can always follow.
_OVERRIDE = f"""
# The guest with the network card passed through: it cannot be saved, so its
# disks alone are taken, as a power cut would leave them.
[[override]]
domains = ["{PASSTHROUGH_GUEST}"]
preset = "crash"
require = "crash"
"""


def shipped_files() -> Traversable:
    """The folder of the configuration and jobs inside the package."""
    return files("xenbackup.cli.demo") / "etc"


def check_directory(directory: Path) -> None:
    """Raises: UsageError when the directory is there and not empty, or is no directory."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory.", hint="name one that is yet to be made")
    if any(directory.iterdir()):
        raise UsageError(
            f"{directory} is not empty: the demo keeps its hands off it.",
            hint="name a directory that is empty, or yet to be made",
        )


def build_demo(directory: Path) -> None:
    """Make the host, its configuration and its jobs. Raises: UsageError, StateFailed."""
    from xenbackup.dom0.simulated import build_demo_host

    check_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    build_demo_host(directory)
    shipped = shipped_files()
    target = directory / CONFIGURATION
    (target.parent / "jobs").mkdir(parents=True, exist_ok=True)
    replace_file(target, (shipped / "config.toml").read_bytes())
    for name in JOBS:
        content = (shipped / "jobs" / f"{name}.toml").read_text(encoding="utf-8")
        if name == "nightly":
            content += _OVERRIDE
        replace_file(job_path(directory, name), content.encode())


def job_path(directory: Path, name: str) -> Path:
    """Where a job of the demo lies."""
    return directory / "etc" / "xenbackup" / "jobs" / f"{name}.toml"
