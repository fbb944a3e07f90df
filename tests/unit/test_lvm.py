"""LVM over recorded answers: what is read, what is built, and what is refused before it runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lvm_rows import (
    DATA_UUID,
    ROOT_UUID,
    RUN,
    SNAP_UUID,
    group_report,
    make_row,
    make_snapshot_row,
    read,
    read_snapshot,
    report,
)
from tests.recorded import Answer, RecordedHost, answer, load_recording
from tests.unit.placed_host import PlacedHost
from xenbackup.dom0.device_mapper import spell_mapper_name
from xenbackup.dom0.lvm import Lvm
from xenbackup.errors import (
    CommandFailed,
    CommandTimedOut,
    NotOurs,
    SnapshotFailed,
    UsageError,
    XenbackupError,
)
from xenbackup.model.command import CommandResult
from xenbackup.model.job import SnapshotSize
from xenbackup.model.volume import LogicalVolume

OTHER_RUN = "20261121T023000Z-zzzzzz"
TEN_PERCENT = SnapshotSize(percent=10)


def make_lvm(*listings: str, **answers: Answer) -> tuple[RecordedHost, Lvm]:
    """An Lvm whose `lvs` gives one listing after the other; other tools succeed."""
    host = RecordedHost({"lvs": [answer(text) for text in listings]})
    for tool in ("lvcreate", "lvchange", "lvremove", "lvextend"):
        host.answers[tool] = answer()
    host.answers.update(answers)
    return host, Lvm(host)


def changes(host: RecordedHost) -> list[str]:
    return [line for line in host.lines if not line.startswith(("lvs", "vgs"))]


def test_a_volume_is_found_by_either_path() -> None:
    _, lvm = make_lvm(report(make_row()))
    for path in ("/dev/xenvols/web_root", "/dev/mapper/xenvols-web_root"):
        found = lvm.find_volume(path)
        assert found is not None
        assert ROOT_UUID == found.uuid
    assert lvm.find_volume("/dev/xenvols/other") is None
    assert lvm.find_volume("") is None


def test_hidden_volumes_have_no_path_to_be_found_by() -> None:
    _, lvm = make_lvm(report(make_row(lv_name="[web_root]", lv_path="", lv_dm_path="")))
    assert lvm.find_volume("") is None


def test_reports_do_not_depend_on_what_lvm_conf_asks_for() -> None:
    host, lvm = make_lvm(report(make_row()), vgs=group_report())
    lvm.list_volumes("xenvols")
    lvm.list_groups()
    for command in host.calls:
        given = command.argv[command.argv.index("--config") + 1]
        assert re.fullmatch(r"report\{[^{}]*\}", given), given
        for setting in (
            "binary_values_as_numeric=0",
            'list_item_separator=","',
            "mark_hidden_devices=1",
        ):
            assert setting in given.removeprefix("report{").removesuffix("}").split()
    assert ("--", "xenvols") == host.calls[0].argv[-2:]


def test_a_thin_volume_with_a_thick_snapshot_gets_a_thin_one() -> None:
    """It bears the letter of an origin then; LVM would take the pool's snapshot for it."""
    origin = make_row(lv_name="thin01", lv_attr="owi-aotz--", pool_lv="pool")
    made = make_snapshot_row(
        lv_name="thin01.xb", lv_attr="Vwi-a-tz-k", origin="thin01", pool_lv="pool"
    )
    host, lvm = make_lvm(report(origin, made))
    (found, _) = lvm.list_volumes()
    lvm.create_thin_snapshot(found, name="thin01.xb", run_id=RUN)
    assert "--size" not in " ".join(changes(host))


def test_a_failed_listing_is_an_error() -> None:
    host, lvm = make_lvm()
    host.answers["lvs"] = load_recording("lvs-missing")
    with pytest.raises(CommandFailed, match="Failed to find logical volume"):
        lvm.list_volumes("xenvols")


def test_a_thick_snapshot_is_marked_and_looked_at() -> None:
    host, lvm = make_lvm(report(make_row(), make_snapshot_row()))
    made = lvm.create_thick_snapshot(read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN)
    assert SNAP_UUID == made.uuid
    assert [
        "lvcreate --snapshot --yes --extents 10%ORIGIN --name web_root.xb --addtag xenbackup "
        f"--addtag xb.run={RUN} --addtag xb.origin={ROOT_UUID} xenvols/web_root"
    ] == changes(host)
    assert (RUN, True) == (host.calls[0].run_id, host.calls[0].kill_late)


def test_a_snapshot_of_absolute_size_names_bytes() -> None:
    host, lvm = make_lvm(report(make_row(), make_snapshot_row()))
    size = SnapshotSize(size_bytes=8 << 20)
    lvm.create_thick_snapshot(read(), name="web_root.xb", size=size, run_id=RUN)
    assert "--size 8388608b" in changes(host)[0]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"lv_attr": "-wi-a-----", "origin": "", "origin_uuid": ""}, "is not a snapshot of"),
        ({"lv_attr": "-wi-a-----"}, "is no snapshot"),
        ({"lv_attr": "swi---s---"}, "not usable"),
        ({"lv_attr": "swi-I-s---"}, "not usable"),
        ({"lv_tags": "xenbackup"}, "is not a snapshot of"),
        ({"origin": "web_data"}, "is not a snapshot of"),
        ({"origin_uuid": DATA_UUID}, "is not a snapshot of"),
        ({"lv_name": "other"}, "does not exist"),
    ],
)
def test_what_lvcreate_left_is_believed_only_when_it_is_a_snapshot_of_ours(
    fields: dict[str, str], problem: str
) -> None:
    _, lvm = make_lvm(report(make_row(), make_snapshot_row(**fields)))
    with pytest.raises(SnapshotFailed, match=problem):
        lvm.create_thick_snapshot(read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN)


def test_no_room_names_what_is_free() -> None:
    host, lvm = make_lvm(report(make_row()))
    host.answers["lvcreate"] = answer(
        exit_code=5,
        stderr='  Volume group "xenvols" has insufficient free space (2 extents): 3 required.\n',
    )
    host.answers["vgs"] = load_recording("vgs-json")
    with pytest.raises(SnapshotFailed, match="insufficient free space") as caught:
        lvm.create_thick_snapshot(read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN)
    assert "7060 MiB free" in caught.value.hint


def test_a_pool_above_the_threshold_of_lvm_says_what_to_do() -> None:
    thin = make_row(lv_attr="Vwi-aotz--", pool_lv="pool")
    host, lvm = make_lvm(report(thin))
    host.answers["lvcreate"] = answer(
        exit_code=5,
        stderr="  Cannot create new thin volume, free space in thin pool xenvols/pool reached "
        "threshold.\n",
    )
    with pytest.raises(SnapshotFailed, match="reached threshold") as caught:
        lvm.create_thin_snapshot(lvm.list_volumes()[0], name="web_root.xb", run_id=RUN)
    assert "`lvextend` the pool pool, or raise" in caught.value.hint


def test_a_name_that_is_taken_says_so() -> None:
    host, lvm = make_lvm(report(make_row()))
    host.answers["lvcreate"] = load_recording("lvcreate-exists")
    with pytest.raises(SnapshotFailed, match="already exists") as caught:
        lvm.create_thick_snapshot(read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN)
    assert "remove or rename" in caught.value.hint


def test_an_lvcreate_past_its_deadline_is_told_apart() -> None:
    host, lvm = make_lvm(report(make_row()))
    host.answers["lvcreate"] = answer(exit_code=-9, timed_out=True)
    with pytest.raises(CommandTimedOut):
        lvm.create_thick_snapshot(read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN)


def test_a_replaced_origin_is_not_snapshotted() -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(SnapshotFailed, match="not the volume of the plan"):
        lvm.create_thick_snapshot(
            read(), name="web_root.xb", size=TEN_PERCENT, run_id=RUN, origin_uuid=SNAP_UUID
        )
    assert [] == host.lines


@pytest.mark.parametrize("name", ["", "-n", "a b", "a/b", "..", "x" * 128, "ü", "a\nb"])
def test_no_command_is_built_from_an_impossible_name(name: str) -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(UsageError):
        lvm.create_thick_snapshot(read(), name=name, size=TEN_PERCENT, run_id=RUN)
    with pytest.raises(UsageError):
        lvm.create_volume("xenvols", name, 1 << 20)
    assert [] == host.lines


def test_no_command_is_built_from_an_impossible_run() -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(UsageError, match="no run id"):
        lvm.create_thick_snapshot(read(), name="x", size=TEN_PERCENT, run_id='x" || lv_name=~"')
    assert [] == host.lines


def make_thin_rows(**fields: str) -> str:
    origin = make_row(lv_name="thin01", lv_attr="Vwi-aotz--", pool_lv="pool")
    snapshot = make_snapshot_row(
        lv_name="thin01.xb", lv_attr="Vwi-a-tz-k", origin="thin01", pool_lv="pool"
    )
    return report(origin, snapshot | fields)


def test_a_thin_snapshot_is_made_without_size_and_activated() -> None:
    host, lvm = make_lvm(make_thin_rows())
    origin = read(lv_name="thin01", lv_attr="Vwi-aotz--", pool_lv="pool")
    made = lvm.create_thin_snapshot(origin, name="thin01.xb", run_id=RUN)
    assert "pool" == made.pool
    assert [
        f"lvcreate --snapshot --yes --name thin01.xb --addtag xenbackup --addtag xb.run={RUN} "
        f"--addtag xb.origin={ROOT_UUID} xenvols/thin01",
        "lvchange --activate y --ignoreactivationskip xenvols/thin01.xb",
    ] == changes(host)


def test_a_thin_snapshot_that_stays_inactive_or_turns_thick_is_refused() -> None:
    origin = read(lv_name="thin01", lv_attr="Vwi-aotz--", pool_lv="pool")
    for fields, problem in (
        ({"lv_attr": "Vwi---tz-k"}, "not usable"),
        ({"lv_attr": "swi-a-s---"}, "not a thin snapshot"),
        ({"pool_lv": "other"}, "not a thin snapshot"),
    ):
        _, lvm = make_lvm(make_thin_rows(**fields))
        with pytest.raises(SnapshotFailed, match=problem):
            lvm.create_thin_snapshot(origin, name="thin01.xb", run_id=RUN)


def test_a_thick_volume_gets_no_thin_snapshot() -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(SnapshotFailed, match="not a thin volume"):
        lvm.create_thin_snapshot(read(), name="x", run_id=RUN)
    assert [] == host.lines


def test_removal_lets_lvm_test_identity_marks_and_origin() -> None:
    host, lvm = make_lvm(report(make_row()))
    lvm.remove_snapshot(read_snapshot(), RUN)
    selection = (
        f'lv_uuid="{SNAP_UUID}" && lv_tags={{"xenbackup"}} && lv_tags={{"xb.run={RUN}"}} '
        '&& origin!=""'
    )
    assert ("lvremove", "--yes", "--select", selection, "xenvols") == host.calls[0].argv
    assert host.calls[0].kill_late


@pytest.mark.parametrize(
    "volume",
    [
        read(),
        read_snapshot(lv_tags=""),
        read_snapshot(lv_tags="xenbackup"),
        read_snapshot(lv_tags=f"xb.run={RUN}"),
        read_snapshot(lv_tags=f"xb.run={OTHER_RUN},xenbackup"),
        read_snapshot(origin=""),
        replace(read_snapshot(), uuid='x" || lv_name=~".*'),
    ],
)
def test_what_is_not_ours_is_never_removed_nor_extended(volume: LogicalVolume) -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(NotOurs):
        lvm.remove_snapshot(volume, RUN)
    with pytest.raises(NotOurs):
        lvm.extend_snapshot(volume, 4 << 20, RUN)
    assert [] == host.lines


def test_removing_what_is_gone_already_is_no_error() -> None:
    host, lvm = make_lvm(report(make_row()))
    host.answers["lvremove"] = load_recording("lvremove-missing")
    lvm.remove_snapshot(read_snapshot(), RUN)


def test_a_snapshot_in_use_is_told_with_a_hint() -> None:
    host, lvm = make_lvm(report(make_snapshot_row()))
    host.answers["lvremove"] = load_recording("lvremove-in-use-by-domain")
    with pytest.raises(SnapshotFailed, match="in use") as caught:
        lvm.remove_snapshot(read_snapshot(), RUN)
    assert "lsof" in caught.value.hint
    assert "held open by" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        (
            load_recording("lvremove-in-use-by-domain"),
            SnapshotFailed,
            "in use; it is held open by domain 3 (virtual disk 51712) and process 4242.",
        ),
        (
            answer(exit_code=-9, timed_out=True),
            CommandTimedOut,
            "(0 s); it is held open by domain 3 (virtual disk 51712) and process 4242.",
        ),
    ],
)
def test_what_holds_a_snapshot_open_is_named(
    tmp_path: Path, said: CommandResult, error: type[XenbackupError], expected: str
) -> None:
    host = PlacedHost(root=tmp_path)
    snapshot = read_snapshot()
    name = spell_mapper_name(f"/dev/{snapshot.group}/{snapshot.name}")
    host.answers = {
        "lvs": report(make_snapshot_row()),
        "lvremove": said,
        "dmsetup info": f"Name Maj Min Stat Open Targ Event UUID\n{name} 253 26 L--w 1 1 0 LVM-x\n",
    }
    host.write("/sys/bus/xen-backend/devices/vbd-3-51712/physical_device", "fd:1a\n")
    host.place("/proc/4242/fd").mkdir(parents=True)
    host.place("/proc/4242/fd/3").symlink_to("/dev/dm-26")
    with pytest.raises(error) as caught:
        Lvm(host).remove_snapshot(snapshot, RUN)
    assert caught.value.message.endswith(expected)
    assert "lsof" not in caught.value.hint


def test_a_removal_that_only_says_success_is_not_believed() -> None:
    _, lvm = make_lvm(report(make_snapshot_row()))
    with pytest.raises(SnapshotFailed, match="still there although"):
        lvm.remove_snapshot(read_snapshot(), RUN)


def test_what_a_killed_lvcreate_left_is_removed_by_its_marks() -> None:
    host, lvm = make_lvm(report(make_row()))
    plain = read_snapshot(lv_attr="-wi-a-----", origin="", origin_uuid="")
    lvm.remove_half_made_snapshot(plain, RUN, origin_uuid=ROOT_UUID)
    selection = (
        f'lv_uuid="{SNAP_UUID}" && lv_tags={{"xenbackup"}} && lv_tags={{"xb.run={RUN}"}} '
        f'&& lv_tags={{"xb.origin={ROOT_UUID}"}} && origin=""'
    )
    assert selection == host.calls[0].argv[3]


@pytest.mark.parametrize(
    "volume",
    [
        read(),
        read_snapshot(),
        read_snapshot(lv_attr="-wi-a-----", origin="", origin_uuid="", lv_tags="xenbackup"),
        read_snapshot(
            lv_attr="-wi-a-----", origin="", origin_uuid="", lv_tags=f"xb.run={RUN},xenbackup"
        ),
        read_snapshot(lv_attr="-wi-ao----", origin="", origin_uuid=""),
    ],
)
def test_a_plain_volume_without_every_mark_is_never_removed(volume: LogicalVolume) -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(NotOurs):
        lvm.remove_half_made_snapshot(volume, RUN, origin_uuid=ROOT_UUID)
    assert [] == host.lines


def test_extending_grows_the_very_snapshot() -> None:
    host, lvm = make_lvm(report(make_snapshot_row()), report(make_snapshot_row(lv_size="20971520")))
    assert 20971520 == lvm.extend_snapshot(read_snapshot(), 8 << 20, RUN).size_bytes
    assert ["lvextend --size +8388608b xenvols/web_root.xb"] == changes(host)


def test_extending_a_snapshot_that_was_replaced_or_did_not_grow_is_an_error() -> None:
    host, lvm = make_lvm(report(make_row()))
    with pytest.raises(SnapshotFailed, match="no longer"):
        lvm.extend_snapshot(read_snapshot(), 8 << 20, RUN)
    assert [] == changes(host)
    _, lvm = make_lvm(report(make_snapshot_row()))
    with pytest.raises(SnapshotFailed, match="did not grow"):
        lvm.extend_snapshot(read_snapshot(), 8 << 20, RUN)


def test_a_suspended_origin_is_refreshed() -> None:
    host, lvm = make_lvm(report(make_row()))
    lvm.refresh_volume(read(lv_attr="owi-sos---"), RUN)
    assert ["lvchange --refresh xenvols/web_root"] == changes(host)


def test_a_volume_is_created_with_its_marks_and_looked_at() -> None:
    host, lvm = make_lvm(report(make_row(lv_name="copy")))
    made = lvm.create_volume("xenvols", "copy", 64 << 20, ("xb.destination",))
    assert "copy" == made.name
    assert [
        "lvcreate --yes --size 67108864b --name copy --addtag xb.destination xenvols"
    ] == changes(host)


def test_a_thin_volume_is_created_in_its_pool_and_looked_at() -> None:
    thin = make_row(lv_name="copy", lv_attr="Vwi-a-tz--", pool_lv="pool")
    host, lvm = make_lvm(report(thin))
    made = lvm.create_thin_volume("xenvols", "pool", "copy", 64 << 20, ("mine",))
    assert ("copy", "pool") == (made.name, made.pool)
    assert [
        "lvcreate --yes --virtualsize 67108864b --thinpool pool --name copy --addtag mine xenvols"
    ] == changes(host)


def test_a_thin_volume_that_came_out_thick_is_not_believed() -> None:
    _, lvm = make_lvm(report(make_row(lv_name="copy")))
    with pytest.raises(SnapshotFailed, match="not a thin volume in pool pool"):
        lvm.create_thin_volume("xenvols", "pool", "copy", 64 << 20)


def test_marks_are_put_on_and_taken_off() -> None:
    host, lvm = make_lvm(report(make_row()))
    lvm.add_tag(read(), "xb.destination")
    lvm.delete_tag(read(), "xb.destination")
    assert [
        "lvchange --addtag xb.destination xenvols/web_root",
        "lvchange --deltag xb.destination xenvols/web_root",
    ] == changes(host)
    with pytest.raises(UsageError, match="tag"):
        lvm.add_tag(read(), "a b")
