"""Imports go downward only, planning is pure, and only one module starts processes."""

from __future__ import annotations

import ast
from pathlib import Path

import xenbackup

PACKAGE = Path(xenbackup.__file__).parent

FLOORS = {
    "model": 0,
    "errors": 0,
    "system": 1,
    "config": 1,
    "dom0": 2,
    "planning": 2,
    "inventory": 3,
    "storage": 3,
    "records": 3,
    "pipeline": 4,
    "operations": 5,
    "bootstrap": 6,
    "cli": 7,
    "service": 7,
    "__main__": 8,
}
# What of it the cli may know is in a test of its own.
SAME_FLOOR = {("system", "errors"), ("config", "system"), ("cli", "service")}
PURE = ("planning",)
IMPURE_MODULES = {"os", "time", "subprocess", "socket", "random", "secrets", "shutil"}
FILE_LIMIT_LINES = 500


def list_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def list_imports(path: Path) -> list[str]:
    """Every module imported anywhere in a file, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_imports_go_downward_only() -> None:
    wrong = []
    for path in list_modules():
        room = room_of(path)
        if room == "__init__":
            continue
        for name in list_imports(path):
            parts = name.split(".")
            if parts[0] != "xenbackup" or len(parts) < 2 or parts[1] not in FLOORS:
                continue
            target = parts[1]
            if target == room or (room, target) in SAME_FLOOR:
                continue
            if FLOORS[target] >= FLOORS[room] and not (FLOORS[target] == FLOORS[room] == 0):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


SERVICE_FOR_ALL_VERBS = "xenbackup.service.control"
SERVICE_FOR_ITS_VERB = "xenbackup.service.daemon"
DAEMON_SIDE = ("binding", "connection", "outbox", "peers", "permissions", "server", "stream")


def test_the_command_line_knows_of_the_service_only_its_client_and_its_verb() -> None:
    wrong = []
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        for name in list_imports(path):
            if not name.startswith("xenbackup.service"):
                continue
            its_own = path.name == "daemon_verb.py" and name.startswith(SERVICE_FOR_ITS_VERB)
            parts = name.removeprefix(SERVICE_FOR_ALL_VERBS).split(".")
            of_client = name.startswith(SERVICE_FOR_ALL_VERBS) and not set(parts) & set(DAEMON_SIDE)
            if not its_own and not of_client:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert [] == wrong


def test_the_service_does_not_know_the_command_line() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in sorted((PACKAGE / "service").rglob("*.py"))
        for name in list_imports(path)
        if name.startswith("xenbackup.cli")
    ]
    assert [] == wrong


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(path) for path in list_modules()} - {"__init__"}
    assert rooms - FLOORS.keys() == set()


def test_pure_rooms_read_no_clock_file_or_environment() -> None:
    wrong = []
    for room in PURE:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            wrong += [
                f"{path.relative_to(PACKAGE)} imports {name}"
                for name in list_imports(path)
                if name.split(".")[0] in IMPURE_MODULES or name == "pathlib.Path"
            ]
            source = path.read_text()
            wrong += [
                f"{path.relative_to(PACKAGE)} uses {call}"
                for call in ("open(", ".now(", "environ", "print(")
                if call in source
            ]
    assert wrong == []


def test_only_the_command_room_starts_processes() -> None:
    importers = {
        str(path.relative_to(PACKAGE))
        for path in list_modules()
        for name in list_imports(path)
        if name.split(".")[0] in ("sh", "subprocess")
    }
    assert {"system/command.py"} == importers


def test_no_file_has_outgrown_its_room() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in list_modules()
        if (lines := len(path.read_text().splitlines())) > FILE_LIMIT_LINES
    }
    assert long == {}


def test_the_model_knows_only_itself() -> None:
    allowed = ("xenbackup.model", "xenbackup.errors")
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in sorted((PACKAGE / "model").rglob("*.py"))
        for name in list_imports(path)
        if name.startswith("xenbackup.") and not name.startswith(allowed)
    ]
    assert wrong == []
