"""Network boards, pictures and the like of one guest, from whatever describes it.

A running guest has its configuration as libxl's JSON (`xl list -l`) or as xend's S-expression, one
that is shut off only its configuration file. All three become the same values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from xenbackup.dom0.guest_configuration import GuestConfiguration
from xenbackup.dom0.sexpressions import Expression, parse_expressions
from xenbackup.dom0.xm_parsers import read_dev
from xenbackup.errors import UnexpectedOutput
from xenbackup.model.devices import NetworkBoard
from xenbackup.model.domain import Domain, GuestKind

FRAME_BUFFER = "vfb"
NO_VIDEO = "none"
# xl.cfg(5): the card of a fully virtual guest whose configuration names none.
DEFAULT_ADAPTER = "cirrus"
_ADAPTERS = {"std": "stdvga"}
_IOEMU = ("ioemu", "vif_ioemu")


@dataclass(frozen=True, kw_only=True)
class GuestDevices:
    """What a guest has besides disks.

    `video` is `vfb`, a card's name or `none`. `has_platform_device` is False where the device that
    PV drivers of a fully virtual guest need is switched off. `numa_nodes` are virtual ones.
    """

    boards: tuple[NetworkBoard, ...] = ()
    video: str = ""
    has_platform_device: bool = True
    numa_nodes: int = 0


def read_guest_devices(
    domain: Domain, configuration: GuestConfiguration | None
) -> GuestDevices | None:
    """The devices of a guest from its own record, else from its file; None without either.

    A record that cannot be read counts as none: the toolstack's own listing has refused it before.
    """
    try:
        if domain.configuration_json:
            return read_json_devices(domain.configuration_json, domain.kind)
        if domain.configuration_sexp:
            return read_sexp_devices(domain.configuration_sexp, domain.kind)
    except UnexpectedOutput:
        pass
    return read_file_devices(configuration) if configuration is not None else None


def read_json_devices(text: str, kind: GuestKind) -> GuestDevices:
    """Devices in the `config` object of `xl list -l`; fields of odd shapes count as absent.

        {"b_info": {"type.hvm": {"vga": {"kind": "std"}, "xen_platform_pci": "False"}},
         "nics": [{"mac": "00:16:3e:00:00:01", "bridge": "xenbr0", "model": "e1000",
                   "nictype": "vif_ioemu"}], "vfbs": [{…}]}

    Raises: UnexpectedOutput when the text is no JSON object.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnexpectedOutput(f"A guest's recorded configuration is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise UnexpectedOutput("A guest's recorded configuration is no JSON object.")
    build = _pick_object(config, "b_info")
    hvm = _pick_object(build, "type.hvm")
    adapter = _pick_text(_pick_object(hvm, "vga"), "kind")
    nodes = build.get("vnuma_nodes")
    return GuestDevices(
        boards=tuple(_read_json_board(nic) for nic in _pick_objects(config, "nics")),
        video=_name_video(
            kind,
            "none" if _is_on(hvm.get("nographic")) else _ADAPTERS.get(adapter, adapter),
            has_frame_buffer=bool(_pick_objects(config, "vfbs")),
        ),
        has_platform_device=not _is_off(hvm.get("xen_platform_pci")),
        numa_nodes=len(nodes) if isinstance(nodes, list) else 0,
    )


def read_sexp_devices(text: str, kind: GuestKind) -> GuestDevices:
    """Devices in xend's expression of a domain.

        (domain (name linux01) (image (hvm (stdvga 1) (vnc 1)))
         (device (vif (bridge xenbr0) (mac 00:16:3e:00:00:01) (model e1000) (type ioemu)))
         (device (vfb (type vnc))))

    Raises: UnexpectedOutput when the text is no whole expression.
    """
    boards: list[NetworkBoard] = []
    frame_buffer = False
    adapter = ""
    off = False
    for expression in parse_expressions("xm list --long", text):
        for device in expression.find_all("device"):
            boards += [_read_sexp_board(vif) for vif in device.find_all("vif")]
            frame_buffer = frame_buffer or device.find("vfb") is not None
        image = expression.find("image")
        hvm = image.find("hvm") if image is not None else None
        if hvm is not None:
            adapter = "stdvga" if _is_on(hvm.word("stdvga")) else ""
            adapter = "none" if _is_on(hvm.word("nographic")) else adapter
            off = _is_off(hvm.word("xen_platform_pci"))
    return GuestDevices(
        boards=tuple(boards),
        video=_name_video(kind, adapter, has_frame_buffer=frame_buffer),
        has_platform_device=not off,
    )


def read_file_devices(configuration: GuestConfiguration) -> GuestDevices:
    """Devices in a configuration file."""
    video = configuration.video
    adapter = video.adapter
    platform = configuration.find_setting("xen_platform_pci")
    graphic = configuration.find_setting("nographic")
    if graphic is not None and _is_on(graphic.value):
        adapter = "none"
    vnuma = configuration.find_setting("vnuma")
    nodes = vnuma.value if vnuma is not None else ()
    return GuestDevices(
        boards=tuple(
            NetworkBoard(
                mac=board.mac,
                bridge=board.bridge,
                model=board.model,
                kind=_spell_kind(board.kind),
                backend=board.backend,
            )
            for board in configuration.network_interfaces
        ),
        video=_name_video(
            configuration.kind,
            _ADAPTERS.get(adapter, adapter),
            has_frame_buffer=bool(video.frame_buffers),
        ),
        has_platform_device=platform is None or not _is_off(platform.value),
        numa_nodes=len(nodes) if isinstance(nodes, tuple) else 0,
    )


def list_unames(text: str) -> dict[str, str]:
    """xm's own names of a domain's disks (`tap:aio:/srv/a.img`) by vdev, from its S-expression.

    A text that is no expression has none.
    """
    try:
        expressions = parse_expressions("xm list --long", text)
    except UnexpectedOutput:
        return {}
    return {
        read_dev(block).partition(":")[0]: block.word("uname")
        for expression in expressions
        for device in expression.find_all("device")
        for kind in ("vbd", "tap", "tap2")
        for block in device.find_all(kind)
    }


def _name_video(kind: GuestKind, adapter: str, *, has_frame_buffer: bool) -> str:
    if kind is GuestKind.HVM:
        return adapter if adapter not in ("", "unknown") else DEFAULT_ADAPTER
    return FRAME_BUFFER if has_frame_buffer else NO_VIDEO


def _read_json_board(nic: Mapping[str, object]) -> NetworkBoard:
    number = nic.get("backend_domid")
    backend = _pick_text(nic, "backend_domname")
    if not backend and isinstance(number, int) and number > 0:
        backend = str(number)
    return NetworkBoard(
        mac=_pick_text(nic, "mac"),
        bridge=_pick_text(nic, "bridge"),
        model=_pick_text(nic, "model"),
        kind=_spell_kind(_pick_text(nic, "nictype") or _pick_text(nic, "type")),
        backend=backend,
    )


def _read_sexp_board(vif: Expression) -> NetworkBoard:
    return NetworkBoard(
        mac=vif.word("mac"),
        bridge=vif.word("bridge"),
        model=vif.word("model"),
        kind=_spell_kind(vif.word("type")),
        backend=vif.word("backend"),
    )


def _spell_kind(kind: str) -> str:
    return "ioemu" if kind in _IOEMU else kind


def _pick_object(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _pick_objects(record: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = record.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _pick_text(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _is_on(value: object) -> bool:
    return value in (1, "1", "True", "true")


def _is_off(value: object) -> bool:
    return value in (0, "0", "False", "false")
