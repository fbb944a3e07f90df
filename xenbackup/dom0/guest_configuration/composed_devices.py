"""Network interfaces, PCI and USB devices, screens and channels of a composed configuration."""

from __future__ import annotations

from collections.abc import Callable

from xenbackup.dom0.guest_configuration.recorded import RecordedObject
from xenbackup.dom0.guest_configuration.writing import Composition, join_pairs

_ALL_FUNCTIONS = 0xFFFFFFFF
# None: the device cannot be said at all, and has been reported.
_Describe = Callable[[RecordedObject, Composition], str | None]
_NIC_KINDS = {"vif": "vif", "vif_ioemu": "ioemu"}


def write_devices(config: RecordedObject, composition: Composition) -> None:
    """Write every list of devices but the disks; fields that no key takes are reported."""
    for source, key, describe in (
        ("nics", "vif", _describe_nic),
        ("pcidevs", "pci", _describe_pci),
        ("channels", "channel", _describe_channel),
        ("usbctrls", "usbctrl", _describe_usb_controller),
        ("usbdevs", "usbdev", _describe_usb_device),
        ("vtpms", "vtpm", _describe_vtpm),
        ("p9s", "p9", _describe_p9),
        ("dtdevs", "dtdev", _describe_device_tree_node),
    ):
        _write_list(config, source, key, describe, composition)
    _write_screens(config, composition)


def _write_list(
    config: RecordedObject, source: str, key: str, describe: _Describe, composition: Composition
) -> None:
    texts: list[str] = []
    for position, device in enumerate(config.take_objects(source)):
        devid = device.take_number("devid")
        if devid is not None and devid != position:
            device.report("devid", f"xl numbers the devices anew; {devid} becomes {position}")
        if (text := describe(device, composition)) is not None:
            texts.append(text)
        device.report_rest()
    composition.set_texts(key, texts, config.name(source))


def _describe_nic(nic: RecordedObject, composition: Composition) -> str:
    kind = nic.take_text("nictype")
    if kind and kind not in _NIC_KINDS and kind != "unknown":
        nic.report("nictype", f"xl has no interface type {kind!r}")
    mtu = nic.take_number("mtu")
    pairs = [
        ("type", _NIC_KINDS.get(kind, "")),
        *((key, nic.take_text(key)) for key in ("mac", "bridge", "model", "ip", "script")),
        ("gatewaydev", nic.take_text("gatewaydev")),
        ("backend", nic.take_text("backend_domname")),
        ("vifname", nic.take_text("ifname")),
        ("rate", _describe_rate(nic)),
        ("mtu", str(mtu) if mtu else ""),
    ]
    _report_backend_number(nic, bool(dict(pairs)["backend"]))
    if nic.take_switch("trusted") is False:
        nic.report("trusted", "xl.cfg has no key that distrusts an interface's back-end")
    return join_pairs(pairs, composition, nic.path)


def _describe_rate(nic: RecordedObject) -> str:
    """Bytes per interval back into xl's bytes per second; see xlu_vif_parse_rate."""
    amount = nic.take_number("rate_bytes_per_interval")
    interval_usecs = nic.take_number("rate_interval_usecs")
    if not amount or not interval_usecs:
        return ""
    per_second = -(-amount * 1_000_000 // interval_usecs)
    if per_second * interval_usecs // 1_000_000 != amount or per_second > 0xFFFFFFFF:
        nic.report("rate_bytes_per_interval", f"no rate of xl.cfg gives exactly {amount}")
        return ""
    return f"{per_second}B/s@{interval_usecs}us"


def _report_backend_number(device: RecordedObject, named: bool) -> None:
    if device.take_number("backend_domid") and not named:
        device.report("backend_domid", "a driver domain's number does not last; its name is lost")


def _describe_pci(device: RecordedObject, composition: Composition) -> str:
    numbers = {key: device.take_number(key) or 0 for key in ("domain", "bus", "dev", "func")}
    mask = device.take_bits("vfunc_mask")
    function = "*" if mask == _ALL_FUNCTIONS else f"{numbers['func']:x}"
    if mask not in (0, 1, _ALL_FUNCTIONS):
        device.report("vfunc_mask", "xl.cfg can name one function of a device or all of them")
    slot = (device.take_number("vdevfn") or 0) >> 3
    identity = f"{numbers['domain']:04x}:{numbers['bus']:02x}:{numbers['dev']:02x}.{function}"
    policy = device.take_text("rdm_policy")
    # The id says which device it is; a name beside it is only another word for that.
    device.drop("name")
    pairs = [
        (key, "1" if device.take_switch(key) else "")
        for key in ("msitranslate", "power_mgmt", "permissive", "seize")
    ]
    pairs.append(("rdm_policy", policy if policy in ("strict", "relaxed") else ""))
    options = join_pairs(pairs, composition, device.path)
    return identity + (f"@{slot:02x}" if slot else "") + (f",{options}" if options else "")


def _describe_channel(channel: RecordedObject, composition: Composition) -> str | None:
    is_socket = channel.holds_object("connection.socket")
    is_terminal = channel.holds_object("connection.pty")
    socket_path = channel.take_object("connection.socket").take_text("path")
    channel.drop("connection.pty")
    if is_socket == is_terminal or (is_socket and not socket_path):
        channel.report("connection", "neither a terminal nor a socket with a path")
        return None
    pairs = [
        ("connection", "socket" if is_socket else "pty"),
        ("name", channel.take_text("name")),
        ("path", socket_path),
        ("backend", channel.take_text("backend_domname")),
    ]
    _report_backend_number(channel, bool(pairs[3][1]))
    return join_pairs(pairs, composition, channel.path, forbidden=",=", trimmed=True)


def _describe_usb_controller(controller: RecordedObject, composition: Composition) -> str:
    kind = controller.take_text("type")
    pairs = [
        ("type", kind if kind != "auto" else ""),
        *((key, str(controller.take_number(key) or "")) for key in ("version", "ports")),
    ]
    _report_backend_number(controller, False)
    return join_pairs(pairs, composition, controller.path)


def _describe_usb_device(device: RecordedObject, composition: Composition) -> str:
    host = device.take_object("type.hostdev")
    pairs = [
        ("type", "hostdev"),
        *((key, str(host.take_number(key) or "")) for key in ("hostbus", "hostaddr")),
        ("controller", _spell(device.take_number("ctrl"))),
        ("port", _spell(device.take_number("port"))),
    ]
    host.report_rest()
    return join_pairs(pairs, composition, device.path)


def _spell(number: int | None) -> str:
    return "" if number is None else str(number)


def _describe_vtpm(device: RecordedObject, composition: Composition) -> str:
    backend = device.take_text("backend_domname")
    pairs = [
        # xl insists on a back-end; libxl leaves out dom0's number.
        ("backend", backend or "0"),
        ("uuid", device.take_text("uuid")),
    ]
    _report_backend_number(device, bool(backend))
    return join_pairs(pairs, composition, device.path)


def _describe_p9(share: RecordedObject, composition: Composition) -> str:
    pairs = [
        *((key, share.take_text(key)) for key in ("tag", "path", "security_model")),
        ("backend", share.take_text("backend_domname")),
    ]
    _report_backend_number(share, bool(pairs[3][1]))
    return join_pairs(pairs, composition, share.path)


def _describe_device_tree_node(node: RecordedObject, _composition: Composition) -> str:
    return node.take_text("path")


def _write_screens(config: RecordedObject, composition: Composition) -> None:
    """`vfb`, each of which brings a keyboard of its own, and `vkb` for keyboards beyond those."""
    screens = config.take_objects("vfbs")
    texts: list[str] = []
    for screen in screens:
        screen.drop("devid")
        texts.append(_describe_screen(screen, composition))
        screen.report_rest()
    composition.set_texts("vfb", texts, config.name("vfbs"))
    keyboards: list[str] = []
    for position, keyboard in enumerate(config.take_objects("vkbs")):
        keyboard.drop("devid")
        backend = keyboard.take_text("backend_type")
        if position < len(screens) and backend in ("", "unknown", "qemu") and keyboard.is_empty:
            continue
        if backend in ("qemu", "linux"):
            keyboards.append(_describe_keyboard(keyboard, backend, composition))
        else:
            keyboard.report("backend_type", "xl.cfg needs the back-end's type of a lone keyboard")
        keyboard.report_rest()
    composition.set_texts("vkb", keyboards, config.name("vkbs"))


def _describe_screen(screen: RecordedObject, composition: Composition) -> str:
    vnc, sdl = screen.take_object("vnc"), screen.take_object("sdl")
    pairs = [
        ("vnc", _spell_switch(vnc.take_switch("enable"))),
        ("vnclisten", vnc.take_text("listen")),
        ("vncpasswd", vnc.take_text("passwd")),
        ("vncdisplay", str(vnc.take_number("display") or "")),
        ("vncunused", _spell_switch(vnc.take_switch("findunused"))),
        ("sdl", _spell_switch(sdl.take_switch("enable"))),
        ("opengl", _spell_switch(sdl.take_switch("opengl"))),
        ("display", sdl.take_text("display")),
        ("xauthority", sdl.take_text("xauthority")),
        ("keymap", screen.take_text("keymap")),
    ]
    vnc.report_rest()
    sdl.report_rest()
    _report_backend_number(screen, False)
    return join_pairs(pairs, composition, screen.path)


def _spell_switch(switch: bool | None) -> str:
    return "" if switch is None else str(int(switch))


def _describe_keyboard(keyboard: RecordedObject, backend: str, composition: Composition) -> str:
    switches = ("disable_keyboard", "disable_pointer", "abs_pointer", "raw_pointer", "multi_touch")
    numbers = ("width", "height", "multi_touch_width", "multi_touch_height")
    pairs = [
        ("backend-type", backend),
        ("backend", keyboard.take_text("backend_domname")),
        ("unique-id", keyboard.take_text("unique_id")),
        *(
            (_FEATURES[name], "1" if keyboard.take_switch(f"feature_{name}") else "")
            for name in switches
        ),
        *(
            (name.replace("_", "-"), str(keyboard.take_number(name) or ""))
            for name in (*numbers, "multi_touch_num_contacts")
        ),
    ]
    _report_backend_number(keyboard, bool(pairs[1][1]))
    return join_pairs(pairs, composition, keyboard.path)


# The keys of xen/io/kbdif.h, which xl takes over.
_FEATURES = {
    "disable_keyboard": "feature-disable-keyboard",
    "disable_pointer": "feature-disable-pointer",
    "abs_pointer": "feature-abs-pointer",
    "raw_pointer": "feature-raw-pointer",
    "multi_touch": "feature-multi-touch",
}
