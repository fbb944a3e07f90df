"""Mail through the host's own MTA: the message composed by the standard library, never by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from xenbackup.errors import CommandFailed, TellingFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import Mail
from xenbackup.model.printable import show_text
from xenbackup.operations.tellable import SENDMAIL
from xenbackup.service.messages import Message

TIMEOUT_SECONDS = 60.0
_TRY_LATER_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h


def send_mail(
    mail: Mail,
    message: Message,
    *,
    now: datetime,
    run: Callable[[Command], CommandResult],
    program: str = SENDMAIL,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Hand one mail to the MTA. Raises: TellingFailed; `may_pass` when the MTA says so."""
    command = Command(
        # -t: recipients from the message; -i, -oi: a line with a single dot does not end it.
        argv=(program, "-t", "-i", "-oi"),
        timeout_seconds=timeout_seconds,
        stdin=compose_mail(mail, message, now=now),
    )
    try:
        result = run(command)
    except CommandFailed as error:
        raise TellingFailed(
            f"No mail can be sent: {program} is not there, or cannot be started.",
            hint="install a mail system that brings `sendmail` (postfix, exim4, msmtp-mta, "
            "nullmailer)",
        ) from error
    if result.timed_out:
        raise TellingFailed(
            f"{program} was not done after {timeout_seconds:g} s and was ended.",
            hint="look at the mail system's log",
            may_pass=True,
        )
    if not result.succeeded:
        told = show_text(result.last_error_line, limit=200)
        raise TellingFailed(
            f"{program} ended with exit code {result.exit_code}{f': {told}' if told else ''}.",
            hint="look at the mail system's log; try `echo test | sendmail ADDRESS`",
            may_pass=result.exit_code == _TRY_LATER_EXIT_CODE,
        )


def compose_mail(mail: Mail, message: Message, *, now: datetime) -> bytes:
    """The mail as the MTA reads it. A line end in a header is refused by the library itself.

    Date is ours; Message-ID is left to the MTA, since making one asks the name service.
    """
    from email.message import EmailMessage  # noqa: PLC0415 - 4 MB that few daemons need
    from email.utils import format_datetime  # noqa: PLC0415 - see above

    letter = EmailMessage()
    letter["Subject"] = show_text(message.subject)
    letter["To"] = ", ".join(mail.to)
    if mail.sender:
        letter["From"] = mail.sender
    letter["Date"] = format_datetime(now)
    # RFC 3834: nobody's holiday notice shall answer.
    letter["Auto-Submitted"] = "auto-generated"
    letter["X-Xenbackup-Verdict"] = message.verdict.value
    letter.set_content(message.text, cte="quoted-printable")
    return letter.as_bytes()
