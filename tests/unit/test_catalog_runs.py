"""Runs in the catalog as `status` asks for them: those of lately, and the last of everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xenbackup.model.run import Outcome, RunResult
from xenbackup.records.catalog import Catalog

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.sqlite")


def finish(catalog: Catalog, job: str, domain: str, at: datetime) -> None:
    run = f"{at:%Y%m%dT%H%M%SZ}-{domain:a<6}"
    result = RunResult(run=run, domain=domain, uuid="", outcome=Outcome.OK)
    catalog.record_run(result, job=job, round=run, at=at)


def test_last_runs_are_the_newest_of_each_job_and_guest_that_had_ended_by_then(
    catalog: Catalog,
) -> None:
    for days in (-9, -2, 3650):
        finish(catalog, "nightly", "web", NOON + timedelta(days))
    finish(catalog, "weekly", "web", NOON - timedelta(8))
    finish(catalog, "nightly", "db", NOON - timedelta(1))
    assert [("nightly", "db", 1), ("nightly", "web", 2), ("weekly", "web", 8)] == [
        (entry.job, entry.result.domain, (NOON - entry.ended_at).days)
        for entry in catalog.list_last_runs(NOON)
    ]


def test_runs_since_a_time_are_those_that_ended_after_it_newest_first(catalog: Catalog) -> None:
    for days in range(4):
        finish(catalog, "nightly", "web", NOON - timedelta(days))
    found = catalog.list_runs_since(NOON - timedelta(2))
    assert [0, 1] == [(NOON - entry.ended_at).days for entry in found]
