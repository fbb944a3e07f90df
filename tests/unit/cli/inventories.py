"""A host with one of everything, as an inventory: for tables and for first configurations."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.worlds import FACTS, GIB, make_backing, make_group, make_guest, make_pool
from tests.unit.worlds import make_volume as volume
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.devices import (
    DriverInventory,
    GuestDrivers,
    KernelModule,
    NetworkBoard,
    PciDevice,
    PciInventory,
)
from xenbackup.model.domain import Disk, Domain, GuestKind, Tuning, VcpuPinning
from xenbackup.model.inventory import BrokenConfiguration, Inventory
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.resources import Dom0Memory, DomainResources, Resources

CARD = "0000:03:01.0"
IMAGE = "/var/lib/xen/images/mail-server.img"
SAN = "iqn.2001-05.com.example:storage.disk1"


def backing(
    domain: str, vdev: str, target: str, kind: BackingKind, **fields: object
) -> DiskBacking:
    """A disk that is no logical volume, and stands for itself."""
    plain = DiskBacking(
        domain=domain,
        vdev=vdev,
        target=target,
        kind=kind,
        path=target,
        size_bytes=20 * GIB,
        allocated_bytes=20 * GIB,
        tokens=frozenset((f"path:{target}",)),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


BACKINGS = (
    make_backing(allocated_bytes=10 * GIB),
    make_backing(
        "thinny",
        kind=BackingKind.THIN_VOLUME,
        snapshot=SnapshotKind.THIN,
        allocated_bytes=3 * GIB,
    ),
    backing(
        "mail", "xvda", IMAGE, BackingKind.IMAGE_FILE, filesystem="ext4", mount_point="/",
        allocated_bytes=7 * GIB,
    ),
    backing(
        "mail", "xvdb", "/srv/guests/mail-data.img", BackingKind.IMAGE_FILE, filesystem="btrfs",
        mount_point="/srv/guests", can_reflink=True,
    ),
    backing("mail", "hdc", "/isos/rescue.iso", BackingKind.CDROM, writable=False),
    backing("firewall", "hda", "/dev/sdb1", BackingKind.PARTITION, held="mounted in dom0 at /mnt"),
    backing("firewall", "hdc", "", BackingKind.EMPTY, size_bytes=0, allocated_bytes=None),
    backing("old", "xvda", "/dev/gone/disk", BackingKind.ABSENT, size_bytes=0,
            allocated_bytes=None, problem="No such file or directory"),
    backing("old", "xvdb", SAN, BackingKind.ISCSI, notes=("the initiator is not running",)),
    backing("numa", "xvda", "/dev/sdb1", BackingKind.PARTITION),
)  # fmt: skip
NAMES = ("web", "thinny", "mail", "firewall", "numa", "old")


def make_domain(name: str, domid: int) -> Domain:
    disks = tuple(
        Disk(vdev=found.vdev, target=found.target, cdrom=found.kind is BackingKind.CDROM)
        for found in BACKINGS
        if found.domain == name
    )
    return make_guest(
        name,
        domid,
        disks=disks,
        kind=GuestKind.HVM if name == "firewall" else GuestKind.PV,
        pci_devices=(CARD,) if name == "firewall" else (),
    )


def make_share(name: str, domid: int) -> DomainResources:
    shared = DomainResources(
        domain=name, domid=domid, memory_mib=1024, maximum_mib=1024, vcpus=2, target_mib=1024
    )
    match name:
        case "web":
            pins = (
                VcpuPinning(vcpu=0, hard="0", soft="all"),
                VcpuPinning(vcpu=1, hard="2-3", soft="2"),
            )
            tuning = Tuning(pinning=pins, weight=512, cap=150, vcpus=2)
            return replace(shared, tuning=tuning, pool="Pool-0", maximum_mib=2048)
        case "mail":
            return replace(shared, memory_mib=1024, target_mib=9216, maximum_mib=9216)
        case "old":
            return replace(shared, target_mib=None)
    return shared


def make_drivers(name: str) -> GuestDrivers:
    plain = GuestDrivers(domain=name, kind="pv", disk_style="xvd", video="none")
    match name:
        case "firewall":
            return replace(
                plain,
                kind="hvm",
                disk_style="hd/sd",
                video="cirrus",
                boards=(NetworkBoard(model="e1000"), NetworkBoard(model="rtl8139")),
                can_save=False,
                can_stream=False,
                reasons=(f"PCI device {CARD} is passed through to it",),
                findings=("it has 4 network boards",),
            )
        case "numa":
            return replace(plain, can_save=False, reasons=("it has 2 virtual NUMA nodes",))
    return replace(plain, boards=(NetworkBoard(mac="00:16:3e:00:00:01"),))


DOMAINS = tuple(
    make_domain(name, -1 if name == "old" else number) for number, name in enumerate(NAMES, 1)
)

INVENTORY = Inventory(
    facts=FACTS,
    can_save_paused=True,
    domains=DOMAINS,
    volumes=(
        volume("web_root"),
        volume("thinny_root", attributes="Vwi-aotz--", pool="pool"),
        make_pool(data=86.5),
    ),
    groups=(make_group(),),
    backings=BACKINGS,
    pci=PciInventory(
        devices=(
            PciDevice(
                slot="0000:00:00.0", class_name="Host bridge", vendor="Intel Corporation",
                device="82G33/G31/P35/P31 Express DRAM Controller",
            ),
            PciDevice(
                slot=CARD, class_name="Ethernet controller", vendor="Intel Corporation",
                device="82574L Gigabit Network Connection", driver="pciback",
                owners=("firewall",), configured_for=("firewall", "old"),
                hidden_by=("/etc/modprobe.d/pciback.conf",),
            ),
            PciDevice(slot="0000:04:00.0", class_name="USB controller", driver="xhci_hcd",
                      configured_for=("old",)),
        ),
        asked_for=(
            (CARD, ("firewall", "old")),
            ("0000:04:00.0", ("old",)),
            ("0000:05:00.0", ("old",)),
        ),
        early=False,
    ),
    resources=Resources(
        total_mib=8192, free_mib=4096, cpus=4, scheduler="credit2", numa_nodes=1,
        pools=("Pool-0",),
        dom0=Dom0Memory(current_mib=1024, on_xen_line="", on_linux_line="512M"),
        domains=tuple(make_share(domain.name, domain.domid) for domain in DOMAINS),
    ),
    drivers=DriverInventory(
        modules=(
            KernelModule(name="xen-blkback", purpose="serves block devices", state="loaded"),
            KernelModule(name="xen-netback", purpose="serves network boards", state="missing"),
            KernelModule(name="drbd", purpose="mirrored disks", state="missing"),
        ),
        guests=tuple(make_drivers(name) for name in NAMES),
    ),
    broken_configurations=(
        BrokenConfiguration(path="/etc/xen/\x1bodd.cfg", problem="line 3: holds code"),
    ),
)  # fmt: skip
