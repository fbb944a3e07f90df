"""Domains as the toolstack shows them: identity, state, disks, tuning, health."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MIGRATED_SUFFIX = "--migratedaway"
ARRIVING_SUFFIX = "--incoming"


class GuestKind(StrEnum):
    """How a guest is virtualised; unknown for one whose configuration the toolstack lacks."""

    PV = "pv"
    HVM = "hvm"
    PVH = "pvh"
    UNKNOWN = "unknown"


class ShutdownReason(StrEnum):
    """Fifth state letter of `xl list` (`-rscwS`), and why a domain's processors stand still."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    SUSPEND = "suspend"
    CRASH = "crash"
    WATCHDOG = "watchdog"
    SOFT_RESET = "soft-reset"


@dataclass(frozen=True, kw_only=True)
class DomainState:
    """The state letters of `xl list`: r b p s (reason) d. `------` is runnable and healthy."""

    letters: str
    running: bool = False
    blocked: bool = False
    paused: bool = False
    shutdown: bool = False
    shutdown_reason: ShutdownReason | None = None
    dying: bool = False

    @property
    def suspended(self) -> bool:
        """Shut down for a suspend: its memory waits to be saved or resumed."""
        return self.shutdown and self.shutdown_reason is ShutdownReason.SUSPEND

    @property
    def alive(self) -> bool:
        """Neither paused, shut down nor dying; says nothing about its disks."""
        return not (self.paused or self.shutdown or self.dying)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A virtual block device as the domain's configuration has it.

    `vdev` is the guest's name (`xvda`), `target` the path in the back-end's domain ("" for an empty
    drive), `backend` the domain that serves it ("" or "0" mean dom0).
    """

    vdev: str
    target: str
    format: str = "raw"
    writable: bool = True
    cdrom: bool = False
    backend: str = ""
    script: str = ""

    @property
    def served_by_dom0(self) -> bool:
        return self.backend in ("", "0", "Domain-0")


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A domain in the hypervisor now, or (domid -1, no state letters) one that is shut off.

    `domid` and `uuid` as listed; `memory_mib` current; `configuration_json` is the `config` object
    of `xl list -l` as text, kept whole in recovery points ("" for xm, which has none);
    `configuration_sexp` what xm has in its place, without what belongs to one life of the domain.
    """

    name: str
    domid: int
    uuid: str
    kind: GuestKind
    state: DomainState
    memory_mib: int
    vcpus: int
    disks: tuple[Disk, ...] = ()
    pci_devices: tuple[str, ...] = ()
    configured_uuid: str = ""
    maximum_memory_mib: int = 0
    configuration_json: str = ""
    configuration_sexp: str = ""

    @property
    def exists(self) -> bool:
        """It is in the hypervisor now; a shut off one is known from its configuration alone."""
        return self.domid >= 0


def was_migrated_away(name: str) -> bool:
    """Does a domain of this name run on another host already, or is it about to?

    `xl migrate` gives its source this name before it tells the other host to let the guest run, and
    never takes it back where the answer does not come.
    """
    return name.endswith(MIGRATED_SUFFIX)


def is_arriving(name: str) -> bool:
    """Is a domain of this name being migrated to this host? It still runs on the other one.

    `xl migrate-receive` gives it its own name once all of it is here.
    """
    return name.endswith(ARRIVING_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class DomainStatus:
    """The little that one listing shows of a domain: who it is, and its state."""

    name: str
    domid: int
    uuid: str
    state: DomainState


@dataclass(frozen=True, kw_only=True)
class DomainIdentity:
    """Who a domain is within one run: acts go only to exactly this one."""

    boot_id: str
    uuid: str
    domid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class VcpuPinning:
    """Affinity of one virtual CPU, in xl's own spelling (`all`, `0-1,3`)."""

    vcpu: int
    hard: str
    soft: str


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What an administrator tuned on a domain, and a save + restore may lose.

    `pool` is its cpupool and `scheduler` that of the pool; "" for a pool that is not known.
    """

    pinning: tuple[VcpuPinning, ...] = ()
    scheduler: str = ""
    weight: int | None = None
    cap: int | None = None
    vcpus: int = 0
    pool: str = ""


@dataclass(frozen=True, kw_only=True)
class DiskConnection:
    """Both ends of a virtual disk in xenstore: XenbusState numbers, 0 when the key is missing.

    4 is connected. Empty drives, emulated disks and driver domains never show 4 and 4: compare
    with a baseline, not with a constant. `backend_path` is what the frontend's `backend` says.
    """

    vdev_number: int
    frontend_state: int
    backend_state: int
    backend_path: str

    @property
    def rank(self) -> tuple[bool, bool]:
        """How connected each end is; compared end by end with the baseline."""
        return (self.frontend_state == 4, self.backend_state == 4)


@dataclass(frozen=True, kw_only=True)
class HealthBaseline:
    """What healthy meant for this domain just before the run touched it."""

    identity: DomainIdentity
    connections: tuple[DiskConnection, ...]
    monitor_alive: bool
    paused_by_administrator: bool


@dataclass(frozen=True, kw_only=True)
class HealthFinding:
    """One way in which a domain is not as healthy as its baseline."""

    code: str
    message: str
