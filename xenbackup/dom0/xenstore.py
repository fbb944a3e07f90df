"""XenStore: how far both ends of each disk are connected, what guests obey, and who is no guest.

Guests may write below their own front-end directories: what is read there is a claim of the guest,
so a back-end path is followed only where toolstacks put back-ends, and odd values count as absent.
"""

from __future__ import annotations

import re

from xenbackup.dom0.acts import check_domid
from xenbackup.dom0.host import Host
from xenbackup.dom0.tool_output import parse_count, refuse_output, require_success, split_lines
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.domain import DiskConnection

_TIMEOUT_SECONDS = 30.0
_ENTRY = re.compile(r'(?P<path>/\S*?) = "(?P<value>.*)"(?:\s+\(\S+\))?\s*')
# A key that went between the listing of its folder and the reading of it, and what follows it.
_VANISHED = re.compile(r"(?:/\S*:)?")
_DISK_KEY = re.compile(r"(?P<vdev>[0-9]{1,9})/(?P<key>state|backend)")
_BACKEND = r"/local/domain/[0-9]{{1,5}}/backend/[a-z0-9_]{{1,16}}/{domid}/{vdev}"
_STATES = frozenset("123456789")
_MISSING = re.compile(r"No such file or directory|could(n't| not) (read|access|list) path")


def parse_tree(command: str, text: str, root: str) -> dict[str, str]:
    """Keys below `root`, relative to it, with their values, from `xenstore-ls -f`.

        /local/domain/2/device/vbd/51712/state = "4"

    A key that vanished meanwhile is printed without a value, and is not there.
    Raises: UnexpectedOutput for a line of another shape or from elsewhere.
    """
    tree = {}
    for line in split_lines(command, text):
        if _VANISHED.fullmatch(line):
            continue
        match = _ENTRY.fullmatch(line)
        if match is None or not (match["path"] + "/").startswith(root + "/"):
            raise refuse_output(command, line, expected=f"a key below {root}")
        tree[match["path"].removeprefix(root).removeprefix("/")] = match["value"]
    return tree


def read_connections(host: Host, domid: int) -> tuple[DiskConnection, ...]:
    """Every virtual disk that has a front-end in xenstore, by number; () when there is none.

    Raises: CommandFailed, UnexpectedOutput.
    """
    root = f"/local/domain/{check_domid(domid)}/device/vbd"
    argv = ("xenstore-ls", "-f", root)
    result = _run(host, argv)
    if _says_missing(result):
        return ()
    tree = parse_tree(" ".join(argv), require_success(result).stdout, root)
    found: dict[int, dict[str, str]] = {}
    for path, value in tree.items():
        match = _DISK_KEY.fullmatch(path)
        if match:
            found.setdefault(parse_count("xenstore-ls", match["vdev"]), {})[match["key"]] = value
    return tuple(_read_connection(host, domid, vdev, keys) for vdev, keys in sorted(found.items()))


def read_shutdown_request(host: Host, domid: int) -> str:
    """What the guest is asked to do (`suspend`, `poweroff`, …); "" for nothing.

    Raises: CommandFailed.
    """
    return _read_key(host, _shutdown_path(domid))


def clear_suspend_request(host: Host, domid: int) -> bool:
    """Withdraw a suspend request that nobody waits for any more; True when there was one.

    A killed save leaves it behind, and the guest suspends later, after the all-clear. An empty
    value is how libxl itself withdraws it. Raises: CommandFailed.
    """
    if read_shutdown_request(host, domid) != "suspend":
        return False
    require_success(_run(host, ("xenstore-write", _shutdown_path(domid), "")))
    return True


def serves_guests(host: Host, domid: int) -> bool:
    """Whether a domain is no guest, but does a part of dom0's work for guests.

        /local/domain/7/target = "6"
        /tool/xenstored/domid = "1"

    `target` is how libxl marks the domain of a device model (a stub domain, `web-dm`), with the
    number of its guest; under the other key stands the domain that is xenstore itself.

    Raises: CommandFailed.
    """
    number = str(check_domid(domid))
    return bool(_read_key(host, f"/local/domain/{number}/target")) or (
        _read_key(host, "/tool/xenstored/domid").strip() == number
    )


def offers_no_suspend(host: Host, domid: int) -> bool:
    """Whether the guest's kernel says what it obeys, and does not say that it can be suspended.

        /local/domain/1/control/feature-poweroff = "1"
        /local/domain/1/control/feature-suspend = ""

    A toolstack makes these keys empty, and Linux writes 1 into those that it obeys (into
    `feature-suspend` only when it was built with what a suspend needs). Older kernels, guests
    without PV drivers and ones that are still booting leave all of them empty, and most of those
    can be suspended: nothing follows from that.

    Raises: CommandFailed, UnexpectedOutput.
    """
    root = f"/local/domain/{check_domid(domid)}/control"
    argv = ("xenstore-ls", "-f", root)
    result = _run(host, argv)
    if _says_missing(result):
        return False
    said = parse_tree(" ".join(argv), require_success(result).stdout, root)
    suspend = said.get("feature-suspend", "")
    return suspend == "0" or (suspend == "" and said.get("feature-poweroff") == "1")


def _read_connection(host: Host, domid: int, vdev: int, keys: dict[str, str]) -> DiskConnection:
    backend_path = keys.get("backend", "")
    backend_state = 0
    if re.fullmatch(_BACKEND.format(domid=domid, vdev=vdev), backend_path):
        backend_state = _read_state(_read_key(host, f"{backend_path}/state"))
    return DiskConnection(
        vdev_number=vdev,
        frontend_state=_read_state(keys.get("state", "")),
        backend_state=backend_state,
        backend_path=backend_path,
    )


def _read_state(value: str) -> int:
    return int(value) if value in _STATES else 0


def _read_key(host: Host, path: str) -> str:
    result = _run(host, ("xenstore-read", path))
    if _says_missing(result):
        return ""
    value = require_success(result).stdout
    return value.removesuffix("\n")


def _shutdown_path(domid: int) -> str:
    return f"/local/domain/{check_domid(domid)}/control/shutdown"


def _says_missing(result: CommandResult) -> bool:
    return not result.timed_out and result.exit_code != 0 and bool(_MISSING.search(result.stderr))


def _run(host: Host, argv: tuple[str, ...]) -> CommandResult:
    return host.run(Command(argv=argv, timeout_seconds=_TIMEOUT_SECONDS))
