"""Whether what is configured to tell people could do so: programs, libraries and folders are there.

Looked at by `check`, before the night that they are needed in. Nothing is sent or run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from xenbackup.config.document import judge_file
from xenbackup.model.job import Configuration, Hooks, JobSet
from xenbackup.model.printable import show_text
from xenbackup.model.problem import Problem
from xenbackup.planning.validation import make_problem
from xenbackup.system.extras import EXTRAS_FOLDER, explain_distrust, is_library_there

SENDMAIL = "/usr/sbin/sendmail"
APPRISE_LIBRARY = "apprise"
APPRISE_HINT = f"as root: `python3 -m pip install --target {EXTRAS_FOLDER} 'apprise>=1.9,<2'`"


def judge_program(path: Path) -> tuple[str, str] | None:
    """Why a hook's program will not be run, and a hint; None when it will.

    It runs as we do: a file that others may write would let them.
    """
    try:
        status = path.stat()
    except OSError as error:
        return f"is not there: {error.strerror}", "install it, or correct [hooks]"
    return judge_file(status, user_id=os.geteuid(), group_id=os.getegid())


def tell_absence_of_apprise() -> str:
    """A sentence; where the extras are there and not trusted, that is why."""
    reason = explain_distrust() if os.path.lexists(EXTRAS_FOLDER) else ""
    why = f": {reason}" if reason else ""
    return f"[notify.apprise] needs the library Apprise, which is not installed{why}."


def describe_telling(configuration: Configuration, jobs: JobSet) -> str:
    """What is configured, in words; "" for nothing."""
    notify = configuration.notify
    ways = {
        "mail": notify.mail,
        "webhook": notify.webhook,
        "ping": notify.ping,
        "apprise": notify.apprise,
        "metrics": configuration.metrics_path,
        "hooks": any(_list_hooks(job.hooks) for job in jobs.jobs),
    }
    return ", ".join(name for name, way in ways.items() if way)


def list_telling_problems(
    configuration: Configuration,
    jobs: JobSet,
    place: Callable[[str], Path],
    *,
    sendmail: str = SENDMAIL,
    library: str = APPRISE_LIBRARY,
) -> Iterator[Problem]:
    """What would fail in the night. `place` says where a configured path really is."""
    seen: set[str] = set()
    for job in jobs.jobs:
        for name, program in _list_hooks(job.hooks):
            refusal = None if program in seen else _judge_hook(Path(program))
            seen.add(program)
            if refusal is not None:
                yield make_problem(
                    "hook-unfit",
                    subject=program,
                    message=f"{show_text(program)}, the hook `{name}` of job {job.name}, "
                    f"{refusal[0]}.",
                    hint=refusal[1],
                )
    if configuration.notify.mail is not None and not os.access(sendmail, os.X_OK):
        yield make_problem(
            "sendmail-missing",
            subject=sendmail,
            message=f"[notify.mail] is configured, but {sendmail} is not there.",
            hint="install a mail system that brings it (postfix, exim4, nullmailer, msmtp-mta)",
        )
    if configuration.notify.apprise is not None and not is_library_there(library):
        yield make_problem(
            "apprise-missing",
            subject=library,
            message=tell_absence_of_apprise(),
            hint=APPRISE_HINT,
        )
    folder = place(configuration.metrics_path).parent if configuration.metrics_path else None
    if folder is not None and not folder.is_dir():
        yield make_problem(
            "metrics-folder-missing",
            subject=str(folder),
            message=f"{show_text(str(folder))}, the folder of the metrics' textfile, is not there.",
            hint="install Prometheus' node exporter, or correct `textfile` in [metrics]",
        )


def _list_hooks(hooks: Hooks) -> tuple[tuple[str, str], ...]:
    """The hooks that there are, each with its program."""
    named = (("before", hooks.before), ("after", hooks.after), ("failed", hooks.failed))
    return tuple((name, argv[0]) for name, argv in named if argv)


def _judge_hook(path: Path) -> tuple[str, str] | None:
    refusal = judge_program(path)
    if refusal is None and not os.access(path, os.X_OK):
        return "is not executable", "chmod +x it"
    return refusal
