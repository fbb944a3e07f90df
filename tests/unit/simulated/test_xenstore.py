"""xenstore of the simulated host: what its tools show, and what is written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import load_recording
from tests.unit.simulated.hosts import call, look, make_host, must
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost

HOME = "/local/domain/1"
SHUTDOWN = f"{HOME}/control/shutdown"


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return make_host(tmp_path)


def test_control_of_a_guest_is_the_recorded_one(host: SimulatedHost) -> None:
    recorded = load_recording("xenstore-control").stdout
    assert recorded == must(host, "xenstore-ls", "-f", f"{HOME}/control")


def test_disks_of_a_guest_have_their_recorded_keys(host: SimulatedHost) -> None:
    recorded = set(load_recording("xenstore-ls-vbd").stdout.splitlines())
    mine = must(host, "xenstore-ls", "-f", f"{HOME}/device/vbd").splitlines()
    assert 12 == len(mine)
    assert set(mine) <= recorded


def test_missing_key_is_refused_as_recorded(host: SimulatedHost) -> None:
    recorded = load_recording("xenstore-read-missing")
    result = call(host, "xenstore-read", "/local/domain/999/name")
    assert (recorded.exit_code, recorded.stderr) == (result.exit_code, result.stderr)


def test_tree_is_indented_by_depth(host: SimulatedHost) -> None:
    assert 'name = "Domain-0"\n' in must(host, "xenstore-ls", "/local/domain/0")
    whole = must(host, "xenstore-ls").splitlines()
    assert 'local = ""' == whole[0]
    assert '  0 = ""' in whole


def test_keys_are_read_with_and_without_their_paths(host: SimulatedHost) -> None:
    assert "web\n1\n" == must(host, "xenstore-read", f"{HOME}/name", f"{HOME}/domid")
    assert f"{HOME}/name: web\n" == must(host, "xenstore-read", "-p", f"{HOME}/name")
    assert "Domain-0\n" == must(host, "xenstore-read", "name")


def test_keys_below_a_path_are_listed(host: SimulatedHost) -> None:
    assert ["0", "1"] == must(host, "xenstore-list", "/local/domain").split()
    assert ["51712", "51728"] == must(host, "xenstore-list", f"{HOME}/device/vbd/").split()


def test_what_is_written_by_hand_is_read_until_it_is_removed(host: SimulatedHost) -> None:
    must(host, "xenstore-write", "-s", "/tool/note", 'say "a"', f"{HOME}/data/x", "1")
    assert 'say "a"\n' == must(host, "xenstore-read", "/tool/note")
    assert '/tool/note = "say \\"a\\""\n' in must(host, "xenstore-ls", "-f", "/tool")
    must(host, "xenstore-rm", "/tool/note")
    assert 1 == call(host, "xenstore-read", "/tool/note").exit_code
    assert "1\n" == must(host, "xenstore-read", f"{HOME}/data/x")
    must(host, "xenstore-write", "/tool/note", "again")
    assert "again\n" == must(host, "xenstore-read", "/tool/note")


def test_removed_folder_takes_its_keys_along(host: SimulatedHost) -> None:
    must(host, "xenstore-rm", f"{HOME}/device")
    assert 1 == call(host, "xenstore-read", f"{HOME}/device/vbd/51712/state").exit_code
    assert "web\n" == must(host, "xenstore-read", f"{HOME}/name")


def test_removed_folder_can_be_filled_again(host: SimulatedHost) -> None:
    must(host, "xenstore-write", "/tool/a", "1", "/tool/b", "2", f"{HOME}/device/mine", "3")
    must(host, "xenstore-rm", "/tool", f"{HOME}/device")
    must(host, "xenstore-write", "/tool/b", "new", f"{HOME}/device/mine", "4")
    assert '/tool/b = "new"\n' == must(host, "xenstore-ls", "-f", "/tool")
    assert ["mine"] == must(host, "xenstore-list", f"{HOME}/device").split()


@pytest.mark.parametrize("words", [("xenstore-rm", SHUTDOWN), ("xenstore-write", SHUTDOWN, "")])
def test_request_can_be_made_and_withdrawn(host: SimulatedHost, words: tuple[str, ...]) -> None:
    must(host, "xl", "pause", "web")
    must(host, "xenstore-write", SHUTDOWN, "suspend")
    assert "suspend\n" == must(host, "xenstore-read", SHUTDOWN)
    must(host, *words)
    assert "\n" == must(host, "xenstore-read", SHUTDOWN)
    must(host, "xl", "unpause", "web")
    host.sleep(1.0)
    assert look(host).executing


def test_guest_obeys_the_request_to_suspend(host: SimulatedHost) -> None:
    must(host, "xenstore-write", SHUTDOWN, "suspend")
    host.sleep(1.0)
    assert "suspend" == look(host).shutdown


def test_request_to_nobody_is_a_key_like_others(host: SimulatedHost) -> None:
    for who in ("77", "me"):
        path = f"/local/domain/{who}/control/shutdown"
        must(host, "xenstore-write", path, "suspend")
        assert "suspend\n" == must(host, "xenstore-read", path)
        must(host, "xenstore-rm", path)
        assert 1 == call(host, "xenstore-read", path).exit_code


def test_dying_domain_has_left_xenstore(host: SimulatedHost) -> None:
    host.set_fault(Fault(tool="xl", verb="destroy", kind=FaultKind.KILL_MIDDLE, boundary="dying"))
    assert -9 == call(host, "xl", "destroy", "web").exit_code
    assert ["0"] == must(host, "xenstore-list", "/local/domain").split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xenstore-ls", "-Q"), "xenstore-ls: invalid option -- 'Q'\n"),
        (("xenstore-read",), "Usage: xenstore-read"),
        (("xenstore-list",), "Usage: xenstore-list"),
        (("xenstore-list", "/nosuch"), "xenstore-list: could not list path /nosuch\n"),
        (("xenstore-rm", "/nosuch"), "xenstore-rm: could not remove path /nosuch\n"),
        (("xenstore-write",), "Usage: xenstore-write"),
        (("xenstore-write", "/tool/note"), "Usage: xenstore-write"),
    ],
)
def test_what_makes_no_sense_is_refused(
    host: SimulatedHost, words: tuple[str, ...], said: str
) -> None:
    result = call(host, *words)
    assert 1 == result.exit_code
    assert result.stderr.startswith(said)
