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
            if "k" in letters:
                session.out(_details(device, numbers=letters.count("n") > 1))
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
    shown = [(key, value if numbers else _plain(value)) for key, value in fields]
    return "".join(f"{key}:\t{value}\n" for key, value in shown if value) + "\n"


def _quoted(device: PciDevice) -> str:
    plain = [_plain(text) for text in (device.class_text, device.vendor, device.device)]
    revision = f" -r{device.revision}" if device.revision else ""
    interface = f" -p{device.interface}" if device.interface else ""
    sub = [_plain(text) for text in (device.subvendor, device.subdevice)]
    words = " ".join(f'"{text}"' for text in plain)
    return f'{device.slot} {words}{revision}{interface} "{sub[0]}" "{sub[1]}"\n'


def _line(device: PciDevice, *, full: bool, numbers: bool) -> str:
    slot = device.slot if full else device.slot.removeprefix("0000:")
    kind = device.class_text if numbers else _plain(device.class_text)
    name = _name(device.vendor, device.device, numbers=numbers)
    revision = f" (rev {device.revision})" if device.revision else ""
    return f"{slot} {kind}: {name}{revision}\n"


def _details(device: PciDevice, *, numbers: bool) -> str:
    """What -k adds to a line: the board it sits on, its driver, and the modules it could have."""
    board = _name(device.subvendor, device.subdevice, numbers=numbers)
    fields = (
        ("Subsystem", board if device.subvendor else ""),
        ("Kernel driver in use", device.driver),
        ("Kernel modules", device.module),
    )
    return "".join(f"\t{key}: {value}\n" for key, value in fields if value)


def _name(vendor: str, device: str, *, numbers: bool) -> str:
    """Maker and device in one; numbers stand together at the end, or alone for unknown makers."""
    texts, codes = [], []
    for text in (vendor, device):
        code = _NUMBER.search(text)
        codes.append(code.group().strip(" []") if code else "ffff")
        texts.append(_NUMBER.sub("", text))
    pair = ":".join(codes)
    if texts[0] == "Vendor":
        return f"Device [{pair}]" if numbers else f"Device {pair}"
    if texts[1] == "Device" and not numbers:
        return f"{texts[0]} Device {codes[1]}"
    return f"{texts[0]} {texts[1]} [{pair}]" if numbers else f"{texts[0]} {texts[1]}"


def _plain(text: str) -> str:
    """A name without its number; of what has no name, the number is the name: `Device 1100`."""
    name = _NUMBER.sub("", text)
    return text.replace("[", "").replace("]", "") if name in ("Vendor", "Device") else name
