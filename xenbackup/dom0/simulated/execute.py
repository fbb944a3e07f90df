"""One call of a tool of the simulated host: found, run under the lock, with its faults applied."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xenbackup.dom0.simulated.block_tools import run_dmsetup, run_udevadm
from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.faults import (
    GARBAGE_TEXT,
    Fault,
    FaultKind,
    has_faults,
    stall,
    take_fault,
)
from xenbackup.dom0.simulated.lvm_acts import run_lvchange, run_lvextend, run_lvremove
from xenbackup.dom0.simulated.lvm_create import run_lvcreate
from xenbackup.dom0.simulated.lvm_report import run_lvs, run_pvs, run_vgs
from xenbackup.dom0.simulated.pci import run_lspci
from xenbackup.dom0.simulated.session import Session, ToolFailed, ToolKilled
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.xenstore import run_list, run_ls, run_read, run_rm, run_write
from xenbackup.dom0.simulated.xl import run_xl
from xenbackup.dom0.simulated.xm import run_xm

Tool = Callable[[Session, list[str]], int]

TOOLS: Mapping[str, Tool] = {
    "xl": run_xl,
    "xm": run_xm,
    "lvs": run_lvs,
    "vgs": run_vgs,
    "pvs": run_pvs,
    "lvcreate": run_lvcreate,
    "lvremove": run_lvremove,
    "lvextend": run_lvextend,
    "lvchange": run_lvchange,
    "dmsetup": run_dmsetup,
    "udevadm": run_udevadm,
    "lspci": run_lspci,
    "xenstore-ls": run_ls,
    "xenstore-read": run_read,
    "xenstore-list": run_list,
    "xenstore-rm": run_rm,
    "xenstore-write": run_write,
}


@dataclass(kw_only=True)
class Execution:
    """What came of a call; exit codes below zero are signals, as Python has it."""

    exit_code: int = 0
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    seconds: float = 0.0
    timed_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """How a call is made: its environment, who hears its streams, how long it may take.

    `umask` is that of the caller's children: the product starts its tools with 077.
    `real_child` says that this process is the tool: a kill is a real one then, a hang really
    hangs, and slowness takes real time too.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    on_stdout: Callable[[str], None] | None = None
    on_stderr: Callable[[str], None] | None = None
    deadline_seconds: float | None = None
    on_boundary: Callable[[str], None] | None = None
    real_child: bool = False
    umask: int = 0o077


def verb_of(argv: Sequence[str]) -> str:
    """The verb of a call: the first word that is no option, for tools that have verbs."""
    if argv[0].rpartition("/")[2] not in ("xl", "xm", "dmsetup", "udevadm"):
        return ""
    return next((word for word in argv[1:] if not word.startswith("-")), "")


def execute(
    store: Store,
    kept: dict[str, ExceptionStore],
    argv: Sequence[str],
    circumstances: Circumstances,
) -> Execution:
    """Run one tool. Whatever was committed before a kill stays; the clock has gone on.

    Raises: KeyError for a tool that the host does not have, and whatever `on_boundary` raises.
    """
    result = Execution()
    tool_name = argv[0].rpartition("/")[2]
    tool = TOOLS[tool_name]
    session = Session(
        store,
        kept,
        environment=dict(circumstances.environment),
        write_out=_tee(result.stdout, circumstances.on_stdout),
        write_err=_tee(result.stderr, circumstances.on_stderr),
        deadline_seconds=circumstances.deadline_seconds,
    )
    verb = verb_of(argv)
    session.argv = list(argv)
    session.real_child = circumstances.real_child
    session.file_mode = 0o644 & ~circumstances.umask
    session.open()
    began_ns = session.state.clock_ns
    try:
        fault = None
        if has_faults(store.directory):
            fault = take_fault(store.directory, argv, verb)
        prefix = f"{tool_name}-{verb}" if verb else tool_name
        session.set_boundaries(prefix, circumstances.on_boundary, _strike(session, fault, prefix))
        result.exit_code = _run_with_fault(session, tool, list(argv[1:]), fault, result)
        session.boundary("end")
    except ToolFailed as failed:
        session.err(failed.stderr)
        result.exit_code = failed.exit_code
        session.commit()
    except ToolKilled as killed:
        result.exit_code, result.timed_out = -killed.signal_number, killed.timed_out
        session.close(discard=True)
        if circumstances.real_child:
            _end_this_process(killed)
        session.open()
    except BaseException:
        if session.holds_lock:
            session.close(discard=True)
        raise
    result.seconds = (session.state.clock_ns - began_ns) / 1e9
    session.close()
    return result


def _run_with_fault(
    session: Session, tool: Tool, words: list[str], fault: Fault | None, result: Execution
) -> int:
    session.boundary("begin")
    if fault is None:
        return tool(session, words)
    if fault.kind is FaultKind.FAIL:
        session.err(fault.stderr)
        return fault.exit_code
    if fault.kind is FaultKind.LIE_OK:
        session.out(fault.stdout)
        return 0
    session.fault = fault
    if fault.kind is not FaultKind.GARBAGE:
        exit_code = tool(session, words)
        if fault.kind is FaultKind.LIE_FAILED:
            session.err(fault.stderr)
            return fault.exit_code
        return exit_code
    say, session.out = session.out, lambda text: None
    exit_code = tool(session, words)
    say(fault.stdout or GARBAGE_TEXT)
    return exit_code


def _strike(session: Session, fault: Fault | None, prefix: str) -> Callable[[str], None] | None:
    """What a fault does at the boundaries of its command, if anything."""
    if fault is None or fault.kind not in (
        FaultKind.KILL_BEFORE,
        FaultKind.KILL_MIDDLE,
        FaultKind.KILL_AFTER,
        FaultKind.HANG,
        FaultKind.SLOW,
    ):
        return None
    default = {FaultKind.KILL_MIDDLE: "", FaultKind.KILL_AFTER: "end"}.get(fault.kind, "begin")
    wanted = fault.boundary or default

    def at_boundary(name: str) -> None:
        stage = name.removeprefix(prefix + ":")
        if stage != wanted and not (wanted == "" and stage not in ("begin", "end")):
            return
        if fault.kind is FaultKind.SLOW:
            session.pass_real_time(lambda: stall(fault.seconds))
            session.spend(fault.seconds)
        elif fault.kind is FaultKind.HANG:
            session.spend_all()
        else:
            raise ToolKilled(signal.SIGKILL)

    return at_boundary


def _end_this_process(killed: ToolKilled) -> None:
    if killed.timed_out:
        while True:
            signal.pause()
    os.kill(os.getpid(), killed.signal_number)


def _tee(kept: list[str], listener: Callable[[str], None] | None) -> Callable[[str], None]:
    def write(text: str) -> None:
        if not text:
            return
        kept.append(text)
        if listener is not None:
            listener(text)

    return write
