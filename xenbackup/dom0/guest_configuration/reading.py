"""What a configuration file says of its guest: settings turned into facts, problems gathered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from xenbackup.dom0.guest_configuration.devices import (
    parse_interface_specification,
    parse_pci_specification,
)
from xenbackup.dom0.guest_configuration.disks import parse_disk_specification
from xenbackup.dom0.guest_configuration.syntax import parse_settings, read_whole_number
from xenbackup.dom0.guest_configuration.values import (
    GuestConfiguration,
    NetworkInterface,
    Setting,
    Video,
)
from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk, GuestKind

_UUID = re.compile(r"[0-9a-f]{32}")
_Entry = TypeVar("_Entry")
_KINDS = {kind.value: kind for kind in (GuestKind.PV, GuestKind.HVM, GuestKind.PVH)}
# `linux` was xm's word, `generic` xl's, both for paravirtual guests.
_BUILDERS = {"hvm": GuestKind.HVM, "linux": GuestKind.PV, "generic": GuestKind.PV}
# Far above any host; keeps a slip of the finger from becoming a size in a plan.
_MEMORY_LIMIT_MIB = 64 * 1024 * 1024
_VCPUS_LIMIT = 8192


def parse_configuration(text: str, source: str) -> GuestConfiguration:
    """Read a guest's configuration file, in the syntax of xl.cfg(5); nothing in it is run.

    `source` is the file's path, for sentences. Keys without a field stay in `settings`.

    Raises: ConfigurationError with the spot where the text stops being literal assignments, or
    else with every setting that cannot be what it says (a missing name, an unreadable disk, …).
    """
    return _Reader(parse_settings(text, source), source).read()


def parse_identity(text: str, source: str) -> GuestConfiguration:
    """Name, uuid, kind and memory alone, of a file which a toolstack has built a guest from.

    xl passes over settings that it cannot use; what it took is not to be judged again.

    Raises: ConfigurationError where the text stops being literal assignments, or names no guest.
    """
    return _Reader(parse_settings(text, source), source).read_identity()


class _Reader:
    """One file's settings and the problems found among them so far."""

    def __init__(self, settings: tuple[Setting, ...], source: str) -> None:
        self._settings = {setting.key: setting for setting in settings}
        self._all = settings
        self._source = source
        self._problems: list[str] = []

    def read(self) -> GuestConfiguration:
        name = self._read_text("name")
        if not name:
            self._problems.append(f"{self._source}: no name= is given; every guest needs one.")
        kind = self._read_kind()
        memory_mib = self._read_number("memory", _MEMORY_LIMIT_MIB) or 0
        vcpus = self._read_number("vcpus", _VCPUS_LIMIT) or 1
        disk_texts, disks = self._read_disks()
        pci_texts = self._read_texts("pci")
        configuration = GuestConfiguration(
            name=name,
            kind=kind,
            source=self._source,
            uuid=self._read_uuid(),
            memory_mib=memory_mib,
            maximum_memory_mib=self._read_number("maxmem", _MEMORY_LIMIT_MIB) or memory_mib,
            vcpus=vcpus,
            maximum_vcpus=self._read_number("maxvcpus", _VCPUS_LIMIT) or vcpus,
            disks=disks,
            disk_specifications=disk_texts,
            pci_devices=self._read_entries("pci", pci_texts, parse_pci_specification),
            pci_specifications=pci_texts,
            network_interfaces=self._read_interfaces(),
            video=self._read_video(),
            on_poweroff=self._read_text("on_poweroff"),
            on_reboot=self._read_text("on_reboot"),
            on_crash=self._read_text("on_crash"),
            on_watchdog=self._read_text("on_watchdog"),
            on_soft_reset=self._read_text("on_soft_reset"),
            settings=self._all,
        )
        if self._problems:
            raise ConfigurationError(tuple(self._problems))
        return configuration

    def read_identity(self) -> GuestConfiguration:
        name = self._read_text("name")
        if not name:
            raise ConfigurationError((f"{self._source}: no name= is given.",))
        return GuestConfiguration(
            name=name,
            kind=self._read_kind(),
            source=self._source,
            uuid=self._read_uuid(),
            memory_mib=self._read_number("memory", _MEMORY_LIMIT_MIB) or 0,
        )

    def _report(self, setting: Setting, sentence: str) -> None:
        self._problems.append(f"{self._source}:{setting.line}: {sentence}")

    def _read_text(self, key: str) -> str:
        setting = self._settings.get(key)
        if setting is None:
            return ""
        if isinstance(setting.value, tuple):
            self._report(setting, f"{key} is a list; expected one string.")
            return ""
        return setting.text

    def _read_uuid(self) -> str:
        """Lower case, with dashes; xm also took uuids without."""
        text = self._read_text("uuid")
        if not text:
            return ""
        digits = text.lower().replace("-", "")
        if _UUID.fullmatch(digits) is None:
            self._report(self._settings["uuid"], f"uuid is {text!r}, which is no UUID.")
            return ""
        return str(UUID(hex=digits))

    def _read_number(self, key: str, limit: int) -> int | None:
        setting = self._settings.get(key)
        if setting is None:
            return None
        number = None
        if not isinstance(setting.value, tuple):
            # xl reads numbers out of strings too: memory = "512".
            number = read_whole_number(setting.text)
        if isinstance(setting.value, int):
            number = setting.value
        if number is None or not 0 <= number <= limit:
            self._report(setting, f"{key} is not a whole number between 0 and {limit}.")
            return None
        return number

    def _read_switch(self, key: str) -> bool:
        return bool(self._read_number(key, 0xFFFF))

    def _read_texts(self, key: str) -> tuple[str, ...]:
        setting = self._settings.get(key)
        if setting is None:
            return ()
        if not isinstance(setting.value, tuple):
            # xm took `disk = ''` and `vif = ''` for none at all.
            if setting.value != "":
                self._report(setting, f"{key} is one value; expected a list of strings.")
            return ()
        texts: list[str] = []
        for item in setting.value:
            if isinstance(item, str):
                texts.append(item)
            else:
                self._report(setting, f"{key} holds {item!r}; expected strings only.")
        return tuple(texts)

    def _read_entries(
        self, key: str, texts: tuple[str, ...], parse: Callable[[str], _Entry]
    ) -> tuple[_Entry, ...]:
        entries: list[_Entry] = []
        for text in texts:
            try:
                entries.append(parse(text))
            except ConfigurationError as error:
                for problem in error.problems:
                    self._report(self._settings[key], problem)
        return tuple(entries)

    def _read_disks(self) -> tuple[tuple[str, ...], tuple[Disk, ...]]:
        texts = self._read_texts("disk")
        disks = self._read_entries("disk", texts, parse_disk_specification)
        seen: set[str] = set()
        for disk in disks:
            if disk.vdev in seen:
                self._report(self._settings["disk"], f"two disks are both {disk.vdev}.")
            seen.add(disk.vdev)
        return texts, disks

    def _read_interfaces(self) -> tuple[NetworkInterface, ...]:
        return self._read_entries("vif", self._read_texts("vif"), parse_interface_specification)

    def _read_kind(self) -> GuestKind:
        by_type = self._read_word("type", _KINDS)
        by_builder = self._read_word("builder", _BUILDERS)
        if by_type is not None and by_builder is not None and by_type is not by_builder:
            self._report(
                self._settings["builder"],
                f"builder says {by_builder.value}, type says {by_type.value}.",
            )
        # With neither, xl on x86 builds a paravirtual guest, as xm did.
        kind = by_type or by_builder or GuestKind.PV
        # Xen 4.4 to 4.9 knew `pvh=1` beside the builder.
        return GuestKind.PVH if by_type is None and self._read_switch("pvh") else kind

    def _read_word(self, key: str, known: dict[str, GuestKind]) -> GuestKind | None:
        setting = self._settings.get(key)
        if setting is None:
            return None
        word = self._read_text(key)
        if word not in known:
            self._report(setting, f"{key} is {word!r}; expected one of {', '.join(known)}.")
        return known.get(word)

    def _read_video(self) -> Video:
        adapter = self._read_text("vga")
        if not adapter and "stdvga" in self._settings:
            adapter = "stdvga" if self._read_switch("stdvga") else "cirrus"
        return Video(
            adapter=adapter,
            frame_buffers=self._read_texts("vfb"),
            vnc=self._read_switch("vnc"),
            sdl=self._read_switch("sdl"),
            spice=self._read_switch("spice"),
            memory_mib=self._read_number("videoram", _MEMORY_LIMIT_MIB) or 0,
        )
