"""The socket in its folder: made where nobody else could have put one, removed if it is ours."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from xenbackup.errors import Locked, StateFailed
from xenbackup.service.control.address import shorten_address
from xenbackup.system.durable import translate_errors

FOLDER_MODE = 0o755
# Everybody may connect, for a file has one group and two groups are served: the kernel's word
# about the peer decides, at each request, and a refusal can say what would help.
SOCKET_MODE = 0o666
_BACKLOG = 128
_PROBE_SECONDS = 2.0


class ControlSocket:
    """A listening socket; `close` removes its file, unless another took its place."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.path = path
        self.listener = listener
        self._identity = _identify(path)

    @classmethod
    def bind(cls, path: Path) -> ControlSocket:
        """Listen at `path`, in place of a socket that a dead daemon left.

        Raises: Locked when somebody answers there; StateFailed when the folder is writable by
        others, when something else than a socket is in the way, or the system refuses.
        """
        with translate_errors(StateFailed, f"listen at {path}"):
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            _check_folder(path.parent)
            _clear_way(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                with shorten_address(path) as address:
                    listener.bind(address)
                # Until it listens nobody can connect, whatever its mode.
                path.chmod(SOCKET_MODE)
                listener.listen(_BACKLOG)
                listener.setblocking(False)
                return cls(path, listener)
            except OSError:
                listener.close()
                raise

    def close(self) -> None:
        """Stop listening; safe to repeat."""
        self.listener.close()
        with suppress(OSError):
            if _identify(self.path) == self._identity:
                self.path.unlink()


def _check_folder(folder: Path) -> None:
    """Whoever can write there could put a socket of his own in our place."""
    status = folder.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise StateFailed(
            f"Cannot listen in {folder}: others than root can write there.",
            hint=f"`chown root {folder}; chmod 755 {folder}`",
        )


def _clear_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StateFailed(
            f"Cannot listen at {path}: what is there is no socket.",
            hint="find out who put it there, and remove it",
        )
    if _is_answered(path):
        raise Locked(
            f"Cannot listen at {path}: another daemon answers there.",
            hint="`xenbackup status` shows what it does",
        )
    path.unlink()


def _is_answered(path: Path) -> bool:
    """Whether anybody listens; a full queue of connections is somebody who does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, shorten_address(path) as at:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(at)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True


def _identify(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
