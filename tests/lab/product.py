"""The product inside the lab: installing its package in dom0, and running test folders there."""

from __future__ import annotations

import io
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import recipe
from tests.lab.machine import Machine
from tests.lab.wire import LabError

COMMAND = "/usr/bin/xenbackup"
SERVICES = ("xenbackup.service", "xenbackup-recover.service", "xenbackup-verify.timer")
REMOTE_PACKAGE = "/root/xenbackup.deb"
PRODUCT_SITE = "/usr/lib/xenbackup/venv/lib/python3.11/site-packages"
REMOTE_TESTS = "/opt/xenbackup/tests-source"


def install_product(machine: Machine, package: Path) -> None:
    """Install the product's package, which stays in dom0, and switch its services off.

    Tests of single commands want no daemon that takes them over; those of the service switch it on.
    """
    machine.put(package, REMOTE_PACKAGE)
    machine.run("dpkg", "--install", REMOTE_PACKAGE).check()
    machine.run("systemctl", "disable", "--now", "--quiet", *SERVICES).check()
    # Tests that run in dom0 do so in an environment of their own, and find the product from there.
    path_file = f"{recipe.VENV}/lib/python3.11/site-packages/product.pth"
    machine.put_bytes(f"{PRODUCT_SITE}\n".encode(), path_file)
    machine.run("sync").check()


@dataclass(frozen=True, kw_only=True)
class TestOutcome:
    """One test that ran in dom0."""

    __test__ = False

    test_id: str
    outcome: str
    """passed, failed, error or skipped"""
    message: str


def pack_folders(folders: Mapping[str, Path]) -> bytes:
    """A tar file of local folders under the given names, without caches."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        for name, folder in folders.items():
            archive.add(
                folder,
                arcname=name,
                filter=lambda entry: None if "__pycache__" in entry.name else entry,
            )
    return target.getvalue()


def run_tests_in_dom0(
    machine: Machine,
    folders: Mapping[str, Path],
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 1800,
) -> dict[str, TestOutcome]:
    """Copy folders into dom0 (name there → local folder), run pytest there, read the outcomes.

    Raises:
        LabError: pytest could not run at all; its output is in the message.
    """
    machine.run("rm", "-rf", REMOTE_TESTS).check()
    machine.run("mkdir", "-p", REMOTE_TESTS).check()
    archive = f"{REMOTE_TESTS}/tests.tar.gz"
    machine.put_bytes(pack_folders(folders), archive)
    machine.run("tar", "-xzf", archive, "-C", REMOTE_TESTS, "--no-same-owner").check()
    report = f"{REMOTE_TESTS}/report.xml"
    done = machine.run(
        "env", f"--chdir={REMOTE_TESTS}", f"{recipe.VENV}/bin/python", "-m", "pytest",
        "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_family=xunit1",
        *arguments,
        environment={"PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        timeout_seconds=timeout_seconds,
    )  # fmt: skip
    if done.exit_code not in (0, 1):
        raise LabError(
            f"pytest could not run in dom0 (exit {done.exit_code})\n{done.stdout}\n{done.stderr}"
        )
    print(done.stdout, flush=True)
    return parse_junit(machine.get(report).decode())


def run_contract_tests(machine: Machine, tests_folder: Path) -> dict[str, TestOutcome]:
    """Run the contract tests against the real host; outcomes by test id.

    `tests_folder` is the project's `tests/contract`; it keeps its place below `tests/` in dom0, so
    that its ids and imports are those of a run outside.
    """
    folders = {"tests/contract": tests_folder}
    return run_tests_in_dom0(
        machine,
        folders,
        ["--rootdir=.", "--durations=20", "tests/contract"],
        environment={"XENBACKUP_CONTRACT_HOST": "real", "PYTHONPATH": REMOTE_TESTS},
    )


def parse_junit(text: str) -> dict[str, TestOutcome]:
    """Outcomes by test id (FILE::[CLASS::]NAME) from pytest's xunit1 report."""
    outcomes = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        file = case.get("file", "")
        dotted = file.removesuffix(".py").replace("/", ".")
        inner = case.get("classname", "").removeprefix(dotted).strip(".").split(".")
        test_id = "::".join([file, *filter(None, inner), case.get("name", "")])
        found = TestOutcome(test_id=test_id, outcome="passed", message="")
        for kind, word in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            part = case.find(kind)
            if part is not None:
                said = f"{part.get('message', '')}\n{part.text or ''}"
                found = TestOutcome(test_id=test_id, outcome=word, message=said)
        outcomes[test_id] = found
    return outcomes
