"""`xm save` and `xm restore`: another file, no `-p` to save, no progress on the terminal."""

from __future__ import annotations

import os

from xenbackup.dom0.simulated import xend
from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import XendWork
from xenbackup.dom0.simulated.xl_create import make_domain
from xenbackup.dom0.simulated.xl_save import (
    SuspendRefused,
    date_file,
    destroy_saved,
    note_file,
    suspend_guest,
    write_all,
)
from xenbackup.dom0.simulated.xm_expressions import ExpressionUnreadable, read_expression


def save_domain(session: Session, domid: int, path: str, *, keep: bool) -> int:
    """Save, then destroy; with `keep` (`-c`) let it run on."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(session.place(path), flags, session.file_mode)
    except OSError:
        raise ToolFailed(1, f"Error: Unable to create file: {path}\n") from None
    xend.begin_work(session, XendWork(kind="save", domid=domid, path=path, keep=keep))
    try:
        _suspend(session, domid)
        note_file(session, path)
        session.boundary("suspended")
        _write_file(session, domid, fd)
    finally:
        os.close(fd)
    session.boundary("written")
    if keep:
        xend.wake_saved(session, domid)
    else:
        destroy_saved(session, domid)
    xend.end_work(session, domid)
    return 0


def _suspend(session: Session, domid: int) -> None:
    say, session.err = session.err, lambda text: None
    try:
        suspend_guest(session, domid)
    except SuspendRefused:
        xend.end_work(session, domid)
        raise ToolFailed(1, "Error: Domain did not suspend\n") from None
    finally:
        session.err = say


def _write_file(session: Session, domid: int, fd: int) -> None:
    domain = session.domain(domid)
    image = xend.compose_image(session, domain)
    full = session.struck_by(FaultKind.ENOSPC)
    try:
        if full is not None:
            write_all(fd, image[: full.size_bytes])
            raise OSError
        half = len(image) // 2
        write_all(fd, image[:half])
        session.spend(xend.seconds_to_move(session, domain))
        session.boundary("writing")
        write_all(fd, image[half:])
        date_file(session, fd)
    except OSError:
        xend.wake_saved(session, domid)
        xend.end_work(session, domid)
        raise ToolFailed(1, "Error: /usr/lib/xen/bin/xc_save failed\n") from None


def restore_domain(session: Session, path: str, *, paused: bool) -> int:
    """Rebuild the domain in a file of `xm save`."""
    try:
        configuration = read_expression(xend.read_text(session, path))
    except ExpressionUnreadable as error:
        raise ToolFailed(1, f"Error: not a valid guest state file: {error}\n") from None
    domid = make_domain(session, configuration, exit_code=1, built=False)
    xend.begin_work(session, XendWork(kind="restore", domid=domid, path=path, keep=paused))
    session.boundary("building")
    session.spend(xend.seconds_to_move(session, session.domain(domid)))
    xend.fill_domain(session, domid, path)
    session.boundary("built")
    if not paused:
        xend.let_go(session, domid)
    xend.end_work(session, domid)
    return 0
