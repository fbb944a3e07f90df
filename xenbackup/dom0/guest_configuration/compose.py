"""A configuration file for `xl create`, from the configuration that libxl kept of a guest.

`xl create` takes no JSON, so booting a guest afresh from a recovery point needs its JSON said in
the words of xl.cfg(5). Whatever has no words is reported, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from xenbackup.dom0.guest_configuration import fields
from xenbackup.dom0.guest_configuration.composed_devices import write_devices
from xenbackup.dom0.guest_configuration.composed_disks import write_disks
from xenbackup.dom0.guest_configuration.composed_processors import write_processors
from xenbackup.dom0.guest_configuration.recorded import RecordedObject, read_recorded_object
from xenbackup.dom0.guest_configuration.values import ComposedConfiguration
from xenbackup.dom0.guest_configuration.writing import Composition, explain_unquotable
from xenbackup.errors import ConfigurationError, UnexpectedOutput
from xenbackup.model.domain import GuestKind
from xenbackup.model.names import check_domain_name

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Set by xl.conf, by libxl itself or by the hypervisor, each time anew.
_GIVEN_BY_HOST = ("claim_mode", "blkdev_start", "iommu_memkb")
_ENLIGHTENMENTS = (
    "base",
    "freq",
    "time_ref_count",
    "reference_tsc",
    "hcall_remote_tlb_flush",
    "apic_assist",
    "crash_ctl",
    "synic",
    "stimer",
    "hcall_ipi",
    "ex_processor_masks",
    "no_vp_limit",
    "cpu_hotplug",
)


def compose_configuration(
    configuration_json: str,
    *,
    name: str | None = None,
    uuid: str | None = None,
    disks: Mapping[str, str] | None = None,
) -> ComposedConfiguration:
    """Write the xl.cfg of a guest from the `config` object that `xl list -l` printed of it.

    `name` and `uuid` replace the recorded ones (an empty uuid lets xl draw one), `disks` maps a
    disk's vdev to its new target.

    Raises: UnexpectedOutput when the text is not such an object; ConfigurationError when the
    guest's name, uuid or a disk cannot be said; UsageError for a new name no command may carry.
    """
    composition = Composition()
    config = read_recorded_object(configuration_json, composition)
    creation, building = config.take_object("c_info"), config.take_object("b_info")
    kind = _take_kind(creation, building)
    composition.comment("Written by xenbackup from a recorded configuration, for `xl create`.")
    _write_identity(creation, composition, name, uuid)
    composition.set_text("type", kind.value, "c_info.type")
    if kind is GuestKind.HVM:
        # For Xen before 4.10, which does not know `type`; newer ones take both when they agree.
        composition.set_text("builder", "hvm", "c_info.type")
    _write_labels(creation, building, composition)
    fields.write_fields(creation, fields.CREATION, composition)
    _write_memory(building, composition)
    write_processors(building, composition)
    _write_building(building, kind, composition)
    write_disks(config, composition, disks or {})
    write_devices(config, composition)
    _write_actions(config, composition)
    # The hypervisor gives the number, xl.conf decides about hotplug scripts; the pool has a name.
    creation.drop("domid", "run_hotplug_scripts", "poolid")
    for part in (creation, building, config):
        part.report_rest()
    return ComposedConfiguration(text=composition.text, unwritten=tuple(composition.unwritten))


def _take_kind(creation: RecordedObject, building: RecordedObject) -> GuestKind:
    word = creation.take_text("type")
    if word not in (GuestKind.PV, GuestKind.HVM, GuestKind.PVH):
        raise UnexpectedOutput(
            f"The recorded guest's c_info.type is {word!r}; expected pv, hvm or pvh.",
            hint="was the `config` object of `xl list -l` given, and no more and no less?",
        )
    building.drop("type")
    return GuestKind(word)


def _write_identity(
    creation: RecordedObject, composition: Composition, name: str | None, uuid: str | None
) -> None:
    recorded_name, recorded_uuid = creation.take_text("name"), creation.take_text("uuid")
    chosen = recorded_name if name is None else check_domain_name(name)
    if not chosen:
        raise UnexpectedOutput("The recorded guest has no name.")
    if reason := explain_unquotable(chosen):
        raise ConfigurationError(
            (f"The name {chosen!r} cannot be written in an xl.cfg: {reason}.",),
            hint="give the guest another name",
        )
    composition.set_text("name", chosen, "c_info.name")
    identity = recorded_uuid if uuid is None else uuid
    if not identity:
        return
    if _UUID.fullmatch(identity) is None:
        raise ConfigurationError((f"{identity!r} is no UUID.",))
    composition.set_text("uuid", identity.lower(), "c_info.uuid")


def _write_labels(
    creation: RecordedObject, building: RecordedObject, composition: Composition
) -> None:
    """xl reads `seclabel` as the creation's label, unless `init_seclabel` has taken that place."""
    created, executed = creation.take_text("ssid_label"), building.take_text("exec_ssid_label")
    if created and executed:
        composition.set_text("init_seclabel", created, "c_info.ssid_label")
    if executed and not created:
        building.report("exec_ssid_label", "xl.cfg has no label for running without one for init")
    elif created:
        composition.set_text("seclabel", executed or created, "c_info.ssid_label")
    for part, key in (
        (creation, "ssidref"),
        (building, "exec_ssidref"),
        (building, "device_model_ssidref"),
    ):
        if part.take_number(key):
            part.report(key, "a label's number belongs to one policy of one host")


def _write_memory(building: RecordedObject, composition: Composition) -> None:
    shadow_kib = building.take_number("shadow_memkb")
    # xl.cfg speaks in MiB, so any other amount is libxl's own reckoning from memory and
    # processors; it reckons again.
    if shadow_kib and shadow_kib % 1024 == 0:
        composition.set_number("shadow_memory", shadow_kib // 1024)
    fields.write_mebibytes(building, "target_memkb", "memory", composition)
    fields.write_mebibytes(building, "max_memkb", "maxmem", composition)


def _write_building(building: RecordedObject, kind: GuestKind, composition: Composition) -> None:
    for name, moved in fields.MOVED_TO_BUILDING.items():
        part = building.take_object(name)
        part.move(moved, building)
        if name == f"type.{kind.value}":
            _write_kind(part, kind, composition)
        part.report_rest()
    if kind is GuestKind.PV:
        if building.take_text("timer_mode") not in ("", "unknown"):
            building.report("timer_mode", "xl refuses it for a paravirtual guest")
    else:
        fields.write_fields(building, fields.TIMER, composition)
    fields.write_fields(building, fields.BUILDING, composition)
    building.drop(*_GIVEN_BY_HOST)
    for name, table in (("arch_arm", fields.ARM), ("arch_x86", fields.X86)):
        part = building.take_object(name)
        fields.write_fields(part, table, composition)
        part.report_rest()


def _write_kind(part: RecordedObject, kind: GuestKind, composition: Composition) -> None:
    if kind is GuestKind.PVH:
        fields.write_fields(part, fields.PVH, composition)
    elif kind is GuestKind.PV:
        fields.write_fields(part, fields.PV, composition)
        # 0 is libxl's own choice for it.
        if part.take_number("slack_memkb"):
            part.report("slack_memkb", "no key of xl.cfg(5) says this")
    else:
        _write_hvm(part, composition)


def _write_hvm(part: RecordedObject, composition: Composition) -> None:
    for name, table in (
        ("vga", fields.VGA),
        ("vnc", fields.VNC),
        ("sdl", fields.SDL),
        ("spice", fields.SPICE),
    ):
        inner = part.take_object(name)
        fields.write_fields(inner, table, composition)
        inner.report_rest()
    fields.write_fields(part, fields.HVM, composition)
    _write_viridian(part, composition)
    _write_graphics_passthrough(part, composition)
    _write_reserved_memory(part, composition)
    composition.set_texts(
        "smbios",
        tuple(
            f"{entry.take_text('key')}={entry.take_text('value')}"
            for entry in part.take_objects("smbios")
        ),
        part.name("smbios"),
    )
    capabilities = part.take_bits("mca_caps")
    if capabilities & 1:
        composition.set_texts("mca_caps", ("lmce",), part.name("mca_caps"))
    if capabilities & ~1:
        part.report("mca_caps", f"xl.cfg has no words for {capabilities:#x}")
    if any(part.take_numbers("ms_vm_genid")):
        composition.set_text("ms_vm_genid", "generate", part.name("ms_vm_genid"))
        part.report("ms_vm_genid", "xl.cfg cannot keep it; a new one was asked for")
    if part.take_switch("pirq"):
        part.report("pirq", "no key of xl.cfg(5) is known here that says this")


def _write_viridian(part: RecordedObject, composition: Composition) -> None:
    switch = part.take_switch("viridian")
    enabled = _name_enlightenments(part, "viridian_enable")
    disabled = _name_enlightenments(part, "viridian_disable")
    if enabled or disabled:
        words = [*(("defaults",) if switch else ()), *enabled, *(f"!{word}" for word in disabled)]
        composition.set_texts("viridian", words, part.name("viridian_enable"))
    elif switch is not None:
        composition.set_number("viridian", int(switch))


def _name_enlightenments(part: RecordedObject, key: str) -> Sequence[str]:
    words: list[str] = []
    for number in part.take_numbers(key):
        if 0 <= number < len(_ENLIGHTENMENTS):
            words.append(_ENLIGHTENMENTS[number])
        else:
            part.report(key, f"enlightenment {number} has no name here")
    return words


def _write_graphics_passthrough(part: RecordedObject, composition: Composition) -> None:
    switch, kind = part.take_switch("gfx_passthru"), part.take_text("gfx_passthru_kind")
    if switch and kind not in ("", "default"):
        composition.set_text("gfx_passthru", kind, part.name("gfx_passthru_kind"))
    elif switch is not None:
        composition.set_number("gfx_passthru", int(switch))


def _write_reserved_memory(part: RecordedObject, composition: Composition) -> None:
    """`rdm`; a strategy of `ignore` and a relaxed policy are what libxl does anyway."""
    rdm = part.take_object("rdm")
    strategy, policy = rdm.take_text("strategy"), rdm.take_text("policy")
    words = ["strategy=host"] if strategy == "host" else []
    if policy == "strict" or (words and policy == "relaxed"):
        words.append(f"policy={policy}")
    if words:
        composition.set_text("rdm", ",".join(words), rdm.path)


def _write_actions(config: RecordedObject, composition: Composition) -> None:
    """All five, for libxl leaves out "destroy" where xl's own default is another."""
    for key in ("on_poweroff", "on_reboot", "on_watchdog", "on_crash", "on_soft_reset"):
        word = config.take_text(key) or "destroy"
        if word in fields.ACTIONS:
            composition.set_text(key, fields.ACTIONS[word], key)
        else:
            config.report(key, f"xl has no action {word!r}")
