"""After a kill: what `runs`, `plan`, `run` and `recover` say until all is healed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.test_stopping import assert_nothing_is_left, call_with_signals
from xenbackup.bootstrap import open_house
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.job import DESTINATION_MARKER_FILE
from xenbackup.storage.images import ImagesDestination
from xenbackup.system import durable

pytestmark = pytest.mark.slow

LOCKED = 11
INCOMPLETE = 13


def kill_run(shell: Shell, boundary: str, *words: str) -> None:
    killed = call_with_signals(shell, boundary, (signal.SIGKILL,), *words)
    assert -signal.SIGKILL == killed.exit_code


def test_guest_that_a_killed_run_left_paused_is_recovered_first(shell: Shell) -> None:
    kill_run(shell, "lvcreate:end", "run", "nightly", "--domain", "web")
    listed = shell("runs")
    assert "unfinished" in listed.out
    assert "xenbackup recover" in listed.out
    for words in (("plan", "nightly"), ("run", "nightly")):
        called = shell(*words)
        assert 3 == called.exit_code
        text = " ".join(called.out.split())
        assert "has not ended, or was cut off" in text
        assert "`xenbackup recover`" in text
    assert LOCKED == shell("run", "nightly", "--domain", "web").exit_code
    called = shell("recover")
    assert 0 == called.exit_code
    assert "healed" in called.out
    assert_nothing_is_left(shell)
    assert 0 == shell("run", "nightly").exit_code


def test_guest_that_a_killed_run_left_destroyed_is_not_forgotten(shell: Shell) -> None:
    """It is not in the list of domains any more: a round without it must not be called good."""
    shell.write_job("away", 'domains = ["web"]\npreset = "snapshot"\ndestination = "local"\n')
    kill_run(shell, "xl-restore:begin", "run", "away")
    assert 3 == shell("run", "nightly").exit_code
    assert LOCKED == shell("run", "away").exit_code
    assert 0 == shell("recover").exit_code
    assert_nothing_is_left(shell)


def test_guest_that_a_killed_run_left_destroyed_is_not_planned_as_one_that_is_shut_off(
    shell: Shell,
) -> None:
    """Its file is there, so it looks like a guest that somebody shut off; its memory waits."""
    (shell.directory / "etc/xen").mkdir(parents=True, exist_ok=True)
    (shell.directory / "etc/xen/web.cfg").write_text(
        'name = "web"\nmemory = 256\ndisk = ["phy:/dev/xenvols/web_root,xvda,w"]\n'
    )
    shell.write_job("away", 'domains = ["web"]\npreset = "snapshot"\ndestination = "local"\n')
    shell.write_job("any", 'domains = ["web"]\npreset = "auto"\ndestination = "local"\n')
    kill_run(shell, "xl-restore:begin", "run", "away")
    planned = shell("plan", "any", "--json")
    assert (1, []) == (planned.exit_code, planned.json["domains"])
    assert "has not ended, or was cut off" in str(planned.json["refused"])
    assert LOCKED == shell("run", "any").exit_code
    assert 0 == shell("recover").exit_code
    assert 0 == shell("plan", "any").exit_code


def test_recovery_as_json(shell: Shell) -> None:
    kill_run(shell, "lvcreate:end", "run", "nightly", "--domain", "web")
    called = shell("recover", "--json")
    assert (0, "") == (called.exit_code, called.err)
    shape = called.json
    assert ["schema", "exit_code", "runs", "restores", "removals"] == list(shape)
    assert {"finished": [], "troubles": [], "silent": []} == shape["removals"]
    assert isinstance(shape["runs"], list)
    (run,) = shape["runs"]
    assert ["run", "domain", "healed", "running", "messages"] == list(run)
    assert ("web", True, False) == (run["domain"], run["healed"], run["running"])


def test_damaged_journal_is_left_alone_and_named(shell: Shell) -> None:
    kill_run(shell, "lvcreate:end", "run", "nightly", "--domain", "web")
    (journal,) = [
        path
        for path in (shell.directory / "var/lib/xenbackup/journals").iterdir()
        if b"run-ended" not in path.read_bytes()
    ]
    content = journal.read_bytes()
    journal.write_bytes(b"{}\n" + content)
    called = shell("recover")
    assert INCOMPLETE == called.exit_code
    assert "left over" in called.out
    assert journal.stem in called.out
    shown = shell("show", journal.stem)
    assert INCOMPLETE == shown.exit_code
    assert "line 1" in shown.err
    assert "unreadable" in shell("runs").out
    journal.write_bytes(content)
    assert 0 == shell("recover").exit_code
    assert_nothing_is_left(shell)


@pytest.mark.parametrize("as_json", [False, True])
def test_restore_that_was_cut_off_is_left_over_until_it_is_completed(
    shell: Shell, as_json: bool
) -> None:
    toolstack = open_toolstack(shell.host)
    (web,) = [domain for domain in toolstack.list_domains() if domain.name == "web"]
    toolstack.destroy(web.domid)
    shell.host.sleep(5)
    words = ("restore", "web@latest", "--memory", "--start")
    kill_run(shell, "xl-restore:begin", *words)
    if as_json:
        called = shell("recover", "--json")
        restores = called.json["restores"]
        assert isinstance(restores, list)
        assert ["restore", "point", "domain", "phase", "condition", "disks"] == list(restores[0])
    else:
        called = shell("recover")
        assert "Left over: the restore" in called.out
    assert INCOMPLETE == called.exit_code
    again = shell(*words)
    assert 0 == again.exit_code, again.err
    assert 0 == shell("recover").exit_code
    assert_nothing_is_left(shell)


def test_restore_that_is_at_work_is_not_called_left_over(shell: Shell) -> None:
    toolstack = open_toolstack(shell.host)
    (web,) = [domain for domain in toolstack.list_domains() if domain.name == "web"]
    toolstack.destroy(web.domid)
    words = ("restore", "web@latest", "--memory", "--start")
    kill_run(shell, "xl-restore:begin", *words)
    lock = shell.directory / "var/lib/xenbackup/locks/domain-web.lock"
    with durable.FileLock(lock, "restore web"):
        assert 0 == shell("recover").exit_code
    assert INCOMPLETE == shell("recover").exit_code


def cut_removal_off(shell: Shell) -> Path:
    """What a prune leaves that is killed after its first step."""
    point = shell.latest_point("web")
    home = shell.directory / "srv/backup/web"
    return (home / point).rename(home / f".deleting-{point}")


def test_a_removal_that_was_cut_off_is_finished(shell: Shell) -> None:
    rest = cut_removal_off(shell)
    called = shell("recover")
    assert 0 == called.exit_code
    point = rest.name.removeprefix(".deleting-")
    assert f"Removed: point {point}, whose removal had been cut off." in called.out
    assert not rest.exists()
    assert "web" not in {
        found.domain for found in open_house(shell.host, None).catalog.list_points()
    }
    assert "Nothing to recover" in shell("recover").out


def test_a_half_removed_point_on_a_disk_that_is_not_mounted_waits(shell: Shell) -> None:
    rest = cut_removal_off(shell)
    marker = shell.directory / "srv/backup" / DESTINATION_MARKER_FILE
    content = marker.read_bytes()
    marker.unlink()
    called = shell("recover")
    assert (0, True) == (called.exit_code, "Nothing to recover" in called.out)
    assert rest.is_dir()
    marker.write_bytes(content)
    removals = shell("recover", "--json").json["removals"]
    assert {
        "finished": [rest.name.removeprefix(".deleting-")], "troubles": [], "silent": [],
    } == removals  # fmt: skip


def test_the_boot_leaves_destinations_alone(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks into one whose server is gone may never end, and guests wait for the boot."""
    rest = cut_removal_off(shell)
    monkeypatch.setattr(ImagesDestination, "open", lambda _: pytest.fail("it was looked into"))
    called = shell("recover", "--no-removals")
    assert (0, True) == (called.exit_code, "Nothing to recover" in called.out)
    assert rest.is_dir()


def test_what_a_half_removed_point_holds_beside_its_parts_stays_and_is_told(shell: Shell) -> None:
    rest = cut_removal_off(shell)
    (rest / "notes.txt").write_text("mine")
    called = shell("recover")
    assert 13 == called.exit_code
    told = " ".join(called.out.split())
    assert f"Left over: a removal was not finished: local: web: notes.txt in {rest.name} " in told
    assert ["notes.txt"] == [path.name for path in rest.iterdir()]
