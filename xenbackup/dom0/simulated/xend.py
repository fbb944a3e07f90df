"""The daemon behind `xm`: it does the work, so an act goes on when the `xm` that asked is killed.

What it is at is kept in the state. A killed caller leaves it there, and the next `xm` finds it: a
save when its time is over (until then the domain bears another name), other acts at once, for xend
lets nobody in while it builds or destroys a domain.
"""

from __future__ import annotations

from xenbackup.dom0.memory_image import compose_xm_image, inspect_memory_image, read_memory_payload
from xenbackup.dom0.simulated import xm_texts
from xenbackup.dom0.simulated.guest_memory import decode_memory, encode_memory
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import NANOSECONDS, Domain, Ram, XendWork
from xenbackup.dom0.simulated.xl_list import free_memory_mib
from xenbackup.dom0.simulated.xl_power import disconnect, forget_domain
from xenbackup.dom0.simulated.xl_restore import DeviceUnfit, connect_devices
from xenbackup.dom0.simulated.xl_save import date_file, note_file
from xenbackup.dom0.simulated.xm_expressions import ExpressionUnreadable, read_expression
from xenbackup.errors import SaveFailed

SAVING_PREFIX = "migrating-"
_SAVE_MARGIN_SECONDS = 10.0


def begin_work(session: Session, work: XendWork) -> None:
    """From here on the act is xend's; `end_work` when it is done, or has failed."""
    if work.kind == "save":
        domain = session.domain(work.domid)
        seconds = _SAVE_MARGIN_SECONDS + seconds_to_move(session, domain)
        work.due_ns = session.state.clock_ns + round(seconds * NANOSECONDS)
    session.state.xend_works.append(work)


def end_work(session: Session, domid: int) -> None:
    works = session.state.xend_works
    session.state.xend_works = [work for work in works if work.domid != domid]


def finish_works(session: Session) -> None:
    """What callers who were killed had asked for, as far as its time has come."""
    for work in list(session.state.xend_works):
        if work.due_ns > session.state.clock_ns:
            continue
        end_work(session, work.domid)
        domain = session.state.find_domain(work.domid)
        if domain is None:
            continue
        if work.kind == "save":
            _finish_save(session, domain, work)
        elif work.kind == "destroy":
            forget_domain(session, domain.domid)
        else:
            _finish_building(session, domain, work)
    session.commit()


def shown_name(session: Session, domain: Domain) -> str:
    """The domain's name as xend has it now."""
    saving = any(w.kind == "save" and w.domid == domain.domid for w in session.state.xend_works)
    return f"{SAVING_PREFIX if saving else ''}{domain.name}"


def seconds_to_move(session: Session, domain: Domain) -> float:
    """How long the domain's memory takes to or from a file."""
    return domain.memory_mib * (1 << 20) / session.state.memory_bytes_per_second


def compose_image(session: Session, domain: Domain) -> bytes:
    """The file of `xm save`."""
    memory = encode_memory(
        domain.ram or Ram(key=domain.name), session.state.program_of(domain.name).ram_bytes
    )
    return compose_xm_image(
        xm_texts.long_form(domain, domain.name, session.state.clock_ns),
        memory,
        fully_virtual=domain.kind == "hvm",
        vcpus=domain.vcpus,
        extended=session.state.xen_version >= (4, 0),
    )


def wake_saved(session: Session, domid: int) -> None:
    """A save failed, or was one that continues: xend lets the domain go on."""
    domain = session.domain(domid)
    domain.shutdown = ""
    session.wake_guest(domain)


def _finish_save(session: Session, domain: Domain, work: XendWork) -> None:
    if domain.shutdown != "suspend":
        domain.control_shutdown = ""  # it never suspended: xend gives the save up
        domain.suspend_due_ns = 0
        return
    session.place(work.path).write_bytes(compose_image(session, domain))
    date_file(session, session.place(work.path))
    note_file(session, work.path)
    if work.keep:
        wake_saved(session, domain.domid)
        return
    disconnect(domain)
    forget_domain(session, domain.domid)


def _finish_building(session: Session, domain: Domain, work: XendWork) -> None:
    try:
        if work.kind == "restore":
            fill_domain(session, domain.domid, work.path)
        if not work.keep:
            let_go(session, domain.domid)
    except ToolFailed:
        return  # nobody is left to hear of it; the half-built domain has been removed


def fill_domain(session: Session, domid: int, path: str) -> None:
    """Memory out of the file, then devices. Raises: ToolFailed, the domain gone."""
    domain = session.domain(domid)
    place = session.place(path)
    short = free_memory_mib(session.state) < 0
    image = inspect_memory_image(place)
    try:
        ram = decode_memory(read_memory_payload(place)) if image.complete and not short else None
        configuration = read_expression(read_text(session, path))
    except (SaveFailed, ExpressionUnreadable):
        ram = None
    if ram is None:
        session.state.domains.remove(domain)
        end_work(session, domid)
        if short:
            text = "Error: I need more memory, but not enough free memory is left.\n"
            raise ToolFailed(1, text)
        raise ToolFailed(1, "Error: /usr/lib/xen/bin/xc_restore failed\n")
    domain.ram, domain.verify_exactly = ram, True
    try:
        connect_devices(session, domid, configuration)
    except DeviceUnfit as unfit:
        end_work(session, domid)
        text = f"Error: Device {unfit.number} (vbd) could not be connected.\n"
        raise ToolFailed(1, text) from None


def read_text(session: Session, path: str) -> str:
    """The S-expression in a file of `xm save`. Raises: ToolFailed in xend's words."""
    try:
        with session.place(path).open("rb") as file:
            signature, length = file.read(16), int.from_bytes(file.read(4), "big")
            if signature != b"LinuxGuestRecord":
                raise ToolFailed(1, "Error: not a valid guest state file: found another\n")
            content = file.read(length)
    except OSError:
        raise ToolFailed(1, f"Error: Cannot read file {path}\n") from None
    if len(content) != length:
        raise ToolFailed(1, "Error: not a valid guest state file: config read\n")
    return content.decode("utf-8", "surrogateescape")


def let_go(session: Session, domid: int) -> None:
    """The first unpause of a domain that was built."""
    domain = session.domain(domid)
    domain.pauses = 0
    session.wake_guest(domain)
