"""Who is at the other end of the socket: the kernel's word for it, and the host's groups."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from xenbackup.model.printable import show_text
from xenbackup.service.control.permissions import Role

_NAME_LIMIT = 64
_CREDENTIALS = struct.Struct("=iII")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A process as it was when it connected (SO_PEERCRED, unix(7)): effective user and group."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Who asks, and what that makes of it."""

    pid: int
    uid: int
    gid: int
    role: Role


class Accounts(Protocol):
    """The host's users and groups."""

    def find_group(self, name: str) -> int | None:
        """The id of a group, None when there is none of that name."""

    def list_groups(self, uid: int, gid: int) -> frozenset[int]:
        """The groups of a user whose process has the group `gid`, which is among them."""


class HostAccounts:
    """Users and groups as the host's name service knows them, looked up anew each time.

    The supplementary groups are those of the user, not of the process: `/proc/PID/status` may be
    that of another process by the time it is read.
    """

    def find_group(self, name: str) -> int | None:
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, OSError):
            return None

    def list_groups(self, uid: int, gid: int) -> frozenset[int]:
        try:
            user = pwd.getpwuid(uid).pw_name
            return frozenset({gid, *os.getgrouplist(user, gid)})
        except (KeyError, OSError):
            return frozenset({gid})


def name_user(uid: int) -> str:
    """The user's name as the host knows it, for a person; else the number."""
    try:
        return show_text(pwd.getpwuid(uid).pw_name, limit=_NAME_LIMIT) or str(uid)
    except (KeyError, OSError, OverflowError):
        return str(uid)


def read_credentials(connection: socket.socket) -> Credentials:
    """Raises: OSError."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Credentials(pid=pid, uid=uid, gid=gid)
