"""Zones: the clock by which a job means its schedule and the days of its retention."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

from xenbackup.dom0.host import Host
from xenbackup.model.job import Job

_LOCAL_ZONE_FILE = "/etc/localtime"


def find_zone(host: Host, job: Job) -> ZoneInfo:
    """The job's own zone, else the host's."""
    return ZoneInfo(job.timezone) if job.timezone else read_host_zone(host)


def read_host_zone(host: Host) -> ZoneInfo:
    """The host's own zone: TZ where that names one, else /etc/localtime; UTC without either.

    A simulated host without such a file has the zone of the machine that it is simulated on.
    """
    name = os.environ.get("TZ", "").removeprefix(":")
    # OSError: TZ may name a folder of the database; ValueError: a path that leads out of it.
    with suppress(KeyError, ValueError, OSError):
        if name:
            return ZoneInfo(name)
    for path in (host.place(_LOCAL_ZONE_FILE), Path(_LOCAL_ZONE_FILE)):
        with suppress(ValueError, OSError), path.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    return ZoneInfo("UTC")
