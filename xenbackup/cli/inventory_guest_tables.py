"""What `inventory` tells a person of memory, processors and drivers, and its summary of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xenbackup.cli.inventory_tables import (
    UNKNOWN,
    concerns_guests,
    describe_conflict,
    list_filling_pools,
    paragraph,
    warn,
)
from xenbackup.cli.page import Page
from xenbackup.cli.text import Cell, Colour, Styled, format_size
from xenbackup.model.devices import GuestDrivers, KernelModule, NetworkBoard
from xenbackup.model.domain import Domain, VcpuPinning
from xenbackup.model.inventory import Inventory
from xenbackup.model.resources import DomainResources, Resources
from xenbackup.planning.inventory_view import (
    find_guests_needing,
    find_snapshot,
    judge_disk,
    reckon_group_rooms,
)
from xenbackup.planning.memory import find_dom0_memory_faults, predict_restore_memory
from xenbackup.planning.pci_conflicts import find_pci_conflicts
from xenbackup.planning.sharing import find_shared

MIB = 1 << 20
_ANY = "all"
_STATE_COLOURS = {"missing": Colour.YELLOW}


def show_mib(mib: int) -> str:
    return format_size(mib * MIB)


# Memory and processors


def report_resources(inventory: Inventory, page: Page) -> str:
    """The host's memory and processors, and each guest's share."""
    resources = inventory.resources
    parts = [page.fields(_describe_host(resources))]
    parts += [warn(page, fault.message) for fault in find_dom0_memory_faults(resources.dom0)]
    parts += [warn(page, problem) for problem in resources.problems]
    if resources.domains:
        parts += ["", _tabulate_memory(resources, page)]
        parts.append(
            page.note(
                "FREE AGAIN: whether its memory would be there for a restore, after a save that "
                "destroys it; meanwhile others may grow, or start."
            )
        )
        parts += ["", _tabulate_processors(resources, page)]
    return "\n".join(parts)


def _describe_host(resources: Resources) -> list[tuple[str, Cell]]:
    dom0 = resources.dom0
    faults = find_dom0_memory_faults(dom0)
    rule = f"dom0_mem={dom0.on_xen_line}" if dom0.on_xen_line else "no dom0_mem="
    verdict = Styled("not as it should be", Colour.YELLOW) if faults else "good"
    now = show_mib(dom0.current_mib) if dom0.current_mib else "not known"
    return [
        ("memory", f"{show_mib(resources.total_mib)}, {show_mib(resources.free_mib)} free"),
        ("dom0's own memory", now),
        ("rule for dom0", f"{rule} on Xen's line"),
        ("verdict on the rule", verdict),
        ("processors", str(resources.cpus)),
        ("scheduler", resources.scheduler or "not known"),
        ("NUMA nodes", str(resources.numa_nodes) if resources.numa_nodes else "not known"),
        ("CPU pools", ", ".join(resources.pools) or "not known"),
    ]


def _tabulate_memory(resources: Resources, page: Page) -> str:
    rows: list[Sequence[Cell]] = [
        (
            guest.domain,
            str(guest.domid) if guest.domid >= 0 else "off",
            show_mib(guest.memory_mib),
            show_mib(guest.maximum_mib),
            UNKNOWN if guest.target_mib is None else show_mib(guest.target_mib),
            judge_memory(guest, resources),
        )
        for guest in resources.domains
    ]
    headers = ("GUEST", "ID", "MEMORY", "MAXIMUM", "TARGET", "FREE AGAIN")
    return page.table(headers, rows, "lrrrrl")


def judge_memory(guest: DomainResources, resources: Resources) -> Cell:
    """Whether a guest's memory will be free at a restore, in a few words."""
    found = predict_restore_memory(guest, resources)
    short_mib = found.needed_mib - found.free_after_save_mib
    if not found.fits:
        return Styled(f"no: {show_mib(short_mib)} short", Colour.YELLOW)
    if found.fits_whatever_starts:
        return "yes"
    return f"yes, unless others take over {show_mib(-short_mib)}"


def _tabulate_processors(resources: Resources, page: Page) -> str:
    rows = [
        (
            guest.domain,
            str(guest.vcpus),
            UNKNOWN if guest.tuning.weight is None else str(guest.tuning.weight),
            UNKNOWN if guest.tuning.cap is None else f"{guest.tuning.cap or 'none'}",
            guest.pool or UNKNOWN,
            show_affinity(guest.tuning.pinning),
        )
        for guest in resources.domains
    ]
    headers = ("GUEST", "VCPUS", "WEIGHT", "CAP", "POOL", "AFFINITY")
    return page.table(headers, rows, "lrrrll")


def show_affinity(pinning: Sequence[VcpuPinning]) -> str:
    """Hard affinity, and the soft one where it says more; vCPU by vCPU where they differ."""
    shown = [_show_pinning(entry) for entry in pinning]
    if not shown:
        return UNKNOWN
    if len(set(shown)) == 1:
        return shown[0]
    return "; ".join(
        f"vCPU {entry.vcpu}: {text}" for entry, text in zip(pinning, shown, strict=True)
    )


def _show_pinning(entry: VcpuPinning) -> str:
    # A soft affinity of "all" is none.
    soft = f" (soft {entry.soft})" if entry.soft not in ("", _ANY, entry.hard) else ""
    return f"{entry.hard}{soft}"


# Drivers


def report_drivers(inventory: Inventory, page: Page) -> str:
    """What each guest is made of and what can be done with it; the modules of dom0."""
    drivers = inventory.drivers
    parts = []
    if drivers.guests:
        parts.append(_tabulate_guests(drivers.guests, page))
        parts.append(
            page.note(
                "SAVE: its memory can be saved; LIVE: streamed while it runs; MEM-SET: changed. "
                "The video adapter has no effect on a backup."
            )
        )
        remarks = list(_tell_guests(drivers.guests, page))
        parts += ["", *remarks] if remarks else []
    if drivers.modules:
        rows: list[Sequence[Cell]] = [
            (module.name, _show_state(module), module.purpose) for module in drivers.modules
        ]
        parts += ["", page.table(("MODULE OF DOM0", "STATE", "PURPOSE"), rows)]
        parts += [warn(page, text) for text in list_missing_modules(inventory)]
    return "\n".join(parts) or "No guest and no module of this host is known."


def _tabulate_guests(guests: Sequence[GuestDrivers], page: Page) -> str:
    rows: list[Sequence[Cell]] = [
        (
            guest.domain,
            guest.kind,
            guest.disk_style or UNKNOWN,
            _show_ability(guest.can_save),
            _show_ability(guest.can_stream),
            _show_ability(guest.can_balloon),
            guest.video or UNKNOWN,
            show_boards(guest.boards),
        )
        for guest in guests
    ]
    headers = ("GUEST", "KIND", "DISKS", "SAVE", "LIVE", "MEM-SET", "VIDEO", "NETWORK BOARDS")
    return page.table(headers, rows)


def show_boards(boards: Sequence[NetworkBoard]) -> str:
    """How many network boards of which model: `2: e1000, paravirtual`."""
    if not boards:
        return UNKNOWN
    models = dict.fromkeys(board.model or board.kind or "paravirtual" for board in boards)
    return f"{len(boards)}: {', '.join(models)}"


def _show_ability(able: bool) -> Cell:
    return "yes" if able else Styled("no", Colour.YELLOW)


def _tell_guests(guests: Sequence[GuestDrivers], page: Page) -> Iterator[str]:
    """Reasons and notes, each once with all of its guests; then the rules that are broken."""
    told: dict[str, list[str]] = {}
    for guest in guests:
        for text in (*guest.reasons, *guest.notes):
            told.setdefault(text, []).append(guest.domain)
    for text, names in told.items():
        yield paragraph(page, ", ".join(names), text)
    for guest in guests:
        for finding in guest.findings:
            yield warn(page, f"{guest.domain}: {finding.rstrip('.')}.")


def _show_state(module: KernelModule) -> Cell:
    colour = _STATE_COLOURS.get(module.state)
    return Styled(module.state, colour) if colour else module.state


def list_missing_modules(inventory: Inventory) -> list[str]:
    """Modules that dom0 lacks, with the guests that cannot do without; those alone matter."""
    found = []
    for module in inventory.drivers.modules:
        guests = find_guests_needing(module, inventory) if not module.usable else ()
        if guests:
            found.append(
                f"{module.name} is missing, which {', '.join(guests)} need: {module.purpose}."
            )
    return found


# The summary


def report_summary(inventory: Inventory, toolstack: str, page: Page) -> str:
    """The host, a line for each guest, and what is wrong; the parts tell the rest."""
    facts = inventory.facts
    resources = inventory.resources
    free_mib, total_mib = resources.free_mib, resources.total_mib
    fields: list[tuple[str, Cell]] = [
        ("host", f"{facts.hostname}, Xen {facts.xen_version} ({toolstack})"),
        ("memory", f"{show_mib(total_mib)}, {show_mib(free_mib)} free"),
        ("processors", f"{resources.cpus}, scheduler {resources.scheduler or 'not known'}"),
    ]
    fields += [
        (
            f"group {room.group.name}",
            f"{format_size(room.group.size_bytes)}, {format_size(room.group.free_bytes)} free; "
            f"snapshots of all guests take {format_size(room.snapshot_bytes)}",
        )
        for room in reckon_group_rooms(inventory)
    ]
    fields.append(("PCI", _sum_up_pci(inventory)))
    parts = [page.fields(fields), ""]
    if inventory.domains:
        headers = ("GUEST", "ID", "KIND", "MEMORY", "VCPUS", "SAVE", "DISKS", "SIZE", "SNAPSHOTS")
        rows = [_sum_up_guest(domain, inventory) for domain in inventory.domains]
        parts.append(page.table(headers, rows, "lrlrrlrrl"))
    else:
        parts.append("There is no guest on this host.")
    remarks = list(_list_remarks(inventory))
    parts += ["", *(warn(page, text) for text in remarks)] if remarks else []
    parts += [
        "",
        page.note("`xenbackup inventory disks`, `pci`, `resources` or `drivers` tells more."),
    ]
    return "\n".join(parts)


def _sum_up_pci(inventory: Inventory) -> str:
    devices = inventory.pci.devices
    ours = sum(concerns_guests(device, inventory.pci) for device in devices)
    return f"{len(devices)} devices, {ours} of them for guests" if devices else "no device is known"


def _sum_up_guest(domain: Domain, inventory: Inventory) -> Sequence[Cell]:
    backings = [found for found in inventory.backings if found.domain == domain.name]
    copied = [found for found in backings if not judge_disk(found, inventory).left_out]
    kinds = dict.fromkeys(find_snapshot(found).value for found in copied)
    drivers = inventory.drivers.find(domain.name)
    return (
        domain.name,
        str(domain.domid) if domain.exists else "off",
        domain.kind.value,
        show_mib(domain.memory_mib),
        str(domain.vcpus),
        UNKNOWN if drivers is None else _show_ability(drivers.can_save),
        str(len(copied)),
        format_size(sum(found.size_bytes for found in copied)),
        ", ".join(kinds) or UNKNOWN,
    )


def _list_remarks(inventory: Inventory) -> Iterator[str]:
    """What a person should know before anything else, a sentence each."""
    for fault in find_dom0_memory_faults(inventory.resources.dom0):
        yield fault.message
    for backing in inventory.backings:
        verdict = judge_disk(backing, inventory)
        if not verdict.presets and not verdict.left_out:
            yield f"{backing.domain} {backing.vdev} ({backing.target}): {verdict.reason}."
    for group in find_shared(inventory.backings):
        writers = dict.fromkeys(found.domain for found in group if found.writable)
        if len(writers) > 1:
            yield f"{', '.join(writers)} can all write the storage {group[0].target}."
    for pool in list_filling_pools(inventory):
        yield f"Thin pool {pool.group}/{pool.name} is filling up."
    running = {domain.name for domain in inventory.domains if domain.exists}
    for conflict in find_pci_conflicts(inventory.pci, running):
        yield describe_conflict(conflict)
    yield from list_missing_modules(inventory)
    yield from (text for text in (inventory.pci.problem, *inventory.resources.problems) if text)
    yield from list_broken_files(inventory)


def list_broken_files(inventory: Inventory) -> Iterator[str]:
    """Guests' files that could not be read: their guests are unknown while they are shut off."""
    for file in inventory.broken_configurations:
        yield (
            f"{file.path}: {file.problem.rstrip('.')}; while it is shut off, its guest is unknown."
        )
