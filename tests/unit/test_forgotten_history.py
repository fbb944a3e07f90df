"""The catalog forgets runs and failed rounds of long ago; whatever an answer is made of stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.pruned_house import OFFSITE, Attic
from tests.unit.rounds import make_round
from tests.unit.test_catalog import NOON, make_result, make_summary
from tests.unit.test_journals_trimmed import DAY_SECONDS, FAILED, write_journal
from xenbackup.model import entries as e
from xenbackup.model.names import make_run_id
from xenbackup.model.run import Outcome
from xenbackup.model.status import StatusReport
from xenbackup.operations.prune import prune_points
from xenbackup.operations.runs import complete_catalog
from xenbackup.operations.status import gather_status
from xenbackup.operations.trimming import trim_records
from xenbackup.planning.estimate import RUNS_LIMIT
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder
from xenbackup.records.catalog import Catalog
from xenbackup.records.catalog_rows import Forgotten, RunEntry

ROUND = "20260101T000000Z-rrrrrr"


class Book:
    """A catalog, and runs that ended so many days before noon."""

    def __init__(self, folder: Path, now: datetime = NOON) -> None:
        self.catalog = Catalog(folder / "catalog.sqlite")
        self.now = now
        self._named = 0

    def name(self, at: datetime) -> str:
        """An id of its own for whatever began then."""
        self._named += 1
        return make_run_id(at, self._named.to_bytes(6, "big"))

    def run(
        self,
        ago: int,
        *,
        job: str = "nightly",
        round: str = "r-1",
        at: datetime | None = None,
        **changes: object,
    ) -> str:
        ended_at = at or self.now - timedelta(days=ago)
        run = self.name(ended_at)
        fields: dict[str, object] = {"outcome": Outcome.FAILED, "point": ""} | changes
        self.catalog.record_run(make_result(run, **fields), job=job, round=round, at=ended_at)
        return run

    def round(self, ago: int, *, job: str = "nightly") -> str:
        at = self.now - timedelta(days=ago)
        name = self.name(at)
        failed = make_round(round=name, job=job, outcome=Outcome.FAILED, error="no", hint="")
        self.catalog.record_failed_round(failed, at=at)
        return name

    def forget(self, *kept: str, days: int = 30, dry_run: bool = False) -> Forgotten:
        before = self.now - timedelta(days=days)
        return self.catalog.forget_history(before, kept=kept, good_runs=2, dry_run=dry_run)

    def list_runs(self) -> list[str]:
        return [entry.result.run for entry in reversed(self.catalog.list_runs(1000))]

    def list_rounds(self) -> list[str]:
        return [known.round for known in reversed(self.catalog.find_failed_rounds("", 1000))]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_runs_older_than_the_bound_are_forgotten_and_younger_ones_are_not(book: Book) -> None:
    old, on_the_bound, young, ahead = (book.run(ago) for ago in (31, 30, 29, -400))
    assert Forgotten(runs=(old,)) == book.forget(dry_run=True)
    assert [old, on_the_bound, young, ahead] == book.list_runs()
    assert Forgotten(runs=(old,)) == book.forget()
    assert [on_the_bound, young, ahead] == book.list_runs()
    assert Forgotten() == book.forget()


def test_the_newest_run_of_each_job_and_guest_stays(book: Book) -> None:
    gone = [book.run(90), book.run(90, job="weekly"), book.run(90, domain="db")]
    newest = [book.run(80), book.run(80, job="weekly"), book.run(80, domain="db")]
    assert sorted(gone) == sorted(book.forget().runs)
    assert sorted(newest) == sorted(book.list_runs())


def test_the_newest_good_run_of_each_job_and_guest_stays(book: Book) -> None:
    """Other jobs had good runs of the same guest since, by the same preset."""
    nightly = [book.run(ago, outcome=Outcome.OK) for ago in (92, 91)]
    for ago in (50, 49):
        book.run(ago, outcome=Outcome.OK, job="weekly")
    failed = book.run(40)
    assert (nightly[0],) == book.forget().runs
    assert {nightly[1], failed} < set(book.list_runs())


def test_the_newest_good_runs_of_each_guest_and_preset_stay(book: Book) -> None:
    cold = [book.run(ago, outcome=Outcome.OK, preset="cold") for ago in (93, 92, 91)]
    crash = [book.run(ago, outcome=Outcome.OK, preset="crash") for ago in (83, 82, 81)]
    for ago in range(5):
        book.run(ago)
    assert (cold[0], crash[0]) == book.forget().runs


def test_a_run_of_a_point_stays_as_long_as_the_point(book: Book) -> None:
    run = book.run(90)
    book.run(80)
    book.catalog.record_point(make_summary(point=run))
    assert Forgotten() == book.forget()
    book.catalog.remove_point("usb", run)
    assert (run,) == book.forget().runs


def test_runs_and_rounds_that_are_kept_stay(book: Book) -> None:
    owing, of_a_round = book.run(92), book.run(91, round=ROUND)
    book.run(80)
    failed = book.round(90)
    book.round(80)
    assert Forgotten() == book.forget(owing, ROUND, failed)
    assert Forgotten(runs=(owing, of_a_round), rounds=(failed,)) == book.forget()


def test_failed_rounds_of_long_ago_are_forgotten_but_the_newest_of_each_job(book: Book) -> None:
    gone = [book.round(92), book.round(91)]
    last = book.round(90)
    other = book.round(95, job="weekly")
    assert tuple(gone) == book.forget(dry_run=True).rounds
    assert 4 == len(book.list_rounds())
    assert tuple(gone) == book.forget().rounds
    assert [other, last] == book.list_rounds()
    young = book.round(3)
    assert (last,) == book.forget().rounds
    assert [other, young] == book.list_rounds()


HISTORIES = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(("nightly", "weekly")),
        st.sampled_from(("web", "db")),
        st.sampled_from(("cold", "crash")),
        st.sampled_from((Outcome.OK, Outcome.FAILED)),
    ),
    max_size=30,
)


def answer(book: Book) -> tuple[object, ...]:
    """What `status` takes for a guest's last run, and what estimates are made from."""
    entries = book.catalog.list_runs(1000)
    last = {(entry.job, entry.result.domain): entry for entry in reversed(entries)}
    good = [entry.result for entry in entries if entry.result.outcome is Outcome.OK]
    made_from = {
        (domain, preset): [run for run in good if (run.domain, run.preset) == (domain, preset)][:2]
        for domain in ("web", "db")
        for preset in ("cold", "crash")
    }
    return last, made_from, list_young(book)


def list_young(book: Book) -> list[RunEntry]:
    bound = book.now - timedelta(days=30)
    return [entry for entry in book.catalog.list_runs(1000) if entry.ended_at >= bound]


@settings(max_examples=25, deadline=None)
@given(HISTORIES)
def test_no_answer_changes_by_what_is_forgotten(
    history: list[tuple[int, str, str, str, Outcome]],
) -> None:
    with TemporaryDirectory() as folder:
        book = Book(Path(folder))
        for ago, job, domain, preset, outcome in history:
            book.run(ago, job=job, domain=domain, preset=preset, outcome=outcome)
        before = answer(book)
        book.forget()
        assert before == answer(book)
        # Two jobs and guests with a newest run and a newest good one each, two presets with two.
        young = {entry.result.run for entry in list_young(book)}
        old = set(book.list_runs()) - young
        assert len(old) <= 4 + 4 + 8


# A whole house


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    attic = Attic(tmp_path / "host")
    attic.configure(keep_journals_seconds=30 * DAY_SECONDS)
    attic.house.journals_folder.mkdir(parents=True)
    return attic


@pytest.fixture
def kept_book(attic: Attic) -> Book:
    """That of the house."""
    return Book(attic.house.catalog.path.parent, attic.host.now())


def test_prune_forgets_in_the_moment_in_which_journals_go(attic: Attic, kept_book: Book) -> None:
    runs = [kept_book.run(ago) for ago in (33, 32, 29, 1)]
    rounds = [kept_book.round(ago) for ago in (33, 32, 2)]
    for run in runs[:2]:
        write_journal(attic, run, FAILED)
    foretold = prune_points(attic.house, dry_run=True)
    assert 4 == len(kept_book.list_runs())
    report = prune_points(attic.house)
    assert (tuple(runs[:2]), tuple(rounds[:2])) == (report.journals, report.forgotten.rounds)
    assert report.journals == report.forgotten.runs
    assert foretold.forgotten == report.forgotten
    assert (runs[2:], rounds[2:]) == (kept_book.list_runs(), kept_book.list_rounds())
    assert 0 == complete_catalog(attic.house), "nothing brings them back"


def test_a_run_stays_as_long_as_its_journal(attic: Attic, kept_book: Book) -> None:
    """It owes something, or nobody can say that its point is gone: its destination is away."""
    owing, published = kept_book.run(91), kept_book.run(90, outcome=Outcome.OK)
    newer = [kept_book.run(80 - ago, outcome=Outcome.OK) for ago in range(RUNS_LIMIT)]
    write_journal(attic, owing, e.DebtIncurred(message="a snapshot is in use"))
    write_journal(attic, published, e.Published(point=published), e.RunEnded(outcome=Outcome.OK))
    attic.host.place(OFFSITE).rename(attic.host.place("/srv/away"))
    assert () == trim_records(attic.house).forgotten.runs
    assert [owing, published, *newer] == kept_book.list_runs()
    attic.host.place("/srv/away").rename(attic.host.place(OFFSITE))
    assert (published,) == trim_records(attic.house).forgotten.runs


def test_a_run_of_a_point_that_is_there_stays(attic: Attic, kept_book: Book) -> None:
    point = attic.store(50)
    attic.configure(keep_journals_seconds=DAY_SECONDS)
    at = attic.night(50)
    run = make_result(point, outcome=Outcome.OK)
    attic.house.catalog.record_run(run, job="nightly", round="r-1", at=at)
    for ago in range(RUNS_LIMIT):
        kept_book.run(ago, outcome=Outcome.OK)
    write_journal(attic, point, e.Published(point=point), e.RunEnded(outcome=Outcome.OK))
    assert point not in trim_records(attic.house).forgotten.runs


def test_runs_of_a_round_that_the_daemon_has_not_done_with_stay(
    attic: Attic, kept_book: Book
) -> None:
    """Its job's file was broken meanwhile: what its guests came to is still to be told."""
    run = kept_book.run(90, round=ROUND)
    kept_book.run(80)
    folder = RoundFolder(attic.house.rounds_folder)
    folder.keep(AcceptedRound(round=ROUND, job="nightly", due_at=attic.night(90)))
    assert () == trim_records(attic.house).forgotten.runs
    folder.remove(ROUND)
    assert (run,) == trim_records(attic.house).forgotten.runs


def test_all_stays_where_all_journals_are_kept(attic: Attic, kept_book: Book) -> None:
    attic.configure(keep_journals_seconds=0.0)
    kept_book.run(4000)
    kept_book.run(3999)
    kept_book.round(4000)
    kept_book.round(3999)
    assert Forgotten() == prune_points(attic.house).forgotten
    assert (2, 2) == (len(kept_book.list_runs()), len(kept_book.list_rounds()))


def tell_status(attic: Attic) -> StatusReport:
    """Whenever it is asked for: the simulated clock goes on as commands are run, and others write
    on the disk that all of this lies on.
    """
    report = gather_status(attic.house)
    places = tuple(replace(place, free_bytes=0) for place in report.destinations)
    return replace(report, now=NOON, since=NOON, destinations=places)


def test_status_tells_the_same_before_and_after(attic: Attic, kept_book: Book) -> None:
    """However short journals are kept, last night is told in the morning."""
    attic.configure(keep_journals_seconds=3600.0)
    for ago in (90, 60, 2):
        kept_book.run(ago)
    kept_book.run(0, at=attic.host.now() - timedelta(hours=23))
    kept_book.run(0, at=attic.host.now() - timedelta(hours=22))
    kept_book.round(90)
    late = attic.host.now() - timedelta(hours=23)
    failed = make_round(round=kept_book.name(late), error="no")
    attic.house.catalog.record_failed_round(failed, at=late)
    before = tell_status(attic)
    forgotten = trim_records(attic.house).forgotten
    assert (3, 1) == (len(forgotten.runs), len(forgotten.rounds))
    assert before.rounds
    assert before == tell_status(attic)


def test_a_catalog_that_cannot_be_used_keeps_no_journal_from_going(
    attic: Attic, kept_book: Book
) -> None:
    run = kept_book.run(90)
    write_journal(attic, run, FAILED)
    path = attic.house.catalog.path
    path.unlink()
    path.mkdir()
    report = prune_points(attic.house)
    assert ((run,), Forgotten()) == (report.journals, report.forgotten)
    assert 0 == report.exit_code
