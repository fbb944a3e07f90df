"""Figures for Prometheus: what is written, how it is escaped, and who reads it."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.house import back_up, build_host, build_house
from tests.unit.exposition import Series, parse_exposition
from xenbackup.errors import StateFailed
from xenbackup.model.job import Consistency, JobSet
from xenbackup.model.point import Damage, MarkedPoint, PointSummary
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DestinationStatus,
    DomainStatus,
    DomainVerdict,
    EndedRun,
    Finding,
    Level,
    OpenRun,
    PlaceState,
    RunState,
    StatusReport,
)
from xenbackup.service.metrics import (
    METRICS,
    Sample,
    list_samples,
    refresh_metrics,
    spell_metrics,
    write_metrics,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
MONITORING = DOCS / "monitoring"
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
RUN = EndedRun(
    run="r1",
    round="r",
    job="nightly",
    domain="web",
    outcome=Outcome.OK,
    ended_at=NOW - timedelta(hours=3),
    away_seconds=8.25,
    duration_seconds=250.0,
    bytes_read=20 << 30,
    bytes_written=12 << 30,
)
WEB = DomainStatus(
    domain="web",
    job="nightly",
    verdict=DomainVerdict.GOOD,
    level=Level.OK,
    point="p",
    point_at=NOW - timedelta(hours=4),
    promised_since=NOW - timedelta(days=1),
    last_run=RUN,
)
LOCAL = DestinationStatus(
    name="local",
    kind="images",
    path="/srv/backup",
    state=PlaceState.PRESENT,
    free_bytes=5,
    total_bytes=9,
    stored_bytes=4,
    full_in_days=12,
)
REPORT = StatusReport(
    host="dom0",
    version="1.2",
    now=NOW,
    since=NOW - timedelta(days=1),
    level=Level.WARNING,
    findings=(Finding(level=Level.WARNING, code="x", subject="s", message="m"),),
    domains=(
        WEB,
        DomainStatus(domain="db", job="", verdict=DomainVerdict.UNPROTECTED, level=Level.WARNING),
    ),
    open_runs=(
        OpenRun(run="a", state=RunState.OWES),
        OpenRun(run="b", state=RunState.AT_WORK),
        OpenRun(run="c", state=RunState.CUT_OFF),
        OpenRun(run="d", state=RunState.UNREADABLE),
    ),
    destinations=(LOCAL, replace(LOCAL, name="nas", state=PlaceState.MISSING, free_bytes=None)),
)


def make_point(name: str, age: timedelta, domain: str = "web") -> PointSummary:
    return PointSummary(
        point=name,
        destination="local",
        domain=domain,
        identity=domain,
        job="nightly",
        consistency=Consistency.MEMORY,
        created_at=NOW - age,
        size_bytes=1,
        stored_bytes=1,
        has_memory=True,
    )


POINTS = (
    make_point("a", timedelta(hours=4)),
    make_point("b", timedelta(days=1)),
    make_point("c", timedelta(days=1, seconds=1)),
    make_point("d", timedelta(days=400)),
)


def read(samples: tuple[Sample, ...]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for series in parse_exposition(spell_metrics(samples)):
        found.setdefault(series.name, {})[series.labels] = series.value
    return found


def test_report_is_written_with_every_metric_there_is() -> None:
    found = read(list_samples(REPORT, POINTS, untold=2))

    assert METRICS.keys() == found.keys()
    web = (("domain", "web"), ("job", "nightly"))
    db = (("domain", "db"), ("job", ""))
    assert {(("version", "1.2"),): 1} == found["xenbackup_info"]
    assert {(): NOW.timestamp()} == found["xenbackup_written_timestamp_seconds"]
    assert {(("level", "warning"),): 1, (("level", "critical"),): 0} == found["xenbackup_findings"]
    assert {web: 0, db: 1} == found["xenbackup_domain_level"]
    assert {(*web, ("verdict", "good")), (*db, ("verdict", "unprotected"))} == found[
        "xenbackup_domain_verdict"
    ].keys()
    assert {web: (NOW - timedelta(hours=4)).timestamp()} == found[
        "xenbackup_last_point_timestamp_seconds"
    ]
    assert {web: 8.25} == found["xenbackup_last_run_away_seconds"]
    assert {web: 250.0} == found["xenbackup_last_run_duration_seconds"]
    assert {web: 12 << 30} == found["xenbackup_last_run_written_bytes"]
    assert {web: 20 << 30} == found["xenbackup_last_run_read_bytes"]
    assert {web: 1} == found["xenbackup_last_run_good"]
    assert ({(): 1}, {(): 2}, {(): 2}) == (
        found["xenbackup_debts"],
        found["xenbackup_unfinished_runs"],
        found["xenbackup_untold"],
    )
    assert {(("destination", "local"),): 1, (("destination", "nas"),): 0} == found[
        "xenbackup_destination_present"
    ]
    assert {(("destination", "local"),): 5} == found["xenbackup_destination_free_bytes"]


def test_points_are_counted_by_age_and_zeros_are_written_too() -> None:
    points = read(list_samples(REPORT, POINTS))["xenbackup_points"]

    assert {"1d": 2, "7d": 1, "31d": 0, "366d": 0, "older": 1} == {
        dict(labels)["age"]: count for labels, count in points.items()
    }


def test_damaged_points_are_counted_apart_and_zeros_are_written_too() -> None:
    damage = Damage(found_at=NOW, reason="xvda.img: differs from its digests")
    points = (*POINTS[1:], replace(POINTS[0], damage=damage), make_point("e", timedelta(0), "db"))
    marked = (
        MarkedPoint(point="a", destination="local", domain="web", damage=damage),
        MarkedPoint(point="z", destination="nas", domain="gone", damage=damage),
    )
    found = read(list_samples(REPORT, points, marked))

    assert {("web", "local"): 1, ("db", "local"): 0, ("gone", "nas"): 1} == {
        (dict(labels)["domain"], dict(labels)["destination"]): count
        for labels, count in found["xenbackup_damaged_points"].items()
    }
    assert 1 == sum(
        count
        for labels, count in found["xenbackup_points"].items()
        if {("domain", "web"), ("age", "1d")} <= set(labels)
    )


def test_house_without_anything_is_written_too() -> None:
    empty = StatusReport(host="x", version="1", now=NOW, since=NOW, level=Level.OK)

    assert 1 == read(list_samples(empty, ()))["xenbackup_info"][(("version", "1"),)]


@given(st.lists(st.text(), min_size=1, max_size=5), st.floats() | st.integers(-(2**63), 2**63))
def test_any_name_and_any_value_can_be_read_back(names: list[str], value: float) -> None:
    samples = [
        Sample(name="xenbackup_domain_level", value=value, labels=(("domain", n), ("job", n)))
        for n in names
    ]

    text = spell_metrics(samples)

    assert text.encode()
    series = parse_exposition(text)
    assert {show_text(name) for name in names} == {found.label("domain") for found in series}
    for found in series:
        assert found.value == float(value) or value != value


@pytest.mark.parametrize(
    "name", ['a"} 1\nevil 2', "back\\slash", "new\nline", "\udcff", "ü", "a,b=c{}", "\\n", "\\"]
)
def test_hostile_name_is_one_label(name: str) -> None:
    text = spell_metrics([Sample(name="xenbackup_debts", value=1, labels=(("domain", name),))])

    assert (
        Series(name="xenbackup_debts", labels=(("domain", show_text(name)),), value=1.0),
    ) == parse_exposition(text)


@pytest.mark.parametrize(
    "text",
    [
        "xenbackup_debts 1\n",
        "# HELP a b\n# TYPE a gauge\na 1",
        "# HELP a b\n# TYPE a gauge\n",
        '# HELP a b\n# TYPE a gauge\na{x="1} 1\n',
        '# HELP a b\n# TYPE a gauge\na{x="1",x="2"} 1\n',
        '# HELP a b\n# TYPE a gauge\na{x="\\d"} 1\n',
        "# HELP a b\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a b\n# TYPE a gauge\na one\n",
    ],
)
def test_reader_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises(ValueError):
        parse_exposition(text)


def test_file_is_replaced_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "xenbackup.prom"
    path.write_text("old")
    before = path.stat().st_ino

    write_metrics(path, list_samples(REPORT, POINTS))

    assert parse_exposition(path.read_text())
    assert 0o644 == stat.S_IMODE(path.stat().st_mode)
    assert before != path.stat().st_ino
    assert [path] == list(tmp_path.iterdir())


def test_missing_folder_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StateFailed, match=r"is not there\. Hint: install Prometheus"):
        write_metrics(tmp_path / "none" / "x.prom", ())
    assert [] == list(tmp_path.iterdir())


def test_figures_of_a_real_house_are_written_after_a_backup(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    house.host.place("/var/lib/node").mkdir(parents=True)
    metrics_path = "/var/lib/node/xenbackup.prom"
    house = replace(
        house,
        configuration=replace(house.configuration, metrics_path=metrics_path),
        jobs=JobSet(jobs=()),
    )
    assert Outcome.OK is back_up(house, "crash").outcome

    refresh_metrics(house)

    written = parse_exposition(house.host.place(metrics_path).read_text())
    assert 1 == sum(series.value for series in written if series.name == "xenbackup_points")
    present = [s.value for s in written if s.name == "xenbackup_destination_present"]
    assert [1.0] == present


def test_nothing_is_written_where_nothing_is_configured(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    before = sorted(tmp_path.rglob("*.prom"))

    refresh_metrics(house)

    assert before == sorted(tmp_path.rglob("*.prom"))


# What reads them

NAMED = re.compile(r"\bxenbackup_[a-z_]+")


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "prometheus-rules.yml"])
def test_dashboard_and_rules_name_only_metrics_that_are_written(name: str) -> None:
    named = set(NAMED.findall((MONITORING / name).read_text()))

    assert named
    assert set() == named - METRICS.keys()


def test_every_metric_is_explained_in_the_documents() -> None:
    rows = re.findall(r"^\| `(xenbackup_[a-z_]+)` \|", (DOCS / "telling.md").read_text(), re.M)

    assert list(METRICS) == rows


def test_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())

    assert {"title", "uid", "panels", "templating", "schemaVersion"} <= dashboard.keys()
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        assert {"h", "w", "x", "y"} == panel["gridPos"].keys()
        assert "${datasource}" == panel["datasource"]["uid"]
    assert not overlapping(dashboard["panels"])


def test_dashboard_and_rules_go_by_the_label_that_prometheus_makes_of_the_backup_job() -> None:
    """It has a label `job` of its own, the name of the scrape, and renames ours."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    merging = [found["expr"] for found in targets if "max by (instance, domain" in found["expr"]]
    assert 5 == len(merging)
    assert [] == [
        text for text in merging if "by (instance, domain, job, exported_job)" not in text
    ]
    legends = {target["legendFormat"] for target in targets}
    assert "{{domain}} ({{exported_job}})" in legends
    assert "{{domain}} ({{job}})" not in legends

    rules = (MONITORING / "prometheus-rules.yml").read_text()
    named = re.findall(r"\{\{ ([^}]*labels\.(?:exported_)?job[^}]*) \}\}", rules)
    assert ["or $labels.exported_job $labels.job"] == named


def overlapping(panels: list[dict[str, dict[str, int]]]) -> list[tuple[int, int]]:
    """Cells of Grafana's grid, 24 wide, that two panels want."""
    taken: set[tuple[int, int]] = set()
    twice = []
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken or x >= 24:
                    twice.append((x, y))
                taken.add((x, y))
    return twice


def test_every_alert_says_what_to_do() -> None:
    text = (MONITORING / "prometheus-rules.yml").read_text()
    alerts = re.split(r"^      - alert: ", text, flags=re.M)[1:]

    assert len(alerts) >= 8
    for alert in alerts:
        for key in ("expr:", "for:", "severity:", "summary:", "description:"):
            assert key in alert, alert
        assert "xenbackup " in alert.split("description:")[1]
