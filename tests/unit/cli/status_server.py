"""A daemon that tells a status report, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from xenbackup.model.status import StatusReport, encode_report
from xenbackup.service.control.events import StatusTold
from xenbackup.service.control.peers import Peer
from xenbackup.service.control.protocol import AnyRequest, StatusRequest
from xenbackup.service.control.server import ControlServer
from xenbackup.service.control.stream import Stream


@contextlib.contextmanager
def serve(directory: Path, report: StatusReport) -> Iterator[None]:
    """A daemon that tells this report, whoever asks."""

    def handle(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        assert isinstance(request, StatusRequest)
        stream.send(StatusTold(status=msgspec.Raw(encode_report(report))))
        stream.end(0)

    path = directory / "run/xenbackup/control.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    server = ControlServer(path, handle=handle)
    server.start()
    try:
        yield
    finally:
        server.stop()
