"""Nodes of snapshots that udev is late with: waited for, but not for ever, and not for others.

Numbers are the rows of docs/reliability.md.
"""

from __future__ import annotations

import errno

import pytest

from tests.house import back_up, find_wrongs
from tests.pipeline.strikes import strike_and_fail
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import CommandFailed, CopyFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.system.block_device import BlockDevice


class LateNodes:
    """Nodes of snapshots are not there the first `looks` times that one is opened."""

    def __init__(self, host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
        self._open_volume = host.open_volume
        self._looks = looks
        self.opened: list[float] = []
        self.cause: OSError = FileNotFoundError(errno.ENOENT, "No such file or directory")
        self._host = host
        monkeypatch.setattr(host, "open_volume", self.open)

    def open(self, path: str, *, writable: bool = False) -> BlockDevice:
        if "/xb-" in path:
            self.opened.append(self._host.monotonic_seconds())
            if len(self.opened) <= self._looks:
                raise CopyFailed(f"Cannot open {path}: {self.cause.strerror}.") from self.cause
        return self._open_volume(path, writable=writable)


def note_tools(host: SimulatedHost) -> list[str]:
    tools: list[str] = []
    host.on_boundary = tools.append
    return tools


@pytest.mark.parametrize("udev", [True, False])
def test_row_26_node_that_is_late_is_waited_for(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, udev: bool
) -> None:
    nodes, tools = LateNodes(host, monkeypatch, 3), note_tools(host)
    if not udev:
        host_run = host.run

        def run_without(command: Command) -> CommandResult:
            if command.argv[0] == "udevadm":
                raise CommandFailed("The tool udevadm is not installed.")
            return host_run(command)

        monkeypatch.setattr(host, "run", run_without)
    (run,) = back_up(house, "checkpoint").runs
    assert (Outcome.OK, ()) == (run.outcome, run.warnings), run
    assert 5 == len(nodes.opened), "four times the first disk's, once the second's"
    assert int(udev) == tools.count("udevadm-settle:begin"), "asked once, then looked for"
    assert [] == find_wrongs(house)


def test_row_26_snapshot_whose_device_is_not_there_fails_its_disk_by_name(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = LateNodes(host, monkeypatch, 1000)
    run = strike_and_fail(house, "checkpoint")
    assert f"xb-{run.run}-xvda: No such file or directory" in run.error
    assert "node did not appear within 3" in run.error
    assert "vgmknodes" in run.hint
    assert 30 <= nodes.opened[-1] - nodes.opened[0] < 45, "bounded"


def test_row_26_any_other_reason_is_not_waited_for(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, tools = LateNodes(host, monkeypatch, 1000), note_tools(host)
    nodes.cause = PermissionError(errno.EACCES, "Permission denied")
    run = strike_and_fail(house, "checkpoint")
    assert run.error.endswith("Permission denied.")
    assert 1 == len(nodes.opened)
    assert "udevadm-settle:begin" not in tools


def test_row_26_person_who_stops_the_run_ends_the_wait_for_a_node(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = LateNodes(host, monkeypatch, 1000)
    (run,) = back_up(
        house, "checkpoint", cancelled=lambda: "Ctrl-C" if len(nodes.opened) > 2 else ""
    ).runs
    assert Outcome.OK is not run.outcome
    assert 3 == len(nodes.opened)
    assert "was not waited for any longer: Ctrl-C" in run.error
    assert [] == find_wrongs(house)


def test_row_26_snapshot_that_fills_up_ends_the_wait_for_its_node(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = LateNodes(host, monkeypatch, 1000)
    sleep = host.sleep

    def fill(seconds: float) -> None:
        sleep(seconds)
        with host.machine() as machine:
            for volume in machine.state.volumes.values():
                if volume.name.startswith("xb-"):
                    machine.volumes.exceptions_of(volume).invalidate()
            machine.commit()

    monkeypatch.setattr(host, "sleep", fill)
    run = strike_and_fail(house, "checkpoint")
    assert "filled up" in run.error
    assert len(nodes.opened) < 10
