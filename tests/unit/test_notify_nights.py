"""What belongs to one night's message, and which rounds are told by the next process."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest

from tests.unit.rounds import NOW, make_round, make_run
from tests.unit.test_notify import AT_ONCE, BAD, GOOD, MAIL, Sendmail, make_teller, tell
from tests.unit.web_servers import find_closed_port, serve
from xenbackup.model.job import Mail, Notify, Webhook
from xenbackup.service.messages import EndedRound, Remark
from xenbackup.service.night import Night, Patience


def test_round_that_an_earlier_process_has_not_told_is_told_with_the_others_of_the_night() -> None:
    sendmail = Sendmail()
    told: list[tuple[str, ...]] = []
    teller = make_teller(MAIL, sendmail, on_told=told.append)

    teller.round_left(BAD, NOW, "Asia/Tokyo")
    teller.round_left(make_round(make_run("db"), job="weekly"), NOW, "")
    tell(teller, make_round(make_run("db"), job="weekly"), make_round(make_run("x"), job="third"))

    assert teller.close(30)
    (letter,) = sendmail.letters
    assert "ended 2026-11-23 12:10 JST: FAILED" in letter
    assert 1 == letter.count("Job weekly")
    assert [("20261123-0230-nightly", "20261123-0230-weekly", "20261123-0230-third")] == told


def test_teller_that_gets_no_thread_fails_no_round_and_tells_once_it_gets_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sendmail = Sendmail()
    teller = make_teller(MAIL, sendmail)
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refuse)
        tell(teller, BAD)
        assert teller.close(30)
    tell(teller, make_round(make_run("db"), job="weekly"))
    assert teller.close(30)
    (letter,) = sendmail.letters
    assert [1, 1] == [letter.count("Job nightly"), letter.count("Job weekly")]


def test_rounds_are_told_when_one_way_got_through_and_when_nobody_wanted_to_know() -> None:
    told: list[tuple[str, ...]] = []
    dead = f"http://127.0.0.1:{find_closed_port()}/"
    for notify, result in (
        (Notify(webhook=Webhook(url=dead), mail=MAIL.mail), BAD),
        (Notify(mail=Mail(to=("root",))), GOOD),
        (Notify(), BAD),
    ):
        teller = make_teller(notify, Sendmail(), on_told=told.append)
        tell(teller, result)
        assert teller.close(30)
    assert 3 * [(GOOD.round,)] == told


def test_rounds_that_no_way_could_tell_as_the_teller_was_closed_are_left_for_the_next() -> None:
    told: list[tuple[str, ...]] = []
    dead = f"http://127.0.0.1:{find_closed_port()}/"
    teller = make_teller(Notify(webhook=Webhook(url=dead)), Sendmail(), on_told=told.append)
    tell(teller, BAD)
    assert teller.close(30)
    assert [] == told


def test_rounds_that_no_way_could_tell_in_the_end_are_given_up() -> None:
    told = threading.Semaphore(0)
    with serve(lambda call: (500, {})) as server:
        teller = make_teller(
            Notify(webhook=Webhook(url=server.url)),
            Sendmail(),
            patience=AT_ONCE,
            on_told=lambda _: told.release(),
        )
        tell(teller, BAD)
        assert told.acquire(timeout=30)
        assert teller.close(30)
    assert 3 == len(server.calls)


# Nights


def ended(round_id: str, at: datetime = NOW) -> EndedRound:
    return EndedRound(result=make_round(make_run("web"), round=round_id), ended_at=at)


def test_night_is_over_when_it_has_been_quiet_for_a_while() -> None:
    night = Night(patience=Patience(quiet_seconds=600, longest_seconds=3600))
    assert night.find_due() is None
    assert night.begin("a")
    assert not night.begin("b")

    night.end(ended("a"), 1000.0)
    assert 4600.0 == night.find_due()
    night.end(ended("b"), 1500.0)
    assert 2100.0 == night.find_due()


def test_round_that_lasts_does_not_hold_back_what_others_have_to_tell() -> None:
    night = Night(patience=Patience(quiet_seconds=600, longest_seconds=3600))
    night.begin("long")
    night.begin("short")
    night.end(ended("short"), 1000.0)
    night.remark(Remark(text="x"), 4500.0)

    assert 4600.0 == night.find_due()
    rounds, remarks = night.take()
    assert (1, 1) == (len(rounds), len(remarks))
    assert night.find_due() is None
    assert not night.begin("another")
    night.end(ended("long"), 9000.0)
    assert 12600.0 == night.find_due()
