"""Names and ids: run ids that sort by time, folder names that cannot escape their folder."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from xenbackup.errors import UsageError

_ID_PATTERN = re.compile(r"\d{8}T\d{6}Z-[a-z0-9]{6}")
_SUFFIX_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_FOLDER_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
DOMAIN_NAME_LIMIT_BYTES = 63


def make_run_id(now: datetime, entropy: bytes) -> str:
    """Id that sorts by time: `20261122T023000Z-k3f9qa`, from `now` and six bytes of entropy."""
    suffix = "".join(_SUFFIX_ALPHABET[byte % len(_SUFFIX_ALPHABET)] for byte in entropy[:6])
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{suffix}"


def is_run_id(text: str) -> bool:
    return _ID_PATTERN.fullmatch(text) is not None


def check_domain_name(name: str) -> str:
    """The name itself, if a command may carry it.

    Raises: UsageError for empty names, control characters (a newline would forge a line of tool
    output), NUL, and names over 63 bytes that LVM tags and xenstore paths could not carry.
    """
    if not name:
        raise UsageError("A domain name is empty.")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        raise UsageError(
            f"Domain name {name!r} holds a control character; no command is built from it.",
            hint="rename the domain with `xl rename`",
        )
    try:
        length_bytes = len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise UsageError(f"Domain name {name!r} holds half a surrogate pair.") from error
    if length_bytes > DOMAIN_NAME_LIMIT_BYTES:
        raise UsageError(f"Domain name {name!r} is longer than {DOMAIN_NAME_LIMIT_BYTES} bytes.")
    return name


def encode_folder_name(name: str) -> str:
    """Percent-encode a domain name so that it is one harmless folder name, and reversible.

    A dot is kept inside but never in front; `%`, `/`, spaces and all non-ASCII are encoded.
    """
    raw = name.encode("utf-8", "surrogateescape")
    letters = []
    for position, byte in enumerate(raw):
        letter = chr(byte)
        if letter in _FOLDER_SAFE or (letter == "." and position > 0):
            letters.append(letter)
        else:
            letters.append(f"%{byte:02X}")
    return "".join(letters)


def decode_folder_name(folder: str) -> str:
    """The domain name behind a folder name, without the `~UUID8` that tells namesakes apart."""
    stem = folder.split("~", 1)[0]
    raw = re.sub(
        rb"%([0-9A-F]{2})", lambda match: bytes([int(match.group(1), 16)]), stem.encode("ascii")
    )
    return raw.decode("utf-8", "surrogateescape")
