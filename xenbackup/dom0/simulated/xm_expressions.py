"""S-expressions of domains turned back into configurations: what `xm restore` and `-F` read."""

from __future__ import annotations

from xenbackup.dom0.sexpressions import Expression, parse_expressions
from xenbackup.dom0.xm_parsers import split_uname
from xenbackup.errors import UnexpectedOutput

_KIB_PER_MIB = 1024


class ExpressionUnreadable(Exception):
    """The text is no domain's S-expression."""


def read_expression(text: str) -> dict[str, object]:
    """The configuration, in libxl's shape, that this domain's S-expression stands for.

    Raises: ExpressionUnreadable.
    """
    try:
        (domain,) = parse_expressions("a configuration", text)
    except (UnexpectedOutput, ValueError) as error:
        raise ExpressionUnreadable("config parse") from error
    name, uuid = domain.word("name"), domain.word("uuid")
    if domain.head != "domain" or not name or not uuid:
        raise ExpressionUnreadable("config parse")
    kind, kernel, ramdisk, arguments = _read_image(domain)
    try:
        memory, vcpus = int(domain.word("memory", "0")), int(domain.word("vcpus", "1"))
        maximum = int(domain.word("maxmem", str(memory)))
        weight, cap = int(domain.word("cpu_weight", "256")), int(domain.word("cpu_cap", "0"))
    except ValueError as error:
        raise ExpressionUnreadable("config parse") from error
    building: dict[str, object] = {
        "max_vcpus": vcpus,
        "avail_vcpus": list(range(vcpus)),
        "max_memkb": maximum * _KIB_PER_MIB,
        "target_memkb": memory * _KIB_PER_MIB,
        "sched_params": {"sched": "credit", "weight": weight, "cap": cap},
        f"type.{kind}": {},
    }
    for key, value in (("kernel", kernel), ("ramdisk", ramdisk), ("cmdline", arguments)):
        if value:
            building[key] = value
    return {
        "c_info": {"type": kind, "name": name, "uuid": uuid},
        "b_info": building,
        "disks": [
            _read_disk(block)
            for device in domain.find_all("device")
            for block in device.find_all("vbd")
        ],
        "pcidevs": [
            {key: int(card.word(word, "0"), 16) for key, word in _PCI_WORDS}
            for device in domain.find_all("device")
            for group in device.find_all("pci")
            for card in group.find_all("dev")
        ],
    }


_PCI_WORDS = (("domain", "domain"), ("bus", "bus"), ("dev", "slot"), ("func", "func"))


def _read_image(domain: Expression) -> tuple[str, str, str, str]:
    image = domain.find("image")
    inner = next(iter(image.children), None) if image is not None else None
    if inner is None or inner.head not in ("linux", "hvm"):
        raise ExpressionUnreadable("no image")
    kind = "hvm" if inner.head == "hvm" else "pv"
    return kind, inner.word("kernel"), inner.word("ramdisk"), inner.word("args")


def _read_disk(block: Expression) -> dict[str, object]:
    vdev, _, suffix = block.word("dev").partition(":")
    target, form, _ = split_uname(block.word("uname"))
    disk: dict[str, object] = {"pdev_path": target, "vdev": vdev, "format": form}
    if suffix == "cdrom":
        disk["is_cdrom"] = 1
    elif block.word("mode").startswith("w"):
        disk["readwrite"] = 1
    return disk
