"""The host that the contract is tried on: simulated here, a real Xen inside the lab's dom0.

`XENBACKUP_CONTRACT_HOST` is `simulated` (the default) or `real`. Both have the same two guests:
`web` (thick volumes xenvols/web_root of 64 MiB and xenvols/web_data of 32 MiB, a fixed uuid) and
`thinny` (two thin volumes of 32 MiB in xenvols/pool, no uuid). Each test finds both guests running
and healthy, and leaves nothing of its own behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from xenbackup.dom0 import health
from xenbackup.dom0.device_mapper import list_suspended, resume_device
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.monitor import find_monitors, wake_monitors
from xenbackup.dom0.toolstack import Toolstack, open_toolstack
from xenbackup.dom0.xl_parsers import DomainRow, parse_domain_table
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.domain import Domain, HealthBaseline
from xenbackup.model.volume import TAG_OURS, LogicalVolume
from xenbackup.system.block_device import allocate_buffer

RUN = "20261122T023000Z-k3f9qa"
GROUP = "xenvols"
SCRATCH_TAG = "xb.contract"
MIB = 1 << 20
_FOLDER = "/var/tmp/xenbackup-contract"
_PATIENCE_SECONDS = 300.0
_TOOL_SECONDS = 600.0


@dataclass
class Contract:
    """The host under test, the product's own views of it, and what tests ask again and again."""

    host: Host
    toolstack: Toolstack
    lvm: Lvm
    folder: Path
    run_id: str = RUN
    group: str = GROUP
    scratch_tag: str = SCRATCH_TAG

    def call(self, *argv: str) -> CommandResult:
        """A tool, by its own words."""
        return self.host.run(Command(argv=argv, timeout_seconds=_TOOL_SECONDS, run_id=self.run_id))

    def domain(self, name: str) -> Domain:
        found = [domain for domain in self.toolstack.list_domains() if domain.name == name]
        assert 1 == len(found), f"{name} is listed {len(found)} times"
        return found[0]

    def find(self, name: str) -> Domain | None:
        return next((d for d in self.toolstack.list_domains() if d.name == name), None)

    def volume(self, name: str) -> LogicalVolume:
        found = self.lvm.find_volume(f"/dev/{self.group}/{name}")
        assert found is not None, f"{name} does not exist"
        return found

    def volume_names(self) -> set[str]:
        return {lv.name for lv in self.lvm.list_volumes(self.group) if not lv.hidden}

    def baseline(self, name: str) -> HealthBaseline:
        return health.take_baseline(self.host, self.toolstack, self.domain(name))

    def findings(self, baseline: HealthBaseline, domid: int | None = None) -> set[str]:
        """Codes of everything that is worse than the baseline."""
        found = health.examine_health(self.host, self.toolstack, baseline, domid)
        return {finding.code for finding in found}

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = self.host.monotonic_seconds() + _PATIENCE_SECONDS
        while not condition():
            assert self.host.monotonic_seconds() < deadline, f"waited in vain until {what}"
            self.host.sleep(1.0)

    def read_start(self, path: str, length: int = MIB + 4096) -> bytes:
        """The first bytes of a device: where guests of both hosts write their counts."""
        device = self.host.open_volume(path)
        try:
            buffer = allocate_buffer(min(length, device.size_bytes))
            device.read_into(0, buffer)
            return bytes(buffer)
        finally:
            device.close()

    def wait_for_writes(self, path: str) -> None:
        """Until the guest has changed its disk: the proof that it lives."""
        before = self.read_start(path)
        self.wait_until(lambda: self.read_start(path) != before, f"{path} changes")

    def is_still(self, path: str) -> bool:
        """Nothing changes there for three seconds."""
        before = self.read_start(path)
        self.host.sleep(3.0)
        return self.read_start(path) == before


@pytest.fixture(scope="session")
def contract_host() -> Iterator[Host]:
    kind = os.environ.get("XENBACKUP_CONTRACT_HOST", "simulated")
    if kind == "real":
        from xenbackup.dom0.real import RealHost

        yield RealHost()
        return
    assert "simulated" == kind, f"XENBACKUP_CONTRACT_HOST is {kind!r}: simulated or real"
    from xenbackup.dom0.simulated import SimulatedHost

    with tempfile.TemporaryDirectory() as folder:
        _build_simulated(Path(folder) / "host")
        host = SimulatedHost(Path(folder) / "host")
        yield host
        host.close()


def _build_simulated(directory: Path) -> None:
    from xenbackup.dom0.simulated import DiskSpec, GroupSpec, GuestSpec, ThinPoolSpec, create_host

    pool = ThinPoolSpec(name="pool", size_bytes=192 * MIB)
    create_host(
        directory,
        groups=(GroupSpec(name=GROUP, size_bytes=1024 * MIB, pools=(pool,)),),
        guests=(
            GuestSpec(
                name="web",
                disks=(
                    DiskSpec(volume="web_root", size_bytes=64 * MIB),
                    DiskSpec(volume="web_data", size_bytes=32 * MIB),
                ),
                uuid="5e1f0b7a-2c3d-4e5f-8a9b-0c1d2e3f4a5b",
            ),
            GuestSpec(
                name="thinny",
                disks=(
                    DiskSpec(volume="thinny_root", size_bytes=32 * MIB, pool="pool"),
                    DiskSpec(volume="thinny_data", size_bytes=32 * MIB, pool="pool"),
                ),
            ),
        ),
    )


@pytest.fixture
def host(contract: Contract) -> Host:
    return contract.host


@pytest.fixture
def toolstack(contract: Contract) -> Toolstack:
    return contract.toolstack


@pytest.fixture(scope="session")
def healthy_contract(contract_host: Host) -> Contract:
    """The host as it must be before the first test, whatever an earlier session left."""
    tried = Contract(
        host=contract_host,
        toolstack=open_toolstack(contract_host, "xl"),
        lvm=Lvm(contract_host),
        folder=contract_host.place(_FOLDER),
    )
    _heal(tried)
    return tried


@pytest.fixture
def contract(healthy_contract: Contract) -> Iterator[Contract]:
    folder = healthy_contract.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    yield healthy_contract
    _heal(healthy_contract)
    shutil.rmtree(folder, ignore_errors=True)


def _heal(contract: Contract) -> None:
    """Guests first, then volumes: whatever a failed test left must not fail the next.

    This runs after every test, where a command costs more than a second: one look each at devices,
    guests and volumes, and acts only where one is needed.
    """
    for name in list_suspended(contract.host):
        resume_device(contract.host, name)
    rows = {row.name: row for row in parse_domain_table(contract.call("xl", "list", "-v").stdout)}
    for name in ("web", "thinny"):
        _heal_guest(contract, name, rows.get(name))
    volumes = contract.lvm.list_volumes(contract.group)
    for lv in volumes:
        if TAG_OURS in lv.tags or SCRATCH_TAG in lv.tags:
            contract.call("lvremove", "-y", f"{lv.group}/{lv.name}")
    left = {lv.name for lv in volumes}
    assert {"pool", "thinny_data", "thinny_root", "web_data", "web_root"} <= left


def _heal_guest(contract: Contract, name: str, row: DomainRow | None) -> None:
    wake_monitors(contract.host, find_monitors(contract.host, name))
    domain = contract.find(name) if row is None or row.state.paused else row
    if domain is not None and domain.state.paused and not domain.state.shutdown:
        for _ in range(3):
            contract.toolstack.unpause(domain.domid)
        domain = contract.find(name)
    watched = bool(find_monitors(contract.host, name))
    if domain is not None and domain.state.alive and watched:
        return
    if domain is not None:
        contract.toolstack.destroy(domain.domid)
        contract.wait_until(lambda: contract.find(name) is None, f"{name} is gone")
    result = contract.call("xl", "create", f"/etc/xen/{name}.cfg")
    assert 0 == result.exit_code, result.stderr
    for disk in contract.domain(name).disks:
        contract.wait_for_writes(disk.target)
