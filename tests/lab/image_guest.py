"""A guest on an image file: its XFS in a logical volume, its image, its configuration."""

from __future__ import annotations

from tests.lab import guests
from tests.lab.machine import Machine

NAME = "filey"
FOLDER = "/srv/images"
IMAGE = f"{FOLDER}/filey.img"
_VOLUME = "xenvols/images"
_CONFIGURATION = f"""\
name = "{NAME}"
type = "pvh"
uuid = "0f2b7c55-5f0e-4b0c-8f9d-5d2f3a6b7c8d"
kernel = "/srv/guests/vmlinuz"
ramdisk = "/srv/guests/initrd"
extra = "console=hvc0 quiet loglevel=4 disks=1"
memory = 96
vcpus = 1
tsc_mode = "native"
disk = [ "file:{IMAGE},xvda,w" ]
on_reboot = "restart"
"""


def create_image_guest(machine: Machine) -> guests.GuestReport:
    """Make the filesystem, the image (a copy of the idle guest pvh01's disk) and the guest."""
    machine.run("lvcreate", "-y", "-L", "400m", "-n", "images", "xenvols").check()
    machine.run("mkfs.xfs", "-q", f"/dev/{_VOLUME}").check()
    machine.run("mkdir", "-p", FOLDER).check()
    machine.run("mount", f"/dev/{_VOLUME}", FOLDER).check()
    machine.run(
        "dd", "if=/dev/xenvols/pvh01_root", f"of={IMAGE}", "bs=4M", "conv=sparse,fsync"
    ).check()
    machine.put_bytes(_CONFIGURATION.encode(), f"/etc/xen/{NAME}.cfg")
    return guests.create(machine, NAME)


def list_files(machine: Machine) -> list[str]:
    """What lies beside the image: after any run, the image alone."""
    return machine.run("ls", "-A", FOLDER).check().stdout.split()
