"""A guest's memory as bytes: what `xl save` puts into an image's pages, and how it comes back."""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache

import msgspec

from xenbackup.dom0.simulated.state import Ram

_DIGEST_BYTES = 16
_MAGIC = b"XBRAM001"
_HEAD_BYTES = len(_MAGIC) + 4 + _DIGEST_BYTES


def encode_memory(ram: Ram, size_bytes: int) -> bytes:
    """The guest's counters, then content that makes up its size: half of it noise, half zeros."""
    body = msgspec.json.encode(ram)
    noise = _noise(ram.key, max(size_bytes - len(body) - _HEAD_BYTES, 0) // 2)
    digest = _digest(body, noise)
    head = _MAGIC + len(body).to_bytes(4, "little") + digest
    return (head + body + noise).ljust(size_bytes, b"\0")


def decode_memory(payload: bytes) -> Ram | None:
    """The counters again; None when any byte that matters has changed."""
    if len(payload) < _HEAD_BYTES or not payload.startswith(_MAGIC):
        return None
    length = int.from_bytes(payload[len(_MAGIC) : len(_MAGIC) + 4], "little")
    body = payload[_HEAD_BYTES : _HEAD_BYTES + length]
    rest = payload[_HEAD_BYTES + length :]
    noise_length = max(len(payload) - len(body) - _HEAD_BYTES, 0) // 2
    if payload[len(_MAGIC) + 4 : _HEAD_BYTES] != _digest(body, rest[:noise_length]):
        return None
    if any(rest[noise_length:]):
        return None
    try:
        return msgspec.json.decode(body, type=Ram)
    except msgspec.DecodeError:
        return None


def _digest(body: bytes, noise: bytes) -> bytes:
    return hashlib.blake2b(body + noise, digest_size=_DIGEST_BYTES).digest()


@lru_cache(maxsize=4)
def _noise(key: str, length: int) -> bytes:
    return random.Random(key).randbytes(length)  # noqa: S311  (content of a test guest)
