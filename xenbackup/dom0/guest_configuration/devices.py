"""Entries of `pci` and `vif`: xl-pci-configuration(5) and xl-network-configuration(5)."""

from __future__ import annotations

import re

from xenbackup.dom0.guest_configuration.values import NetworkInterface
from xenbackup.errors import ConfigurationError

_PCI = re.compile(
    r"(?:bdf=)?(?:(?P<domain>[0-9a-f]{1,4}):)?(?P<bus>[0-9a-f]{1,2}):(?P<slot>[0-9a-f]{1,2})"
    r"\.(?P<function>[0-7]|\*)(?:@[0-9a-f]{1,2})?(?:,.*)?",
    re.IGNORECASE,
)


def parse_pci_specification(text: str) -> str:
    """The device's id in full, `0000:03:01.0`; the function may be `*`, meaning all of them.

    Takes the short id of lspci (`03:01.0`), a virtual slot (`@1f`) and options behind a comma.

    Raises: ConfigurationError when no id stands in front.
    """
    match = _PCI.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(
            (f"PCI specification {text!r}: expected an id such as 0000:03:01.0 in front.",),
            hint="`lspci -D` prints the ids",
        )
    domain = int(match["domain"] or "0", 16)
    bus, slot = int(match["bus"], 16), int(match["slot"], 16)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{match['function']}"


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
        specification=text,
    )
