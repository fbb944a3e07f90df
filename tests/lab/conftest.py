"""Fixtures of the lab: the built machine, and hosts started from its saved states.

`bare_host` and `host` are new QEMU processes for one test; `shared_bare_host` and `shared_host`
serve a whole module. The bare ones have no product; the others have it, from the built package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import xenbackup
from tests.lab import recipe
from tests.lab.build import build
from tests.lab.machine import Machine, copy_disks
from tests.lab.product import install_product
from tests.lab.wire import LabError

PROJECT = recipe.HERE.parents[1]
PACKAGE_PARTS = (
    "xenbackup", "systemd", "packaging", "docs", "jobs", "build/wheels",
    "pyproject.toml", "README.md", "LICENSE",
)  # fmt: skip
"""What the package is made of; the fetched libraries only where they have been fetched."""
TEST_SECONDS = 3600
"""pytest-timeout's bound for a lab test: only there so that a hang ends; never a verdict."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if recipe.HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed lab test shows the end of its machine's console."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Machine):
                report.sections.append(("end of the machine's console", value.console_tail()))
    return report


def _sweep_dead_sessions(folder: Path) -> None:
    """End the machines and delete the work copies that sessions left which were killed."""
    for old in folder.glob("session-*"):
        pid = old.name.removeprefix("session-")
        if not Path(f"/proc/{pid}").exists():
            Machine(old).remove()


@pytest.fixture(scope="session")
def lab_base() -> Path:
    """The built lab's disks; building takes some minutes the first time."""
    return build()


@pytest.fixture(scope="session")
def lab_work(lab_base: Path) -> Iterator[Path]:
    """This session's own copy of the disks."""
    folder = recipe.cache_root() / "work"
    _sweep_dead_sessions(folder)
    work = folder / f"session-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    copy_disks(lab_base, work)
    yield work
    Machine(work).remove()


def _host(work: Path, state: str) -> Iterator[Machine]:
    machine = Machine(work)
    if machine.is_running():
        raise LabError("two hosts at once on one copy of the disks: use one per test or module")
    machine.load(state)
    try:
        yield machine
    finally:
        machine.quit()


@pytest.fixture
def bare_host(lab_work: Path) -> Iterator[Machine]:
    """A host of its own for one test, without the product."""
    yield from _host(lab_work, recipe.BASE_STATE)


@pytest.fixture(scope="module")
def shared_bare_host(lab_work: Path) -> Iterator[Machine]:
    """One host for all tests of a module, without the product."""
    yield from _host(lab_work, recipe.BASE_STATE)


def _build_package(project: Path, target: Path) -> Path:
    """The Debian package of a tree."""
    done = subprocess.run(
        [sys.executable, project / "packaging" / "build_deb.py", "--output", target],
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"the package cannot be built:\n{done.stdout}\n{done.stderr}")
    (package,) = target.glob("*.deb")
    return package


@pytest.fixture(scope="session")
def product_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's Debian package, built from this working tree."""
    return _build_package(PROJECT, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def newer_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same under the next version, so that dpkg really upgrades."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    for name in PACKAGE_PARTS:
        if (PROJECT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, tree / name, ignore=ignored)
        elif (PROJECT / name).exists():
            shutil.copy(PROJECT / name, tree / name)
    opening = tree / "xenbackup" / "__init__.py"
    *first, last = xenbackup.__version__.split(".")
    newer = ".".join([*first, str(int(last) + 1)])
    text = opening.read_text()
    assert f'"{xenbackup.__version__}"' in text
    opening.write_text(text.replace(f'"{xenbackup.__version__}"', f'"{newer}"'))
    return _build_package(tree, tree.parent / "package")


@pytest.fixture(scope="session")
def lab_with_product(lab_work: Path, product_package: Path) -> Path:
    """The session's disks, with the product installed and saved as a state of its own."""
    with Machine(lab_work) as machine:
        machine.load(recipe.BASE_STATE)
        install_product(machine, product_package)
        machine.save_state(recipe.PRODUCT_STATE)
    return lab_work


@pytest.fixture
def host(lab_with_product: Path) -> Iterator[Machine]:
    """A host of its own for one test, with the product installed."""
    yield from _host(lab_with_product, recipe.PRODUCT_STATE)


@pytest.fixture(scope="module")
def shared_host(lab_with_product: Path) -> Iterator[Machine]:
    """One host for all tests of a module, with the product installed."""
    yield from _host(lab_with_product, recipe.PRODUCT_STATE)
