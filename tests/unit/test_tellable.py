"""`check` on hooks and ways of telling: what would fail in the night is found in the evening."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import build_host, build_house
from xenbackup.model.job import (
    Apprise,
    Configuration,
    Hooks,
    Job,
    JobSet,
    Mail,
    Notify,
    PipelineSpec,
)
from xenbackup.model.problem import Problem
from xenbackup.operations.check import Verdict, check_house
from xenbackup.operations.tellable import describe_telling, list_telling_problems
from xenbackup.planning.validation import Check


def make_program(folder: Path, mode: int = 0o755) -> str:
    path = folder / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


def make_jobs(*hooks: Hooks) -> JobSet:
    return JobSet(
        jobs=tuple(
            Job(
                name=f"job{number}",
                pipeline=PipelineSpec(preset="crash"),
                destination="local",
                domains=("*",),
                hooks=entry,
            )
            for number, entry in enumerate(hooks)
        )
    )


def find(
    folder: Path,
    configuration: Configuration | None = None,
    jobs: JobSet | None = None,
    *,
    sendmail: str = "/none",
    library: str = "library_that_nobody_has",
) -> list[Problem]:
    return list(
        list_telling_problems(
            configuration or Configuration(),
            jobs or JobSet(),
            lambda path: folder / path.lstrip("/"),
            sendmail=sendmail,
            library=library,
        )
    )


def test_nothing_configured_is_nothing_wrong(tmp_path: Path) -> None:
    assert [] == find(tmp_path)
    assert "" == describe_telling(Configuration(), make_jobs(Hooks()))


def test_everything_that_is_there_is_nothing_wrong(tmp_path: Path) -> None:
    program = make_program(tmp_path)
    (tmp_path / "node").mkdir()
    configuration = Configuration(
        notify=Notify(mail=Mail(to=("root",)), apprise=Apprise(urls=("x://y",))),
        metrics_path="/node/x.prom",
    )
    jobs = make_jobs(Hooks(before=(program,), after=(program, "x"), failed=(program,)))

    assert [] == find(tmp_path, configuration, jobs, sendmail=program, library="json")
    assert "mail, apprise, metrics, hooks" == describe_telling(configuration, jobs)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (None, "the hook `failed` of job job0, is not there: No such file or directory."),
        (0o777, "the hook `failed` of job job0, may be written by everybody."),
        (0o644, "the hook `failed` of job job0, is not executable."),
    ],
)
def test_hook_that_would_not_run_is_found_once(
    tmp_path: Path, mode: int | None, reason: str
) -> None:
    program = make_program(tmp_path, mode) if mode else str(tmp_path / "none")
    hooks = Hooks(failed=(program,))

    (problem,) = find(tmp_path, jobs=make_jobs(hooks, hooks))

    assert "hook-unfit" == problem.code
    assert f"{program}, {reason}" == problem.message
    assert problem.hint


def test_missing_ways_are_found(tmp_path: Path) -> None:
    configuration = Configuration(
        notify=Notify(mail=Mail(to=("root",)), apprise=Apprise(urls=("x://y",))),
        metrics_path="/node/x.prom",
    )

    problems = find(tmp_path, configuration)

    assert ["sendmail-missing", "apprise-missing", "metrics-folder-missing"] == [
        problem.code for problem in problems
    ]
    assert all(problem.message.endswith(".") and problem.hint for problem in problems)


def test_check_says_what_is_configured_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    assert "nobody" in {r.subject for r in check_house(house).checks if r.check is Check.TELLING}
    hooks = Hooks(before=(str(tmp_path / "none"),))

    report = check_house(replace(house, jobs=make_jobs(hooks)))

    (line,) = [result for result in report.checks if result.check is Check.TELLING]
    assert ("hooks", Verdict.FAILED) == (line.subject, line.verdict)
    assert ["hook-unfit"] == [problem.code for problem in line.problems]
