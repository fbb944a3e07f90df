"""Verb `restore`: what a person reads, and what a program gets."""

from __future__ import annotations

from tests.unit.cli.conftest import Shell
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.command import Command


def destroy_guest(shell: Shell, name: str) -> None:
    toolstack = open_toolstack(shell.host)
    (domain,) = [found for found in toolstack.list_domains() if found.name == name]
    toolstack.destroy(domain.domid)


def count_of(shell: Shell, name: str) -> int:
    with shell.host.machine() as machine:
        (domain,) = [found for found in machine.state.domains if found.name == name]
        assert domain.ram is not None
        return domain.ram.counter


def test_restore_with_memory_brings_the_guest_back_where_it_was(shell: Shell) -> None:
    shell.host.sleep(60)
    before = count_of(shell, "web")
    destroy_guest(shell, "web")
    shell.host.run(Command(argv=("udevadm", "settle"), timeout_seconds=10))
    called = shell("restore", "web@latest", "--memory", "--start")
    assert 0 == called.exit_code, called.err
    assert "web will be brought back where it was, with its memory, and run on." in called.out
    assert "web: running as domain" in called.out
    assert 0 < count_of(shell, "web") < before
    shell.host.sleep(10)
    assert {} == read_oracle(shell.host).corruptions


def test_restore_as_json(shell: Shell) -> None:
    destroy_guest(shell, "web")
    shape = shell("restore", "web@latest", "--json").json
    assert [
        "schema",
        "restore",
        "point",
        "destination",
        "domain",
        "uuid",
        "guest",
        "domid",
        "memory",
        "configuration_path",
        "bytes_read",
        "bytes_written",
        "duration_seconds",
        "disks",
        "warnings",
    ] == list(shape)
    assert "not started" == shape["guest"]
    assert isinstance(shape["disks"], list)
    assert ["vdev", "path", "act", "size_bytes", "bytes_written", "same_bytes"] == list(
        shape["disks"][0]
    )


def test_restore_dry_run_touches_nothing(shell: Shell) -> None:
    before = Lvm(shell.host).list_volumes()
    words = ("restore", "web@latest", "--domain", "web2", "--volume-group", "xenvols", "--dry-run")
    called = shell(*words)
    assert 0 == called.exit_code, called.err
    assert "as web2" in called.out
    assert "create volume" in called.out
    shape = shell(*words, "--json").json
    assert [
        "schema",
        "point",
        "destination",
        "domain",
        "uuid",
        "memory",
        "start",
        "completes",
        "disks",
        "warnings",
    ] == list(shape)
    assert {volume.name for volume in before} == {
        volume.name for volume in Lvm(shell.host).list_volumes()
    }


def test_restore_onto_a_running_guest_is_refused(shell: Shell) -> None:
    called = shell("restore", "web@latest")
    assert 1 == called.exit_code
    assert "web" in called.err
    assert "Traceback" not in called.err
    assert {} == read_oracle(shell.host).corruptions
