"""A guest on an image file, on a real XFS: its snapshot is a reflink copy beside the image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.image_guest import IMAGE, NAME, create_image_guest, list_files
from tests.lab.machine import Machine


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Iterator[Machine]:
    """The module's machine with an XFS in a logical volume, and a guest on an image file there."""
    product.prepare(shared_host)
    assert () == create_image_guest(shared_host).complaints
    yield shared_host
    shared_host.run("xl", "destroy", NAME)


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
