"""Requests of the control socket: what the daemon does for each. Roles were judged before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from xenbackup.errors import UsageError
from xenbackup.model.live import LiveStatus, Origin
from xenbackup.model.status import GuestList, encode_report
from xenbackup.operations.plan import refuse_unknown_guest
from xenbackup.service.control.events import Noted, StatusTold
from xenbackup.service.control.peers import Peer, name_user
from xenbackup.service.control.protocol import (
    AnyRequest,
    AttachRequest,
    CancelRequest,
    PageRequest,
    ReloadRequest,
    RunRequest,
    StatusRequest,
)
from xenbackup.service.control.stream import Stream
from xenbackup.service.definitions import Definitions
from xenbackup.service.pages import Pages
from xenbackup.service.queue import QueuedRun, RunQueue
from xenbackup.service.rounds import DaemonRound, RoundOrder

if TYPE_CHECKING:
    from xenbackup.service.ledger import RoundLedger

_log = structlog.get_logger("xenbackup.daemon")


class RequestDesk:
    """Answers requests. `reload` reads the definitions anew, `describe` tells how the daemon is."""

    def __init__(
        self,
        *,
        definitions: Definitions,
        ledger: RoundLedger,
        queue: RunQueue,
        pages: Pages,
        reload: Callable[[], None],
        describe: Callable[[], LiveStatus],
        list_guests: Callable[[], GuestList],
    ) -> None:
        self._definitions = definitions
        self._ledger = ledger
        self._queue = queue
        self._pages = pages
        self._reload = reload
        self._describe = describe
        self._list_guests = list_guests

    def answer(self, request: AnyRequest, peer: Peer, stream: Stream) -> None:
        """Raises: XenbackupError, which the server tells the client."""
        if isinstance(request, StatusRequest):
            self._tell_status(stream)
        elif isinstance(request, RunRequest):
            self._run(request, peer, stream)
        elif isinstance(request, AttachRequest):
            self._find_round(request.name).audience.follow(stream, lambda _: "")
        elif isinstance(request, CancelRequest):
            self._cancel(request.name, peer, stream)
        elif isinstance(request, ReloadRequest):
            self._reload()
            stream.send(Noted(text="The configuration was read anew."))
            stream.end(0)
        elif isinstance(request, PageRequest):
            page = self._pages.render(self._definitions.house, request)
            stream.send_page(page.stdout, page.stderr, page.exit_code)

    def _tell_status(self, stream: Stream) -> None:
        from xenbackup.operations.status import gather_status  # noqa: PLC0415 - only when asked

        house = self._definitions.house
        report = gather_status(house, self._describe(), self._list_guests())
        stream.send(StatusTold(status=msgspec.Raw(encode_report(report))))
        stream.end(0)

    def _run(self, request: RunRequest, peer: Peer, stream: Stream) -> None:
        house = self._definitions.house
        job = house.find_job(request.job)
        if request.domain:
            # Now, while the client can be told: later it would be a round that failed.
            refuse_unknown_guest(house, job, request.domain)
        order = RoundOrder(job=job, origin=Origin.DEMAND, domain=request.domain)
        _log.info("round-asked-for", job=job.name, domain=request.domain, uid=peer.uid)
        found, joined = self._ledger.join_or_accept(order)
        if joined:
            _log.info("round-joined", round=found.round_id, uid=peer.uid)
            stream.send(Noted(text=f"Round {found.round_id}, the same, waits already: it will do."))
        found.audience.follow(stream, lambda plan: self._pages.tell_plan(plan, request.layout))
        if not joined:
            found.start()

    def _find_round(self, name: str) -> DaemonRound:
        """By its id, the id of one of its runs, the beginning of one, or its job's name.

        Raises: UsageError when there is none, or more than one.
        """
        found = {
            id(known): known
            for known in self._ledger.list_rounds()
            if known.job.name == name or known.round_id.startswith(name)
        }
        for queued in self._queue.list_running():
            if queued.run_id and queued.run_id.startswith(name):
                found[id(queued.round)] = queued.round
        if len(found) == 1:
            return next(iter(found.values()))
        raise _describe_choice(name, [known.round_id for known in found.values()])

    def _cancel(self, name: str, peer: Peer, stream: Stream) -> None:
        reason = f"cancelled by user {name_user(peer.uid)}"
        rounds = [known for known in self._ledger.list_rounds() if known.round_id.startswith(name)]
        runs = [run for run in self._queue.list_running() if run.run_id.startswith(name)]
        choice = [known.round_id for known in rounds] + [run.run_id for run in runs]
        if len(choice) != 1:
            raise _describe_choice(name, choice)
        _log.info("cancel-asked-for", name=choice[0], uid=peer.uid)
        if rounds:
            rounds[0].cancel(reason)
            text = f"Round {choice[0]} of job {rounds[0].job.name} is being cancelled"
        else:
            self._cancel_run(runs[0], reason)
            text = f"Run {choice[0]} of {runs[0].domain} is being cancelled"
        stream.send(Noted(text=f"{text}: what was begun is undone, the guest first."))
        stream.end(0)

    def _cancel_run(self, queued: QueuedRun, reason: str) -> None:
        queued.cancelling = queued.cancelling or reason
        self._ledger.note_cancel(queued, reason)


def _describe_choice(name: str, found: list[str]) -> UsageError:
    if found:
        return UsageError(
            f'"{name}" may mean {", ".join(sorted(found))}.', hint="give more of its id"
        )
    return UsageError(
        f'No run or round that is under way or waits is called "{name}".',
        hint="`xenbackup status` lists them",
    )
