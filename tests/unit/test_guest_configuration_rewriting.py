"""A guest's own file rewritten: what is asked for changes, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.dom0.guest_configuration import (
    GuestConfiguration,
    NewTarget,
    parse_configuration,
    parse_disk_specification,
    rewrite_configuration,
)
from xenbackup.dom0.guest_configuration.retargeting import retarget_specification
from xenbackup.errors import ConfigurationError, UsageError

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
FRESH = "99999999-2222-4333-8444-555555555555"
FILE = """\
# web, moved here in 2019
name    = 'web'      # never rename
memory  = 0x200
disk = [
    'phy:/dev/vg/root,xvda,w',   # the root
    'file:/srv/data.img,xvdb,w',
    ',hdc:cdrom,r',
]
vif = ['mac=00:16:3e:11:22:33, bridge=xenbr0', 'bridge=xenbr1']
on_crash = "restart"; extra = 'root=/dev/xvda "quoted"'
"""


def read(text: str) -> GuestConfiguration:
    return parse_configuration(text, "web.cfg")


def rewrite(text: str, **changes: object) -> str:
    return rewrite_configuration(text, source="web.cfg", **changes)  # type: ignore[arg-type]


def test_nothing_asked_for_changes_nothing() -> None:
    assert FILE == rewrite(FILE)


def test_words_are_replaced_where_they_stand() -> None:
    written = rewrite(
        FILE,
        name="web2",
        disks=[NewTarget(vdev="xvda", path="/dev/other/root", in_file=False)],
        addresses=["00:16:3e:00:00:01", "00:16:3e:00:00:02"],
    )
    assert (
        FILE.replace("'web'", '"web2"')
        .replace("'phy:/dev/vg/root,xvda,w'", '"phy:/dev/other/root,xvda,w"')
        .replace("'mac=00:16:3e:11:22:33, bridge=xenbr0'", '"mac=00:16:3e:00:00:01, bridge=xenbr0"')
        == written
    )


def test_uuid_that_is_missing_is_added_on_a_line_of_its_own() -> None:
    assert f'{FILE}uuid = "{FRESH}"\n' == rewrite(FILE, uuid=FRESH)
    for end in ("", " # end", "\\\n", "\r\n", "\\\r\n"):
        text = f"name = 'web'{end}"
        written = rewrite(text, uuid=FRESH)
        assert (text, FRESH) == (written[: len(text)], read(written).uuid)


def test_uuid_that_is_there_is_replaced() -> None:
    text = f"uuid = '{UUID}'\nname = 'web'\n"
    assert f"uuid = \"{FRESH}\"\nname = 'web'\n" == rewrite(text, uuid=FRESH)


def test_last_assignment_counts_and_parts_are_joined() -> None:
    text = 'name = "old"\nname = "we"\nname += "b"\ndisk = [ "bad" ]\ndisk = []\n'
    text += "disk += [ 'phy:/dev/a,xvda,w' ]\ndisk += [ 'phy:/dev/b,xvdb,w' ]\n"
    written = rewrite(
        text, name="new", disks=[NewTarget(vdev="xvdb", path="/dev/c", in_file=False)]
    )
    assert 'name = "old"\nname = "new"\nname += ""\n' in written
    assert ["/dev/a", "/dev/c"] == [disk.target for disk in read(written).disks]


def test_dropped_disks_are_gone_with_their_commas() -> None:
    for dropped in (["xvda"], ["xvdb"], ["xvda", "xvdb"], ["hdc"], ["xvda", "xvdb", "hdc"]):
        written = rewrite(FILE, dropped_disks=dropped)
        expected = [d for d in read(FILE).disks if d.vdev not in dropped]
        assert expected == list(read(written).disks)
        assert "# the root" in written


def test_disk_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="no disk 'xvdz'"):
        rewrite(FILE, disks=[NewTarget(vdev="xvdz", path="/dev/x", in_file=False)])


def test_code_and_impossible_words_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="code is not run"):
        rewrite("name = 'web'\nmemory = max(1, 2)\n", name="web2")
    with pytest.raises(UsageError):
        rewrite(FILE, name="bad\nname")
    with pytest.raises(ConfigurationError):
        rewrite(FILE, uuid="no uuid")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        rewrite(FILE, disks=[NewTarget(vdev="xvda", path="/dev/a\nb", in_file=False)])


@pytest.mark.parametrize(
    ("before", "path", "in_file", "after"),
    [
        ("phy:/dev/vg/a,xvda,w", "/dev/vg/b", False, "phy:/dev/vg/b,xvda,w"),
        ("phy:vg/a,xvda,w!", "/srv/b.img", True, "file:/srv/b.img,xvda,w!"),
        ("file:/srv/a.img,ioemu:hda,r", "/dev/b", False, "phy:/dev/b,ioemu:hda,r"),
        ("tap:aio:/srv/a.img,xvda,w", "/srv/b.img", True, "tap:aio:/srv/b.img,xvda,w"),
        ("tap:aio:/srv/a.img,xvda,w", "/dev/b", False, "phy:/dev/b,xvda,w"),
        ("drbd:web,xvda,w", "/dev/vg/b", False, "phy:/dev/vg/b,xvda,w"),
        ("/dev/vg/a,raw,xvda,rw,discard", "/dev/b", False, "/dev/b,raw,xvda,rw,discard"),
        ("/dev/a,,xvda", "/dev/b", False, "/dev/b,,xvda"),
        ("vdev=xvda, access=rw, target=/a,b", "/dev/c", False, "vdev=xvda,access=rw,target=/dev/c"),
        ("vdev=xvda,script=block-x,target=y", "/dev/c", False, "vdev=xvda,target=/dev/c"),
        ("vdev=xvda,backendtype=phy,/dev/a", "/srv/b", True, "vdev=xvda,/srv/b"),
    ],
)
def test_target_of_any_form_is_replaced(before: str, path: str, in_file: bool, after: str) -> None:
    assert after == retarget_specification(before, path, in_file=in_file)


def test_path_that_the_old_form_cannot_hold_is_said_in_the_new_one() -> None:
    written = retarget_specification("phy:/dev/a,xvda,w", "/srv/a,b=c,", in_file=True)
    assert "vdev=xvda,format=raw,access=rw,target=/srv/a,b=c,," == written
    assert "/srv/a,b=c," == parse_disk_specification(written).target


# Properties

LETTERS = st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\x7f")
PATHS = st.text(LETTERS, max_size=12).map(lambda text: f"/{text}")
OLD_FORMS = st.sampled_from(
    [
        "phy:/dev/vg/{0},{0},w",
        "file:/srv/{0}.img,{0},r",
        "tap:qcow2:/srv/{0},{0},w",
        "vdev={0}, format=raw, access=rw, discard, target=/dev/vg/{0}",
        "/dev/vg/{0},,{0},rw",
        "drbd:{0},{0},w",
        "vdev={0},script=block-iscsi,target=iqn=x,y",
    ]
)
NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,15}", fullmatch=True)
NOISE = st.sampled_from(
    ["", "# a 'comment' [", "memory = 512", "extra = 'a=b \"c\" # d'", "vcpus = 2;", "\t", "pae=1"]
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    """A file in somebody's own hand, and how many disks it has."""
    quote = draw(st.sampled_from(["'", '"', '"""']))
    count = draw(st.integers(0, 4))
    disks = [draw(OLD_FORMS).format(f"xvd{'abcd'[n]}") for n in range(count)]
    gap = draw(st.sampled_from([", ", ",\n  ", ", # note, 'x'\n  "]))
    split = draw(st.integers(0, count))
    lists = [
        gap.join(f"{quote}{disk}{quote}" for disk in part)
        for part in (disks[:split], disks[split:])
    ]
    lines = [
        draw(NOISE),
        f"name = {quote}web{quote}",
        draw(NOISE),
        f"disk = [ {lists[0]}\n]",
        f"disk += [ {lists[1]}\n]",
        f"vif = [ {quote}mac=00:16:3e:11:22:33,bridge=br0{quote}, {quote}{quote} ]",
        draw(NOISE),
    ]
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), f"uuid = {quote}{UUID}{quote}")
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"])), count


@given(written=files(), name=NAMES, paths=st.lists(PATHS, min_size=4, max_size=4), data=st.data())
def test_what_is_not_replaced_stays_as_it_was(
    written: tuple[str, int], name: str, paths: list[str], data: st.DataObject
) -> None:
    text, count = written
    before = read(text)
    vdevs = [disk.vdev for disk in before.disks]
    moved = {
        vdev: NewTarget(vdev=vdev, path=path, in_file=data.draw(st.booleans()))
        for vdev, path in zip(vdevs, paths, strict=False)
        if data.draw(st.booleans())
    }
    dropped = {vdev for vdev in vdevs if data.draw(st.integers(0, 3)) == 0}
    assert count == len(vdevs)

    after = read(
        rewrite(
            text,
            name=name,
            uuid=FRESH,
            disks=moved.values(),
            dropped_disks=dropped,
            addresses=["00:16:3e:00:00:01"],
        )
    )

    assert (name, FRESH) == (after.name, after.uuid)
    assert [
        replace(disk, target=moved[disk.vdev].path, script="") if disk.vdev in moved else disk
        for disk in before.disks
        if disk.vdev not in dropped
    ] == list(after.disks)
    assert ["00:16:3e:00:00:01", ""] == [card.mac for card in after.network_interfaces]
    others = [
        [
            (s.key, s.value, s.text)
            for s in found.settings
            if s.key not in ("name", "uuid", "disk", "vif")
        ]
        for found in (before, after)
    ]
    assert others[0] == others[1]


@given(written=files(), path=PATHS)
def test_there_and_back_again_is_the_same_guest(written: tuple[str, int], path: str) -> None:
    text, _ = written
    before = read(text)
    homes = [
        NewTarget(vdev=disk.vdev, path=disk.target, in_file=disk.target.startswith("/srv"))
        for disk in before.disks
        if not disk.script
    ]
    away = [replace(home, path=path) for home in homes]
    there = rewrite(text, name="other", disks=away)

    back = rewrite(there, name="web", disks=homes)

    assert replace(before, settings=(), disk_specifications=()) == replace(
        read(back), settings=(), disk_specifications=()
    )


@given(text=st.text(max_size=200) | st.lists(NOISE, max_size=9).map("\n".join))
def test_any_text_is_rewritten_or_refused_with_its_place(text: str) -> None:
    text = f"name = 'web'\n{text}"
    try:
        before = read(text)
    except ConfigurationError:
        with pytest.raises(ConfigurationError, match=r"web\.cfg"):
            rewrite(text, name="other", uuid=FRESH)
        return
    written = rewrite(text, name="other", uuid=FRESH)
    after = read(written)
    assert ("other", FRESH, before.disks) == (after.name, after.uuid, after.disks)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("mac=00:16:3e:11:22:33, vifname=a0 ,bridge=br0", "mac=00:16:3e:11:22:33,bridge=br0"),
        ("vifname=web0", ""),
        ("bridge=vifname", "bridge=vifname"),
    ],
)
def test_names_of_interfaces_are_left_out_where_they_are_anothers(
    entry: str, expected: str
) -> None:
    text = f"name = 'web'\nvif = [ '{entry}', 'bridge=xenbr1' ]\n"
    written = rewrite(text, without_interface_names=True)
    found = [interface.specification for interface in read(written).network_interfaces]
    assert [expected, "bridge=xenbr1"] == found
    assert text == rewrite(text)
