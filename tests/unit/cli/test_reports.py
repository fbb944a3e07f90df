"""Plan and result as a person reads them, at 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xenbackup.cli.output import Output
from xenbackup.cli.page import Page
from xenbackup.cli.reports import report_plan, report_round, tell_troubles
from xenbackup.model.domain import Domain, DomainState, GuestKind
from xenbackup.model.job import Consistency, DestinationKind, DestinationSpec, StepName
from xenbackup.model.plan import (
    Candidate,
    DomainPlan,
    Estimate,
    ExcludedDisk,
    Plan,
    PlannedDisk,
    PlannedStep,
    RefusedDomain,
    SnapshotKind,
    VolumeKind,
)
from xenbackup.model.run import Outcome, RoundResult, RunResult

GIB = 1 << 30
POINT = "20261122T023000Z-k3f9qa"


def make_plan(name: str, *, steps: tuple[StepName, ...] = (), disks: int = 1) -> DomainPlan:
    return DomainPlan(
        domain=Domain(
            name=name,
            domid=1,
            uuid="u",
            kind=GuestKind.PV,
            state=DomainState(letters="------"),
            memory_mib=64,
            vcpus=1,
        ),
        preset="checkpoint",
        steps=tuple(PlannedStep(step=step) for step in steps),
        disks=tuple(
            PlannedDisk(
                vdev=f"xvd{chr(97 + index)}",
                path="/dev/xenvols/web",
                kind=VolumeKind.LOGICAL_VOLUME,
                size_bytes=10 * GIB,
                snapshot=SnapshotKind.THICK,
            )
            for index in range(disks)
        ),
        excluded_disks=(ExcludedDisk(vdev="xvdz", reason="the drive is empty"),),
        consistency=Consistency.MEMORY,
        destination=DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv"),
        memory_image_bytes=GIB,
        max_away_seconds=600.0,
        reason="preset checkpoint of the job",
        estimate=Estimate(away_seconds=5.0, total_seconds=200.0, basis="2 past runs"),
    )


def make_round(*runs: RunResult) -> RoundResult:
    return RoundResult(round=POINT, job="nightly", outcome=Outcome.OK, exit_code=0, runs=runs)


def test_plan_is_a_table_with_what_is_left_out_below() -> None:
    plan = Plan(
        job="nightly",
        domains=(make_plan("web", disks=2),),
        refused=(RefusedDomain(name="fw", uuid="u", reason="it has no disk", hint="add one"),),
        idle_patterns=("mial*",),
    )
    assert [
        "DOMAIN  PRESET      CONSISTENCY         TO READ   AWAY       TOTAL  DESTINATION",
        "------  ----------  -----------  --------------  -----  ----------  -----------",
        "web     checkpoint  memory       up to 21.0 GiB  5.0 s  3 min 20 s  local",
        "",
        "web: disk xvdz is left out: the drive is empty.",
        "Refused: fw will not be backed up: it has no disk.",
        "         Hint: add one",
        'Warning: no guest on this host matches "mial*".',
    ] == report_plan(plan, Page()).splitlines()


def test_plan_in_detail_tells_volumes_snapshots_and_what_auto_looked_at() -> None:
    chosen = Candidate(
        preset="checkpoint",
        chosen=True,
        reason="the least time away",
        estimate=Estimate(away_seconds=5.0, total_seconds=9.0, basis="x"),
    )
    refused = Candidate(preset="cold", chosen=False, reason="it has no disk")
    planned = replace(make_plan("web"), candidates=(refused, chosen))
    text = report_plan(Plan(job="j", domains=(planned,)), Page(), details=True)
    lines = text.splitlines()
    assert "web     xvda  /dev/xenvols/web  10.0 GiB  thick         -" in lines
    assert "web     checkpoint  5.0 s  taken: the least time away" in lines
    assert "web     cold            -  not: it has no disk" in lines
    assert "Times of web are reckoned from 2 past runs." in lines
    assert max(map(len, lines)) <= 80


def test_plan_foretells_the_absence_of_a_byte_by_byte_copy() -> None:
    cold = make_plan("web", steps=(StepName.SAVE, StepName.COPY, StepName.RESTORE))
    text = report_plan(Plan(job="j", domains=(cold,)), Page())
    assert "web: away for the whole copy, about 5.0 s; max_away is 10 min 00 s" in text
    quick = make_plan("web", steps=(StepName.SAVE, StepName.RESTORE, StepName.COPY))
    assert "whole copy" not in report_plan(Plan(job="j", domains=(quick,)), Page())


def test_plan_with_only_refusals_has_no_empty_table() -> None:
    refused = RefusedDomain(name="fw", uuid="u", reason="it has no disk")
    text = report_plan(Plan(job="j", domains=(), refused=(refused,)), Page())
    assert "Refused: fw will not be backed up: it has no disk." == text


def test_result_names_times_amounts_and_points() -> None:
    done = RunResult(
        run=POINT,
        domain="web",
        uuid="u",
        outcome=Outcome.OK,
        consistency="memory",
        point=POINT,
        away_seconds=0.83,
        bytes_read=64 << 20,
        bytes_written=12 << 20,
        duration_seconds=125.0,
    )
    failed = RunResult(run=POINT, domain="db", uuid="u", outcome=Outcome.FAILED, error="No.")
    assert [
        "DOMAIN  OUTCOME  CONSISTENCY    AWAY      READ   WRITTEN    DURATION",
        "------  -------  -----------  ------  --------  --------  ----------",
        "web     ok       memory       0.83 s  64.0 MiB  12.0 MiB  2 min 05 s",
        "db      failed   -                 -       0 B       0 B      0.00 s",
        "",
        "DOMAIN  RECOVERY POINT",
        "------  -----------------------",
        f"web     {POINT}",
        "",
        "Job nightly: ok, 1 of 2 guests.",
    ] == report_round(make_round(done, failed), Page()).splitlines()


def test_guest_whose_run_left_something_undone_was_backed_up() -> None:
    owing = RunResult(run=POINT, domain="web", uuid="u", outcome=Outcome.PARTIAL, point=POINT)
    failed = RunResult(run=POINT, domain="db", uuid="u", outcome=Outcome.FAILED, error="No.")
    told = " ".join(report_round(make_round(owing, failed), Page()).split())
    assert "1 of 2 guests. Backed up, with something left undone: web." in told


def test_no_line_of_plan_or_result_is_wider_than_the_page() -> None:
    name = "a-guest-with-a-name-of-sixty-three-letters-which-is-the-longest"
    plan = Plan(
        job="j",
        domains=(make_plan(name, disks=12),),
        refused=(RefusedDomain(name=name, uuid="u", reason="x " * 90, hint="y " * 90),),
    )
    run = RunResult(run=POINT, domain=name, uuid="u", outcome=Outcome.OK, point=POINT)
    for text in (report_plan(plan, Page()), report_round(make_round(run), Page())):
        assert [] == [line for line in text.splitlines() if len(line) > 80]


def test_troubles_are_told_with_their_hints(capsys: pytest.CaptureFixture[str]) -> None:
    failed = RunResult(
        run=POINT,
        domain="db",
        uuid="u",
        outcome=Outcome.FAILED,
        error="The snapshot filled up.",
        hint="give it more room",
        warnings=("it was slow.",),
    )
    tell_troubles(make_round(failed), Output(), Page())
    captured = capsys.readouterr()
    assert "" == captured.out
    assert [
        "Warning: it was slow.",
        "Error: db: The snapshot filled up.",
        "Hint: give it more room",
    ] == captured.err.splitlines()
