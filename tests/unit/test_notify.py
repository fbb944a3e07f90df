"""The teller: one message a night, over every way, and no harm from one that does not work."""

from __future__ import annotations

import logging
import sys
import threading
import time
import types
from collections.abc import Callable

import pytest

from tests.unit.rounds import NOW, make_round, make_run
from tests.unit.web_servers import find_closed_port, serve
from xenbackup.errors import CommandFailed, StateFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import (
    Apprise,
    Job,
    Mail,
    Notify,
    Ping,
    PipelineSpec,
    TellWhen,
    Webhook,
)
from xenbackup.model.run import RoundResult
from xenbackup.service.night import Patience
from xenbackup.service.notify import Teller

JOB = Job(
    name="nightly", pipeline=PipelineSpec(preset="crash"), destination="local", domains=("*",)
)
AT_ONCE = Patience(quiet_seconds=0.0, longest_seconds=60.0)
NEVER = Patience(quiet_seconds=3600.0, longest_seconds=3600.0)
MAIL = Notify(mail=Mail(to=("root",), when=TellWhen.ALWAYS))
GOOD = make_round(make_run("web"))
BAD = make_round(make_run("web", "It broke."))


class Sendmail:
    """Stands for the command; keeps what it was given, and ends as it is told."""

    def __init__(self, exit_code: int = 0) -> None:
        self.letters: list[str] = []
        self.exit_code = exit_code
        self.sent = threading.Semaphore(0)

    def __call__(self, command: Command) -> CommandResult:
        self.letters.append(command.stdin.decode())
        self.sent.release()
        return CommandResult(
            argv=command.argv,
            exit_code=self.exit_code,
            stdout="",
            stderr="",
            duration_seconds=0.0,
        )


def make_teller(
    notify: Notify,
    run: Callable[[Command], CommandResult],
    *,
    patience: Patience = NEVER,
    refresh: Callable[[], None] | None = None,
    waits: tuple[float, ...] = (0.0, 0.0),
    on_told: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> Teller:
    return Teller(
        notify,
        hostname="dom0",
        run=run,
        now=lambda: NOW,
        patience=patience,
        refresh=refresh,
        retry_waits_seconds=waits,
        on_told=on_told,
    )


def tell(teller: Teller, *results: RoundResult) -> None:
    for result in results:
        teller.round_began(JOB, result.round)
        teller.round_ended(JOB, result, NOW)


def test_rounds_that_end_close_together_are_one_mail() -> None:
    sendmail = Sendmail()
    teller = make_teller(MAIL, sendmail)

    tell(teller, GOOD, make_round(make_run("db", "It broke."), job="weekly"))

    assert teller.close(30)
    (letter,) = sendmail.letters
    assert "Subject: PARTLY: 1 of 2 guests of dom0 not backed up: db" in letter
    assert () == teller.problems


def test_message_goes_out_by_itself_when_the_night_is_over() -> None:
    sendmail = Sendmail()
    teller = make_teller(MAIL, sendmail, patience=AT_ONCE)

    tell(teller, GOOD)

    assert sendmail.sent.acquire(timeout=30)
    assert teller.close(30)
    assert 1 == len(sendmail.letters)


@pytest.mark.parametrize(("result", "letters"), [(GOOD, 0), (BAD, 1)])
def test_mail_about_trouble_alone_is_silent_about_good_nights(
    result: RoundResult, letters: int
) -> None:
    sendmail = Sendmail()
    teller = make_teller(Notify(mail=Mail(to=("root",))), sendmail)

    tell(teller, result)

    assert teller.close(30)
    assert letters == len(sendmail.letters)


def test_remark_is_told_without_any_round_and_once() -> None:
    sendmail = Sendmail()
    with serve() as server:
        teller = make_teller(
            Notify(mail=Mail(to=("root",)), ping=Ping(url=f"{server.url}/p")), sendmail
        )
        teller.remark("jobs/nightly.toml is broken.", "xenbackup config validate")
        teller.remark("jobs/nightly.toml is broken.", "xenbackup config validate")
        assert teller.close(30)

    (letter,) = sendmail.letters
    assert "Subject: ATTENTION: dom0: jobs/nightly.toml is broken." in letter
    assert 1 == letter.count("Hint: xenbackup config validate")
    assert [] == server.calls


@pytest.mark.parametrize(
    ("results", "paths"),
    [
        ((GOOD,), ["/p/start", "/p"]),
        ((BAD,), ["/p/start", "/p/fail"]),
        # One that failed is not made good by another that did not.
        ((BAD, make_round(make_run("x"), job="weekly")), ["/p/start", "/p/fail"]),
    ],
)
def test_dead_man_s_switch_hears_of_begin_and_end_of_a_night(
    results: tuple[RoundResult, ...], paths: list[str]
) -> None:
    with serve() as server:
        teller = make_teller(Notify(ping=Ping(url=f"{server.url}/p")), Sendmail())
        tell(teller, *results)
        assert teller.close(30)

    assert paths == server.paths()


@pytest.mark.parametrize(
    ("result", "lost", "paths"),
    [
        (GOOD, False, ["/p/start", "/p"]),
        (GOOD, True, ["/p/start", "/p/fail"]),
        (BAD, False, ["/p/start", "/p/fail"]),
        (None, True, ["/p/fail"]),
        (None, False, []),
    ],
)
def test_dead_man_s_switch_hears_of_remarks_for_which_a_night_was_lost_and_of_no_others(
    result: RoundResult | None, lost: bool, paths: list[str]
) -> None:
    sendmail = Sendmail()
    with serve() as server:
        teller = make_teller(Notify(ping=Ping(url=f"{server.url}/p"), mail=MAIL.mail), sendmail)
        teller.remark("Look at this.", lost=lost)
        tell(teller, *([result] if result else []))
        assert teller.close(30)

    assert paths == server.paths()
    assert 1 == len(sendmail.letters)


def test_way_that_fails_for_a_moment_is_tried_again() -> None:
    answers = iter([500, 503, 200])
    with serve(lambda call: (next(answers), {})) as server:
        teller = make_teller(Notify(webhook=Webhook(url=server.url)), Sendmail(), patience=AT_ONCE)
        tell(teller, GOOD)
        server.await_calls(3)
        assert teller.close(30)

    assert 3 == len(server.calls)
    assert () == teller.problems


def test_way_that_goes_on_failing_is_given_up_and_shown() -> None:
    with serve(lambda call: (500, {})) as server:
        teller = make_teller(Notify(webhook=Webhook(url=server.url)), Sendmail(), patience=AT_ONCE)
        tell(teller, GOOD)
        server.await_calls(3)
        assert teller.close(30)

    (problem,) = teller.problems
    assert problem.startswith("Telling by webhook failed: 127.0.0.1 answered 500")
    assert 3 == len(server.calls)


def test_way_that_will_not_work_is_tried_once() -> None:
    with serve(lambda call: (404, {})) as server:
        teller = make_teller(Notify(webhook=Webhook(url=server.url)), Sendmail(), patience=AT_ONCE)
        tell(teller, GOOD)
        server.await_calls(1)
        assert teller.close(30)

    assert 1 == len(server.calls)


def test_one_way_that_fails_keeps_no_other_from_telling() -> None:
    sendmail = Sendmail()
    dead = f"http://127.0.0.1:{find_closed_port()}/"
    notify = Notify(ping=Ping(url=dead), webhook=Webhook(url=dead), mail=MAIL.mail)
    teller = make_teller(notify, sendmail)

    tell(teller, GOOD)

    assert teller.close(30)
    assert 1 == len(sendmail.letters)
    assert 2 == len(teller.problems)


def test_missing_sendmail_is_shown_until_a_mail_goes_out_again() -> None:
    sendmail = Sendmail()
    told = threading.Semaphore(0)
    missing = [True]

    def run(command: Command) -> CommandResult:
        try:
            if missing.pop() if missing else False:
                raise CommandFailed("not installed")
            return sendmail(command)
        finally:
            told.release()

    teller = make_teller(MAIL, run, patience=AT_ONCE)
    tell(teller, BAD)
    assert told.acquire(timeout=30)
    tell(teller, GOOD)
    assert told.acquire(timeout=30)

    assert teller.close(30)
    assert 1 == len(sendmail.letters)
    assert () == teller.problems


def test_program_that_raises_anything_does_not_end_the_teller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stumble(command: Command) -> CommandResult:
        raise RuntimeError("https://token:secret@example.org")

    teller = make_teller(MAIL, stumble)
    with caplog.at_level(logging.ERROR):
        tell(teller, BAD)
        assert teller.close(30)

    assert ("Telling by mail failed: It stumbled over RuntimeError.",) == teller.problems
    assert "message-unsent" in caplog.text
    assert "secret" not in caplog.text, "addresses hold passwords"


def test_way_that_hangs_holds_back_neither_rounds_nor_the_end() -> None:
    released = threading.Event()
    hanging = threading.Event()

    def hang(command: Command) -> CommandResult:
        hanging.set()
        released.wait(60)
        raise CommandFailed("ended")

    teller = make_teller(MAIL, hang, patience=AT_ONCE)
    tell(teller, BAD)
    assert hanging.wait(30)
    tell(teller, BAD)

    assert not teller.close(0.05)
    released.set()
    assert teller.close(30)


def test_more_events_than_fit_are_dropped_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("xenbackup.service.notify.MOST_EVENTS", 2)
    released = threading.Event()
    hanging = threading.Event()

    def hang(command: Command) -> CommandResult:
        hanging.set()
        released.wait(60)
        raise CommandFailed("ended")

    teller = make_teller(MAIL, hang, patience=AT_ONCE)
    tell(teller, BAD)
    assert hanging.wait(30)
    with caplog.at_level(logging.ERROR):
        tell(teller, BAD, BAD)
    released.set()

    assert "telling-dropped" in caplog.text


def test_teller_without_events_needs_no_thread() -> None:
    before = threading.active_count()

    assert make_teller(MAIL, Sendmail()).close(0)
    assert before == threading.active_count()


def test_new_configuration_is_used_for_what_is_gathered() -> None:
    sendmail = Sendmail()
    teller = make_teller(Notify(), sendmail)
    tell(teller, BAD)

    teller.replace_notify(MAIL)

    assert teller.close(30)
    assert 1 == len(sendmail.letters)


def test_time_of_a_round_is_told_by_the_clock_of_its_job() -> None:
    sendmail = Sendmail()
    teller = make_teller(MAIL, sendmail)
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="local",
        domains=("*",),
        timezone="Asia/Tokyo",
    )

    teller.round_ended(job, GOOD, NOW)

    assert teller.close(30)
    assert "ended 2026-11-23 12:10 JST" in sendmail.letters[0]


def test_metrics_are_written_at_the_start_and_after_rounds() -> None:
    written = threading.Semaphore(0)
    teller = make_teller(Notify(), Sendmail(), refresh=written.release)

    teller.start()
    assert written.acquire(timeout=30)
    deadline = time.monotonic() + 30
    while threading.active_count() and time.monotonic() < deadline:
        tell(teller, GOOD)  # one that comes while another is written adds none
        if written.acquire(timeout=0.1):
            break
    else:
        pytest.fail("metrics were not written after a round")
    assert teller.close(30)


def test_metrics_that_cannot_be_written_are_shown_and_stop_no_message() -> None:
    sendmail = Sendmail()

    def fail() -> None:
        raise StateFailed("Cannot write x.prom: No space left on device.")

    teller = make_teller(MAIL, sendmail, refresh=fail)
    tell(teller, BAD)

    assert teller.close(30)
    assert 1 == len(sendmail.letters)
    assert (
        "Telling by metrics failed: Cannot write x.prom: No space left on device.",
    ) == teller.problems


def test_metrics_that_hang_stop_no_message() -> None:
    sendmail = Sendmail()
    released = threading.Event()

    def hang() -> None:
        released.wait(60)

    teller = make_teller(MAIL, sendmail, refresh=hang, patience=AT_ONCE)

    tell(teller, BAD)

    assert sendmail.sent.acquire(timeout=30)
    released.set()
    assert teller.close(30)


class FakeApprise:
    """The two methods of the library's class that are used."""

    accepts = True
    delivers = True
    notified: list[tuple[str, str]] = []  # noqa: RUF012 - emptied by each test

    def add(self, url: str) -> bool:
        return self.accepts

    def notify(self, *, title: str, body: str) -> bool:
        self.notified.append((title, body))
        return self.delivers


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[FakeApprise]:
    class Fake(FakeApprise):
        notified: list[tuple[str, str]] = []  # noqa: RUF012 - one class for each test

    module = types.ModuleType("apprise")
    module.Apprise = Fake  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace(name="apprise")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "apprise", module)
    return Fake


APPRISE = Notify(apprise=Apprise(urls=("x://secret",)))


def test_apprise_gets_subject_and_text(library: type[FakeApprise]) -> None:
    teller = make_teller(APPRISE, Sendmail())
    tell(teller, BAD)
    assert teller.close(30)

    ((title, body),) = library.notified
    assert "FAILED: 1 of 1 guest of dom0 not backed up: web" == title
    assert "It broke." in body
    assert () == teller.problems


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("accepts", "Apprise does not know what to do with entry 1 of `urls`."),
        ("delivers", "Apprise could not deliver the message everywhere."),
    ],
)
def test_apprise_that_fails_is_told_without_its_secrets(
    library: type[FakeApprise], fault: str, problem: str
) -> None:
    setattr(library, fault, False)
    teller = make_teller(APPRISE, Sendmail())
    tell(teller, BAD)
    assert teller.close(30)

    assert problem in teller.problems[0]
    assert "secret" not in teller.problems[0]


def test_apprise_that_is_not_installed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenbackup.service.alerts.LIBRARY", "apprise_that_nobody_has")

    teller = make_teller(APPRISE, Sendmail())

    (problem,) = teller.problems[:]
    assert "needs the library Apprise, which is not installed" in problem
    assert "pip install --target /opt/xenbackup/extras" in problem
    tell(teller, BAD)
    assert teller.close(30)
    assert 1 == len(teller.problems)
    teller.replace_notify(Notify())
    assert not teller.problems


def test_configured_webhook_gets_one_call_for_a_night() -> None:
    with serve() as server:
        teller = make_teller(Notify(webhook=Webhook(url=server.url)), Sendmail())
        tell(teller, GOOD, make_round(make_run("db"), job="weekly"))
        assert teller.close(30)

    assert ["POST"] == [call.method for call in server.calls]
