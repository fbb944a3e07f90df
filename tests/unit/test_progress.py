"""The progress bar: what it shows, how often it draws, and that it never harms the work."""

from __future__ import annotations

import errno
import io

import pytest

from xenbackup.cli.progress import ProgressBar
from xenbackup.cli.text import measure_width

MIB = 1 << 20


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Screen(io.TextIOWrapper):
    """A terminal that remembers what was drawn; `rows` are its lines as one sees them."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding=encoding, newline="")

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        self.flush()
        return self.raw_bytes.getvalue().decode(self.encoding)

    @property
    def draws(self) -> int:
        return self.text.count("\r")

    @property
    def rows(self) -> list[str]:
        rows = []
        for written in self.text.split("\n"):
            row = ""
            for part in written.split("\r"):
                row = part + row[len(part) :]
            rows.append(row.rstrip())
        return rows


def open_bar(screen: io.TextIOWrapper, clock: Clock, width: int = 80) -> ProgressBar:
    return ProgressBar(screen, clock, width=lambda: width)


def test_bar_shows_share_amount_rate_and_time_left() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock, 100)
    bar.begin("web xvda", 400 * MIB)
    clock.seconds += 2
    bar.update(100 * MIB, 400 * MIB)

    assert (
        "web xvda  " + "█" * 7 + "░" * 23 + "   25%  100 MiB of 400 MiB  50.0 MiB/s  6 s left"
        == screen.rows[-1]
    )


def test_bar_in_a_terminal_without_unicode_is_ascii() -> None:
    screen, clock = Screen("ascii"), Clock()
    bar = open_bar(screen, clock)
    bar.begin("käse", 10)
    clock.seconds += 1
    bar.update(5, 10)

    assert "#" in screen.rows[-1]
    assert screen.rows[-1].startswith("k\\xe4se  ")


def test_nothing_is_drawn_where_no_terminal_is() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(), width=lambda: 80)
    bar.begin("web", 10)
    bar.update(10, 10)
    bar.clear()
    bar.finish()

    assert "" == stream.getvalue()


def test_drawing_is_bounded_however_often_it_is_told() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("web", 100_000)
    for done in range(1000):
        clock.seconds += 0.001
        bar.update(done, 100_000)

    assert screen.draws <= 11


def test_finish_leaves_the_last_state_with_the_mean_rate_and_the_time() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("web", 100 * MIB)
    clock.seconds += 0.01
    bar.update(50 * MIB, 100 * MIB)
    clock.seconds += 3.99
    bar.update(100 * MIB, 100 * MIB)
    bar.finish()

    assert screen.text.endswith("\n")
    assert "100%  100 MiB of 100 MiB  25.0 MiB/s  in 4.0 s" in screen.rows[-2]
    assert "" == screen.rows[-1]


def test_finish_in_no_time_at_all_shows_no_rate() -> None:
    screen = Screen()
    bar = open_bar(screen, Clock())
    bar.begin("web", 10)
    bar.finish()

    assert "/s" not in screen.text


def test_finish_twice_ends_one_line() -> None:
    screen = Screen()
    bar = open_bar(screen, Clock())
    bar.begin("web", 10)
    bar.finish()
    bar.finish()

    assert 1 == screen.text.count("\n")


def test_clear_wipes_the_line_for_other_text() -> None:
    screen = Screen()
    bar = open_bar(screen, Clock())
    bar.begin("a long label", 10)
    bar.clear()
    screen.write("warning: x")

    assert ["warning: x"] == screen.rows


def test_shorter_line_leaves_nothing_of_a_longer_one() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("the longer label of the two", 10 * MIB)
    bar.begin("short", 0)

    assert screen.rows[-1] == "short  0 B"


def test_next_thing_begins_with_a_rate_of_its_own() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("first", 1000 * MIB)
    clock.seconds += 1
    bar.update(1000 * MIB, 1000 * MIB)
    bar.begin("second", 1000 * MIB)
    clock.seconds += 1
    bar.update(10 * MIB, 1000 * MIB)

    assert "10.0 MiB/s" in screen.rows[-1]


def test_rate_is_that_of_the_last_seconds() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock, 100)
    bar.begin("web", 10_000 * MIB)
    for second in range(60):
        clock.seconds += 1
        bar.update((second + 1) * 100 * MIB, 10_000 * MIB)
    for second in range(60):
        clock.seconds += 1
        bar.update((6000 + second + 1) * MIB, 10_000 * MIB)

    assert "1.0 MiB/s" in screen.rows[-1]


@pytest.mark.parametrize("width", [1, 5, 10, 20, 40, 60, 80, 140])
def test_line_never_reaches_the_last_column(width: int) -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock, width)
    bar.begin("日本 a guest with a rather long name indeed xvda", 1000 * MIB)
    clock.seconds += 1
    bar.update(500 * MIB, 1000 * MIB)
    bar.finish()

    for row in screen.rows:
        assert measure_width(row) < max(width, 2)


def test_narrow_terminal_keeps_the_share_and_drops_the_amount() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock, 40)
    bar.begin("web xvda", 400 * MIB)
    clock.seconds += 2
    bar.update(100 * MIB, 400 * MIB)

    assert " 25%" in screen.rows[-1]
    assert " of " not in screen.rows[-1]


def test_unknown_total_shows_amount_and_rate() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("web memory")
    clock.seconds += 2
    bar.update(10 * MIB, 0)

    assert "web memory  10.0 MiB  5.0 MiB/s" == screen.rows[-1]


def test_more_done_than_there_is_stays_at_full() -> None:
    screen, clock = Screen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("web", 10)
    clock.seconds += 1
    bar.update(30, 10)

    assert "100%" in screen.rows[-1]


def test_update_without_a_beginning_does_no_harm() -> None:
    open_bar(Screen(), Clock()).update(1, 2)


def test_hostile_label_cannot_move_the_cursor() -> None:
    screen = Screen()
    open_bar(screen, Clock()).begin("a\x1b[2J\nb", 10)

    assert "\x1b" not in screen.text
    assert "\n" not in screen.text


class LostScreen(Screen):
    """A terminal that is gone: every write fails, as after a closed ssh session."""

    attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise OSError(errno.EIO, "Input/output error")


def test_lost_terminal_ends_the_drawing_and_not_the_work() -> None:
    screen, clock = LostScreen(), Clock()
    bar = open_bar(screen, clock)
    bar.begin("web", 10)
    clock.seconds += 5
    bar.update(5, 10)
    bar.finish()

    assert 1 == screen.attempts


def test_closed_stream_does_no_harm() -> None:
    screen = Screen()
    bar = open_bar(screen, Clock())
    screen.close()
    bar.begin("web", 10)
    bar.finish()
