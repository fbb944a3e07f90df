"""A ledger, its queue and workers on a simulated host, in the test's process: no daemon around."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.house import build_house, make_job
from tests.service.living import wait_for
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model.job import Job, Limits
from xenbackup.model.live import Origin
from xenbackup.model.run import RoundResult
from xenbackup.operations.house import House
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.service.attention import Attention
from xenbackup.service.board import Board
from xenbackup.service.definitions import Definitions
from xenbackup.service.ledger import RoundLedger
from xenbackup.service.queue import RunQueue
from xenbackup.service.rounds import DaemonRound, RoundOrder
from xenbackup.service.workers import Workers
from xenbackup.system.systemd_notify import Notifier

DUE_AT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@dataclass
class Floor:
    """What was begun, what has ended, what somebody was told; `stop` is why the daemon stops."""

    house: House
    ledger: RoundLedger
    queue: RunQueue
    workers: Workers
    attention: Attention
    ended: list[tuple[DaemonRound, RoundResult | None]] = field(default_factory=list)
    kept: list[RoundResult] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    stop: str = ""

    def begin_ready(self) -> None:
        for queued in self.queue.take_ready(Limits(), self.house.host.now()):
            self.workers.begin(queued)

    def run_until_ended(self) -> RoundResult | None:
        def look() -> bool:
            self.begin_ready()
            return self.ledger.wait_until_ended(0.01)

        wait_for(look, "the end of the round")
        return self.ended[-1][1]

    @property
    def folder(self) -> RoundFolder:
        return RoundFolder(self.house.state_folder / "rounds")


def make_floor(directory: Path) -> Floor:
    """On the simulated host in that directory."""
    house = build_house(SimulatedHost(directory))
    definitions = cast(Definitions, SimpleNamespace(house=house, limit=None))
    attention = Attention(Notifier({}))
    board = Board(house.host.now)
    queue = RunQueue(lambda: None)
    found: list[Floor] = []
    remarks: list[str] = []
    ledger = RoundLedger(
        definitions=definitions,
        queue=queue,
        board=board,
        look_seconds=1.0,
        explain_stop=lambda: found[0].stop,
        on_begin=lambda _: None,
        keep_result=lambda _, result: found[0].kept.append(result),
        on_end=lambda ended, result: found[0].ended.append((ended, result)),
        remark=remarks.append,
        tell_loss=remarks.append,
    )
    workers = Workers(
        queue=queue, board=board, attention=attention, explain_stop=lambda: found[0].stop
    )
    found.append(
        Floor(
            house=house,
            ledger=ledger,
            queue=queue,
            workers=workers,
            attention=attention,
            remarks=remarks,
        )
    )
    return found[0]


def order(job: Job | None = None, due_at: datetime | None = None) -> RoundOrder:
    origin = Origin.DEMAND if due_at is None else Origin.SCHEDULE
    return RoundOrder(job=job or make_job("checkpoint"), origin=origin, due_at=due_at)
