"""The simulated host's one truth, as it lies on disk: structs that msgspec reads and writes."""

from __future__ import annotations

from msgspec import Struct, field

from xenbackup.errors import XenbackupError

NANOSECONDS = 1_000_000_000
MIB = 1 << 20
KIB = 1 << 10

FIRST_SIMULATED_PID = 5_000_000
"""Above the kernel's largest pid, so that a simulated process is never taken for a real one."""


class SimulatorFailed(XenbackupError):
    """The simulator itself was asked for something that its directory does not hold."""


class Ram(Struct):
    """What a guest's memory holds; `xl save` puts exactly this into the image.

    `written[i]` is the count last recorded on disk i, `ringed[i]` the last one whose history block
    is there; `epochs[i]` the life of the guest that wrote it; `step` is the next micro-step of the
    running round. Rounds up to `settled_from` left no history (they were skipped).
    """

    key: str
    counter: int = 0
    epoch: int = 0
    written: list[int] = field(default_factory=list)
    ringed: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    settled_from: int = 0
    step: int = 0
    scratch_bytes: int = 4096
    scratch_region_bytes: int = MIB
    tick_ns: int = NANOSECONDS // 10


class Vbd(Struct):
    """A virtual disk of a domain and both ends of its connection (XenbusState).

    The front-end's key can be gone (-1); the back-end's stays, closed.
    """

    vdev: str
    number: int
    target: str
    writable: bool = True
    format: str = "raw"
    cdrom: bool = False
    frontend: int = 1
    backend: int = 2


class Domain(Struct):
    """A domain in the hypervisor.

    `shutdown` is the reason's word ("" while it runs); `ram` is None until the guest has booted;
    `verify_exactly` says that its memory came out of an image and must meet the very disks it
    knows. `built` is False while a restore is still filling it.
    """

    domid: int
    uuid: str
    name: str
    kind: str
    memory_mib: int
    maximum_memory_mib: int
    vcpus: int
    configuration_json: str
    created_ns: int
    next_step_ns: int = 0
    cpu_ns: int = 0
    pauses: int = 0
    shutdown: str = ""
    dying: bool = False
    built: bool = True
    pv_drivers: bool = True
    verify_exactly: bool = False
    blocked: bool = False
    control_shutdown: str = ""
    suspend_due_ns: int = 0
    weight: int = 256
    cap: int = 0
    hard_affinity: list[str] = field(default_factory=list)
    soft_affinity: list[str] = field(default_factory=list)
    vbds: list[Vbd] = field(default_factory=list)
    pci: list[str] = field(default_factory=list)
    ram: Ram | None = None

    @property
    def executing(self) -> bool:
        """Its processors get time: built, not paused, not shut down, not dying."""
        return self.built and not (self.pauses or self.shutdown or self.dying)


class GuestProgram(Struct):
    """What runs inside guests of one name, how they obey, and every corruption they found."""

    ram_bytes: int = 2 * MIB
    scratch_bytes: int = 4096
    scratch_region_bytes: int = MIB
    tick_ns: int = NANOSECONDS // 10
    suspend: str = "obeys"
    corruptions: list[str] = field(default_factory=list)


class SimulatedProcess(Struct):
    """A monitor of xl (pid from FIRST_SIMULATED_PID on), or a real child that runs a command."""

    pid: int
    start_ticks: int
    argv: list[str]
    log_path: str = ""
    run_mark: str = ""
    unit: str = ""
    domid: int = -1
    stopped: bool = False
    real: bool = False


class Opener(Struct):
    """A real process that holds a volume open; counts only while that process lives."""

    token: int
    volume: str
    pid: int
    start_ticks: int


class Volume(Struct):
    """A logical volume: `kind` is linear, snapshot (thick), thin or pool; the uuid names its files.

    `origin` and `pool` are uuids. A pool keeps the uuids of its hidden parts in `parts`.
    """

    uuid: str
    name: str
    group: str
    kind: str
    size_bytes: int
    minor: int
    tags: list[str] = field(default_factory=list)
    origin: str = ""
    pool: str = ""
    active: bool = True
    activation_skip: bool = False
    suspended: bool = False
    read_only: bool = False
    thin_id: int = 0
    metadata_bytes: int = 0
    written_bytes: int = 0
    parts: list[str] = field(default_factory=list)


class Group(Struct):
    """A volume group on one physical volume."""

    name: str
    uuid: str
    size_bytes: int
    extent_bytes: int
    device: str = "/dev/vdb"
    pv_uuid: str = ""


class PciDevice(Struct):
    """A PCI function with the texts of `lspci -vmm -nn`."""

    slot: str
    class_text: str
    vendor: str
    device: str
    subvendor: str = ""
    subdevice: str = ""
    revision: str = ""
    interface: str = ""
    driver: str = ""
    module: str = ""
    assignable: bool = False


class SavedFile(Struct):
    """A file that a tool wrote and nobody is known to have synced: a power cut takes it."""

    path: str
    synced: bool = False


class XendWork(Struct):
    """What xend is at for a caller: `kind` is save, restore, create or destroy.

    `keep` leaves a saved domain running, a built one paused; `due_ns` is when a save is done.
    """

    kind: str
    domid: int
    path: str = ""
    keep: bool = False
    due_ns: int = 0


class HostState(Struct):
    """Everything. `advancing_to_ns` is set while guests tick: whoever finds it set after a kill
    repeats that stretch of time, whose writes are the same writes."""

    schema: int
    sequence: int
    boot_id: str
    clock_ns: int
    started_ns: int
    advancing_to_ns: int = 0
    wall_offset_ns: int = 0
    seed: int = 1
    draws: int = 0
    hostname: str = "dom0"
    toolstack: str = "xl"
    cpu_model: str = "AMD Opteron 23xx (Gen 3 Class Opteron)"
    xen_major: int = 4
    xen_minor: int = 17
    total_memory_mib: int = 4095
    dom0_memory_mib: int = 1536
    cpus: int = 2
    next_domid: int = 1
    next_pid: int = FIRST_SIMULATED_PID
    next_minor: int = 0
    next_token: int = 1
    read_bytes_per_second: int = 200 * MIB
    write_bytes_per_second: int = 150 * MIB
    memory_bytes_per_second: int = 400 * MIB
    domains: list[Domain] = field(default_factory=list)
    programs: dict[str, GuestProgram] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    processes: list[SimulatedProcess] = field(default_factory=list)
    openers: list[Opener] = field(default_factory=list)
    pci: list[PciDevice] = field(default_factory=list)
    xenstore: dict[str, str] = field(default_factory=dict)
    xenstore_removed: list[str] = field(default_factory=list)
    saved_files: list[SavedFile] = field(default_factory=list)
    xend_works: list[XendWork] = field(default_factory=list)

    @property
    def xen_version(self) -> tuple[int, int]:
        return (self.xen_major, self.xen_minor)

    def find_domain(self, domid: int) -> Domain | None:
        return next((domain for domain in self.domains if domain.domid == domid), None)

    def find_group(self, name: str) -> Group | None:
        return next((group for group in self.groups if group.name == name), None)

    def find_volume(self, group: str, name: str) -> Volume | None:
        return next((v for v in self.volumes.values() if v.group == group and v.name == name), None)

    def program_of(self, name: str) -> GuestProgram:
        return self.programs.setdefault(name, GuestProgram())
