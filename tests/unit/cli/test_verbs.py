"""Every verb on a host where all is well: what a person reads, and what a program gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from xenbackup import __version__
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.command import Command

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


def destroy_guest(shell: Shell, name: str) -> None:
    toolstack = open_toolstack(shell.host)
    (domain,) = [found for found in toolstack.list_domains() if found.name == name]
    toolstack.destroy(domain.domid)


def count_of(shell: Shell, name: str) -> int:
    with shell.host.machine() as machine:
        (domain,) = [found for found in machine.state.domains if found.name == name]
        assert domain.ram is not None
        return domain.ram.counter


# Options


@pytest.mark.parametrize("after", [False, True])
def test_global_options_work_before_and_after_the_verb(shell: Shell, after: bool) -> None:
    config = str(shell.directory / "etc/xenbackup/config.toml")
    options = ["--simulated", str(shell.directory), "--json", "--config", config]
    for verb in (["points"], ["config", "show"], ["plan", "nightly"]):
        words = [*verb, *options] if after else [*options, *verb]
        called = shell.plain(*words)
        assert 0 == called.exit_code, called.err
        assert 1 == called.json["schema"]


def test_global_options_work_between_a_group_and_its_verb(shell: Shell) -> None:
    called = shell.plain("config", "--json", "show", "--simulated", str(shell.directory))
    assert 0 == called.exit_code
    assert 1 == called.json["schema"]


def test_configuration_after_the_verb_wins(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("")
    other.chmod(0o600)
    (tmp_path / "jobs").mkdir()
    called = shell("--config", "/nowhere.toml", "config", "show", "--config", str(other))
    assert 0 == called.exit_code
    assert "other.toml" in called.out
    assert "There is no destination" in called.out


def test_version_and_help(shell: Shell) -> None:
    assert f"xenbackup {__version__}\n" == shell.plain("--version").out
    for words in ((), ("run",), ("restore",), ("config", "show")):
        called = shell.plain(*words, "--help")
        assert 0 == called.exit_code
        assert "Usage: xenbackup" in called.out
        assert max(len(line) for line in called.out.splitlines()) <= 80


def test_real_process_gives_the_same_answer(shell: Shell) -> None:
    called = shell.process("points", "--json")
    assert 0 == called.exit_code
    assert "" == called.err
    assert shell("points", "--json").json == called.json


def test_verbose_logs_to_stderr_alone(shell: Shell) -> None:
    called = shell.process("-v", "run", "nightly", "--json")
    assert 0 == called.exit_code
    assert "result" == called.events[-1]["event"]
    logged = [json.loads(line) for line in called.err.splitlines()]
    copied = [
        event for event in logged if (event["event"], event.get("step")) == ("step-done", "copy")
    ]
    assert ["router", "web"] == sorted(event["domain"] for event in copied)
    assert {"run", "level", "timestamp"} <= copied[0].keys()


def test_log_is_quiet_unless_asked(shell: Shell) -> None:
    assert "" == shell.process("run", "nightly", "--json").err


# plan and run


def test_plan_shows_presets_and_the_reason_for_an_override(shell: Shell) -> None:
    called = shell("plan", "nightly")
    assert 0 == called.exit_code
    assert re.search(
        r"^web +checkpoint +memory +xvda, xvdb +up to .* MiB +local$", called.out, re.M
    )
    assert re.search(r"^router +crash +crash +xvda +4.0 MiB +local$", called.out, re.M)
    assert "router: preset crash of an [[override]]; PCI device 0000:03:01.0" in called.out


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
    assert ["schema", "job", "exit_code", "domains", "refused", "idle_patterns"] == list(shape)
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
        "max_away_seconds",
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


# runs and show


def test_runs_lists_what_was_run(shell: Shell) -> None:
    called = shell("runs")
    assert 0 == called.exit_code
    assert "RUN                      DOMAIN  JOB      OUTCOME  WHEN" in called.out
    assert re.search(rf"^{RUN_ID.pattern}  web +nightly +ok ", called.out, re.M)
    shape = shell("runs", "--json", "-n", "1").json
    assert ["schema", "runs"] == list(shape)
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
    ] == list(shape["runs"][0])


def test_runs_without_any(bare: Shell) -> None:
    assert (0, "There are no runs yet.\n") == (bare("runs").exit_code, bare("runs").out)
    assert {"schema": 1, "runs": []} == bare("runs", "--json").json


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
    ):
        assert part in called.out
    for name in (point[:-3], "web@latest"):
        assert called.out == shell("show", name).out


def test_show_as_json(shell: Shell) -> None:
    shape = shell("show", "web@latest", "--json").json
    assert ["schema", "run", "point"] == list(shape)
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


# points, verify


def test_points_lists_what_there_is(shell: Shell) -> None:
    called = shell("points")
    assert 0 == called.exit_code
    assert re.search(rf"^{RUN_ID.pattern}  web +memory +\d+ s ago +", called.out, re.M)
    only = shell("points", "router")
    assert "web" not in only.out
    assert "router" in only.out
    nobody = shell("points", "nobody")
    assert (0, "There are no recovery points of nobody.\n") == (nobody.exit_code, nobody.out)


def test_points_as_json(shell: Shell) -> None:
    shape = shell("points", "--json").json
    assert [
        "schema",
        "exit_code",
        "points",
        "damaged",
        "leftovers",
        "unreadable",
        "absent",
    ] == list(shape)
    assert isinstance(shape["points"], list)
    assert [
        "point",
        "destination",
        "domain",
        "identity",
        "job",
        "consistency",
        "created_at",
        "size_bytes",
        "stored_bytes",
        "has_memory",
        "pinned",
    ] == list(shape["points"][0])


def test_points_of_a_missing_destination_are_remembered(shell: Shell) -> None:
    point = shell.latest_point("web")
    (shell.directory / "srv/backup").rename(shell.directory / "srv/away")
    called = shell("points")
    assert 10 == called.exit_code
    assert "Remembered of destination local, which is not there:" in called.out
    assert point in called.out
    assert "Warning:" in called.err


def test_verify_of_sound_points(shell: Shell) -> None:
    called = shell("verify")
    assert 0 == called.exit_code
    assert re.search(rf"^{RUN_ID.pattern}  web +good +", called.out, re.M)
    one = shell("verify", "router@latest", "--json").json
    assert ["schema", "exit_code", "points"] == list(one)
    assert isinstance(one["points"], list)
    assert ["router"] == [found["domain"] for found in one["points"]]
    assert [
        "point",
        "destination",
        "domain",
        "verdict",
        "bytes_checked",
        "duration_seconds",
        "reason",
        "hint",
        "findings",
    ] == list(one["points"][0])


def test_verify_without_points_is_good(bare: Shell) -> None:
    assert 0 == bare("destination", "init", "local").exit_code
    called = bare("verify")
    assert (0, "There are no recovery points to verify.\n") == (called.exit_code, called.out)


def test_verify_names_the_damaged_bytes(shell: Shell) -> None:
    point = shell.latest_point("web")
    image = shell.directory / "srv/backup/web" / point / "xvda.img"
    with image.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"rot")
    called = shell("verify")
    assert 1 == called.exit_code
    assert re.search(rf"^{point}  web +damaged +", called.out, re.M)
    assert re.search(rf"^{point}: xvda.img at byte ", called.out, re.M)


# restore


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


# recover, destination, config


def test_recover_with_nothing_to_do(shell: Shell) -> None:
    called = shell("recover")
    assert (0, "Nothing to recover: every run has ended.\n") == (called.exit_code, called.out)
    assert {"schema": 1, "exit_code": 0, "runs": [], "restores": []} == shell(
        "recover", "--json"
    ).json


def test_destination_init_is_repeatable(bare: Shell) -> None:
    first = bare("destination", "init", "local")
    assert 0 == first.exit_code
    assert "is ready now" in first.out
    again = bare("destination", "init", "local", "--json").json
    assert ["schema", "destination", "kind", "path", "id", "fresh", "volumes", "remark"] == list(
        again
    )
    assert again["fresh"] is False


def test_config_show_and_validate(shell: Shell) -> None:
    shown = shell("config", "show")
    assert 0 == shown.exit_code
    assert re.search(
        r"^nightly +30 2 \* \* \* +checkpoint +local +\*; crash for router$", shown.out, re.M
    )
    shape = shell("config", "show", "--json").json
    assert [
        "schema",
        "path",
        "toolstack",
        "bandwidth_limit_bytes_per_second",
        "spool_path",
        "state_path",
        "destinations",
        "jobs",
        "problems",
    ] == list(shape)
    valid = shell("config", "validate")
    assert 0 == valid.exit_code
    assert "is good" in valid.out
    assert ["schema", "path", "destinations", "jobs", "problems"] == list(
        shell("config", "validate", "--json").json
    )


def test_config_needs_no_tool_of_the_host(shell: Shell) -> None:
    """It reads files alone, so it works before xl and LVM do, and makes no folder."""
    config = shell.directory / "etc/xenbackup/config.toml"
    called = shell.plain("config", "validate", "--config", str(config))
    assert 0 == called.exit_code
