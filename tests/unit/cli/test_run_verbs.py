"""Verbs `plan`, `run`, `runs` and `show` where all is well."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from xenbackup.dom0.simulated import Fault, FaultKind

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9]{6}")
RUN_KEYS = [
    "run",
    "domain",
    "uuid",
    "outcome",
    "preset",
    "consistency",
    "point",
    "away_seconds",
    "bytes_read",
    "bytes_written",
    "duration_seconds",
    "warnings",
]


def test_plan_shows_presets_and_the_reason_for_an_override(shell: Shell) -> None:
    called = shell("plan", "nightly")
    assert 0 == called.exit_code
    assert re.search(
        r"^web +checkpoint +memory +up to .* MiB +[0-9.]+ s +[0-9.]+ s +local$", called.out, re.M
    )
    assert re.search(
        r"^router +crash +crash +4.0 MiB +[0-9.]+ s +[0-9.]+ s +local$", called.out, re.M
    )
    assert "router: preset crash of an [[override]]; PCI device 0000:03:01.0" in called.out


def test_destination_that_is_mounted_read_only_fails_before_the_guest_is_touched(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstatvfs = os.fstatvfs
    monkeypatch.setattr(
        os, "fstatvfs", lambda fd: os.statvfs_result((*fstatvfs(fd)[:8], os.ST_RDONLY, 255))
    )
    called = shell("run", "nightly", "--domain", "web")
    assert 1 == called.exit_code
    assert "web: save-paused" not in called.err
    assert "is mounted read-only." in called.err
    assert "look at `dmesg` for the reason, then remount it" in called.err
    assert 0 == shell("points").exit_code


def test_plan_with_a_refused_guest_ends_with_partly(shell: Shell) -> None:
    called = shell("plan", "on-demand")
    assert 3 == called.exit_code
    assert "Refused: router will not be backed up" in called.out
    shape = shell("plan", "on-demand", "--json").json
    assert 3 == shape["exit_code"]
    assert isinstance(shape["refused"], list)
    assert ["domain", "uuid", "reason", "hint"] == list(shape["refused"][0])


def test_plan_as_json(shell: Shell) -> None:
    shape = shell("plan", "nightly", "--json").json
    assert [
        "schema", "job", "exit_code", "domains", "refused", "idle_patterns", "problems",
    ] == list(shape)  # fmt: skip
    domains = shape["domains"]
    assert isinstance(domains, list)
    assert [
        "domain",
        "uuid",
        "preset",
        "steps",
        "consistency",
        "reason",
        "destination",
        "bytes_to_read",
        "memory_image_bytes",
        "snapshot_bytes",
        "max_away_seconds",
        "estimate",
        "candidates",
        "disks",
        "excluded_disks",
        "warnings",
    ] == list(domains[0])
    assert ["vdev", "path", "kind", "size_bytes", "snapshot", "snapshot_size_bytes"] == list(
        domains[0]["disks"][0]
    )


def test_dry_run_touches_nothing(shell: Shell) -> None:
    before = shell("runs", "--json").json
    called = shell("run", "nightly", "--dry-run", "--domain", "web")
    assert 0 == called.exit_code
    assert "web" in called.out
    assert "router" not in called.out
    assert before == shell("runs", "--json").json


def test_run_tells_plan_steps_and_result(shell: Shell) -> None:
    called = shell("run", "nightly")
    assert 0 == called.exit_code
    plan, result = called.out.split("DOMAIN  OUTCOME")
    assert "DOMAIN  PRESET" in plan
    assert re.search(r"^web +ok +memory +[0-9.]+ s ", result, re.M)
    assert re.search(rf"^router +{RUN_ID.pattern}$", result, re.M)
    assert "Job nightly: ok, 2 of 2 guests." in result
    assert re.search(r"^web: save-paused, [0-9.]+ s$", called.err, re.M)
    assert max(len(line) for line in called.out.splitlines()) <= 80


def test_run_of_one_guest(shell: Shell) -> None:
    called = shell("run", "nightly", "--domain", "router", "--json")
    assert 0 == called.exit_code
    runs = called.events[-1]["runs"]
    assert isinstance(runs, list)
    assert ["router"] == [run["domain"] for run in runs]


def test_run_as_json_lines_ends_with_the_promised_result(shell: Shell) -> None:
    called = shell("run", "nightly", "--json")
    assert (0, "") == (called.exit_code, called.err)
    events = called.events
    kinds = [event["event"] for event in events]
    assert {
        "run-began",
        "step-began",
        "step-done",
        "progress",
        "run-ended",
        "result",
    } == set(kinds)
    assert ("run-began", "result") == (kinds[0], kinds[-1])
    result = events[-1]
    assert ["event", "schema", "round", "job", "outcome", "exit_code", "runs"] == list(result)
    assert (1, "nightly", "ok", 0) == tuple(
        result[key] for key in ("schema", "job", "outcome", "exit_code")
    )
    assert RUN_ID.fullmatch(str(result["round"]))
    assert isinstance(result["runs"], list)
    for run in result["runs"]:
        assert RUN_KEYS == list(run)
        assert "ok" == run["outcome"]
        assert run["point"] == run["run"]


def test_partly_failed_round_ends_with_three_and_says_why(shell: Shell) -> None:
    called = shell("run", "on-demand")
    assert 3 == called.exit_code
    assert re.search(r"^router +failed ", called.out, re.M)
    assert re.search(r"^web +ok ", called.out, re.M)
    assert "Error: router: router was not backed up: PCI device" in called.err
    assert "Hint: give it preset" in called.err
    result = shell("run", "on-demand", "--json").events[-1]
    assert ("partial", 3) == (result["outcome"], result["exit_code"])
    assert isinstance(result["runs"], list)
    (failed,) = [run for run in result["runs"] if run["domain"] == "router"]
    assert [*RUN_KEYS, "error", "hint"] == list(failed)


def test_locked_guest_ends_with_eleven(shell: Shell) -> None:
    from xenbackup.bootstrap import open_house

    house = open_house(shell.host, None)
    with house.lock_domain("7b6c97b9-bc1e-4273-8175-79ad2f3505e8", "hold web"):
        called = shell("run", "nightly", "--domain", "web")
    assert 11 == called.exit_code
    assert "hold web" in called.err


def test_runs_lists_what_was_run(shell: Shell) -> None:
    called = shell("runs")
    assert 0 == called.exit_code
    assert "RUN                      DOMAIN  JOB      OUTCOME  WHEN" in called.out
    assert re.search(rf"^{RUN_ID.pattern}  web +nightly +ok ", called.out, re.M)
    shape = shell("runs", "--json", "-n", "1").json
    assert ["schema", "runs", "rounds"] == list(shape)
    assert [] == shape["rounds"]
    assert isinstance(shape["runs"], list)
    assert [
        "run",
        "round",
        "job",
        "domain",
        "uuid",
        "at",
        "outcome",
        "preset",
        "consistency",
        "point",
        "away_seconds",
        "bytes_read",
        "bytes_written",
        "error",
        "owes",
    ] == list(shape["runs"][0])


def test_runs_without_any(bare: Shell) -> None:
    assert (0, "There are no runs yet.\n") == (bare("runs").exit_code, bare("runs").out)
    assert {"schema": 1, "runs": [], "rounds": []} == bare("runs", "--json").json


def test_show_tells_the_story_and_the_point(shell: Shell) -> None:
    point = shell.latest_point("web")
    called = shell("show", point)
    assert 0 == called.exit_code
    for part in (
        "about to save the guest's memory",
        "the guest runs, its disks connected",
        "run ended: ok",
        "web (pv, 96 MiB, 1 vCPU)",
        "memory: memory and disks of one instant",
        f"xenbackup restore {point} --memory --start",
        f"dd if={shell.directory}/srv/backup/web/{point}/xvda.img \\",
        "of=/dev/xenvols/web_root bs=4M conv=fsync",
        f"xl restore {shell.directory}/srv/backup/web/{point}/memory.save",
        "its own file:",
    ):
        assert part in called.out
    for name in (point[:-3], "web@latest"):
        assert called.out == shell("show", name).out


def test_show_as_json(shell: Shell) -> None:
    shape = shell("show", "web@latest", "--json").json
    assert ["schema", "run", "point", "round"] == list(shape)
    assert shape["round"] is None
    run, point = shape["run"], shape["point"]
    assert isinstance(run, dict)
    assert isinstance(point, dict)
    assert ["number", "at", "event", "text"] == list(run["entries"][0])
    assert "run-started" == run["entries"][0]["event"]
    assert "ok" == run["outcome"]
    assert ["vdev", "path", "size_bytes", "digest", "source", "writable"] == list(point["disks"][0])
    assert 64 == len(point["disks"][0]["digest"])
    assert Path(point["disks"][0]["path"]).is_file()
    assert Path(point["memory"]["path"]).is_file()
    assert Path(point["configuration_path"]).is_file()


def test_show_of_a_run_without_point_tells_its_story(shell: Shell) -> None:
    shell.host.set_fault(Fault(tool="lvcreate", kind=FaultKind.FAIL, exit_code=5, stderr="No.\n"))
    called = shell("run", "nightly", "--domain", "web")
    assert 1 == called.exit_code
    assert "web: being undone, the guest first." in called.err
    runs = shell("runs", "--json").json["runs"]
    assert isinstance(runs, list)
    called = shell("show", runs[-1]["run"])
    assert 0 == called.exit_code
    assert "failed: " in called.out
    assert "run ended: failed" in called.out
    assert "To restore" not in called.out
