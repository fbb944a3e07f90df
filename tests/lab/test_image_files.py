"""A guest on an image file, on a real XFS: its snapshot is a reflink copy beside the image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

NAME = "filey"
FOLDER = "/srv/images"
IMAGE = f"{FOLDER}/filey.img"
VOLUME = "xenvols/images"
CONFIGURATION = f"""\
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


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Iterator[Machine]:
    """The module's machine with an XFS in a logical volume, and a guest on an image file there."""
    product.prepare(shared_host)
    shared_host.run("lvcreate", "-y", "-L", "400m", "-n", "images", "xenvols").check()
    shared_host.run("mkfs.xfs", "-q", f"/dev/{VOLUME}").check()
    shared_host.run("mkdir", "-p", FOLDER).check()
    shared_host.run("mount", f"/dev/{VOLUME}", FOLDER).check()
    shared_host.run(
        "dd", "if=/dev/xenvols/pvh01_root", f"of={IMAGE}", "bs=4M", "conv=sparse,fsync"
    ).check()
    shared_host.put_bytes(CONFIGURATION.encode(), f"/etc/xen/{NAME}.cfg")
    assert () == guests.create(shared_host, NAME).complaints
    yield shared_host
    shared_host.run("xl", "destroy", NAME)


def list_files(machine: Machine) -> list[str]:
    return machine.run("ls", "-A", FOLDER).check().stdout.split()


@pytest.mark.parametrize("preset", ["checkpoint", "crash"])
def test_guest_on_an_image_file_goes_on_and_nothing_is_left(dom0: Machine, preset: str) -> None:
    run = product.back_up(dom0, preset, NAME)
    assert {"checkpoint": "memory", "crash": "crash"}[preset] == run["consistency"]
    assert () == guests.wait_for_ticks(dom0, NAME).complaints
    assert ["filey.img"] == list_files(dom0)
    assert [] == product.list_spool(dom0)


def test_memory_restored_onto_the_image_goes_on_from_its_counter(dom0: Machine) -> None:
    point = product.back_up(dom0, "checkpoint", NAME)["point"]
    dom0.run("xl", "destroy", NAME).check()
    dom0.run("dd", "if=/dev/urandom", f"of={IMAGE}", "bs=1M", "count=8", "conv=notrunc").check()
    done = product.call(dom0, "restore", str(point), "--memory", "--start", "--json")
    assert 0 == done.exit_code, done.stdout + done.stderr
    assert () == guests.wait_for_ticks(dom0, NAME).complaints
    assert () == guests.check_bulk(dom0, NAME).complaints


def test_plan_says_how_each_disk_is_frozen(dom0: Machine) -> None:
    answer = product.ask(dom0, "run", "checkpoint", "--domain", NAME, "--dry-run")
    (plan,) = answer["domains"]
    assert ["reflink"] == [disk["snapshot"] for disk in plan["disks"]]
