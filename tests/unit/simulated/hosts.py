"""Small simulated hosts for these tests, and short words for what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xenbackup.dom0.simulated import (
    DiskSpec,
    GroupSpec,
    GuestSpec,
    SimulatedHost,
    ThinPoolSpec,
    create_host,
)
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.simulated.state import KIB, MIB, Domain
from xenbackup.model.command import Command, CommandResult

RUN = "20261122T023000Z-k3f9qa"
SPOOL = "/var/lib/xenbackup"
WEB_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
WEB = GuestSpec(
    name="web",
    disks=(
        DiskSpec(volume="web_root", size_bytes=2 * MIB),
        DiskSpec(volume="web_data", size_bytes=MIB),
    ),
    uuid=WEB_UUID,
    memory_mib=32,
    ram_bytes=16 * KIB,
    scratch_region_bytes=128 * KIB,
)
THINNY = GuestSpec(
    name="thinny",
    disks=(DiskSpec(volume="thinny_root", size_bytes=2 * MIB, pool="pool"),),
    memory_mib=32,
    ram_bytes=16 * KIB,
    scratch_region_bytes=128 * KIB,
)
GROUP = GroupSpec(
    size_bytes=64 * MIB,
    extent_bytes=256 * KIB,
    pools=(ThinPoolSpec(name="pool", size_bytes=8 * MIB),),
)


def make_host(
    tmp_path: Path,
    *guests: GuestSpec,
    on_boundary: Callable[[str], None] | None = None,
    group: GroupSpec = GROUP,
    xen_version: tuple[int, int] = (4, 17),
    total_memory_mib: int = 4095,
) -> SimulatedHost:
    """A host with `web` alone, or with the guests given."""
    create_host(
        tmp_path / "host",
        groups=(group,),
        guests=guests or (WEB,),
        xen_version=xen_version,
        total_memory_mib=total_memory_mib,
    )
    return SimulatedHost(tmp_path / "host", on_boundary=on_boundary)


def call(host: SimulatedHost, *argv: str, timeout_seconds: float = 600.0) -> CommandResult:
    return host.run(Command(argv=argv, timeout_seconds=timeout_seconds, run_id=RUN))


def must(host: SimulatedHost, *argv: str) -> str:
    """stdout of a call that must succeed."""
    result = call(host, *argv)
    assert 0 == result.exit_code, (argv, result.stdout, result.stderr)
    return result.stdout


def complaints(host: SimulatedHost) -> list[str]:
    """Every corruption that any guest found so far."""
    return [text for found in read_oracle(host).corruptions.values() for text in found]


def look(host: SimulatedHost, name: str = "web") -> Domain:
    with host.machine() as machine:
        return next(domain for domain in machine.state.domains if domain.name == name)


def counter(host: SimulatedHost, name: str = "web") -> int:
    ram = look(host, name).ram
    assert ram is not None
    return ram.counter


def make_recorded_host(tmp_path: Path) -> SimulatedHost:
    """The host of the recordings: linux01 runs on 512 MiB, web's volumes and thin01 lie idle."""
    linux = GuestSpec(name="linux01", disks=(DiskSpec(volume="linux01", size_bytes=512 * MIB),))
    web = GuestSpec(
        name="web",
        disks=(
            DiskSpec(volume="web_root", size_bytes=64 * MIB),
            DiskSpec(volume="web_data", size_bytes=32 * MIB),
        ),
        running=False,
    )
    group = GroupSpec(
        size_bytes=8188 * MIB, pools=(ThinPoolSpec(name="pool", size_bytes=512 * MIB),)
    )
    host = make_host(tmp_path, linux, web, group=group)
    must(host, "lvcreate", "-y", "-V", "128M", "--thinpool", "pool", "-n", "thin01", "xenvols")
    return host


def letters(host: SimulatedHost, name: str = "web") -> str:
    for line in must(host, "xl", "list").splitlines()[1:]:
        if line.startswith(name + " "):
            return line.split()[4]
    return "absent"


def read_volume(host: SimulatedHost, path: str) -> bytes:
    device = host.open_volume(path)
    try:
        content = bytearray(device.size_bytes)
        assert len(content) == device.read_into(0, memoryview(content))
        return bytes(content)
    finally:
        device.close()


def write_volume(host: SimulatedHost, path: str, content: bytes, offset: int = 0) -> None:
    """Write as nobody should: beneath the guest, past the check that it is not in use."""
    with host.machine() as machine:
        volume = machine.resolve_volume(path)
        assert volume is not None
        machine.volumes.write(volume, offset, content)
        machine.commit()
