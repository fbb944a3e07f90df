"""`lspci` of the simulated host."""

from __future__ import annotations

import getopt
import re

from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import PciDevice

_NUMBER = re.compile(r" \[[0-9a-f]{4}\]$")


def run_lspci(session: Session, words: list[str]) -> int:
    """lspci [-D] [-nn] [-k] [-mm|-vmm] [-s SLOT]."""
    try:
        given, rest = getopt.getopt(words, "Dnkmvs:")
    except getopt.GetoptError as error:
        raise ToolFailed(1, f"lspci: invalid option -- '{error.opt}'\n") from None
    if rest:
        raise ToolFailed(1, "Usage: lspci [<switches>]\n")
    letters = "".join(name[1:] for name, _ in given)
    chosen = [value for name, value in given if name == "-s"]
    session.spend(0.02)
    for device in session.state.pci:
        if chosen and not device.slot.endswith(chosen[-1]):
            continue
        if "v" in letters and "m" in letters:
            session.out(_records(device, numbers=letters.count("n") > 1, kernel="k" in letters))
        elif "m" in letters:
            session.out(_quoted(device))
        else:
            session.out(_line(device, full="D" in letters, numbers=letters.count("n") > 1))
            if "k" in letters and device.driver:
                session.out(f"\tKernel driver in use: {device.driver}\n")
    return 0


def _records(device: PciDevice, *, numbers: bool, kernel: bool) -> str:
    fields = [
        ("Slot", device.slot),
        ("Class", device.class_text),
        ("Vendor", device.vendor),
        ("Device", device.device),
        ("SVendor", device.subvendor),
        ("SDevice", device.subdevice),
        ("Rev", device.revision),
        ("ProgIf", device.interface),
    ]
    if kernel:
        fields += [("Driver", device.driver), ("Module", device.module)]
    shown = [(key, value if numbers else _NUMBER.sub("", value)) for key, value in fields]
    return "".join(f"{key}:\t{value}\n" for key, value in shown if value) + "\n"


def _quoted(device: PciDevice) -> str:
    plain = [_NUMBER.sub("", text) for text in (device.class_text, device.vendor, device.device)]
    revision = f" -r{device.revision}" if device.revision else ""
    interface = f" -p{device.interface}" if device.interface else ""
    sub = [_NUMBER.sub("", text) for text in (device.subvendor, device.subdevice)]
    words = " ".join(f'"{text}"' for text in plain)
    return f'{device.slot} {words}{revision}{interface} "{sub[0]}" "{sub[1]}"\n'


def _line(device: PciDevice, *, full: bool, numbers: bool) -> str:
    slot = device.slot if full else device.slot.removeprefix("0000:")
    texts = (device.class_text, device.vendor, device.device)
    kind, vendor, name = texts if numbers else [_NUMBER.sub("", text) for text in texts]
    revision = f" (rev {device.revision})" if device.revision else ""
    return f"{slot} {kind}: {vendor} {name}{revision}\n"
