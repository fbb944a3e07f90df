"""The contract: what the simulated dom0 promises, asked of the real one; the very same tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import recipe
from tests.lab.machine import Machine
from tests.lab.product import parse_junit, run_contract_tests

PROJECT = recipe.HERE.parents[1]
CONTRACT = PROJECT / "tests" / "contract"


def run_on_simulation(report: Path) -> set[str]:
    """Ids of the contract's tests that pass on the simulated dom0; all must."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider",
            f"--junitxml={report}", "-o", "junit_family=xunit1", "tests/contract",
        ],
        cwd=PROJECT,
        env={**os.environ, "XENBACKUP_CONTRACT_HOST": "simulated"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-4000:]
    return set(parse_junit(report.read_text()))


@pytest.mark.timeout(7200)
def test_the_real_host_keeps_the_contract_of_the_simulated_one(
    shared_host: Machine, tmp_path: Path
) -> None:
    simulated = run_on_simulation(tmp_path / "simulated.xml")
    real = run_contract_tests(shared_host, CONTRACT)
    assert simulated == set(real), "both sides must run the same tests"
    wrong = {name: found.message for name, found in real.items() if found.outcome != "passed"}
    assert {} == wrong, "\n\n".join(f"{name}\n{message}" for name, message in wrong.items())
