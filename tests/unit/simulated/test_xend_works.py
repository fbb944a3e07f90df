"""What xend does for an `xm` that is killed goes on without it, and the next `xm` finds it so."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import (
    GROUP,
    SPOOL,
    THINNY,
    WEB,
    call,
    complaints,
    counter,
    look,
    must,
)
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost, create_host

IMAGE = f"{SPOOL}/image"
SAVE_SECONDS = 11.0
"""Longer than xend takes to save a guest of 32 MiB."""


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    create_host(tmp_path / "host", groups=(GROUP,), guests=(WEB, THINNY), toolstack="xm")
    return SimulatedHost(tmp_path / "host")


def kill(host: SimulatedHost, boundary: str, *words: str) -> None:
    """Run `xm`, and kill it there."""
    host.set_fault(
        Fault(tool="xm", kind=FaultKind.KILL_MIDDLE, verb=words[0], boundary=boundary, times=1)
    )
    assert -signal.SIGKILL == call(host, "xm", *words).exit_code
    host.clear_faults()


def names(host: SimulatedHost) -> list[str]:
    """Who runs, as xend calls them."""
    rows = [line.split() for line in must(host, "xm", "list").splitlines()[2:]]
    return [row[0] for row in rows if len(row) == 6]


@pytest.mark.parametrize("boundary", ["requested", "suspended", "writing"])
def test_save_goes_on_under_another_name_until_its_file_is_whole(
    host: SimulatedHost, boundary: str
) -> None:
    kill(host, boundary, "save", "web", IMAGE)
    assert {"migrating-web", "thinny"} == set(names(host))
    assert "Domain 'web' does not exist" in call(host, "xm", "pause", "web").stderr
    host.sleep(SAVE_SECONDS)
    assert ["thinny"] == names(host)
    assert inspect_memory_image(host.place(IMAGE)).complete
    must(host, "xm", "restore", IMAGE)
    host.sleep(2.0)
    assert [] == complaints(host)


def test_save_that_continues_lets_the_guest_go_on_when_it_is_done(host: SimulatedHost) -> None:
    kill(host, "writing", "save", "-c", "web", IMAGE)
    at = counter(host)
    host.sleep(SAVE_SECONDS)
    assert at == counter(host)
    assert {"web", "thinny"} == set(names(host))
    assert inspect_memory_image(host.place(IMAGE)).complete
    host.sleep(2.0)
    assert at < counter(host)
    assert [] == complaints(host)


def test_save_of_a_guest_that_never_suspends_is_given_up(host: SimulatedHost) -> None:
    with host.machine() as machine:
        machine.state.program_of("web").suspend = "ignores"
        machine.commit()
    kill(host, "requested", "save", "web", IMAGE)
    host.sleep(SAVE_SECONDS)
    assert {"web", "thinny"} == set(names(host))
    assert ("", True) == (look(host).control_shutdown, look(host).executing)
    assert b"" == host.place(IMAGE).read_bytes()


def test_save_of_a_domain_that_is_destroyed_meanwhile_ends_with_it(host: SimulatedHost) -> None:
    kill(host, "writing", "save", "web", IMAGE)
    must(host, "xm", "destroy", "1")
    host.sleep(SAVE_SECONDS)
    assert ["thinny"] == names(host)
    assert not inspect_memory_image(host.place(IMAGE)).complete


def test_domain_that_shuts_down_meanwhile_is_saved_by_nobody(host: SimulatedHost) -> None:
    kill(host, "writing", "save", "web", IMAGE)
    with host.machine() as machine:
        machine.state.domains = [d for d in machine.state.domains if d.name != "web"]
        machine.commit()
    host.sleep(SAVE_SECONDS)
    assert ["thinny"] == names(host)


def test_destruction_is_finished(host: SimulatedHost) -> None:
    kill(host, "dying", "destroy", "web")
    assert ["thinny"] == names(host)


@pytest.mark.parametrize(("words", "waits"), [((), False), (("-p",), True)])
def test_creation_is_finished(host: SimulatedHost, words: tuple[str, ...], waits: bool) -> None:
    must(host, "xm", "destroy", "web")
    kill(host, "built", "create", *words, "/etc/xen/web.cfg")
    assert {"web", "thinny"} == set(names(host))
    assert (not waits) == look(host).executing
    host.sleep(1.0)
    assert [] == complaints(host)


@pytest.mark.parametrize("boundary", ["building", "built"])
@pytest.mark.parametrize(("words", "waits"), [((), False), (("-p",), True)])
def test_restore_is_finished(
    host: SimulatedHost, boundary: str, words: tuple[str, ...], waits: bool
) -> None:
    must(host, "xm", "save", "web", IMAGE)
    kill(host, boundary, "restore", *words, IMAGE)
    assert {"web", "thinny"} == set(names(host))
    assert (not waits) == look(host).executing
    must(host, "xm", "unpause", "web")
    host.sleep(1.0)
    assert [] == complaints(host)


def test_restore_that_cannot_be_finished_leaves_no_domain_and_is_told_to_nobody(
    host: SimulatedHost,
) -> None:
    must(host, "xm", "save", "web", IMAGE)
    kill(host, "building", "restore", IMAGE)
    place = host.place(IMAGE)
    place.write_bytes(place.read_bytes()[:-100])
    result = call(host, "xm", "list")
    assert (0, "") == (result.exit_code, result.stderr)
    assert ["thinny"] == names(host)


def test_restore_short_of_memory_is_refused(host: SimulatedHost) -> None:
    must(host, "xm", "save", "web", IMAGE)
    free = next(
        int(line.split(":")[1])
        for line in must(host, "xm", "info").splitlines()
        if line.startswith("free_memory")
    )
    host.place("/srv/hog.cfg").write_text(f'name = "hog"\nmemory = {free - 20}\n')
    must(host, "xm", "create", "/srv/hog.cfg")
    result = call(host, "xm", "restore", IMAGE)
    assert 1 == result.exit_code
    assert "Error: I need more memory, but not enough free memory is left.\n" == result.stderr
    assert {"thinny", "hog"} == set(names(host))
