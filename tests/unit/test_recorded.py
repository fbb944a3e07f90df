"""The recordings themselves can be read, and the host that replays them is a Host."""

from __future__ import annotations

import pytest

from tests.recorded import RecordedHost, list_recordings, load_recording
from xenbackup.dom0.host import Host
from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command


@pytest.mark.parametrize("name", list_recordings())
def test_every_recording_has_command_exit_code_and_both_streams(name: str) -> None:
    assert load_recording(name).argv


def test_a_recorded_host_fails_like_a_missing_tool_for_an_unexpected_command() -> None:
    host: Host = RecordedHost()
    with pytest.raises(CommandFailed, match="xl"):
        host.run(Command(argv=("xl", "list"), timeout_seconds=1))
