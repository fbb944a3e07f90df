"""Disk specifications: the grammar of xl-disk-configuration(5), and what xm took before it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk

_FORMATS = ("raw", "qcow", "qcow2", "vhd", "qed", "empty")
# xm's blktap also served vmdk; xl refuses it.
_FORMAT_PREFIXES = ("raw", "qcow", "qcow2", "vhd", "vmdk")
_SCRIPT_PREFIXES = ("iscsi", "nbd", "enbd", "drbd")
# Stripped and ignored by xl; `sync` was one of xm's blktap drivers beside `aio`.
_BARE_PREFIXES = ("phy", "file", "tap", "tap2", "tapdisk", "aio", "sync", "ioemu")
_PREFIXES = _BARE_PREFIXES + _FORMAT_PREFIXES + _SCRIPT_PREFIXES
_PREFIX = re.compile(r"([a-z][a-z0-9]*):")
_SCRIPT_WORD = re.compile(r"[a-z][a-z0-9]*:[a-z0-9]")
_READ_ONLY = ("r", "ro")
# `w!` is xm's: writable although another guest has it too.
_WRITABLE = ("w", "rw", "w!")
_BACKEND_TYPES = ("phy", "tap", "qdisk", "standalone", "")
_FLAGS = frozenset(
    ("direct-io-safe", "discard", "no-discard", "colo", "no-colo", "trusted", "untrusted")
)
_PLAIN_KEYS = frozenset(
    ("colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk", "grant_usage")
)
_KEY = re.compile(r"[a-z][-_a-z0-9]*")
# xen-vbd-interface(7): xvda1, hdc, sda, d0p1, or the number itself.
_VDEV = re.compile(r"(?:xvd|hd|sd)[a-z]{1,3}[0-9]{0,7}|d[0-9]{1,7}(?:p[0-9]{1,7})?|0x[0-9a-f]{1,8}")
_VDEV_NUMBER = re.compile(r"[0-9]{1,9}")
_BLANKS = " \t\n"
_LETTERS_LIMIT = 16384
_HINT = "see xl-disk-configuration(5); target= must come last and takes all the rest"


@dataclass
class _Draft:
    """A disk under way: None where a parameter has not been given, not even empty."""

    specification: str
    target: str | None = None
    format: str | None = None
    vdev: str | None = None
    access: str | None = None
    script: str | None = None
    backend: str | None = None
    cdrom: bool = False
    prefixed: bool = False

    def refuse(self, sentence: str) -> ConfigurationError:
        return ConfigurationError(
            (f"Disk specification {self.specification!r}: {sentence}",), hint=_HINT
        )

    def put(self, name: str, value: str) -> None:
        """Set a parameter once; an empty one may be said again, and a format if it is the same."""
        held: str | None = getattr(self, name)
        if held and (held != value or name != "format"):
            raise self.refuse(f"{name} is given twice, as {held!r} and as {value!r}.")
        setattr(self, name, value)


def parse_disk_specification(text: str) -> Disk:
    """The disk that one entry of `disk = [ … ]` describes.

    Positional parameters, flags, `key=value`, `target=` and the deprecated prefixes are taken as
    xl takes them: `/dev/vg/guest,raw,xvda,rw`, `phy:/dev/vg/guest,xvda,w`, `,hdc:cdrom,r`,
    `vdev=xvda, format=qcow2, target=/srv/a,b.img`. A path that does not begin with `/` lies below
    /dev, as the manual page has it. `vdev` must be a name of xen-vbd-interface(7).

    Raises: ConfigurationError saying what was found in the specification and what was expected.
    """
    draft = _Draft(text)
    if len(text) > _LETTERS_LIMIT:
        raise _Draft(text[:40] + "…").refuse(f"it is {len(text)} letters long.")
    if any(ord(letter) < 0x20 and letter not in _BLANKS for letter in text) or "\x7f" in text:
        raise draft.refuse("found a control character.")
    rest = text.lstrip(_BLANKS)
    while rest:
        if rest.startswith("target="):
            _put_target(draft, rest.removeprefix("target="))
            break
        prefix = _PREFIX.match(rest)
        # Behind a script's prefix comes what the script reads: nbd:host:10809.
        if draft.script and _SCRIPT_WORD.match(rest) and prefix and prefix[1] not in _PREFIXES:
            prefix = None
        if prefix is not None and draft.target is None:
            _apply_prefix(draft, prefix[1])
            rest = rest[prefix.end() :].lstrip(_BLANKS)
            continue
        item, _, rest = rest.partition(",")
        if "\n" in item:
            raise draft.refuse(f"found a new line within {item!r}.")
        _apply_item(draft, item)
        rest = rest.lstrip(_BLANKS)
    return _finish(draft)


def _put_target(draft: _Draft, value: str) -> None:
    if "\n" in value:
        raise draft.refuse("found a new line within the target.")
    # xl's lexer strips one comma from the end even here (STRIP in libxlu_disk_l.l).
    draft.put("target", value.removesuffix(","))


def _apply_prefix(draft: _Draft, prefix: str) -> None:
    draft.prefixed = True
    if prefix in _FORMAT_PREFIXES:
        draft.put("format", prefix)
    elif prefix in _SCRIPT_PREFIXES:
        draft.put("script", f"block-{prefix}")
    elif prefix not in _BARE_PREFIXES:
        raise draft.refuse(
            f"the prefix {prefix}: is unknown; expected one of {', '.join(_PREFIXES)}."
        )


def _apply_item(draft: _Draft, item: str) -> None:
    if item == "cdrom":
        draft.cdrom = True
    elif item in _FLAGS:
        return
    elif "=" in item:
        key, _, value = item.partition("=")
        _apply_key(draft, key, value)
    else:
        _apply_positional(draft, item)


def _apply_key(draft: _Draft, key: str, value: str) -> None:
    match key:
        case "format":
            _put_format(draft, value)
        case "vdev" | "script" | "backend":
            draft.put(key, value)
        case "access":
            _put_access(draft, value)
        case "devtype":
            _put_device_type(draft, value)
        case "backendtype":
            _expect(draft, key, value, _BACKEND_TYPES)
        case "specification":
            _expect(draft, key, value, ("xen", "virtio"))
        case _ if key in _PLAIN_KEYS:
            return
        case _ if _KEY.fullmatch(key):
            raise draft.refuse(f"the parameter {key}= is unknown.")
        case _:
            raise draft.refuse(
                f"found {key}={value} where a parameter was expected; a target with `=` in it "
                f"needs target=."
            )


def _apply_positional(draft: _Draft, item: str) -> None:
    if draft.target is None:
        draft.target = item
    elif not draft.prefixed and draft.format is None:
        # `,hdc:cdrom,r`: xend's empty drive, with neither format nor target.
        if draft.target == "" and ":" in item:
            _put_vdev(draft, item)
            draft.format = "empty"
        else:
            _put_format(draft, item)
    elif draft.vdev is None:
        _put_vdev(draft, item)
    elif draft.access is None:
        _put_access(draft, item)
    else:
        raise draft.refuse(
            f"found {item!r} after target, format, vdev and access; nothing more was expected."
        )


def _put_vdev(draft: _Draft, item: str) -> None:
    name, colon, device_type = item.removeprefix("ioemu:").rpartition(":")
    if colon:
        _put_device_type(draft, device_type)
    draft.put("vdev", name if colon else device_type)


def _put_format(draft: _Draft, value: str) -> None:
    _expect(draft, "format", value, (*_FORMATS, ""))
    draft.put("format", value or "raw")


def _put_access(draft: _Draft, value: str) -> None:
    _expect(draft, "access", value, (*_READ_ONLY, *_WRITABLE, ""))
    draft.put("access", value)


def _put_device_type(draft: _Draft, value: str) -> None:
    _expect(draft, "devtype", value, ("cdrom", "disk"))
    draft.cdrom = value == "cdrom"


def _expect(draft: _Draft, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        expected = ", ".join(word for word in known if word)
        raise draft.refuse(f"{name} is {value!r}; expected one of {expected}.")


def _finish(draft: _Draft) -> Disk:
    vdev, target = draft.vdev or "", draft.target or ""
    if not vdev:
        raise draft.refuse("no vdev is given; expected a name such as xvda.")
    if _VDEV.fullmatch(vdev) is None and _VDEV_NUMBER.fullmatch(vdev) is None:
        raise draft.refuse(f"vdev is {vdev!r}; expected a name such as xvda, hdc1 or sdb.")
    empty = draft.cdrom and not target
    if not target and not empty:
        raise draft.refuse("no target is given, and only a cdrom drive may be empty.")
    if target and draft.format == "empty":
        raise draft.refuse("the format is empty, but there is a target.")
    return Disk(
        vdev=vdev,
        target=target if draft.script else _complete_path(draft, target),
        format="empty" if empty else draft.format or "raw",
        writable=not draft.cdrom and draft.access not in _READ_ONLY,
        cdrom=draft.cdrom,
        backend=draft.backend or "",
        script=draft.script or "",
    )


def _complete_path(draft: _Draft, target: str) -> str:
    """Put /dev/ before a relative path, but not before `rbd:pool/image`, which is qemu's."""
    if not target or target.startswith("/") or _PREFIX.match(target):
        return target
    if target != target.strip(_BLANKS):
        raise draft.refuse(f"the target is {target!r}, with blanks around it.")
    return f"/dev/{target}"


def list_prefixes(specification: str) -> tuple[str, ...]:
    """The deprecated prefixes before a target, in order: `tap:aio:/srv/a.img,…` -> (tap, aio).

    The disk's driver of old: tools of xm's time did not know `tap`.
    """
    prefixes: list[str] = []
    rest = specification.lstrip(_BLANKS)
    while (match := _PREFIX.match(rest)) is not None and match[1] in _PREFIXES:
        prefixes.append(match[1])
        rest = rest[match.end() :].lstrip(_BLANKS)
    return tuple(prefixes)
