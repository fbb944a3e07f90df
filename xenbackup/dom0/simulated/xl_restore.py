"""`xl restore`: a domain is made, filled from the file, given its devices, and set going."""

from __future__ import annotations

import json
from pathlib import Path

from xenbackup.dom0.image_head import read_head
from xenbackup.dom0.legacy_stream import StreamUnfit
from xenbackup.dom0.memory_image import MAGIC, inspect_memory_image, read_memory_payload
from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.dom0.simulated.guest_memory import decode_memory
from xenbackup.dom0.simulated.holders import wait_for_toolstack_lock
from xenbackup.dom0.simulated.options import parse_xl_options
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.xl_config import (
    compose_configuration,
    parse_configuration,
    vbds_of,
)
from xenbackup.dom0.simulated.xl_create import check_target, make_domain, read_configuration
from xenbackup.dom0.simulated.xl_list import free_memory_mib
from xenbackup.dom0.simulated.xl_power import no_such_domain_lines, start_monitor
from xenbackup.errors import SaveFailed

_NO_MEMORY = (
    "xc: error: Failed to populate physmap (16 = Device or resource busy): Internal error\n"
    "xc: error: Failed to populate pfns for batch of 1024 pages: Internal error\n"
)


class DeviceUnfit(ToolFailed):
    """A disk that the domain cannot have: its number, and what libxl says of it."""

    def __init__(self, number: int, stderr: str) -> None:
        super().__init__(1, stderr)
        self.number = number


def run_restore(session: Session, words: list[str]) -> int:
    options = parse_xl_options(
        "restore", words, "hFpdeVA", ["vncviewer", "vncviewer-autopass"], least=1, most=2
    )
    path = options.rest[-1]
    place = session.place(path)
    session.spend(0.05)
    try:
        with place.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ToolFailed(1, f"Can't open {path} for reading: {error.strerror}\n") from None
    if head != MAGIC:
        raise ToolFailed(1, "File has wrong magic number - corrupt or for a different tool?\n")
    image = inspect_memory_image(place)
    configuration = _read_saved(session, place, path)
    if len(options.rest) == 2:
        configuration = read_configuration(session, options.rest[0])
    else:
        session.err("Parsing config from <saved>\n")
    wait_for_toolstack_lock(session)
    domid = make_domain(session, configuration, exit_code=1, built=False)
    session.boundary("building")
    _fill_memory(session, domid, place, complete=image.complete)
    connect_devices(session, domid, configuration)
    session.err("xc: info: Restore successful\n")
    session.err("xc: info: XenStore: mfn 0x164adc, dom 0, evt 1\n")
    session.err("xc: info: Console: mfn 0x164adb, dom 0, evt 2\n")
    domain = session.domain(domid)
    start_monitor(session, domain, ["restore", *words])
    session.boundary("built")
    if not options.has("-p"):
        domain = session.domain(domid)
        domain.pauses = 0
        session.wake_guest(domain)
    return 0


def _read_saved(session: Session, place: Path, path: str) -> dict[str, object]:
    """The configuration in the file's head: JSON, or an xl.cfg up to Xen 4.4."""
    try:
        with place.open("rb") as file:
            head = read_head(file, place.stat().st_size)
    except StreamUnfit:
        raise ToolFailed(1, "libxl: error: yajl error: parse error\n") from None
    text = head.configuration_json or head.configuration_file
    flags = "0x3/0x0" if head.configuration_json else "0x0/0x0"
    length = len(text.encode()) + 5
    session.err(f"Loading new save file {path} (new xl fmt info {flags}/{length})\n")
    if head.configuration_file:
        settings = parse_configuration(head.configuration_file)
        return compose_configuration(settings, session.draw_uuid())
    session.err(" Savefile contains xl domain config in JSON format\n")
    configuration: dict[str, object] = json.loads(text)  # read_head has read it before
    return configuration


def _fill_memory(session: Session, domid: int, place: Path, *, complete: bool) -> None:
    domain = session.domain(domid)
    kind = "PV" if domain.kind == "pv" else "HVM"
    session.err(f"xc: info: Found x86 {kind} domain from Xen {session.state.xen_major}.")
    session.err(f"{session.state.xen_minor}\nxc: info: Restoring domain\n")
    session.spend(domain.memory_mib * (1 << 20) / session.state.memory_bytes_per_second)
    # The domain already stands in the list with all of its memory: less than none is too little.
    if free_memory_mib(session.state) < 0 or session.struck_by(FaultKind.ENOSPC):
        _fail(session, domid, _NO_MEMORY, "16 = Device or resource busy")
    if not complete:
        lines = (
            "xc: error: Failed to read Record Header from stream (0 = Success): Internal error\n"
        )
        _fail(session, domid, lines, "0 = Success")
    try:
        ram = decode_memory(read_memory_payload(place))
    except SaveFailed:
        ram = None
    domain = session.domain(domid)
    domain.verify_exactly = True
    domain.ram = ram
    if ram is None:
        complaint = "resume: the memory image does not hold what was saved"
        session.state.program_of(domain.name).corruptions.append(complaint)


def connect_devices(session: Session, domid: int, configuration: dict[str, object]) -> None:
    """Give the filled domain its disks, not yet connected. Raises: DeviceUnfit, the domain gone."""
    domain = session.domain(domid)
    domain.vbds = vbds_of(configuration)
    for vbd in domain.vbds:
        problem = check_target(session, domain, vbd.target, vbd.cdrom)
        if problem:
            session.state.domains.remove(domain)
            raise DeviceUnfit(vbd.number, problem)
    domain.built = True


def _fail(session: Session, domid: int, lines: str, reason: str) -> None:
    text = reason.partition(" = ")[2]
    session.state.domains.remove(session.domain(domid))
    session.err(
        f"{lines}xc: error: Restore failed ({reason}): Internal error\n"
        "libxl: error: libxl_stream_read.c:850:libxl__xc_domain_restore_done: "
        f"restoring domain: {text}\n"
        "libxl: error: libxl_create.c:1640:domcreate_rebuild_done: "
        f"Domain {domid}:cannot (re-)build domain: -3\n"
    )
    raise ToolFailed(1, no_such_domain_lines(domid))
