"""Slots: which prepared volume serves a disk, and what refuses one, with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm_parsers import is_volume_name
from xenbackup.errors import DestinationFailed, DestinationMissing, NotOurs
from xenbackup.model.volume import TAG_DESTINATION, LogicalVolume
from xenbackup.storage.slots import (
    SlotRequest,
    choose_slot,
    encode_slot_tag,
    explain_use,
    is_slot,
)

MIB = 1 << 20
REQUEST = SlotRequest(
    domain="web", vdev="xvda", size_bytes=64 * MIB, sources=("/dev/xenvols/web_root",)
)


def make_volume(name: str = "web--xvda", **changes: Any) -> LogicalVolume:
    fields: dict[str, Any] = {
        "uuid": f"uuid-of-{name}",
        "name": name,
        "group": "backup",
        "size_bytes": 64 * MIB,
        "attributes": "-wi-a-----",
        "path": f"/dev/backup/{name}",
        "dm_path": f"/dev/mapper/backup-{name.replace('-', '--')}",
        "tags": frozenset((TAG_DESTINATION,)),
    }
    return LogicalVolume(**(fields | changes))


def test_volume_named_for_the_disk_serves_it() -> None:
    volumes = (make_volume("db--xvda"), make_volume(), make_volume("web--xvdb"))
    assert volumes[1] == choose_slot(volumes, "backup", REQUEST)


def test_tag_is_stronger_than_a_name() -> None:
    tagged = make_volume("archive", tags=frozenset((TAG_DESTINATION, "xb.for=web/xvda")))
    assert tagged == choose_slot((make_volume(), tagged), "backup", REQUEST)


def test_volume_given_to_another_disk_by_tag_does_not_serve_by_name() -> None:
    given_away = make_volume(tags=frozenset((TAG_DESTINATION, "xb.for=db/xvda")))
    with pytest.raises(DestinationMissing):
        choose_slot((given_away,), "backup", REQUEST)


def test_missing_volume_comes_with_the_commands_that_prepare_one() -> None:
    with pytest.raises(DestinationMissing, match="no prepared volume for xvda of web") as caught:
        choose_slot((), "backup", REQUEST)
    assert "lvcreate -L 64m -n web--xvda backup" in caught.value.hint
    assert "lvchange --addtag xb.destination backup/web--xvda" in caught.value.hint


def test_domain_whose_name_no_volume_can_bear_is_given_one_by_tag() -> None:
    request = SlotRequest(domain="web server", vdev="xvda", size_bytes=MIB)
    with pytest.raises(DestinationMissing) as caught:
        choose_slot((), "backup", request)
    assert "--addtag xb.for=web:20server/xvda" in caught.value.hint
    tagged = make_volume("ws", tags=frozenset((TAG_DESTINATION, "xb.for=web:20server/xvda")))
    assert tagged == choose_slot((tagged,), "backup", request)


def test_two_volumes_for_one_disk_are_refused_by_name() -> None:
    tags = frozenset((TAG_DESTINATION, "xb.for=web/xvda"))
    with pytest.raises(DestinationFailed, match=r"several volumes .*: a, b"):
        choose_slot((make_volume("b", tags=tags), make_volume("a", tags=tags)), "backup", REQUEST)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"tags": frozenset()}, NotOurs, "not marked as a destination"),
        ({"tags": frozenset(("xenbackup", TAG_DESTINATION))}, NotOurs, "it is a run's"),
        ({"size_bytes": 64 * MIB - 512}, DestinationFailed, "has 67108352 bytes"),
        ({"attributes": "owi-a-s---"}, DestinationFailed, "no plain volume"),
        ({"attributes": "swi-a-s---", "origin": "x"}, DestinationFailed, "no plain volume"),
        ({"attributes": "Vwi-a-tz--", "origin": "x"}, DestinationFailed, "no plain volume"),
        ({"attributes": "Owi-a-s---"}, DestinationFailed, "no plain volume"),
        ({"attributes": "twi-aotz--"}, DestinationFailed, "no plain volume"),
        ({"attributes": "-ri-a-----"}, DestinationFailed, "read-only"),
        ({"attributes": "-wi-------"}, DestinationFailed, "not active"),
        ({"attributes": "-wi-s-----"}, DestinationFailed, "not active"),
        ({"path": "/dev/xenvols/web_root"}, DestinationFailed, "the disk itself"),
    ],
)
def test_volume_that_cannot_serve_is_refused_with_the_reason(
    changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        choose_slot((make_volume(**changes),), "backup", REQUEST)


@pytest.mark.parametrize(
    ("attributes", "origin"),
    [
        ("-wi-a-----", ""),
        ("Vwi-a-tz--", ""),
        ("rwi-a-r---", ""),
        # As lvs shows it: its origin is the hidden volume with its data.
        ("Cwi-a-C---", "web--xvda_corig"),
    ],
)
def test_plain_thin_raid_and_cached_volumes_serve(attributes: str, origin: str) -> None:
    volume = make_volume(attributes=attributes, origin=origin)
    assert volume == choose_slot((volume,), "backup", REQUEST)


def test_larger_volume_serves_too() -> None:
    volume = make_volume(size_bytes=65 * MIB)
    assert volume == choose_slot((volume,), "backup", REQUEST)


def test_hidden_parts_of_volumes_are_never_chosen() -> None:
    with pytest.raises(DestinationMissing):
        choose_slot((make_volume(hidden=True),), "backup", REQUEST)


def test_slot_bears_the_destinations_mark_and_not_a_runs() -> None:
    assert is_slot(make_volume())
    assert not is_slot(make_volume(tags=frozenset()))
    assert not is_slot(make_volume(tags=frozenset((TAG_DESTINATION, "xenbackup"))))


domains = st.binary(min_size=1, max_size=63).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(domain=domains, other=domains)
def test_tags_hold_what_lvm_allows_and_tell_domains_apart(domain: str, other: str) -> None:
    tag = encode_slot_tag(domain, "xvda")
    assert re.fullmatch(r"[A-Za-z0-9_+.\-/=!:&#]+", tag)
    assert not tag.startswith("-")
    assert (domain == other) == (tag == encode_slot_tag(other, "xvda"))


@given(domain=domains)
def test_named_volume_exists_only_for_names_that_lvm_takes(domain: str) -> None:
    name = f"{domain}--xvda"
    tag_is_needed = f"xb.for={domain}/xvda" != encode_slot_tag(domain, "xvda")
    assert tag_is_needed or is_volume_name(name) or domain.startswith("-")


class FakeHost:
    """A host whose paths lie below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        self.place(path).parent.mkdir(parents=True, exist_ok=True)
        self.place(path).write_text(text)


MOUNT = "36 1 253:7 / /mnt/old rw,relatime shared:1 - ext4 {source} rw\n"


@pytest.mark.parametrize("source", ["/dev/mapper/backup-web----xvda", "/dev/backup/web--xvda"])
def test_mounted_volume_is_in_use_at_its_mount_point(tmp_path: Path, source: str) -> None:
    host = FakeHost(tmp_path)
    host.write("/proc/self/mountinfo", "garbage\n\n1 2 3 - x\n" + MOUNT.format(source=source))
    assert "mounted in dom0 at /mnt/old" == explain_use(cast(Host, host), make_volume(open=True))


def test_swap_space_is_in_use(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.write("/proc/swaps", "Filename Type\n/dev/backup/web--xvda partition 1 0 -2\n")
    assert "swap space of dom0" == explain_use(cast(Host, host), make_volume())


def test_open_volume_is_in_use_and_a_closed_one_is_not(tmp_path: Path) -> None:
    host = cast(Host, FakeHost(tmp_path))
    assert "guest" in explain_use(host, make_volume(open=True))
    assert "" == explain_use(host, make_volume())


def test_mount_of_another_volume_is_nobodys_concern(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.write("/proc/self/mountinfo", MOUNT.format(source="/dev/mapper/backup-other"))
    assert "" == explain_use(cast(Host, host), make_volume())
