"""Entries of `pci` and `vif`: xl-pci-configuration(5) and xl-network-configuration(5)."""

from __future__ import annotations

import re

from xenbackup.dom0.guest_configuration.values import NetworkInterface
from xenbackup.errors import ConfigurationError

_PCI_ID = re.compile(
    r"(?:(?P<domain>[0-9a-f]{1,4}):)?(?P<bus>[0-9a-f]{1,2}):(?P<slot>[0-9a-f]{1,2})"
    r"\.(?P<function>[0-7]|\*)",
    re.IGNORECASE,
)
_VIRTUAL_SLOT = re.compile(r"[0-9a-f]{1,2}", re.IGNORECASE)
_PCI_NAME = re.compile(r"[^\s,=]{1,128}")
_DEVICE_LIMIT = 0x1F
NAMED_PCI = "name="
"""Begins a device that is known by a name which `xl pci-assignable-add` gave it."""


def parse_pci_specification(text: str) -> str:
    """The device's id in full, `0000:03:01.0`; the function may be `*`, meaning all of them.

    Takes the short id of lspci (`03:01.0`), a virtual slot (`@1f`) and `key=value` options, the id
    among them (`bdf=03:01.0`) or, since Xen 4.15, a device's name alone: `name=gpu` stays so.

    Raises: ConfigurationError when there is neither an id nor a name, or an option without a value.
    """
    first, *rest = (part.strip() for part in text.strip().split(","))
    found = ""
    if "=" not in first:
        identifier, sign, virtual = first.partition("@")
        found = _read_pci_id(identifier)
        if sign and not _VIRTUAL_SLOT.fullmatch(virtual):
            found = ""
    else:
        rest.insert(0, first)
    name = ""
    for part in rest:
        key, sign, value = part.partition("=")
        if part and not sign:
            raise _refuse_pci(text)
        if key == "bdf":
            found = _read_pci_id(value)
        elif key == "name" and _PCI_NAME.fullmatch(value):
            name = f"{NAMED_PCI}{value}"
    if not found and not name:
        raise _refuse_pci(text)
    return found or name


def has_pci_option(text: str, key: str) -> bool:
    """Whether an entry of `pci` has this option with a number that is not 0: `seize=1`."""
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == key:
            return re.fullmatch(r"\s*\+?0*[1-9].*", value) is not None
    return False


def _read_pci_id(text: str) -> str:
    match = _PCI_ID.fullmatch(text)
    if match is None or int(match["slot"], 16) > _DEVICE_LIMIT:
        return ""
    domain = int(match["domain"] or "0", 16)
    bus, slot = int(match["bus"], 16), int(match["slot"], 16)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{match['function']}"


def _refuse_pci(text: str) -> ConfigurationError:
    return ConfigurationError(
        (f"PCI specification {text!r}: expected an id such as 0000:03:01.0 in front.",),
        hint="`lspci -D` prints the ids",
    )


def parse_interface_specification(text: str) -> NetworkInterface:
    """One network interface; an empty entry is an interface with all defaults.

    Keys that have no field stay in `specification`; xl itself only warns of unknown ones.

    Raises: ConfigurationError for a part without `=`.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        key, sign, value = part.strip().partition("=")
        if not key and not sign:
            continue
        if not sign:
            raise ConfigurationError(
                (f"Interface specification {text!r}: found {part!r}; expected key=value.",)
            )
        found[key] = value
    return NetworkInterface(
        mac=found.get("mac", ""),
        bridge=found.get("bridge", ""),
        model=found.get("model", ""),
        kind=found.get("type", ""),
        script=found.get("script", ""),
        ip=found.get("ip", ""),
        backend=found.get("backend", ""),
        name=found.get("vifname", ""),
        specification=text,
    )
