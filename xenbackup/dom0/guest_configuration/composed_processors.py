"""Processors of a composed configuration: counts, pinning, weights, NUMA, CPUID and host ports."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xenbackup.dom0.guest_configuration import fields
from xenbackup.dom0.guest_configuration.recorded import RecordedObject
from xenbackup.dom0.guest_configuration.writing import Composition

_REGISTERS = ("eax", "ebx", "ecx", "edx")
_POLICY = re.compile(r"[01xks]{32}")
# Parameters of the SEDF scheduler, which is gone; -1, "not set", comes out as None.
_GONE_SCHEDULING = ("slice", "latency")


def write_processors(building: RecordedObject, composition: Composition) -> None:
    """Write everything about processors that `b_info` holds."""
    _write_counts(building, composition)
    _write_pinning(building, composition)
    _write_scheduling(building, composition)
    _write_cpuid(building, composition)
    _write_host_resources(building, composition)


def format_ranges(numbers: Iterable[int]) -> str:
    """xl's spelling of a set of processors: {0, 1, 2, 5} is `0-2,5`."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def _write_counts(building: RecordedObject, composition: Composition) -> None:
    maximum = building.take_number("max_vcpus")
    online = set(building.take_numbers("avail_vcpus"))
    if online:
        composition.set_number("vcpus", len(online))
        if online != set(range(len(online))):
            building.report(
                "avail_vcpus",
                f"xl.cfg brings up the first {len(online)} processors, not {format_ranges(online)}",
            )
    if maximum:
        composition.set_number("maxvcpus", maximum)


def _write_pinning(building: RecordedObject, composition: Composition) -> None:
    """A list for each processor, or one string for all; a list keeps xl from placing by NUMA."""
    places = building.take_switch("numa_placement")
    hard = [format_ranges(item) for item in building.take_number_lists("vcpu_hard_affinity")]
    soft = [format_ranges(item) for item in building.take_number_lists("vcpu_soft_affinity")]
    # cpumap is how Xen before 4.5 kept one pinning for all.
    common = format_ranges(building.take_numbers("cpumap"))
    stops_placement = _write_vnuma(building, composition, places)
    if not hard and common:
        composition.set_text("cpus", common, building.name("cpumap"))
    elif hard and places is not False and len(set(hard)) == 1:
        composition.set_text("cpus", hard[0], building.name("vcpu_hard_affinity"))
    elif hard:
        composition.set_texts("cpus", hard, building.name("vcpu_hard_affinity"))
        stops_placement = True
    if soft:
        composition.set_texts("cpus_soft", soft, building.name("vcpu_soft_affinity"))
        stops_placement = True
    if places is False and not stops_placement:
        building.report("numa_placement", "xl.cfg stops automatic placement only by pinning")
    if building.take_numbers("nodemap"):
        building.report("nodemap", "xl chooses the nodes anew, from the pinning")


def _write_vnuma(building: RecordedObject, composition: Composition, places: bool | None) -> bool:
    """Write virtual NUMA nodes; True when they name physical ones, which stops placement."""
    nodes: list[list[str]] = []
    for node in building.take_objects("vnuma_nodes"):
        physical = node.take_number("pnode")
        # libxl leaves out a 0, and only placement says whether node 0 was asked for.
        if physical is None and places is False:
            physical = 0
        kibibytes = node.take_number("memkb") or 0
        if kibibytes % 1024:
            node.report("memkb", f"{kibibytes} KiB is no whole number of MiB; rounded up")
        words = [f"size={-(-kibibytes // 1024)}"]
        if physical is not None:
            words.insert(0, f"pnode={physical}")
        if vcpus := format_ranges(node.take_numbers("vcpus")):
            words.append(f"vcpus={vcpus}")
        if distances := node.take_numbers("distances"):
            words.append(f"vdistances={','.join(str(distance) for distance in distances)}")
        nodes.append(words)
        node.report_rest()
    if nodes:
        composition.set_nested_texts("vnuma", nodes)
    return any(word.startswith("pnode=") for words in nodes for word in words)


def _write_scheduling(building: RecordedObject, composition: Composition) -> None:
    parameters = building.take_object("sched_params")
    # Which scheduler runs is the hypervisor's affair.
    parameters.drop("sched", "vcpuid")
    fields.write_fields(parameters, fields.SCHEDULING, composition)
    for key in _GONE_SCHEDULING:
        if parameters.take_number(key):
            parameters.report(key, "it has had no effect since the SEDF scheduler went")
    if parameters.take_number("budget"):
        parameters.report("budget", "xl.cfg has no key for it; set it with xl sched-rtds")
    parameters.report_rest()


def _write_cpuid(building: RecordedObject, composition: Composition) -> None:
    """Masks in the xend style, `1:eax=xxxx…`; since Xen 4.18 they stand beside MSR masks."""
    if building.holds_object("cpuid"):
        policy = building.take_object("cpuid")
        leaves = policy.take_objects("cpuid")
        policy.report_rest()
    else:
        leaves = building.take_objects("cpuid")
    texts: list[str] = []
    for leaf in leaves:
        number, subleaf = leaf.take_number("leaf"), leaf.take_number("subleaf")
        if number is None:
            leaf.report("leaf", "there is no leaf number")
            continue
        masks: list[str] = []
        for register in _REGISTERS:
            mask = leaf.take_text(register)
            if _POLICY.fullmatch(mask):
                masks.append(f"{register}={mask}")
            elif mask:
                leaf.report(register, f"{mask!r} is no mask of 32 letters")
        place = f"{number:#x}" if subleaf is None else f"{number:#x},{subleaf:#x}"
        if masks:
            texts.append(f"{place}:{','.join(masks)}")
        leaf.report_rest()
    composition.set_texts("cpuid", texts, building.name("cpuid"))


def _write_host_resources(building: RecordedObject, composition: Composition) -> None:
    """I/O ports, interrupts and memory of the host that the guest may touch."""
    ports: list[str] = []
    for item in building.take_objects("ioports"):
        first, count = item.take_number("first"), item.take_number("number")
        if first is None or not count:
            item.report("number", "the range of ports is empty")
        else:
            ports.append(f"{first:x}" if count == 1 else f"{first:x}-{first + count - 1:x}")
        item.report_rest()
    composition.set_texts("ioports", ports, building.name("ioports"))
    interrupts = [str(number) for number in building.take_numbers("irqs")]
    composition.set_texts("irqs", interrupts, building.name("irqs"))
    frames: list[str] = []
    for item in building.take_objects("iomem"):
        start, count = item.take_number("start"), item.take_number("number")
        guest_frame = item.take_number("gfn")
        if start is None or not count:
            item.report("number", "the range of frames is empty")
        else:
            mapped = "" if guest_frame is None else f"@{guest_frame:x}"
            frames.append(f"{start:x},{count:x}{mapped}")
        item.report_rest()
    composition.set_texts("iomem", frames, building.name("iomem"))
