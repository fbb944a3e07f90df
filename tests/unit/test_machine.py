"""Machines compared, and recorded configurations changed, for a restore."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.restore_world import (
    ROOT,
    make_configuration,
)
from xenbackup.planning.machine import find_lacking_features, parse_version
from xenbackup.planning.restore_configuration import (
    change_configuration,
    read_recorded_guest,
    separate_guest,
)

# Machines and configurations


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4.17.7", (4, 17, 7)), ("4.19-unstable", (4, 19)), ("", ()), ("unknown", ())],
)
def test_versions_are_compared_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert expected == parse_version(text)


words = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=12)


@given(words, words)
def test_features_are_lacking_exactly_where_a_bit_is_gone(then: list[int], now: list[int]) -> None:
    padded = now + [0] * len(then)
    subset = all(before & ~after == 0 for before, after in zip(then, padded, strict=False))

    lacking = find_lacking_features([f"{w:08x}" for w in then], [f"{w:08x}" for w in now])

    assert subset is (lacking == ())


@given(words)
def test_a_machine_never_lacks_its_own_features(then: list[int]) -> None:
    texts = [f"{word:08x}" for word in then]

    assert find_lacking_features(texts, texts) == ()


@pytest.mark.parametrize("garbage", [["xyz"], [], [""]])
def test_features_that_cannot_be_read_are_not_guessed_at(garbage: list[str]) -> None:
    assert find_lacking_features(garbage, ["ffffffff"]) is None


def test_a_guest_beside_its_original_gets_addresses_and_only_disks_of_its_own() -> None:
    text = make_configuration(
        disks=[
            {"vdev": "xvda", "pdev_path": ROOT, "readwrite": 1},
            {"vdev": "xvdc", "pdev_path": "/dev/xenvols/swap", "readwrite": 1},
            {"vdev": "hdc", "pdev_path": "/isos/a.iso", "readwrite": 1, "is_cdrom": True},
        ],
        nics=[{"mac": "00:16:3e:aa:bb:cc", "bridge": "xenbr0", "ifname": "vif-web"}],
    )

    separated, notes = separate_guest(
        read_recorded_guest(text),
        original="web",
        domain="web2",
        stored_vdevs=["xvda"],
        fresh_addresses=["00:16:3e:00:00:01"],
    )

    configuration = json.loads(change_configuration(text, separated))
    assert [disk["vdev"] for disk in configuration["disks"]] == ["xvda", "hdc"]
    assert configuration["nics"] == [{"mac": "00:16:3e:00:00:01", "bridge": "xenbr0"}]
    assert ["web2 has no interface vif-web in dom0: that one is web's; Xen names its own"] == [
        note for note in notes if "interface" in note
    ]
    assert len(notes) == 3


def test_pci_devices_are_spelled_in_full() -> None:
    configuration = json.dumps(
        {"pcidevs": [{"domain": 1, "bus": 3, "dev": 31, "func": 7}, {"bus": 2}]}
    )

    assert read_recorded_guest(configuration).pci_devices == ("0001:03:1f.7", "0000:02:00.0")
