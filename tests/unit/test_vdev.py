"""Names of virtual disks, and the numbers that xenstore has for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.vdev import number_vdev

# xen-vbd-interface(7) gives most of these.
NUMBERS = {
    "xvda": 51712,
    "xvda1": 51713,
    "xvdb": 51728,
    "xvdp15": 51967,
    "xvdq": (1 << 28) | (16 << 8),
    "xvdaa": (1 << 28) | (26 << 8),
    "xvda16": (1 << 28) | 16,
    "d0": 51712,
    "d1p2": 51730,
    "d16": (1 << 28) | (16 << 8),
    "hda": 768,
    "hdb2": 834,
    "hdc": 5632,
    "hdd": 5696,
    "sda": 2048,
    "sdb3": 2067,
    "0xca00": 51712,
    "51728": 51728,
}


@pytest.mark.parametrize("vdev", NUMBERS)
def test_disk_has_the_number_of_the_interface(vdev: str) -> None:
    assert NUMBERS[vdev] == number_vdev(vdev)


@pytest.mark.parametrize(
    "vdev", ["", "xvd", "xvda256", "hde", "hda64", "sdq", "sda16", "vda", "0x"]
)
def test_what_is_no_disk_of_the_interface_has_no_number(vdev: str) -> None:
    assert number_vdev(vdev) is None


@given(st.text(max_size=12))
def test_any_text_has_a_number_or_none(text: str) -> None:
    number = number_vdev(text)
    assert number is None or 0 <= number < 1 << 32
