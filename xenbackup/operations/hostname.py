"""The name of this host, as manifests have it."""

from __future__ import annotations

import os
from contextlib import suppress

from xenbackup.dom0.host import Host

_HOSTNAME_FILE = "/proc/sys/kernel/hostname"


def read_hostname(host: Host) -> str:
    """What `xl info` calls `host`, and manifests keep, read without asking the toolstack.

    Both print the kernel's node name. Where /proc has none, it is the machine's that we run on.
    """
    with suppress(OSError):
        name = host.place(_HOSTNAME_FILE).read_text("utf-8", "surrogateescape").strip()
        if name:
            return name
    return os.uname().nodename
