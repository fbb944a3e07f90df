"""The message about a night: outcome first, a line for each guest, errors with their hints."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rounds import NOW, make_round, make_run
from xenbackup.model.run import Outcome, RoundResult
from xenbackup.service.messages import EndedRound, Message, Remark, Verdict, compose_message

BERLIN = ZoneInfo("Europe/Berlin")


def compose(*results: RoundResult, remarks: tuple[Remark, ...] = ()) -> Message:
    rounds = [EndedRound(result=result, ended_at=NOW, zone=BERLIN) for result in results]
    return compose_message("dom0", rounds, remarks)


def test_good_night_is_told_in_few_words() -> None:
    message = compose(make_round(make_run("web"), make_run("db", away_seconds=0.0)))

    assert Verdict.OK is message.verdict
    assert not message.tells_trouble
    assert (
        "OK: 2 guests of dom0 backed up\n"
        "\n"
        "Job nightly, ended 2026-11-23 04:10 CET: ok\n"
        "  db   ok         checkpoint, memory, 12.0 GiB in 4 min 10 s\n"
        "  web  ok         checkpoint, memory, 12.0 GiB in 4 min 10 s, away 8.0 s\n"
        "\n"
        "How things stand now: xenbackup status\n" == message.text
    )


def test_what_failed_comes_first_with_its_reason_and_hint() -> None:
    error = "Cannot snapshot xenvols/mail_root: 8 MiB free, 12 MiB needed."
    message = compose(
        make_round(
            make_run("db"),
            make_run("mail", error, hint="lower snapshot_size or extend xenvols"),
            make_run("web", warnings=("the snapshot was taken twice as large",)),
        )
    )

    assert "PARTLY: 1 of 3 guests of dom0 not backed up: mail" == message.subject
    assert (
        "Job nightly, ended 2026-11-23 04:10 CET: PARTIAL\n"
        "  mail  FAILED\n"
        "      Cannot snapshot xenvols/mail_root: 8 MiB free, 12 MiB needed.\n"
        "      Hint: lower snapshot_size or extend xenvols\n"
        "  db    ok         checkpoint, memory, 12.0 GiB in 4 min 10 s, away 8.0 s\n"
        "  web   ok         checkpoint, memory, 12.0 GiB in 4 min 10 s, away 8.0 s\n"
        "      Warning: the snapshot was taken twice as large\n"
        "\n"
        "What happened, step by step:\n"
        "  xenbackup show 20261123-0230-mail\n" in message.text
    )


@pytest.mark.parametrize(
    ("results", "remarks", "subject"),
    [
        ([make_round(make_run("a", "x"))], (), "FAILED: 1 of 1 guest of dom0 not backed up: a"),
        (
            [make_round(*(make_run(f"g{n}", "x") for n in range(9)))],
            (),
            "FAILED: 9 of 9 guests of dom0 not backed up: g0, g1, g2, g3, g4 …",
        ),
        (
            [make_round(make_run("a")), make_round(make_run("a", "x"), job="weekly")],
            (),
            "PARTLY: 1 of 1 guest of dom0 not backed up: a",
        ),
        (
            [make_round(outcome=Outcome.FAILED, error="No toolstack answers.", hint="start xen")],
            (),
            "FAILED: job nightly of dom0 did not run",
        ),
        (
            [make_round(make_run("a"), make_run("b", "It stays.", outcome=Outcome.PARTIAL))],
            (),
            "PARTLY: 2 guests of dom0 backed up, with something left undone: b",
        ),
        ([make_round()], (), "OK: no guest of dom0 was there to be backed up"),
        ([], (Remark(text="It broke."),), "ATTENTION: dom0: It broke."),
        ([make_round(make_run("a"))], (Remark(text="It broke."),), "ATTENTION: dom0: It broke."),
        (
            [make_round(make_run("a", "x"))],
            (Remark(text="It broke."),),
            "FAILED: 1 of 1 guest of dom0 not backed up: a",
        ),
    ],
)
def test_subject_says_how_it_was(
    results: list[RoundResult], remarks: tuple[Remark, ...], subject: str
) -> None:
    assert subject == compose(*results, remarks=remarks).subject


def test_guest_with_a_point_and_something_left_undone_is_told_of_both() -> None:
    run = make_run("db", "A snapshot could not be removed.", outcome=Outcome.PARTIAL)

    assert (
        "  db  PARTIAL    checkpoint, 12.0 GiB in 4 min 10 s, away 8.0 s\n"
        "      A snapshot could not be removed.\n" in compose(make_round(run)).text
    )


def test_several_rounds_are_one_message() -> None:
    message = compose(
        make_round(make_run("web")),
        make_round(outcome=Outcome.FAILED, error="The hook said no.", hint="ask it", job="weekly"),
        remarks=(Remark(text="Run x of db was finished by recovery.", hint="look at db"),),
    )

    assert "PARTLY: job weekly of dom0 did not run" == message.subject
    assert 2 == message.rounds
    assert "Run x of db was finished by recovery.\nHint: look at db\n" in message.text
    assert "Job weekly, ended 2026-11-23 04:10 CET: FAILED\n  The hook said no." in message.text


def test_json_has_every_figure() -> None:
    told = json.loads(compose(make_round(make_run("web"))).json)

    assert {"version", "host", "verdict", "text", "remarks", "rounds"} == told.keys()
    assert {
        "run": "20261123-0230-web",
        "domain": "web",
        "outcome": "ok",
        "point": "20261123-0230-web",
        "preset": "checkpoint",
        "consistency": "memory",
        "away_seconds": 8.0,
        "bytes_read": 20 << 30,
        "bytes_written": 12 << 30,
        "duration_seconds": 250.0,
        "warnings": [],
        "error": "",
        "hint": "",
    } == told["rounds"][0]["runs"][0]


names = st.text(min_size=1) | st.sampled_from(["a\r\nBcc: x", "\udcff", "\x1b[2J"])


@given(domain=names, error=st.text(), hint=names, warning=names, job=names)
def test_no_name_or_error_moves_a_cursor_or_forges_a_line(
    domain: str, error: str, hint: str, warning: str, job: str
) -> None:
    run = make_run(domain, error, hint=hint, warnings=(warning,))
    message = compose(make_round(run, job=job, error=error), remarks=(Remark(text=error + hint),))

    assert message.subject.isprintable()
    assert all(line.isprintable() for line in message.text.split("\n"))
    assert message.text.encode()
    assert json.loads(message.json)
