"""The log: what is let through, its two forms, and what must never be in it."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from xenbackup.system.log import bind_run, bind_step, configure_logging, unbind_run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_events_are_json_lines_where_no_terminal_is() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    structlog.get_logger("xenbackup.lvm").info("snapshot-created", size_bytes=4096)
    event = json.loads(stream.getvalue())
    del event["timestamp"]
    assert {
        "event": "snapshot-created",
        "size_bytes": 4096,
        "level": "info",
        "logger": "xenbackup.lvm",
    } == event


def test_events_are_for_a_reader_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging("info", stream=stream)
    structlog.get_logger("xenbackup.lvm").info("snapshot-created", size_bytes=4096)
    assert "snapshot-created" in stream.getvalue()
    assert "size_bytes=4096" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    configure_logging("info", stream=stream)
    structlog.get_logger().info("snapshot-created")
    assert "\x1b[" in stream.getvalue()


def test_less_than_the_level_is_left_out() -> None:
    stream = io.StringIO()
    configure_logging("warning", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert "" == stream.getvalue()


def test_libraries_share_the_way_out_and_talkative_ones_are_hushed() -> None:
    stream = io.StringIO()
    configure_logging("debug", stream=stream)
    logging.getLogger("library").warning("full at %s%%", 90)
    logging.getLogger("sh.command").info("<Command xl>")
    (line,) = stream.getvalue().splitlines()
    assert "full at 90%" == json.loads(line)["event"]


def test_run_and_step_are_bound_until_the_run_is_over() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    log = structlog.get_logger()
    bind_run("20261122T023000Z-k3f9qa", "web")
    bind_step("copy")
    log.info("inside")
    unbind_run()
    log.info("outside")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert ("20261122T023000Z-k3f9qa", "web", "copy") == (
        inside["run"],
        inside["domain"],
        inside["step"],
    )
    assert not {"run", "domain", "step"} & outside.keys()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_traceback_has_no_local_variables(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    secret = "a page of memory"
    try:
        raise ValueError(len(secret))
    except ValueError:
        structlog.get_logger().exception("broken")
    assert "ValueError" in stream.getvalue()
    assert secret not in stream.getvalue().replace('secret = "a page of memory"', "")


def test_configuring_twice_does_not_double_the_events() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=io.StringIO())
    configure_logging("info", stream=stream)
    structlog.get_logger().info("once")
    assert 1 == len(stream.getvalue().splitlines())


def test_closed_stream_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    stream.close()
    structlog.get_logger().info("nobody hears this")
    assert "" == capsys.readouterr().err


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="none of debug, info, warning, error"):
        configure_logging("loud")
