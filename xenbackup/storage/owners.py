"""Owners: which domain a folder of the shelf belongs to, and what such a folder is called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from blake3 import blake3

from xenbackup.model.names import decode_folder_name, encode_folder_name

OWNER_FILE = ".owner.json"
OWNER_LIMIT_BYTES = 4096

HARMLESS_ENTRIES = frozenset(("lost+found",))
"""What a fresh file system brings along; no domain's folder can have such a name."""

_UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FOLDER_PATTERN = re.compile(r"(?![.])(?:[A-Za-z0-9_.-]|%[0-9A-F]{2})+(?:~[0-9a-f]{8,32})?")


def list_candidate_names(domain: str, identity: str) -> Iterator[str]:
    """Folder names that the domain may have, in the order in which they are tried."""
    base = encode_folder_name(domain)
    yield base
    mark = identity.lower()
    if _UUID_PATTERN.fullmatch(mark) is None:
        mark = blake3(identity.encode("utf-8", "surrogateescape")).hexdigest()
    mark = mark.replace("-", "")
    for length in (8, 16, 32):
        yield f"{base}~{mark[:length]}"


def is_domain_folder(name: str) -> bool:
    """A run may have made a folder of this name; what somebody copied may be called otherwise."""
    return _FOLDER_PATTERN.fullmatch(name) is not None


def decode_quietly(folder: str) -> str:
    """The domain behind a folder's name; a foreign name that is none of ours stands for itself."""
    try:
        return decode_folder_name(folder)
    except UnicodeError:
        return folder


def encode_owner(domain: str, identity: str) -> bytes:
    """Content of the owner file of a domain's folder."""
    document = {"schema": 1, "domain": domain, "identity": identity}
    return (json.dumps(document, indent=2) + "\n").encode()


def decode_owner(content: bytes) -> str:
    """The identity in an owner file; "" for a file that is not one: then the folder is nobody's."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    identity = document.get("identity") if isinstance(document, dict) else None
    return identity if isinstance(identity, str) else ""
