"""xl's lock: one `xl create` or `xl restore` at a time on a host, each waiting without an end.

xl takes it with fcntl(2) around the building of a domain, on /var/lock/xl or on the file that
`lockfile` names in xl.conf(5). One that hangs, in a hotplug script for instance, keeps every other
from starting a guest.
"""

from __future__ import annotations

import re

from xenbackup.dom0.holders import list_lock_holders
from xenbackup.dom0.host import Host

SETTINGS_PATH = "/etc/xen/xl.conf"
DEFAULT_LOCK_PATH = "/var/lock/xl"
_LOCK_FILE = re.compile(r"""^\s*lockfile\s*=\s*(["'])(?P<path>/.*?)\1""", re.MULTILINE)


def find_lock_path(host: Host) -> str:
    """The file that xl locks on this host."""
    try:
        text = host.place(SETTINGS_PATH).read_text("utf-8", "replace")
    except OSError:
        return DEFAULT_LOCK_PATH
    # A later line of the file takes an earlier one's place.
    paths = [match["path"] for match in _LOCK_FILE.finditer(text)]
    return paths[-1] if paths else DEFAULT_LOCK_PATH


def tell_lock_holder(host: Host) -> str:
    """`xl's lock /var/lock/xl is held by process 1716 (xl create web.cfg)`; "" when it is free."""
    path = find_lock_path(host)
    holders = list_lock_holders(host, path)
    return f"xl's lock {path} is held by {' and '.join(holders)}" if holders else ""
