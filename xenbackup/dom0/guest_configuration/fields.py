"""Which key of xl.cfg(5) says what a field of libxl's JSON says: tables, and the one that writes.

Left: names of libxl_types.idl. Right: keys that xl's parse_config_data reads into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xenbackup.dom0.guest_configuration.recorded import RecordedObject
from xenbackup.dom0.guest_configuration.writing import Composition


class Shape(StrEnum):
    """How a field's value becomes a key's value."""

    TEXT = "text"
    TEXTS = "texts"
    SWITCH = "switch"
    NUMBER = "number"
    MEBIBYTES = "mebibytes"
    WORD = "word"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field and its key.

    `silent` holds values that say only what libxl does anyway and need no line; `words` renames
    the words of an enumeration where xl spells them otherwise.
    """

    source: str
    key: str
    shape: Shape
    silent: tuple[object, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def _fields(shape: Shape, *pairs: str, silent: tuple[object, ...] = ()) -> tuple[Field, ...]:
    """Fields of one shape from `source` or `source>key`."""
    found = []
    for pair in pairs:
        source, _, key = pair.partition(">")
        found.append(Field(source=source, key=key or source, shape=shape, silent=silent))
    return tuple(found)


ACTIONS = {
    "destroy": "destroy",
    "restart": "restart",
    "restart_rename": "rename-restart",
    "preserve": "preserve",
    "coredump_destroy": "coredump-destroy",
    "coredump_restart": "coredump-restart",
    "soft_reset": "soft-reset",
}

CREATION = (
    *_fields(Shape.SWITCH, "hap", "oos", "driver_domain", "xend_suspend_evtchn_compat"),
    *_fields(Shape.TEXT, "pool_name>pool"),
    *_fields(Shape.WORD, "passthrough", silent=("default",)),
)
SCHEDULING = _fields(Shape.NUMBER, "weight>cpu_weight", "cap", "period", "extratime")
BUILDING = (
    # By itself `extra` is the whole command line to every xl; `cmdline` came with Xen 4.5.
    *_fields(Shape.TEXT, "kernel", "ramdisk", "cmdline>extra", "device_tree", "bootloader"),
    *_fields(Shape.TEXT, "bootloader_user", "device_model>device_model_override"),
    *_fields(Shape.TEXT, "device_model_user", "stubdomain_kernel", "stubdomain_ramdisk"),
    *_fields(Shape.TEXT, "device_model_ssid_label>device_model_stubdomain_seclabel"),
    *_fields(Shape.TEXT, "stubdomain_cmdline"),
    *_fields(Shape.TEXTS, "bootloader_args", "extra>device_model_args"),
    *_fields(Shape.TEXTS, "extra_pv>device_model_args_pv", "extra_hvm>device_model_args_hvm"),
    *_fields(Shape.SWITCH, "localtime", "disable_migrate>nomigrate", "acpi", "apic"),
    *_fields(Shape.SWITCH, "nested_hvm>nestedhvm", "dm_restrict", "bootloader_restrict", "vpmu"),
    *_fields(Shape.SWITCH, "device_model_stubdomain>device_model_stubdomain_override"),
    *_fields(Shape.NUMBER, "max_grant_frames", "max_maptrack_frames", "max_grant_version"),
    *_fields(Shape.NUMBER, "event_channels>max_event_channels", silent=(0,)),
    *_fields(Shape.NUMBER, "rtc_timeoffset", "vmtrace_buf_kb", silent=(0,)),
    *_fields(Shape.MEBIBYTES, "video_memkb>videoram", "stubdomain_memkb>stubdomain_memory"),
    *_fields(Shape.WORD, "tsc_mode", silent=("default",)),
    *_fields(Shape.WORD, "tee", silent=("none",)),
    *_fields(Shape.WORD, "altp2m", silent=("disabled",)),
    Field(
        source="device_model_version",
        key="device_model_version",
        shape=Shape.WORD,
        silent=("unknown",),
        words={"qemu_xen": "qemu-xen", "qemu_xen_traditional": "qemu-xen-traditional"},
    ),
)
# `timer_mode` is refused by xl for paravirtual guests.
TIMER = _fields(Shape.WORD, "timer_mode", silent=("unknown",))
HVM = (
    *_fields(Shape.TEXT, "firmware>firmware_override", "system_firmware>bios_path_override"),
    *_fields(Shape.TEXT, "smbios_firmware", "acpi_firmware", "keymap", "serial", "boot"),
    *_fields(Shape.TEXT, "usbdevice", "soundhw"),
    *_fields(Shape.TEXTS, "serial_list>serial", "usbdevice_list>usbdevice"),
    *_fields(Shape.WORD, "bios", silent=("unknown",)),
    *_fields(Shape.WORD, "hdtype"),
    *_fields(Shape.WORD, "vendor_device", silent=("none",)),
    *_fields(Shape.SWITCH, "pae", "acpi_s3", "acpi_s4", "acpi_laptop_slate", "nx", "hpet"),
    *_fields(Shape.SWITCH, "vpt_align", "nographic", "usb", "vkb_device", "xen_platform_pci"),
    *_fields(Shape.SWITCH, "altp2m>altp2mhvm", silent=(False,)),
    *_fields(Shape.NUMBER, "usbversion", silent=(0,)),
    *_fields(Shape.MEBIBYTES, "mmio_hole_memkb>mmio_hole"),
    *_fields(Shape.MEBIBYTES, "rdm_mem_boundary_memkb>rdm_mem_boundary"),
)
# Older libxl keeps these within the kind's own part; newer ones beside it.
MOVED_TO_BUILDING = {
    "type.hvm": ("acpi", "apic", "nested_hvm", "timer_mode"),
    "type.pv": ("kernel", "ramdisk", "cmdline", "bootloader", "bootloader_args"),
    "type.pvh": (),
}
PV = _fields(Shape.SWITCH, "e820_host")
PVH = (
    *_fields(Shape.SWITCH, "pvshim"),
    *_fields(Shape.TEXT, "pvshim_path", "pvshim_cmdline", "pvshim_extra"),
)
VGA = (
    Field(
        source="kind",
        key="vga",
        shape=Shape.WORD,
        silent=("unknown",),
        words={"std": "stdvga", "cirrus": "cirrus", "none": "none", "qxl": "qxl"},
    ),
)
VNC = (
    *_fields(Shape.SWITCH, "enable>vnc", "findunused>vncunused"),
    *_fields(Shape.TEXT, "listen>vnclisten", "passwd>vncpasswd"),
    *_fields(Shape.NUMBER, "display>vncdisplay", silent=(0,)),
)
SDL = (
    *_fields(Shape.SWITCH, "enable>sdl", "opengl"),
    *_fields(Shape.TEXT, "display", "xauthority"),
)
SPICE = (
    *_fields(Shape.SWITCH, "enable>spice", "disable_ticketing>spicedisable_ticketing"),
    *_fields(Shape.SWITCH, "agent_mouse>spiceagent_mouse", "vdagent>spicevdagent"),
    *_fields(Shape.SWITCH, "clipboard_sharing>spice_clipboard_sharing"),
    *_fields(Shape.NUMBER, "port>spiceport", "tls_port>spicetls_port", silent=(0,)),
    *_fields(Shape.NUMBER, "usbredirection>spiceusbredirection", silent=(0,)),
    *_fields(Shape.TEXT, "host>spicehost", "passwd>spicepasswd"),
    *_fields(Shape.TEXT, "image_compression>spice_image_compression"),
    *_fields(Shape.TEXT, "streaming_video>spice_streaming_video"),
)
ARM = (
    *_fields(Shape.WORD, "gic_version", silent=("default",)),
    *_fields(Shape.WORD, "vuart", silent=("unknown",)),
    *_fields(Shape.WORD, "sve_vl>sve", silent=("disabled",)),
)
# Off is what libxl does anyway, and xl warns of the key whatever its value.
X86 = _fields(Shape.SWITCH, "msr_relaxed", silent=(False,))


def write_fields(source: RecordedObject, fields: Iterable[Field], composition: Composition) -> None:
    """Take the table's fields out of the object and write each one that says something."""
    for entry in fields:
        _write_field(source, entry, composition)


def _write_field(source: RecordedObject, entry: Field, composition: Composition) -> None:
    path = source.name(entry.source)
    match entry.shape:
        case Shape.TEXT:
            if text := source.take_text(entry.source):
                composition.set_text(entry.key, text, path)
        case Shape.TEXTS:
            composition.set_texts(entry.key, source.take_texts(entry.source), path)
        case Shape.SWITCH:
            switch = source.take_switch(entry.source)
            if switch is not None and switch not in entry.silent:
                composition.set_number(entry.key, int(switch))
        case Shape.NUMBER:
            number = source.take_number(entry.source)
            if number is not None and number not in entry.silent:
                composition.set_number(entry.key, number)
        case Shape.MEBIBYTES:
            write_mebibytes(source, entry.source, entry.key, composition)
        case _:  # Shape.WORD
            _write_word(source, entry, composition)


def _write_word(source: RecordedObject, entry: Field, composition: Composition) -> None:
    word = source.take_text(entry.source)
    if not word or word in entry.silent:
        return
    if entry.words and word not in entry.words:
        source.report(entry.source, f"xl has no word for {word!r}")
        return
    composition.set_text(entry.key, entry.words.get(word, word), source.name(entry.source))


def write_mebibytes(
    source: RecordedObject, name: str, key: str, composition: Composition
) -> int | None:
    """Write an amount of KiB as the MiB of xl.cfg, rounded up; 0 stays unsaid. Returns the MiB."""
    kibibytes = source.take_number(name)
    if not kibibytes:
        return None
    mebibytes = -(-kibibytes // 1024)
    if kibibytes % 1024:
        source.report(name, f"{kibibytes} KiB is no whole number of MiB; {mebibytes} was written")
    composition.set_number(key, mebibytes)
    return mebibytes
