"""Configurations as xl reads them, and what libxl keeps of them."""

from __future__ import annotations

from typing import Any

import pytest

from xenbackup.dom0.simulated.xl_config import (
    ConfigurationUnreadable,
    compose_configuration,
    parse_configuration,
    pci_slots_of,
    vbds_of,
    vdev_number,
)

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"


def compose(text: str) -> dict[str, Any]:
    return compose_configuration(parse_configuration(text), UUID)


def disk(text: str) -> dict[str, Any]:
    (found,) = compose(f"name = 'x'\ndisk = [ '{text}' ]\n")["disks"]
    return dict(found)


def test_settings_are_strings_numbers_and_lists() -> None:
    text = """
    # A comment with = and [ in it.
    name = "web"; memory = 0x20   # hexadecimal
    extra = "a;b#c]"
    disk = [
        'phy:/dev/xenvols/a,xvda,w',   # the first one
        "phy:/dev/xenvols/b,xvdb,r",
    ]
    """
    assert {
        "name": "web",
        "memory": 32,
        "extra": "a;b#c]",
        "disk": ["phy:/dev/xenvols/a,xvda,w", "phy:/dev/xenvols/b,xvdb,r"],
    } == parse_configuration(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name", "1: syntax error near `name'"),
        ("\nname = web", "2: syntax error near `web'"),
        ("name = 1.5", "1: syntax error near `1.5'"),
        ("name = True", "1: syntax error near `True'"),
        ("disk = [ 1 ]", "1: a list must hold strings"),
        ("\n\ndisk = [ 'a',\n'b'", "3: syntax error: list is not closed"),
    ],
)
def test_line_that_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigurationUnreadable) as refused:
        parse_configuration(text)
    assert said == str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory = 32", "Domain name must be specified."),
        ("name = 'x'\ntype = 'vm'", 'Invalid domain type "vm".'),
        ("name = 'x'\nmemory = 'much'", "memory must be a number"),
        ("name = 'x'\ndisk = 'a'", "disk must be a list"),
        ("name = 'x'\ndisk = ['/dev/a,raw']", "no vdev specified in `/dev/a,raw'"),
        ("name = 'x'\ndisk = ['/dev/a,raw,floppy,w']", "unknown vdev `floppy'"),
        ("name = 'x'\npci = ['card']", "unable to parse PCI BDF `card' for passthrough"),
    ],
)
def test_setting_that_does_not_fit_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigurationUnreadable) as refused:
        compose(text)
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("", "pv"), ("builder = 'hvm'", "hvm"), ("type = 'pvh'", "pvh"), ("type = 'hvm'", "hvm")],
)
def test_kind_is_given_the_new_way_or_the_old(text: str, kind: str) -> None:
    configuration = compose(f"name = 'x'\n{text}\n")
    assert kind == configuration["c_info"]["type"]
    assert f"type.{kind}" in configuration["b_info"]


def test_numbers_may_be_quoted_and_actions_other_than_the_default_are_kept() -> None:
    configuration = compose(
        "name = 'x'\nmemory = '64'\nmaxmem = 128\nvcpus = 2\non_crash = 'preserve'\n"
        "on_poweroff = 'destroy'\nextra = 'quiet'\n"
    )
    build = configuration["b_info"]
    assert (64 << 10, 128 << 10, [0, 1]) == (
        build["target_memkb"],
        build["max_memkb"],
        build["avail_vcpus"],
    )
    assert "quiet" == build["cmdline"]
    assert "preserve" == configuration["on_crash"]
    assert "on_poweroff" not in configuration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("phy:/dev/v/a,xvda,w", ("/dev/v/a", "xvda", "raw", True, False)),
        ("phy:/dev/v/a,xvda,r", ("/dev/v/a", "xvda", "raw", False, False)),
        ("/srv/a.img,qcow2,xvdb,rw", ("/srv/a.img", "xvdb", "qcow2", True, False)),
        ("/srv/a.img,raw,xvdb", ("/srv/a.img", "xvdb", "raw", True, False)),
        ("vdev=hda,access=r,target=/a,b.img", ("/a,b.img", "hda", "raw", False, False)),
        ("format=raw, vdev=hdc, cdrom, target=", ("", "hdc", "raw", False, True)),
        ("devtype=cdrom,vdev=hdc,target=/a.iso", ("/a.iso", "hdc", "raw", False, True)),
        ("/a.iso,,hdc:cdrom,r", ("/a.iso", "hdc", "raw", False, True)),
        ("file:/a.iso,hdc:cdrom,r", ("/a.iso", "hdc", "raw", False, True)),
        ("/dev/v/a,raw,xvda,rw,direct-io-safe", ("/dev/v/a", "xvda", "raw", True, False)),
    ],
)
def test_disk_is_given_by_position_or_by_name(
    text: str, expected: tuple[str, str, str, bool, bool]
) -> None:
    found = disk(text)
    (vbd,) = vbds_of({"disks": [found]})
    assert expected == (vbd.target, vbd.vdev, vbd.format, vbd.writable, vbd.cdrom)


def test_driver_domain_of_a_disk_is_kept() -> None:
    assert "storage" == disk("/dev/a,raw,xvda,rw,backend=storage")["backend_domname"]


@pytest.mark.parametrize(
    ("vdev", "number"),
    [
        ("xvda", 51712),
        ("xvda1", 51713),
        ("xvdb", 51728),
        ("xvdq", (1 << 28) + (16 << 8)),
        ("xvda16", (1 << 28) + 16),
        ("xvdaa", (1 << 28) + (26 << 8)),
        ("hda", 768),
        ("hdb1", 833),
        ("hdc", 5632),
        ("hdd", 5696),
        ("sda", 2048),
        ("sdb2", 2066),
    ],
)
def test_virtual_devices_have_xens_numbers(vdev: str, number: int) -> None:
    assert number == vdev_number(vdev)


def test_interfaces_and_cards_are_kept() -> None:
    configuration = compose(
        "name = 'x'\nvif = [ 'mac=00:16:3e:00:00:01, bridge=br0, shared' ]\n"
        "pci = [ '03:01.0', '0001:02:03.4,permissive=1' ]\n"
    )
    assert [{"mac": "00:16:3e:00:00:01", "bridge": "br0"}] == configuration["nics"]
    assert [
        {"bus": 3, "dev": 1, "rdm_policy": "relaxed"},
        {"bus": 2, "dev": 3, "rdm_policy": "relaxed", "func": 4, "domain": 1},
    ] == configuration["pcidevs"]
    assert ["0000:03:01.0", "0001:02:03.4"] == pci_slots_of(configuration)
