"""Keys of the daemon: windows, blackouts, retries, limits, politeness, hooks, whom to tell."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.config_files import (
    CONFIGURATION,
    MINIMAL,
    configuration_problems,
    job_problems,
    write,
)
from xenbackup.config import load_configuration, load_job
from xenbackup.config.calendar import read_blackout, read_window
from xenbackup.config.outside import read_address, read_url
from xenbackup.config.values import Unfit
from xenbackup.model.job import (
    Apprise,
    Blackout,
    Configuration,
    Hooks,
    IoClass,
    Limits,
    Mail,
    Notify,
    Ping,
    Politeness,
    TellWhen,
    Webhook,
    Window,
)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))


def test_job_with_every_key_of_the_daemon_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"""{MINIMAL}
        windows = ["22:00-06:00", "sat-sun 00:00-24:00"]
        blackouts = ["2026-12-24..2027-01-02", "2026-12-31", 2027-05-01]
        jitter = "15m"
        time_limit = "6h"
        retries = 4
        retry_after = "1m"
        max_age = "36h"

        [hooks]
        before = ["/usr/local/sbin/x", "arg with blanks; and $HOME"]
        after = ["/bin/good"]
        failed = ["/bin/bad", ""]
        timeout = "90s"
        """,
    )

    job = load_job(path, CONFIGURATION)

    assert (
        Window(days=EVERY_DAY, start_minute=22 * 60, end_minute=6 * 60),
        Window(days=frozenset({5, 6}), start_minute=0, end_minute=1440),
    ) == job.windows
    assert (
        Blackout(first=date(2026, 12, 24), last=date(2027, 1, 2)),
        Blackout(first=date(2026, 12, 31), last=date(2026, 12, 31)),
        Blackout(first=date(2027, 5, 1), last=date(2027, 5, 1)),
    ) == job.blackouts
    assert (900.0, 21600.0) == (job.jitter_seconds, job.time_limit_seconds)
    assert (4, 60.0, 129600.0) == (job.retries, job.retry_after_seconds, job.max_age_seconds)
    assert (
        Hooks(
            before=("/usr/local/sbin/x", "arg with blanks; and $HOME"),
            after=("/bin/good",),
            failed=("/bin/bad", ""),
            timeout_seconds=90.0,
        )
        == job.hooks
    )


def test_configuration_with_every_key_of_the_daemon_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [limits]
        runs = 5
        runs_per_group = 3
        runs_per_destination = 4

        [politeness]
        nice = 0
        io_class = "idle"
        io_level = 3

        [notify.mail]
        to = ["root", "ops+xen@example.org"]
        sender = "xenbackup@example.org"
        when = "always"

        [notify.webhook]
        url = "https://example.org:8443/hook?room=7"
        when = "trouble"

        [notify.ping]
        url = "http://[::1]:8000/ping/abc"

        [notify.apprise]
        urls = ["ntfy://example.org/backup", "gotify+tls://x/y"]
        when = "always"

        [hooks]
        failed = ["/bin/page"]

        [metrics]
        textfile = "/var/lib//node/xenbackup.prom"

        [journals]
        keep = 0
        """,
        "config.toml",
    )

    assert Configuration(
        limits=Limits(runs=5, runs_per_group=3, runs_per_destination=4),
        politeness=Politeness(nice=0, io_class=IoClass.IDLE, io_level=3),
        notify=Notify(
            mail=Mail(
                to=("root", "ops+xen@example.org"),
                sender="xenbackup@example.org",
                when=TellWhen.ALWAYS,
            ),
            webhook=Webhook(url="https://example.org:8443/hook?room=7", when=TellWhen.TROUBLE),
            ping=Ping(url="http://[::1]:8000/ping/abc"),
            apprise=Apprise(
                urls=("ntfy://example.org/backup", "gotify+tls://x/y"), when=TellWhen.ALWAYS
            ),
        ),
        hooks=Hooks(failed=("/bin/page",)),
        metrics_path="/var/lib/node/xenbackup.prom",
        keep_journals_seconds=0.0,
        source_path=path,
    ) == load_configuration(path)


def test_hooks_of_the_configuration_are_those_of_a_job_without_its_own(tmp_path: Path) -> None:
    shared = Hooks(failed=("/bin/page",))
    configuration = Configuration(destinations=CONFIGURATION.destinations, hooks=shared)

    plain = load_job(write(tmp_path, MINIMAL, "plain.toml"), configuration)
    own = load_job(
        write(tmp_path, f'{MINIMAL}[hooks]\nafter = ["/bin/x"]', "own.toml"), configuration
    )
    none = load_job(write(tmp_path, f"{MINIMAL}[hooks]", "none.toml"), configuration)

    assert shared == plain.hooks
    assert Hooks(after=("/bin/x",)) == own.hooks
    assert Hooks() == none.hooks


@pytest.mark.parametrize(
    ("written", "days"),
    [
        ("sat-sun", {5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("mon,wed,fri-sat", {0, 2, 4, 5}),
        ("Tue", {1}),
        ("mon-mon", {0}),
    ],
)
def test_days_of_a_window_may_be_lists_and_go_round_the_week(written: str, days: set[int]) -> None:
    assert Window(days=frozenset(days), start_minute=60, end_minute=120) == read_window(
        f"{written} 01:00-02:00"
    )


@given(
    start=st.integers(0, 1439),
    end=st.integers(0, 1440),
    days=st.sets(st.integers(0, 6), min_size=1),
)
def test_every_window_that_can_be_spelled_is_read_as_meant(
    start: int, end: int, days: set[int]
) -> None:
    spelled = ",".join(DAYS[day] for day in days)
    text = f"{spelled} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"

    window = read_window(text)

    if start == end:
        assert isinstance(window, Unfit)
    else:
        assert Window(days=frozenset(days), start_minute=start, end_minute=end) == window


@given(st.text() | st.integers() | st.none() | st.floats() | st.lists(st.text()))
def test_nothing_makes_a_reader_of_hostile_values_stumble(value: object) -> None:
    for reader in (read_window, read_blackout, read_url, read_address):
        reader(value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('windows = "22:00-06:00"', 'Hint: write it in brackets: windows = ["22:00-06:00"].'),
        ('windows = ["22-6"]', '`windows` has "22-6" as entry 1, expected a window such as'),
        ('windows = ["25:00-06:00"]', "Hint: it begins at 00:00 to 23:59 and ends by 24:00."),
        ('windows = ["22:60-06:00"]', "Hint: it begins at 00:00 to 23:59"),
        ('windows = ["24:00-06:00"]', "Hint: it begins at 00:00 to 23:59"),
        ('windows = ["06:00-06:00"]', 'Hint: "00:00-24:00" is the whole day.'),
        ('windows = ["sa-so 00:00-24:00"]', "Hint: the days are mon, tue, wed,"),
        ('windows = ["mon, 00:00-24:00"]', "Hint: the days are mon, tue, wed,"),
        ("windows = [22]", "`windows` has 22 as entry 1, expected a window"),
        ('blackouts = ["31.12.2026"]', "Hint: write year, month and day: 2026-12-31."),
        ('blackouts = ["2026-02-30"]', "Hint: write year, month and day"),
        ('blackouts = ["2027-01-02..2026-12-24"]', "Hint: the first date comes first."),
        ('blackouts = ["2026-12-24..2036-01-02"]', "expected at most 366 days. Hint: check the"),
        ("blackouts = [2026-12-24T00:00:00]", "expected a date such as"),
        ('jitter = "13h"', "(0 to 12h)"),
        ('time_limit = "30s"', "(1m to 30d)"),
        ("time_limit = 0", "`time_limit` is 0, expected a duration"),
        ("retries = 11", "`retries` is 11, expected a whole number from 0 to 10."),
        ("retries = true", "`retries` is true, expected a whole number"),
        ('retry_after = "2d"', "(1s to 1d)"),
        ('max_age = "1s"', "(1m to 366d)"),
        ('before = ["/bin/x"]', "`before` belongs to [hooks]: put it below that header."),
        (
            '[hooks]\nretries = 3\nbefore = ["/bin/x"]',
            "unknown key `retries` in [hooks]. Hint: `retries` belongs to the job itself",
        ),
        (
            '[hooks]\nbefore = "/bin/x"',
            ', line 5: `before` in [hooks] is "/bin/x", expected a list of texts. Hint: write it in'
            ' brackets: before = ["/bin/x"].',
        ),
        ('[hooks]\nbefore = ["x"]', '`before` in [hooks] begins with "x", expected an absolute'),
        ('[hooks]\nbefore = ["-x"]', "expected an absolute path first"),
        ('[hooks]\nbefore = ["/bin/../x"]', "expected an absolute path first"),
        (
            '[hooks]\nbefore = ["x --now"]',
            'as a text of its own: ["/usr/local/sbin/x", "argument"].',
        ),
        ('[hooks]\nbefore = ["/bin/x\\u0000"]', "`before` in [hooks] has "),
        ('[hooks]\nafter = ["/bin/x", 3]', "has 3 as entry 2, expected text in quotes."),
        ("[hooks]\nafter = ['/bin/x'" + ", 'a'" * 64 + "]", "expected at most 64 words"),
        ('[hooks]\ntimeout = "0s"', "(1s to 1d)"),
        ("hooks = 3", "`hooks` is 3, expected a table. Hint: write it as [hooks]"),
    ],
)
def test_mistake_in_a_job_is_explained(tmp_path: Path, line: str, expected: str) -> None:
    problems = job_problems(tmp_path, MINIMAL + line)

    assert 1 == len(problems), problems
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\nruns = 0", ", line 2: `runs` in [limits] is 0, expected a whole number from 1"),
        ("[limits]\nrun = 2", "unknown key `run` in [limits]. Hint: did you mean `runs`?"),
        ("runs = 2", "unknown key `runs`. Hint: `runs` belongs to [limits]: put it below"),
        ("[limits]\nspool = {}", "`spool` belongs above the first [table]"),
        ("[politeness]\nnice = -5", "expected a whole number from 0 to 19."),
        ('[politeness]\nio_class = "realtime"', 'one of "none", "best-effort", "idle"'),
        ("[politeness]\nio_level = 8", "expected a whole number from 0 to 7."),
        ("notify = 3", "`notify` is 3, expected a table"),
        ('[notify]\nmail = "root"', "Hint: write it as [notify.mail], with its keys on the lines"),
        ("[notify.mail]", ", line 1: `to` in [notify.mail] is missing, expected a list of texts."),
        ("[notify.mail]\nto = []", "`to` in [notify.mail] is an empty list, expected one entry"),
        ('[notify.mail]\nto = ["-Xroot"]', '`to` in [notify.mail] has "-Xroot" as entry 1'),
        ('[notify.mail]\nto = ["root\\nBcc: x"]', 'has "root\\nBcc: x" as entry 1'),
        ('[notify.mail]\nto = ["A <a@b>"]', "Hint: the bare address alone, without a name."),
        ('[notify.mail]\nto = ["a@b", "|/bin/sh"]', 'has "|/bin/sh" as entry 2'),
        ('[notify.mail]\nto = ["a@-b"]', "expected a mail address"),
        ('[notify.mail]\nto = ["a"]\nsender = "x\\r\\ny"', "expected a mail address"),
        ('[notify.mail]\nto = ["a"]\nwhen = "never"', 'expected one of "always", "trouble"'),
        ('[notify.webhook]\nwhen = "always"', "`url` in [notify.webhook] is missing"),
        ('[notify.webhook]\nurl = "ftp://x/y"', "Hint: it begins with http:// or https://."),
        ('[notify.webhook]\nurl = "file:///etc/shadow"', "Hint: it begins with http:// or"),
        ('[notify.webhook]\nurl = "https:///x"', "Hint: a host follows the two slashes."),
        ('[notify.webhook]\nurl = "https://a b/x"', "and no blanks."),
        ('[notify.webhook]\nurl = "https://a/x\\r\\nHost: b"', "and no blanks."),
        ('[notify.webhook]\nurl = "https://a:99999/"', "Hint: check the host and the port."),
        ('[notify.webhook]\nurl = "https://[::1/"', "Hint: check the host and the port."),
        ('[notify.webhook]\nurl = "https://u:p@a/"', "expected a URL without user and password"),
        ('[notify.webhook]\nurl = "https://a/#b"', "expected a URL without #"),
        ("[notify.ping]\nurl = 3", "`url` in [notify.ping] is 3, expected a URL"),
        ('[notify.apprise]\nurls = ["x y://"]', "expected a URL of Apprise"),
        ('[metrics]\ntextfile = "x.prom"', "expected an absolute path that ends in .prom"),
        ('[metrics]\ntextfile = "/srv/x.txt"', "Hint: Prometheus' node exporter reads no other"),
        ('[journals]\nkeep = "1s"', "(1h to 3660d, or 0 for all)"),
        ("keep = 3", "`keep` belongs to [journals]: put it below that header."),
        ('url = "http://x"', "belongs to [notify.webhook] or [notify.ping]: put it"),
    ],
)
def test_mistake_in_the_configuration_is_explained(
    tmp_path: Path, text: str, expected: str
) -> None:
    problems = configuration_problems(tmp_path, text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


def test_address_that_is_nearly_right_is_judged_at_once() -> None:
    """A pattern that tries all ways to cut a long text would take years here."""
    assert isinstance(read_address("a@" + "a" * 250 + "!"), Unfit)
    assert isinstance(read_address("a@" + "a-" * 120), Unfit)
