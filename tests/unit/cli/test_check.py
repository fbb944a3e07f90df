"""`check`: the doctor, on hosts that are well and hosts that are not."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.unit.cli.conftest import ON_DEMAND, Shell
from xenbackup.cli.nagios import NagiosCode
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.operations.house import House
from xenbackup.planning.validation import CODES, Check

CRASH = ON_DEMAND.replace('"checkpoint"', '"crash"').replace('"memory"', '"crash"')


def list_codes(shell: Shell, *words: str) -> dict[str, str]:
    """Codes of all problems, with the check that each belongs to."""
    checks = shell("check", *words, "--json").json["checks"]
    assert isinstance(checks, list)
    return {problem["code"]: check["check"] for check in checks for problem in check["problems"]}


def test_host_on_which_all_is_well_is_good(shell: Shell) -> None:
    called = shell("check")
    assert 0 == called.exit_code, called.out
    assert "" == called.err
    assert re.search(r"^ok +destination +local$", called.out, re.M)
    assert called.out.endswith(" checks are good.\n")
    assert {"ok"} == set(re.findall(r"^(\w+)  ", called.out, re.M))


def test_job_adds_a_line_for_itself_and_each_of_its_guests(shell: Shell) -> None:
    called = shell("check", "nightly")
    assert 0 == called.exit_code, called.out
    for line in (r"job +nightly", r"guest +web", r"guest +router"):
        assert re.search(f"^ok +{line}$", called.out, re.M)
        assert not re.search(f"^ok +{line}$", shell("check").out, re.M)


def test_error_fails_with_its_code_and_its_hint(bare: Shell) -> None:
    called = bare("check")
    assert 1 == called.exit_code
    assert re.search(r"^failed +destination +local$", called.out, re.M)
    assert "(destination-missing)" in called.out
    assert re.search(r"^ +Hint: mount its disk", called.out, re.M)
    assert "15 checks: 1 error. docs/problems.md explains each code." in called.out


def test_warnings_alone_end_with_their_own_exit_code(shell: Shell) -> None:
    shell.write_job("typo", CRASH.replace('["*"]', '["*", "wbe"]'))
    called = shell("check", "typo")
    assert 4 == called.exit_code, called.out
    assert re.search(r"^warning +job +typo$", called.out, re.M)
    assert "(pattern-idle)" in called.out


def test_guest_that_the_plan_refuses_is_refused_here_in_the_same_words(shell: Shell) -> None:
    called = shell("check", "on-demand")
    assert 1 == called.exit_code
    assert re.search(r"^failed +guest +router$", called.out, re.M)
    checked = " ".join(called.out.split())
    planned = " ".join(shell("plan", "on-demand").out.split())
    reason = "PCI device 0000:03:01.0 is passed through to it: its memory cannot be saved."
    assert reason in checked
    assert reason in planned


def test_broken_job_file_fails_the_host_and_names_each_mistake(shell: Shell) -> None:
    shell.write_job("broken", 'schedul = "30 2 * * *"\n')
    assert {"job-file-broken": "job-files"} == list_codes(shell)
    called = shell("check")
    assert 1 == called.exit_code
    assert "did you mean `schedule`?" in called.out


def test_job_that_is_not_there_is_a_usage_error(shell: Shell) -> None:
    called = shell("check", "nigthly")
    assert 2 == called.exit_code
    assert "did you mean `nightly`?" in called.err


def test_job_whose_file_is_broken_is_a_usage_error(shell: Shell) -> None:
    shell.write_job("broken", "")
    assert 2 == shell("check", "broken").exit_code


def test_destination_of_another_job_is_not_this_jobs_concern(shell: Shell) -> None:
    path = shell.directory / "etc/xenbackup/config.toml"
    path.write_text(path.read_text() + '\n[destination.away]\nkind = "images"\npath = "/away"\n')
    assert {"destination-missing": "destination"} == list_codes(shell)
    assert {} == list_codes(shell, "nightly")


def test_unmarked_destination_is_told_apart_from_a_missing_one(shell: Shell) -> None:
    (shell.directory / "srv/backup/.xenbackup-destination").unlink()
    assert {"destination-not-marked": "destination"} == list_codes(shell)


def test_guest_without_its_monitor_is_a_warning(shell: Shell) -> None:
    for process in find_monitors(shell.host, "web"):
        assert shell.host.signal_process(process, signal.SIGKILL)
    assert {"guest-without-monitor": "monitors"} == list_codes(shell, "nightly")


def test_two_files_for_one_guest_are_told(shell: Shell) -> None:
    folder = shell.directory / "etc/xen"
    text = (folder / "web.cfg").read_text()
    other = text.replace("7b6c97b9", "00000000")
    assert text != other
    (folder / "web-old.cfg").write_text(other)
    assert "names" == list_codes(shell)["name-clash"]


def test_file_of_a_guest_that_cannot_be_read_is_told(shell: Shell) -> None:
    (shell.directory / "etc/xen/odd.cfg").write_text("import os\n")
    assert "guest-files" == list_codes(shell)["guest-file-broken"]


def test_what_a_run_owes_is_told_until_recovery_was_there(shell: Shell) -> None:
    shell.host.set_fault(Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="No."))
    shell("run", "nightly", "--domain", "web")
    shell.host.clear_faults()
    assert {"debt-owed": "runs"} == list_codes(shell)
    listed = " ".join(shell("runs").out.split())
    assert re.search(r"Owed: \S+ owes: .*No\.", listed)
    assert "Hint: end what holds it open, then `xenbackup recover`; the next run" in listed
    assert "was cut off or is under way" not in listed
    (run,) = [run for run in read_runs(shell) if run["owes"]]
    assert "unfinished" == run["outcome"]
    assert 0 == shell("recover").exit_code
    assert {} == list_codes(shell)
    assert "Owed:" not in shell("runs").out
    assert [] == [run for run in read_runs(shell) if run["owes"]]


def test_next_run_settles_what_the_last_one_owed(shell: Shell) -> None:
    """While something holds the snapshot the guest is backed up beside it; then both are gone."""
    shell.host.set_fault(Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="No."))
    shell("run", "nightly", "--domain", "web")
    beside = shell("run", "nightly", "--domain", "web")
    assert 3 == beside.exit_code
    assert re.search(r"Warning: Run \S+ of web owes \S+", " ".join(beside.err.split()))
    shell.host.clear_faults()
    called = shell("run", "nightly", "--domain", "web")
    assert 0 == called.exit_code
    notes = re.findall(r"Note: what run \S+ of web owed is removed\.", " ".join(called.err.split()))
    assert 2 == len(notes)
    assert {} == list_codes(shell)


def read_runs(shell: Shell) -> list[dict[str, object]]:
    runs = shell("runs", "--json").json["runs"]
    assert isinstance(runs, list)
    return runs


def test_host_that_cannot_be_read_is_a_finding_and_not_an_end(shell: Shell) -> None:
    shell.host.set_fault(Fault(tool="lvs", kind=FaultKind.FAIL, exit_code=5, stderr="No."))
    called = shell("check", "nightly")
    assert 1 == called.exit_code
    assert re.search(r"^failed +host$", called.out, re.M)
    assert "(host-unreadable)" in called.out


# JSON


def test_json_has_every_check_with_its_problems(bare: Shell) -> None:
    called = bare("check", "nightly", "--json")
    content = called.json
    assert ["schema", "exit_code", "job", "checks"] == list(content)
    assert (1, 1, "nightly") == (content["schema"], content["exit_code"], content["job"])
    checks = content["checks"]
    assert isinstance(checks, list)
    assert {check["check"] for check in checks} == {check.value for check in Check}
    (failed,) = [check for check in checks if check["result"] != "ok"]
    assert ["check", "result", "subject", "problems"] == list(failed)
    assert ("destination", "failed", "local") == tuple(failed.values())[:3]
    (problem,) = failed["problems"]
    assert ["severity", "code", "subject", "message", "hint", "domain"] == list(problem)
    assert CODES[problem["code"]].severity.value == problem["severity"]


def test_json_of_the_host_alone_names_no_job(shell: Shell) -> None:
    assert "" == shell("check", "--json").json["job"]


# Nagios


@pytest.mark.parametrize(
    ("job", "code", "text"),
    [
        ("nightly", NagiosCode.OK, r"XENBACKUP OK - All 18 checks are good\."),
        ("typo", NagiosCode.WARNING, r"XENBACKUP WARNING - Job typo: no guest on .*"),
        ("on-demand", NagiosCode.CRITICAL, r"XENBACKUP CRITICAL - router: PCI device .*"),
        ("nosuch", NagiosCode.UNKNOWN, r'XENBACKUP UNKNOWN - There is no job "nosuch"\.'),
    ],
)
def test_nagios_gets_one_line_and_its_own_exit_codes(
    shell: Shell, job: str, code: NagiosCode, text: str
) -> None:
    shell.write_job("typo", CRASH.replace('["*"]', '["*", "wbe"]'))
    called = shell("check", job, "--nagios")
    assert int(code) == called.exit_code
    assert re.fullmatch(f"{text}\n", called.out), called.out
    assert "" == called.err


def test_nagios_is_told_of_several_problems_in_one_line(shell: Shell) -> None:
    shell.write_job("broken", 'schedul = "|"\n')
    called = shell("check", "--nagios")
    assert 2 == called.exit_code
    assert re.match(r"XENBACKUP CRITICAL - \d+ problems: ", called.out)
    assert 1 == called.out.count("\n")
    assert "|" not in called.out
    assert len(called.out) <= 450


def test_nagios_hears_unknown_from_a_broken_configuration(shell: Shell) -> None:
    (shell.directory / "etc/xenbackup/config.toml").write_text("x = [")
    assert 3 == shell("check", "--nagios").exit_code


def test_nagios_and_json_exclude_each_other(shell: Shell) -> None:
    called = shell("check", "--nagios", "--json")
    assert 2 == called.exit_code
    assert "exclude each other" in called.out


# Looks


def test_page_fits_eighty_columns(bare: Shell) -> None:
    bare.write_job("x" * 64, CRASH.replace('["*"]', '["' + "y" * 60 + '"]'))
    called = bare("check", "x" * 64)
    assert max(len(line) for line in called.out.splitlines()) <= 80


def test_nothing_is_changed_by_looking(shell: Shell, tmp_path: Path) -> None:
    def list_files() -> dict[str, int]:
        # The simulated host's own state: its clock goes on whatever is asked of it.
        return {
            str(path.relative_to(shell.directory)): path.stat().st_mtime_ns
            for folder in ("etc", "srv", "var/lib/xenbackup")
            for path in sorted((shell.directory / folder).rglob("*"))
            if path.is_file()
        }

    shell("check", "nightly")
    before = list_files()
    shell("check", "nightly")
    assert before == list_files()


def test_inventory_of_a_run_is_not_the_whole_one_and_that_of_check_is(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    original = House.read_inventory

    def read_inventory(house: House, *, whole: bool = False) -> object:
        asked.append(whole)
        return original(house, whole=whole)

    monkeypatch.setattr(House, "read_inventory", read_inventory)
    shell("check", "nightly")
    assert [True] == asked
