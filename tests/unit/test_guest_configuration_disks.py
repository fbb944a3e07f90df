"""Disk specifications: the manual page's examples, the old manual's, and what is neither."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.guest_configuration import list_prefixes, parse_disk_specification
from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk

GUEST_VOLUME = Disk(vdev="hda", target="/dev/vg/guest-volume")
ISO = Disk(vdev="hdc", target="/root/image.iso", writable=False, cdrom=True)
EMPTY_DRIVE = Disk(vdev="hdc", target="", format="empty", writable=False, cdrom=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/vg/guest-volume,,hda", GUEST_VOLUME),
        ("/dev/vg/guest-volume,raw,hda,rw", GUEST_VOLUME),
        ("format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume", GUEST_VOLUME),
        ("raw:/dev/vg/guest-volume,hda,w", GUEST_VOLUME),
        ("/root/image.iso,,hdc,cdrom", ISO),
        ("/root/image.iso,,hdc,,cdrom", ISO),
        ("/root/image.iso,raw,hdc,devtype=cdrom", ISO),
        ("format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso", ISO),
        ("raw:/root/image.iso,hdc:cdrom,ro", ISO),
        (",hdc:cdrom,r", EMPTY_DRIVE),
        ("vdev=hdc,devtype=cdrom", EMPTY_DRIVE),
        (",empty,hdc,r,cdrom", EMPTY_DRIVE),
    ],
)
def test_the_manual_pages_examples_mean_what_it_says(text: str, expected: Disk) -> None:
    assert expected == parse_disk_specification(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "phy:/dev/system/mainserver,xvda,w",
            Disk(vdev="xvda", target="/dev/system/mainserver"),
        ),
        ("phy:/dev/cdrom,xvdb,r", Disk(vdev="xvdb", target="/dev/cdrom", writable=False)),
        ("phy:/dev/x,xvda,w", Disk(vdev="xvda", target="/dev/x")),
        (
            "file:/var/lib/xen/images/disk1,hda,w",
            Disk(vdev="hda", target="/var/lib/xen/images/disk1"),
        ),
        ("file:/isos/cdrom.iso,hdc,r", Disk(vdev="hdc", target="/isos/cdrom.iso", writable=False)),
        (
            "tap:aio:/var/lib/xen/images/server2.img,xvda,w",
            Disk(vdev="xvda", target="/var/lib/xen/images/server2.img"),
        ),
        (
            "tap:vmdk:/srv/server1.vmdk,xvda,w",
            Disk(vdev="xvda", target="/srv/server1.vmdk", format="vmdk"),
        ),
        (
            "tap:qcow:/srv/a.qcow,xvda,w",
            Disk(vdev="xvda", target="/srv/a.qcow", format="qcow"),
        ),
        (
            "iscsi:iqn.2001-05.com.example:storage,xvda,w",
            Disk(vdev="xvda", target="iqn.2001-05.com.example:storage", script="block-iscsi"),
        ),
        (
            "iscsi: iqn.2001-05.com.example:storage,xvda,w",
            Disk(vdev="xvda", target="iqn.2001-05.com.example:storage", script="block-iscsi"),
        ),
        ("drbd:web,xvda,w", Disk(vdev="xvda", target="web", script="block-drbd")),
        ("phy:/dev/evms/root,xvda,w", Disk(vdev="xvda", target="/dev/evms/root")),
    ],
)
def test_the_old_manuals_examples_are_understood(text: str, expected: Disk) -> None:
    assert expected == parse_disk_specification(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # target= takes all the rest, commas and keys and colons and all; xl strips one comma.
        ("vdev=xvda,target=/a,b,access=r:c=d", Disk(vdev="xvda", target="/a,b,access=r:c=d")),
        ("vdev=xvda,target=/a,", Disk(vdev="xvda", target="/a")),
        ("vdev=xvda,target=/a,,", Disk(vdev="xvda", target="/a,")),
        ("vdev=xvda,target=/a ", Disk(vdev="xvda", target="/a ")),
        # An empty positional target may still be said by name.
        (",raw,xvda,r,target=/a", Disk(vdev="xvda", target="/a", writable=False)),
        # Named parameters are no longer positional.
        ("format=qcow2,/a,xvda", Disk(vdev="xvda", target="/a", format="qcow2")),
        ("vdev=xvda,/a,qcow2,ro", Disk(vdev="xvda", target="/a", format="qcow2", writable=False)),
        # A path without a slash in front lies below /dev.
        ("phy:vg/lv,xvda,w", Disk(vdev="xvda", target="/dev/vg/lv")),
        ("vg/lv,,xvda", Disk(vdev="xvda", target="/dev/vg/lv")),
        ("vdev=xvda,target=rbd:pool/image", Disk(vdev="xvda", target="rbd:pool/image")),
        ("nbd:storage:10809,xvda,w", Disk(vdev="xvda", target="storage:10809", script="block-nbd")),
        ("tap2:tapdisk:aio:/a,xvda,w", Disk(vdev="xvda", target="/a")),
        ("tap:qcow2:/a,xvda,w", Disk(vdev="xvda", target="/a", format="qcow2")),
        ("file:/a,ioemu:hda,w", Disk(vdev="hda", target="/a")),
        ("phy:/dev/x,xvda,w!", Disk(vdev="xvda", target="/dev/x")),
        ("/a,,hda", Disk(vdev="hda", target="/a")),
        ("phy:/a,hda:disk,w", Disk(vdev="hda", target="/a")),
        ("/a,raw,xvda,w,script=block-x", Disk(vdev="xvda", target="/a", script="block-x")),
        (
            "/a,raw,xvda,w,backend=storage,backendtype=qdisk,direct-io-safe,no-discard",
            Disk(vdev="xvda", target="/a", backend="storage"),
        ),
        (
            "/a,vhd,0xca00,w,discard,trusted,specification=virtio",
            Disk(vdev="0xca00", target="/a", format="vhd"),
        ),
        ("/a,raw,51712,w", Disk(vdev="51712", target="/a")),
        ("/a,raw,d0p1,w", Disk(vdev="d0p1", target="/a")),
        ("/a,,hdc,w,cdrom", Disk(vdev="hdc", target="/a", writable=False, cdrom=True)),
    ],
)
def test_the_rest_of_the_grammar_is_xls(text: str, expected: Disk) -> None:
    assert expected == parse_disk_specification(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no vdev is given"),
        ("/dev/x", "no vdev is given"),
        ("/dev/x,raw,,w", "no vdev is given"),
        ("phy:/dev/x,w", "vdev is 'w'"),
        ("/dev/x,raw,my disk,w", "vdev is 'my disk'"),
        ("/dev/x,xvda,w", "format is 'xvda'; expected one of raw, qcow"),
        ("/dev/x,raw,xvda,rx", "access is 'rx'; expected one of r, ro, w, rw"),
        ("/dev/x,raw,xvda,w,more", "found 'more' after target"),
        ("/dev/x,raw,xvda,w,devtype=floppy", "devtype is 'floppy'; expected one of cdrom, disk"),
        ("phy:/dev/x,hda:floppy,w", "devtype is 'floppy'"),
        ("/dev/x,raw,xvda,w,backendtype=nbd", "backendtype is 'nbd'; expected one of phy"),
        ("/dev/x,raw,xvda,w,specification=scsi", "specification is 'scsi'"),
        ("/dev/x,raw,xvda,w,colour=red", "the parameter colour= is unknown"),
        ("/dev/disk/by-id/a=b,raw,xvda,w", "needs target="),
        ("evms:/dev/x,xvda,w", "the prefix evms: is unknown; expected one of phy, file"),
        ("tap:ram:/x,xvda,w", "the prefix ram: is unknown"),
        ("nfs:server:/x,xvda,w", "the prefix nfs: is unknown"),
        (",,xvda,w", "no target is given"),
        ("vdev=xvda,target=", "no target is given"),
        ("vdev=xvda,target= /a", "the target is ' /a', with blanks around it"),
        ("/a,empty,xvda", "the format is empty, but there is a target"),
        ("vdev=xvda,/a,raw,r,vdev=xvdb", "vdev is given twice, as 'xvda' and as 'xvdb'"),
        ("/a,raw,xvda,r,access=rw", "access is given twice"),
        ("raw:/a,xvda,w,format=qcow2", "format is given twice, as 'raw' and as 'qcow2'"),
        ("/a,raw,xvda,w,target=/b", "target is given twice, as '/a' and as '/b'"),
        ("/a,raw,xvda\x00,w", "a control character"),
        ("/a\nb,raw,xvda,w", "a new line within '/a\\nb'"),
        ("vdev=xvda,target=/a\n", "a new line within the target"),
        ("x" * 20_000, "20000 letters long"),
    ],
)
def test_what_is_no_disk_is_refused_with_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_disk_specification(text)
    (problem,) = caught.value.problems
    assert problem.startswith("Disk specification '")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tap:aio:/a,xvda,w", ("tap", "aio")),
        ("iscsi: iqn.x:y,xvda,w", ("iscsi",)),
        ("/dev/x,raw,xvda", ()),
        ("foo:/dev/x,xvda", ()),
    ],
)
def test_the_driver_of_old_can_be_told(text: str, expected: tuple[str, ...]) -> None:
    assert expected == list_prefixes(text)


WORDS = st.sampled_from(
    [
        *("/dev/x", "raw", "qcow2", "xvda", "hdc:cdrom", "r", "w", "", " ", "cdrom", "format=raw"),
        *("vdev=xvda", "access=r", "script=b", "backend=d", "target=/a,b", "phy:", "tap:"),
        *("discard", "x=y", "ioemu:", "é", "\n", "nbd:", "raw:", "target=", "devtype=cdrom"),
        *("empty", "iscsi:"),
    ]
)


@given(
    text=st.lists(st.tuples(WORDS, st.sampled_from([",", ", ", "", " "])), max_size=8).map(
        lambda pairs: "".join(word + separator for word, separator in pairs)
    )
    | st.text(max_size=40)
)
@settings(max_examples=1500, deadline=None)
def test_any_text_is_a_whole_disk_or_refused(text: str) -> None:
    try:
        disk = parse_disk_specification(text)
    except ConfigurationError as error:
        assert repr(text) in error.problems[0]
        return
    assert disk.vdev
    assert disk.cdrom or disk.target
    assert (disk.format == "empty") == (disk.target == "")
    assert not (disk.cdrom and disk.writable)
    assert "\n" not in disk.target + disk.vdev + disk.script + disk.backend


TARGETS = st.text(
    alphabet=st.characters(min_codepoint=0x20, exclude_characters="\x7f"), max_size=30
).map(lambda text: f"/{text}")
PARTS: Mapping[str, st.SearchStrategy[str]] = {
    "format": st.sampled_from(["", "raw", "qcow", "qcow2", "vhd", "qed"]),
    "access": st.sampled_from(["", "r", "ro", "w", "rw"]),
    "script": st.sampled_from(["", "block-iscsi"]),
    "backend": st.sampled_from(["", "storage"]),
}


@given(target=TARGETS, values=st.fixed_dictionaries(dict(PARTS)), order=st.randoms())
@settings(max_examples=300, deadline=None)
def test_named_parameters_mean_the_same_in_any_order(
    target: str, values: dict[str, str], order: Random
) -> None:
    parts = [f"{key}={value}" for key, value in values.items()] + ["vdev=xvda"]
    order.shuffle(parts)
    expected = Disk(
        vdev="xvda",
        target=target,
        format=values["format"] or "raw",
        writable=values["access"] not in ("r", "ro"),
        script=values["script"],
        backend=values["backend"],
    )
    text = ", ".join([*parts, f"target={target}"])
    assert expected == parse_disk_specification(text + ("," if target.endswith(",") else ""))
