"""The host's own service around reboots: saves guests at its stop, restores at its start."""

from __future__ import annotations

from pathlib import Path

from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.execute import Circumstances, execute
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.store import Store

SAVE_FOLDER = "/var/lib/xen/save"
AUTO_FOLDER = "/etc/xen/auto"


def stop_domains(store: Store, kept: dict[str, ExceptionStore]) -> tuple[str, ...]:
    """Save every guest into the service's folder; returns what went wrong."""
    folder = store.directory / SAVE_FOLDER.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    tool = _toolstack(store)
    return tuple(
        problem
        for name in _running(store, kept)
        for problem in _call(store, kept, tool, "save", name, f"{SAVE_FOLDER}/{name}")
    )


def start_domains(store: Store, kept: dict[str, ExceptionStore]) -> tuple[str, ...]:
    """Restore what was saved and delete the files, then start what is to start by itself."""
    problems: list[str] = []
    tool = _toolstack(store)
    for path in _list_files(store.directory / SAVE_FOLDER.lstrip("/")):
        problems += _call(store, kept, tool, "restore", f"{SAVE_FOLDER}/{path.name}")
        path.unlink()
    running = set(_running(store, kept))
    for path in _list_files(store.directory / AUTO_FOLDER.lstrip("/")):
        if path.stem not in running:
            problems += _call(store, kept, tool, "create", f"{AUTO_FOLDER}/{path.name}")
    return tuple(problems)


def _toolstack(store: Store) -> str:
    tool = store.lock().toolstack
    store.unlock()
    return tool


def _list_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _running(store: Store, kept: dict[str, ExceptionStore]) -> list[str]:
    machine = Machine(store, kept)
    machine.open()
    names = [domain.name for domain in machine.state.domains if not domain.dying]
    machine.close()
    return names


def _call(store: Store, kept: dict[str, ExceptionStore], *argv: str) -> list[str]:
    result = execute(store, kept, argv, Circumstances())
    return [] if result.exit_code == 0 else ["".join(result.stderr)]
