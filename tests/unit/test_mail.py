"""Mail through the host's MTA: what it gets to read, and what it may do wrong."""

from __future__ import annotations

import email
import email.policy
import sys
from pathlib import Path

import pytest

from tests.unit.rounds import NOW, make_round, make_run
from xenbackup.errors import TellingFailed
from xenbackup.model.job import Mail
from xenbackup.service.mail import compose_mail, send_mail
from xenbackup.service.messages import EndedRound, Message, Verdict, compose_message
from xenbackup.system.command import SystemCommands

MAIL = Mail(to=("root", "ops@example.org"), sender="xenbackup@example.org")
COMMANDS = SystemCommands(grace_seconds=0.5)


def compose(domain: str = "wéb", error: str = "") -> Message:
    ended = EndedRound(result=make_round(make_run(domain, error)), ended_at=NOW)
    return compose_message("dom0", [ended])


def make_sendmail(folder: Path, body: str) -> str:
    path = folder / "sendmail"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def fail_sending(program: str, timeout_seconds: float = 30.0) -> TellingFailed:
    with pytest.raises(TellingFailed) as caught:
        send_mail(
            MAIL,
            compose(),
            now=NOW,
            run=COMMANDS.run,
            program=program,
            timeout_seconds=timeout_seconds,
        )
    return caught.value


def test_mta_gets_the_whole_mail_on_its_input(tmp_path: Path) -> None:
    box = tmp_path / "box"
    program = make_sendmail(tmp_path, f'printf "%s\\n" "$@" > "{box}.argv"; cat > "{box}"')

    send_mail(MAIL, compose(), now=NOW, run=COMMANDS.run, program=program)

    assert ["-t", "-i", "-oi"] == Path(f"{box}.argv").read_text().split()
    letter = email.message_from_bytes(box.read_bytes(), policy=email.policy.default)
    assert "OK: 1 guest of dom0 backed up" == letter["Subject"]
    assert "root, ops@example.org" == letter["To"]
    assert "xenbackup@example.org" == letter["From"]
    assert "Mon, 23 Nov 2026 03:10:00 +0000" == letter["Date"]
    assert "auto-generated" == letter["Auto-Submitted"]
    assert compose().text == letter.get_content()


def test_mail_without_a_sender_leaves_it_to_the_mta() -> None:
    assert b"\nFrom:" not in compose_mail(Mail(to=("root",)), compose(), now=NOW)


@pytest.mark.parametrize(
    "domain", ["x\r\nBcc: thief@example.org\r\n\r\nHello", "x\nTo: y", "\udcff"]
)
def test_name_of_a_guest_can_add_no_header(domain: str) -> None:
    content = compose_mail(MAIL, compose(domain, "failed"), now=NOW)

    letter = email.message_from_bytes(content, policy=email.policy.default)
    assert {
        "Subject",
        "To",
        "From",
        "Date",
        "Auto-Submitted",
        "X-Xenbackup-Verdict",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    } == set(letter.keys())
    assert "root, ops@example.org" == letter["To"]


def test_header_with_a_line_end_is_refused_by_the_library_too() -> None:
    message = Message(verdict=Verdict.OK, subject="s", text="t", json=b"{}", rounds=1)
    with pytest.raises(ValueError):
        compose_mail(Mail(to=("root\nBcc: x",)), message, now=NOW)


def test_lines_of_a_mail_are_short_enough_for_every_mta() -> None:
    content = compose_mail(MAIL, compose("web", "x" * 5000), now=NOW)

    assert max(len(line) for line in content.split(b"\n")) <= 998
    assert content.isascii()


def test_missing_sendmail_is_told_with_what_to_install(tmp_path: Path) -> None:
    error = fail_sending(str(tmp_path / "none"))

    assert "is not there, or cannot be started" in error.message
    assert "install a mail system" in error.hint
    assert not error.may_pass


def test_mta_that_asks_to_try_later_may_pass(tmp_path: Path) -> None:
    error = fail_sending(make_sendmail(tmp_path, "cat >/dev/null; echo queue full >&2; exit 75"))

    assert "ended with exit code 75: queue full." in error.message
    assert error.may_pass


def test_mta_that_refuses_will_refuse_again(tmp_path: Path) -> None:
    error = fail_sending(make_sendmail(tmp_path, "exit 67"))

    assert "ended with exit code 67." in error.message
    assert not error.may_pass


def test_mta_that_hangs_is_ended(tmp_path: Path) -> None:
    error = fail_sending(make_sendmail(tmp_path, "exec sleep 1000"), timeout_seconds=0.5)

    assert "was not done after 0.5 s and was ended." in error.message
    assert error.may_pass


def test_mta_that_reads_nothing_does_not_stop_us(tmp_path: Path) -> None:
    ended = EndedRound(result=make_round(make_run("w", "x y " * 100_000)), ended_at=NOW)
    message = compose_message("dom0", [ended])
    assert sys.getsizeof(message.text) > 1 << 17  # more than a pipe holds

    send_mail(MAIL, message, now=NOW, run=COMMANDS.run, program=make_sendmail(tmp_path, "exit 0"))
