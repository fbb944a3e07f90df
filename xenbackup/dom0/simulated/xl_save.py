"""`xl save`, -p and -c: the guest suspends, its memory becomes a file, it dies or wakes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from xenbackup.dom0.guest_configuration import compose_configuration
from xenbackup.dom0.memory_image import compose_legacy_image, compose_memory_image
from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.dom0.simulated.guest_memory import encode_memory
from xenbackup.dom0.simulated.options import parse_xl_options
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import NANOSECONDS, Domain, Ram, SavedFile
from xenbackup.dom0.simulated.xl_list import current_configuration, print_json
from xenbackup.dom0.simulated.xl_power import disconnect, forget_domain

SAVE_PAUSED_SINCE = (4, 4)
PRESENT_STREAM_SINCE = (4, 6)
SUSPEND_WAIT_SECONDS = 60.0
_LATE_SUSPEND_NS = 2 * NANOSECONDS
_FRAMES_PER_MIB = 256
_FRAMES_PER_LINE = 2048
_NOT_ACKNOWLEDGED = (
    "libxl: error: libxl_dom_suspend.c:269:domain_suspend_common_pvcontrol_suspending: "
    "Domain {domid}:guest didn't acknowledge suspend, cancelling request\n"
)
_SAVE_DONE = "libxl: error: libxl_stream_write.c:347:libxl__xc_domain_save_done: Domain "


class SuspendRefused(Exception):
    """The guest did not suspend; what libxl says of it has been printed."""


def run_save(session: Session, words: list[str]) -> int:
    known = "hcp" if session.state.xen_version >= SAVE_PAUSED_SINCE else "hc"
    options = parse_xl_options("save", words, known, least=2, most=3)
    domid, domain = session.qualify(options.rest[0])
    path = options.rest[1]
    if domain is None:
        raise ToolFailed(1, "unable to retrieve domain configuration\n")
    configuration_json = print_json(current_configuration(domain)) + "\n"
    try:
        place = session.place(path)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, session.file_mode)
    except OSError:
        raise ToolFailed(1, f"Failed to open temp file {path} for writing\n") from None
    try:
        length = len(configuration_json.encode()) + 5
        session.err(f"Saving to {path} new xl format (info 0x3/0x0/{length})\n")
        kind = "PV" if domain.kind == "pv" else "HVM"
        session.err(f"xc: info: Saving domain {domid}, type x86 {kind}\n")
        return _save(session, domid, fd, configuration_json, path=path, options=options.given)
    finally:
        os.close(fd)


def _save(
    session: Session,
    domid: int,
    fd: int,
    configuration_json: str,
    *,
    path: str,
    options: tuple[tuple[str, str], ...],
) -> int:
    try:
        suspend_guest(session, domid)
    except SuspendRefused:
        session.err("Failed to save domain, resuming domain\n")
        return 1
    note_file(session, path)
    session.boundary("suspended")
    try:
        _write_image(session, domid, fd, configuration_json)
    except OSError as error:
        _say_write_failed(session, domid, error)
        domain = session.domain(domid)
        domain.shutdown = ""
        session.wake_guest(domain)
        return 1
    session.boundary("written")
    chosen = {name for name, _ in options}
    if not chosen:
        destroy_saved(session, domid)
        return 0
    domain = session.domain(domid)
    if "-p" in chosen:
        domain.pauses += 1
    if session.struck_by(FaultKind.NO_RESUME) is None:
        domain.shutdown = ""
        session.wake_guest(domain)
    session.spend(0.05)
    return 0


def suspend_guest(session: Session, domid: int) -> None:
    """Ask the guest to suspend and wait for it. Raises: SuspendRefused."""
    domain = session.domain(domid)
    if domain.shutdown == "suspend":
        # Left behind by a killed save: nobody answers the request, but the domain is suspended.
        session.spend(SUSPEND_WAIT_SECONDS)
        session.err(_NOT_ACKNOWLEDGED.format(domid=domid))
        return
    behaviour = session.state.program_of(domain.name).suspend
    domain.control_shutdown = "suspend"
    obeys = domain.executing and behaviour == "obeys"
    if obeys:
        domain.suspend_due_ns = session.state.clock_ns + _LATE_SUSPEND_NS
    session.boundary("requested")
    domain = session.domain(domid)
    if obeys:
        domain.suspend_due_ns = session.state.clock_ns + NANOSECONDS // 20
        session.spend(0.05)
        if session.domain(domid).shutdown == "suspend":
            return
    elif behaviour == "acknowledges":
        domain.control_shutdown = ""
        session.spend(SUSPEND_WAIT_SECONDS)
        session.err(
            "libxl: error: libxl_dom_suspend.c:414:suspend_common_wait_guest_timeout: "
            f"Domain {domid}:guest did not suspend, timed out\n"
        )
    else:
        session.spend(SUSPEND_WAIT_SECONDS)
        session.err(_NOT_ACKNOWLEDGED.format(domid=domid))
        if behaviour in ("ignores", "cannot"):
            session.spend(SUSPEND_WAIT_SECONDS)
        session.domain(domid).control_shutdown = ""
    session.err(
        f"{_SAVE_DONE}{domid}:saving domain: domain did not respond to suspend request: "
        "Invalid argument\n"
    )
    raise SuspendRefused


def _write_image(session: Session, domid: int, fd: int, configuration_json: str) -> None:
    domain = session.domain(domid)
    program = session.state.program_of(domain.name)
    ram = domain.ram or Ram(key=domain.name)
    image = _compose_image(
        session, domain, configuration_json, encode_memory(ram, program.ram_bytes)
    )
    full = session.struck_by(FaultKind.ENOSPC)
    frames = domain.memory_mib * _FRAMES_PER_MIB
    lines = max(frames // _FRAMES_PER_LINE, 1)
    seconds = domain.memory_mib * (1 << 20) / session.state.memory_bytes_per_second
    written = 0
    for line in range(1, lines + 1):
        end = len(image) * line // lines
        if full is not None and end > full.size_bytes:
            os.write(fd, image[written : max(full.size_bytes, written)])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(fd, image[written:end])
        written = end
        done = frames * line // lines
        share = 100 * done // frames
        session.err(f"xc: progress: Frames: {done}/{frames} {share:>4}%\n")
        session.spend(seconds / lines)
        if line < lines:
            session.boundary("writing")
    date_file(session, fd)
    session.err("xc: progress: End of stream: 0/0    0%\n")


def date_file(session: Session, file: int | Path) -> None:
    """Files of this host are of its own time, not of the machine's."""
    now = session.state.clock_ns + session.state.wall_offset_ns
    os.utime(file, ns=(now, now))


def _compose_image(
    session: Session, domain: Domain, configuration_json: str, memory: bytes
) -> bytes:
    if session.state.xen_version >= PRESENT_STREAM_SINCE:
        return compose_memory_image(configuration_json, memory)
    return compose_legacy_image(
        compose_configuration(configuration_json).text,
        memory,
        fully_virtual=domain.kind != "pv",
        vcpus=domain.vcpus,
    )


def write_all(fd: int, content: bytes) -> None:
    """Every byte, however the kernel cuts them. Raises: OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _say_write_failed(session: Session, domid: int, error: OSError) -> None:
    number, text = error.errno or errno.EIO, os.strerror(error.errno or errno.EIO)
    session.err(
        f"xc: error: Failed to write page data to stream ({number} = {text}): Internal error\n"
        f"xc: error: Save failed ({number} = {text}): Internal error\n"
        f"{_SAVE_DONE}{domid}:saving domain: domain responded to suspend request: {text}\n"
        "Failed to save domain, resuming domain\n"
    )


def destroy_saved(session: Session, domid: int) -> None:
    """Devices first, then the domain: a kill in between leaves it suspended without them."""
    domain = session.domain(domid)
    domain.pauses += 1
    disconnect(domain)
    session.boundary("destroying")
    session.domain(domid).dying = True
    session.spend(0.2)
    forget_domain(session, domid)


def note_file(session: Session, path: str) -> None:
    """Remember a saved file that nobody has synced yet."""
    place = session.place(path)
    if place.is_relative_to(session.store.directory):
        name = str(place.relative_to(session.store.directory))
        files = [kept for kept in session.state.saved_files if kept.path != name]
        session.state.saved_files = [*files, SavedFile(path=name)]
