"""Verb `init`: a first configuration that works, and that never costs an older one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.test_probing import HangingStatvfs
from xenbackup.config import jobs_folder, load_configuration, load_jobs
from xenbackup.errors import StateFailed
from xenbackup.operations import initialise
from xenbackup.operations.probing import Probe
from xenbackup.system import durable


@pytest.fixture
def fresh(bare: Shell) -> Shell:
    """A host whose configuration was moved away."""
    (bare.directory / "etc/xenbackup").rename(bare.directory / "moved")
    return bare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where nothing is but what a test puts there."""
    path = tmp_path / "new"
    (path / "jobs").mkdir(parents=True)
    return path


def mount(shell: Shell, point: str, filesystem: str = "ext4", source: str = "/dev/sdz1") -> None:
    """Have the simulated kernel tell of a mounted file system."""
    (shell.directory / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
    table = shell.directory / "proc/self/mountinfo"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a") as file:
        file.write(f"40 22 253:99 / {point} rw - {filesystem} {source} rw\n")


def test_what_init_writes_can_be_used_at_once(fresh: Shell) -> None:
    called = fresh("init", "--json")
    assert 0 == called.exit_code, called.err
    folder = fresh.directory / "etc/xenbackup"
    written = [str(folder / "config.toml"), str(folder / "jobs/nightly.toml")]
    assert written == called.json["written"]
    for words in (
        ("config", "validate"),
        ("destination", "init", "local"),
        ("check", "nightly"),
        ("plan", "nightly"),
        ("run", "nightly"),
    ):
        done = fresh(*words)
        assert 0 == done.exit_code, done.out + done.err
    path = folder / "config.toml"
    (job,) = load_jobs(jobs_folder(path), load_configuration(path)).jobs
    assert [("router",)] == [override.domains for override in job.overrides]


def test_next_steps_are_told_as_commands_that_work(fresh: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    called = fresh("init", "--directory", str(folder))
    assert 0 == called.exit_code, called.err
    assert f"Written: {folder}/config.toml" in called.out
    command = f"  xenbackup --simulated {fresh.directory} --config '{folder}/config.toml'"
    for step in ("destination init local", "check nightly", "plan nightly"):
        assert f"{command} {step}\n" in called.out
    assert 0 == fresh("--config", f"{folder}/config.toml", "config", "validate").exit_code


def test_usual_place_needs_no_option_in_the_next_steps(fresh: Shell) -> None:
    called = fresh("init")
    assert f"  xenbackup --simulated {fresh.directory} plan nightly\n" in called.out
    assert f"  xenbackup --simulated {fresh.directory} daemon\n" in called.out


def test_files_are_for_all_to_read_and_for_one_to_write(fresh: Shell, tmp_path: Path) -> None:
    assert 0 == fresh("init", "--directory", str(tmp_path / "new")).exit_code
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))
    }
    assert {"new": 0o755, "config.toml": 0o644, "jobs": 0o755, "nightly.toml": 0o644} == modes


def test_config_option_names_the_file_to_write(fresh: Shell, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    assert 0 == fresh("--config", str(path), "init").exit_code
    assert path.is_file()
    assert (tmp_path / "jobs/nightly.toml").is_file()


@pytest.mark.parametrize("name", ["config.toml", "jobs/nightly.toml"])
@pytest.mark.parametrize("dangling", [False, True], ids=["file", "link to nowhere"])
def test_file_that_is_there_is_never_overwritten(
    fresh: Shell, folder: Path, name: str, dangling: bool
) -> None:
    path = folder / name
    if dangling:
        path.symlink_to("nowhere")
    else:
        path.write_text("mine")
    called = fresh("init", "--directory", str(folder))
    assert 2 == called.exit_code
    assert f"{path} is there already; nothing was written." in called.err.replace("\n", " ")
    assert [path] == list(folder.rglob("*.toml"))
    assert dangling or "mine" == path.read_text()


def test_both_files_are_named_when_both_are_there(shell: Shell) -> None:
    called = shell("init")
    assert 2 == called.exit_code
    assert "config.toml and " in called.err
    assert "jobs/nightly.toml are there already" in called.err


def test_failure_leaves_no_half_of_it(
    fresh: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = durable.replace_file

    def fail_second(path: Path, content: bytes, mode: int) -> None:
        if path.name == "nightly.toml":
            raise StateFailed("Cannot write: No space left on device.")
        real(path, content, mode)

    monkeypatch.setattr(durable, "replace_file", fail_second)
    assert 1 == fresh("init", "--directory", str(folder)).exit_code
    assert [] == list(folder.rglob("*.toml"))


def test_folder_that_cannot_be_made_is_an_error(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    called = fresh("init", "--directory", str(tmp_path / "file" / "below"))
    assert 1 == called.exit_code
    assert "Cannot make the folder" in called.err


def test_two_names_for_the_place_exclude_each_other(fresh: Shell, folder: Path) -> None:
    called = fresh("--config", "/x/config.toml", "init", "--directory", str(folder))
    assert 2 == called.exit_code
    assert [] == list(folder.rglob("*.toml"))


# The destination


def test_mounted_file_system_is_found(fresh: Shell) -> None:
    mount(fresh, "/mnt/vault")
    mount(fresh, "/home")
    destination = fresh("init", "--json").json["destination"]
    assert isinstance(destination, dict)
    assert ("local", "images", "/mnt/vault/backup") == (
        destination["name"], destination["kind"], destination["path"],
    )  # fmt: skip
    assert destination["free_bytes"] > 0


def test_a_file_system_that_does_not_answer_is_passed_over(
    fresh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(fresh, "/mnt/gone", "nfs4")
    mount(fresh, "/mnt/vault")
    hanging = HangingStatvfs(fresh.directory / "mnt/gone")
    monkeypatch.setattr(os, "statvfs", hanging)
    monkeypatch.setattr(initialise, "PLACES_PROBE", Probe(deadline_seconds=2.0))
    try:
        called = fresh("init", "--json")
    finally:
        hanging.released.set()
    destination = called.json["destination"]
    assert isinstance(destination, dict)
    assert "/mnt/vault/backup" == destination["path"]


@pytest.mark.parametrize(
    ("source", "path"), [("/dev/sda2", "/srv/backup"), ("/dev/sdb1", "/srv/on-backup")]
)
def test_a_subvolume_of_the_systems_own_disk_is_no_other_disk(
    fresh: Shell, source: str, path: str
) -> None:
    mount(fresh, "/", "btrfs", "/dev/sda2")
    mount(fresh, "/srv/on-backup", "btrfs", source)
    destination = fresh("init", "--json").json["destination"]
    assert isinstance(destination, dict)
    assert path == destination["path"]


@pytest.mark.parametrize("filesystem", ["tmpfs", "iso9660", "vfat", "proc"])
def test_file_system_that_cannot_hold_backups_is_passed_over(fresh: Shell, filesystem: str) -> None:
    mount(fresh, "/mnt/vault", filesystem)
    destination = fresh("init", "--json").json["destination"]
    assert isinstance(destination, dict)
    assert ("/srv/backup", None) == (destination["path"], destination["free_bytes"])


def test_destination_that_is_named_is_taken(fresh: Shell) -> None:
    mount(fresh, "/mnt/vault")
    assert 0 == fresh("init", "--destination", "/var//own/").exit_code
    configuration = load_configuration(fresh.directory / "etc/xenbackup/config.toml")
    assert "/var/own" == configuration.destinations[0].path


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/var/lib/xenbackup/spool"])
def test_destination_that_no_configuration_takes_is_refused(fresh: Shell, path: str) -> None:
    called = fresh("init", "--destination", path)
    assert 2 == called.exit_code
    assert not (fresh.directory / "etc/xenbackup").exists()
