"""The page of `status`, letter by letter."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.unit.status_reports import (
    LIVE,
    NOW,
    PLACE,
    make_bad_morning,
    make_documented_morning,
    make_domain,
    make_report,
    make_round,
    make_run,
)
from xenbackup.cli.page import Page
from xenbackup.cli.status_page import report_status
from xenbackup.cli.text import Painter, measure_width
from xenbackup.model.live import Origin, WaitingRun
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DomainVerdict,
    Level,
    OpenRun,
    PlaceState,
    RunState,
    StatusReport,
)

DOCUMENT = (Path(__file__).parents[3] / "docs/operating.md").read_text(encoding="utf-8")
GOOD_MORNING = """\
xen1  2026-11-22 07:30  ok
3 guests have a good point, as promised.

Guests
GUEST  JOB      LAST POINT   AGE  PROMISED     POINTS  STATE
-----  -------  -----------  ---  -----------  ------  -----
db     nightly  11-22 02:33  4 h  11-22 02:30      11  good
mail   nightly  11-22 02:33  4 h  11-22 02:30      11  good
web    nightly  11-22 02:33  4 h  11-22 02:30      11  good

The last 24 hours
BEGAN        JOB      GUESTS   WRITTEN         TOOK   AWAY  OUTCOME
-----------  -------  ------  --------  -----------  -----  -------
11-22 02:30  nightly  3 ok    27.0 GiB  12 min 00 s  2.5 s  ok

Next
DUE          IN    BEGINS       JOB
-----------  ----  -----------  -------
11-23 02:30  19 h  11-23 02:37  nightly

Destinations
NAME   KIND       FREE       OF  POINTS     GROWTH  FULL IN  STATE
-----  ------  -------  -------  ------  ---------  -------  -------
local  images  1.2 TiB  3.9 TiB      33  4.5 GiB/d    266 d  present

Daemon 0.1.0, process 812, up since 2026-11-20 16:02."""
BAD_MORNING_HEAD = """\
xen1  2026-11-22 07:30  critical
Critical: offsite: /mnt/nas has not answered within 2 seconds. Is its server
          gone?
Critical: mail: Its last good point is 29 h old; job nightly promised one 5 h
          ago. The last run failed: Destination local is full: 3.1 GiB more were
          needed. (make room, or keep fewer points)
Warning: local: It will be full in 4 days, as it looks. (make room, keep fewer
         points (`[retention]`), or use a larger disk)
Warning: configuration: Not taken over, the old definitions stay:
         jobs/weekly.toml, line 3: `schedul` is no key. (once mended it is taken
         over within a minute)
Warning: web: Run 20261121T023000Z-dddddd of web owes: snapshot xenvols/xb-web
         is held open (end what holds it open, then `xenbackup recover`)
Warning: shop: It never had a good point by job nightly. (`xenbackup run
         nightly`)
Warning: test: No job covers it. (add it to `domains` of a job)
Warning: weekly: Job weekly cannot be taken: jobs/weekly.toml, line 3: `schedul`
         is no key. (`xenbackup config validate` names all problems)

Guests
GUEST  JOB      LAST POINT    AGE  PROMISED     POINTS  STATE
-----  -------  -----------  ----  -----------  ------  -----------
db     nightly  11-22 02:33   4 h  11-22 02:30      11  good
mail   nightly  11-21 02:30  29 h  11-22 02:30      11  late
shop   nightly  -               -  11-22 02:30       0  never
test   -        -               -  -                 0  unprotected
web    nightly  11-22 02:33   4 h  11-22 02:30      11  good
Gone from this host, with points still there: old

Now
GUEST    FOR  DONE        OF       RATE        LEFT  AWAY  STEP
-----  -----  ----  --------  ---------  ----------  ----  -------------------
db     2 min   45%  40.0 GiB  150 MiB/s  2 min 30 s     -  copy, xvda
shop    60 s     -         -          -           -  12 s  save, saving memory

Waiting
GUEST  JOB        SINCE        WHY
-----  ---------  -----------  -------------------------------------------
web    on-demand  11-22 07:28  another run reads from volume group xenvols

The last 24 hours
BEGAN        JOB      GUESTS           WRITTEN         TOOK   AWAY  OUTCOME
-----------  -------  --------------  --------  -----------  -----  -------
11-22 02:30  nightly  2 ok, 1 failed  18.0 GiB  12 min 00 s  2.5 s  partial
- nightly, mail: Destination local is full: 3.1 GiB more were needed.
"""


def show(report: StatusReport, width: int = 80) -> str:
    return report_status(report, Page(width=width), UTC)


def test_a_good_morning() -> None:
    assert GOOD_MORNING == show(make_report())


def test_a_bad_morning() -> None:
    page = show(make_bad_morning())
    assert BAD_MORNING_HEAD == page[: len(BAD_MORNING_HEAD)]
    assert "local    images  20.0 GiB  3.9 TiB      33  4.5 GiB/d      4 d  present" in page
    assert "offsite  images         -        -      12          -        -  silent" in page


def test_the_document_shows_a_real_page() -> None:
    assert f"```\n{show(make_documented_morning())}\n```" in DOCUMENT


def test_colours_are_for_states_alone() -> None:
    plain = show(make_bad_morning())
    painted = report_status(make_bad_morning(), Page(painter=Painter(enabled=True)), UTC)
    assert "\x1b" not in plain
    assert "\x1b[31mcritical\x1b[0m" in painted
    assert "\x1b[31mlate" in painted
    assert "\x1b[33mnever" in painted


def test_times_are_those_of_the_zone() -> None:
    page = report_status(make_report(), Page(), ZoneInfo("America/New_York"))
    assert "xen1  2026-11-22 02:30  ok" in page
    assert "db     nightly  11-21 21:33  4 h" in page


def test_nothing_at_all_is_a_page_too() -> None:
    expected = """\
xen1  2026-11-22 07:30  warning
Warning: daemon: The daemon does not run: nothing happens by schedule.
         (`systemctl enable --now xenbackup`)

The last 24 hours
Nothing ran.

No daemon answered; this was read from the host itself."""
    assert expected == show(make_report(live=None, domains=(), rounds=(), due=(), destinations=()))


def test_a_run_of_another_process_is_listed_among_those_at_work() -> None:
    run = OpenRun(
        run="20261122T072800Z-eeeeee",
        state=RunState.AT_WORK,
        job="nightly",
        domain="db",
        began_at=NOW - timedelta(minutes=5),
        step="copy",
    )
    assert "db     5 min     -   -     -     -     -  copy" in show(make_report(open_runs=(run,)))


def test_a_run_that_is_being_cancelled_says_so() -> None:
    bad = make_bad_morning()
    assert bad.live is not None
    active = replace(bad.live.active[0], cancelling="asked for by root")
    page = show(make_report(live=replace(LIVE, active=(active,))))
    assert "copy, xvda (being" in page


def test_a_rate_of_next_to_nothing_foretells_nothing() -> None:
    bad = make_bad_morning()
    assert bad.live is not None
    active = replace(bad.live.active[0], bytes_per_second=5e-324)
    page = show(make_report(live=replace(LIVE, active=(active,))))
    assert "db     2 min   45%  40.0 GiB  0 B/s     -     -  copy, xvda" in page


def test_guests_that_are_not_due_are_not_praised() -> None:
    domains = (
        make_domain("db"),
        make_domain("new", verdict=DomainVerdict.AWAITED, point="", point_at=None),
    )
    expected = "1 guest has a good point, as promised. 1 not due or shut off."
    assert expected == show(make_report(domains=domains)).splitlines()[1]


def test_very_many_findings_do_not_push_the_page_away() -> None:
    domains = tuple(
        make_domain(
            f"guest{number}",
            verdict=DomainVerdict.FAILING,
            level=Level.WARNING,
            last_run=make_run("x", outcome=Outcome.FAILED, error=f"error {number}"),
        )
        for number in range(40)
    )
    page = show(make_report(domains=domains))
    assert "28 more findings: `xenbackup status --json` lists all." in page


def test_what_is_said_of_several_guests_is_said_once() -> None:
    domains = tuple(
        make_domain(name, verdict=DomainVerdict.NEVER, level=Level.WARNING, point_at=None)
        for name in ("db", "web")
    )
    page = show(make_report(domains=domains))
    assert "Warning: db, web: It never had a good point by job nightly." in page


def test_a_missing_destination_is_told_before_the_guests_that_miss_it() -> None:
    place = replace(PLACE, state=PlaceState.UNMARKED, problem="There is no marker.")
    run = make_run("web", outcome=Outcome.FAILED, error="Destination local: no marker.")
    domain = make_domain("web", verdict=DomainVerdict.LATE, level=Level.CRITICAL, last_run=run)
    lines = show(make_report(domains=(domain,), destinations=(place,))).splitlines()
    assert lines[1].startswith("Critical: local: There is no marker. (mount its disk;")
    assert "failed for want of destination local." in " ".join(" ".join(lines[3:6]).split())


def test_guests_that_failed_alike_share_a_line_and_tries_are_counted() -> None:
    runs = (
        make_run("db", run="a", outcome=Outcome.FAILED, error="no marker"),
        make_run("db", run="b", outcome=Outcome.FAILED, error="no marker"),
        make_run("web", run="c", outcome=Outcome.FAILED, error="no marker"),
    )
    page = show(make_report(rounds=(make_round(*runs, outcome=Outcome.FAILED),)))
    assert "2 failed" in page
    assert "- nightly, db (2 times), web: no marker" in page


def test_a_round_without_any_run_has_its_line_and_its_reason() -> None:
    told = replace(make_round(outcome=Outcome.FAILED), error="The hook said no.")
    page = show(make_report(rounds=(told,)))
    assert "nightly  none        0 B  12 min 00 s     -  failed" in page
    assert "- nightly: The hook said no." in page


def test_a_round_that_goes_on_is_under_way() -> None:
    told = replace(make_round(make_run("db")), under_way=True)
    assert "2.5 s  under way" in show(make_report(rounds=(told,)))


def test_a_round_that_is_being_planned_waits_as_a_whole() -> None:
    waits = WaitingRun(
        round="r", job="nightly", domain="", origin=Origin.SCHEDULE, since=NOW, reason="its plan"
    )
    assert "(all)  nightly  11-22 07:30  its plan" in show(
        make_report(live=replace(LIVE, waiting=(waits,)))
    )


def test_only_the_last_failures_are_told_one_by_one() -> None:
    runs = tuple(
        make_run(f"guest{number:02}", outcome=Outcome.FAILED, error=f"disk full ({number})")
        for number in range(15)
    )
    report = make_report()
    page = show(make_report(rounds=(replace(report.rounds[0], runs=runs),)))
    assert 10 == page.count("disk full")


def test_a_long_name_is_cut_and_the_dates_stay_whole() -> None:
    page = show(make_report(domains=(make_domain("g" * 70, job="j" * 64),)))
    assert "11-22 02:33" in page
    assert [] == [line for line in page.splitlines() if measure_width(line) > 80]


def test_destination_that_is_mounted_read_only_is_called_so() -> None:
    local = replace(PLACE, problem="/srv/backup is mounted read-only.")
    page = report_status(make_report(destinations=(local,)), Page(), UTC)
    assert re.search(r"^local .* read-only$", page, re.M)


def test_points_of_other_hosts_are_told_below_the_destinations() -> None:
    nas = replace(PLACE, name="nas", foreign=1)
    page = report_status(make_report(destinations=(replace(PLACE, foreign=12), nas)), Page(), UTC)
    assert "local: 12 more points there are of guests of another host.\n" in page
    assert "nas: 1 more point there is of guests of another host.\n" in page
