"""Snapshots of thick and thin volumes: made, read, grown, overflown, removed, refused."""

from __future__ import annotations

import pytest

from tests.contract.conftest import MIB, Contract
from xenbackup.dom0.device_mapper import (
    find_suspended_under,
    list_suspended,
    read_snapshot_status,
    spell_mapper_name,
)
from xenbackup.errors import CopyFailed, NotOurs, SnapshotFailed
from xenbackup.model.job import SnapshotSize
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.disk_plan import predict_snapshot_bytes
from xenbackup.system.block_device import allocate_buffer

OTHER_RUN = "20261122T023000Z-zzzzzz"


def take_thick(contract: Contract, origin: str, name: str) -> LogicalVolume:
    volume = contract.volume(origin)
    return contract.lvm.create_thick_snapshot(
        volume,
        name=name,
        size=SnapshotSize(percent=10),
        run_id=contract.run_id,
        origin_uuid=volume.uuid,
    )


def make_scratch(contract: Contract, name: str, size_bytes: int = 8 * MIB) -> LogicalVolume:
    return contract.lvm.create_volume(
        contract.group, name, size_bytes, tags=(contract.scratch_tag,)
    )


def write_over(contract: Contract, path: str, size_bytes: int) -> None:
    device = contract.host.open_volume(path, writable=True)
    try:
        content = allocate_buffer(MIB)
        content[:] = b"\xa5" * MIB
        for offset in range(0, size_bytes, MIB):
            device.write_at(offset, content)
        device.flush()
    finally:
        device.close()


def test_write_mark_is_moved_by_writing_alone(contract: Contract) -> None:
    """Not by reading, not by a snapshot that is taken, read and removed."""
    volume = make_scratch(contract, "scratch_marked")
    mark = contract.host.read_write_mark(volume.path)
    assert mark
    contract.read_start(volume.path)
    snapshot = take_thick(contract, volume.name, "scratch_marked.xb")
    contract.read_start(snapshot.path)
    contract.lvm.remove_snapshot(snapshot, contract.run_id)
    assert mark == contract.host.read_write_mark(volume.path)
    write_over(contract, volume.path, MIB)
    written = contract.host.read_write_mark(volume.path)
    assert mark != written
    assert written == contract.host.read_write_mark(volume.dm_path), "whatever it is called"


def test_group_is_listed_with_its_room(contract: Contract) -> None:
    (group,) = [found for found in contract.lvm.list_groups() if found.name == contract.group]
    assert 4 * MIB == group.extent_size_bytes
    assert 0 < group.free_bytes < group.size_bytes


def test_guest_volumes_are_open_and_active(contract: Contract) -> None:
    root, thin = contract.volume("web_root"), contract.volume("thinny_root")
    assert (64 * MIB, "-wi-ao----") == (root.size_bytes, root.attributes)
    assert (32 * MIB, "Vwi-aotz--", "pool") == (thin.size_bytes, thin.attributes, thin.pool)
    assert root.open
    assert not root.tags


def test_hidden_parts_of_the_pool_are_marked_hidden(contract: Contract) -> None:
    hidden = {lv.name.strip("[]") for lv in contract.lvm.list_volumes(contract.group) if lv.hidden}
    assert {"lvol0_pmspare", "pool_tdata", "pool_tmeta"} == hidden


def test_thick_snapshot_is_ours_rounded_up_and_valid(contract: Contract) -> None:
    snapshot = take_thick(contract, "web_root", "web_root.xb")
    origin = contract.volume("web_root")
    assert 12 * MIB == snapshot.size_bytes
    assert "swi-a-s---" == snapshot.attributes
    assert ("web_root", origin.uuid) == (snapshot.origin, snapshot.origin_uuid)
    assert snapshot.is_snapshot_of_run(contract.run_id)
    assert f"xb.origin={origin.uuid}" in snapshot.tags
    assert snapshot.active
    assert not snapshot.invalid
    assert "owi-aos---" == origin.attributes


def test_thick_snapshot_stands_still_while_its_origin_is_written(contract: Contract) -> None:
    baseline = contract.baseline("web")
    snapshot = take_thick(contract, "web_root", "web_root.xb")
    frozen = contract.read_start(snapshot.path)
    contract.wait_for_writes("/dev/xenvols/web_root")
    assert frozen == contract.read_start(snapshot.path)
    assert frozen != contract.read_start("/dev/xenvols/web_root")
    status = read_snapshot_status(contract.host, spell_mapper_name(snapshot.path))
    assert status.metadata_sectors < status.used_sectors < status.total_sectors
    assert not status.invalid
    assert set() == contract.findings(baseline)


def test_untouched_snapshot_holds_nothing_but_metadata(contract: Contract) -> None:
    make_scratch(contract, "contract1")
    snapshot = take_thick(contract, "contract1", "contract1.xb")
    status = read_snapshot_status(contract.host, spell_mapper_name(snapshot.path))
    assert status.metadata_sectors == status.used_sectors
    assert 0.0 == snapshot.snapshot_percent


def test_removed_snapshot_is_gone_and_its_origin_whole(contract: Contract) -> None:
    baseline = contract.baseline("web")
    snapshot = take_thick(contract, "web_data", "web_data.xb")
    contract.lvm.remove_snapshot(snapshot, contract.run_id)
    assert "web_data.xb" not in contract.volume_names()
    assert "-wi-ao----" == contract.volume("web_data").attributes
    assert set() == contract.findings(baseline)
    contract.wait_for_writes("/dev/xenvols/web_data")


def test_thin_snapshot_is_activated_and_stands_still(contract: Contract) -> None:
    origin = contract.volume("thinny_root")
    snapshot = contract.lvm.create_thin_snapshot(
        origin, name="thinny_root.xb", run_id=contract.run_id
    )
    assert "Vwi-a-tz-k" == snapshot.attributes
    assert (origin.name, "pool") == (snapshot.origin, snapshot.pool)
    frozen = contract.read_start(snapshot.path)
    contract.wait_for_writes("/dev/xenvols/thinny_root")
    assert frozen == contract.read_start(snapshot.path)
    contract.lvm.remove_snapshot(snapshot, contract.run_id)
    assert "thinny_root.xb" not in contract.volume_names()


def test_snapshot_name_that_is_taken_is_refused(contract: Contract) -> None:
    take_thick(contract, "web_root", "web_root.xb")
    with pytest.raises(SnapshotFailed, match="already exists"):
        take_thick(contract, "web_root", "web_root.xb")


def test_snapshot_larger_than_useful_is_reduced_in_size(contract: Contract) -> None:
    result = contract.call(
        "lvcreate", "-s", "-y", "-L", "20G", "-n", "web_data.big", "--addtag", "xenbackup",
        "xenvols/web_data",
    )  # fmt: skip
    assert 0 == result.exit_code
    assert "Reducing COW size 20.00 GiB down to maximum usable size 36.00 MiB." in result.stdout
    assert 36 * MIB == contract.volume("web_data.big").size_bytes


def test_volume_without_room_is_refused_with_the_numbers(contract: Contract) -> None:
    before = contract.volume_names()
    with pytest.raises(SnapshotFailed, match="insufficient free space"):
        make_scratch(contract, "contract1", 1 << 40)
    assert before == contract.volume_names()


def test_missing_volume_is_named(contract: Contract) -> None:
    listed = contract.call("lvs", "--reportformat", "json", "xenvols/nosuch")
    assert 5 == listed.exit_code
    assert 'Failed to find logical volume "xenvols/nosuch"' in listed.stderr
    removed = contract.call("lvremove", "-y", "xenvols/nosuch")
    assert 5 == removed.exit_code
    assert 'Failed to find logical volume "xenvols/nosuch"' in removed.stderr


def test_volume_of_a_guest_cannot_be_removed(contract: Contract) -> None:
    result = contract.call("lvremove", "-y", "xenvols/web_root")
    assert 5 == result.exit_code
    assert "Logical volume xenvols/web_root in use." in result.stderr
    assert contract.volume("web_root").open


def test_snapshot_that_is_being_read_cannot_be_removed(contract: Contract) -> None:
    snapshot = take_thick(contract, "web_root", "web_root.xb")
    device = contract.host.open_volume(snapshot.path)
    try:
        with pytest.raises(SnapshotFailed, match="in use"):
            contract.lvm.remove_snapshot(snapshot, contract.run_id)
    finally:
        device.close()
    contract.lvm.remove_snapshot(contract.volume("web_root.xb"), contract.run_id)


def test_selection_that_fits_nothing_removes_nothing(contract: Contract) -> None:
    snapshot = take_thick(contract, "web_root", "web_root.xb")
    with pytest.raises(NotOurs):
        contract.lvm.remove_snapshot(snapshot, OTHER_RUN)
    result = contract.call(
        "lvremove", "-y", "-S", f'lv_uuid={snapshot.uuid} && lv_tags={{"xb.run={OTHER_RUN}"}}',
        "xenvols",
    )  # fmt: skip
    assert 0 == result.exit_code
    assert "web_root.xb" in contract.volume_names()


def test_tags_are_selected_as_lvm_spells_lists(contract: Contract) -> None:
    make_scratch(contract, "contract1")
    snapshot = take_thick(contract, "contract1", "contract1.xb")
    expected = {
        "{xenbackup}": True,
        "{xenbackup && xb.run=20261122T023000Z-k3f9qa}": True,
        '{"xb.run=20261122T023000Z-k3f9qa"}': True,
        "xenbackup": True,
        "[xenbackup]": False,
        "{xenbackup && nothing}": False,
        "{xenbackup || nothing}": True,
    }
    selected = {}
    for tags in expected:
        condition = f'lv_uuid={snapshot.uuid} && origin!="" && lv_tags={tags}'
        listed = contract.call("lvs", "--noheadings", "-o", "lv_name", "-S", condition, "xenvols")
        selected[tags] = "contract1.xb" in listed.stdout
    assert expected == selected


@pytest.mark.parametrize(
    "size",
    [
        SnapshotSize(percent=10),
        SnapshotSize(percent=100),
        SnapshotSize(size_bytes=5 * MIB),
        SnapshotSize(size_bytes=1 << 30),
    ],
    ids=["tenth", "whole", "odd", "reduced"],
)
def test_snapshot_takes_of_its_group_what_was_foretold(
    contract: Contract, size: SnapshotSize
) -> None:
    origin = make_scratch(contract, "contract1", 64 * MIB)
    snapshot = contract.lvm.create_thick_snapshot(
        origin,
        name="contract1.xb",
        size=size,
        run_id=contract.run_id,
        origin_uuid=origin.uuid,
    )
    (group,) = (found for found in contract.lvm.list_groups() if found.name == origin.group)
    foretold = predict_snapshot_bytes(origin.size_bytes, size, group.extent_size_bytes)
    assert foretold == snapshot.size_bytes


def test_overflown_snapshot_is_invalid_unreadable_and_removable(contract: Contract) -> None:
    origin = make_scratch(contract, "contract1", 16 * MIB)
    contract.lvm.create_thick_snapshot(
        origin,
        name="contract1.xb",
        size=SnapshotSize(size_bytes=4 * MIB),
        run_id=contract.run_id,
        origin_uuid=origin.uuid,
    )
    write_over(contract, "/dev/xenvols/contract1", 16 * MIB)
    contract.wait_until(lambda: contract.volume("contract1.xb").invalid, "the snapshot is full")
    full = contract.volume("contract1.xb")
    assert ("swi-I-s---", 100.0, True) == (full.attributes, full.snapshot_percent, full.invalid)
    assert read_snapshot_status(contract.host, spell_mapper_name(full.path)).invalid
    with pytest.raises(CopyFailed):
        contract.read_start(full.path)
    assert 16 * MIB == len(contract.read_start("/dev/xenvols/contract1", 16 * MIB))
    contract.lvm.remove_snapshot(full, contract.run_id)


def test_extended_snapshot_is_larger_and_still_valid(contract: Contract) -> None:
    snapshot = take_thick(contract, "web_root", "web_root.xb")
    grown = contract.lvm.extend_snapshot(snapshot, 4 * MIB, contract.run_id)
    assert snapshot.size_bytes + 4 * MIB == grown.size_bytes
    assert not grown.invalid


def test_suspended_device_is_found_and_cured_by_a_refresh(contract: Contract) -> None:
    volume = make_scratch(contract, "contract1")
    assert 0 == contract.call("dmsetup", "suspend", "xenvols-contract1").exit_code
    assert ("xenvols-contract1",) == list_suspended(contract.host)
    assert ("xenvols-contract1",) == find_suspended_under(contract.host, [volume.path])
    assert () == find_suspended_under(contract.host, ["/dev/xenvols/web_root"])
    contract.lvm.refresh_volume(volume)
    assert () == list_suspended(contract.host)


def test_kernel_does_not_keep_a_writer_off_a_volume_of_a_guest(contract: Contract) -> None:
    """A back-end claims nothing: only our own look at who uses a volume keeps a restore off it."""
    contract.host.open_volume("/dev/xenvols/web_root", writable=True).close()
    assert contract.volume("web_root").open


def test_what_is_written_to_a_volume_is_read_back(contract: Contract) -> None:
    make_scratch(contract, "contract1")
    write_over(contract, "/dev/xenvols/contract1", 8 * MIB)
    assert b"\xa5" * 8 * MIB == contract.read_start("/dev/xenvols/contract1", 8 * MIB)


def test_thin_volume_is_made_in_its_pool_and_reads_as_zeros(contract: Contract) -> None:
    (before,) = [found for found in contract.lvm.list_groups() if found.name == contract.group]
    made = contract.lvm.create_thin_volume(
        contract.group, "pool", "contract1", 5 * MIB, tags=(contract.scratch_tag,)
    )
    (after,) = [found for found in contract.lvm.list_groups() if found.name == contract.group]
    assert ("Vwi-a-tz--", "pool", 8 * MIB) == (made.attributes, made.pool, made.size_bytes)
    assert before.free_bytes == after.free_bytes
    assert bytes(8 * MIB) == contract.read_start(made.path, 8 * MIB)
    write_over(contract, made.path, 8 * MIB)
    assert b"\xa5" * 8 * MIB == contract.read_start(made.path, 8 * MIB)


def test_thin_volume_in_a_pool_that_is_none_is_refused(contract: Contract) -> None:
    before = contract.volume_names()
    for pool in ("nosuch", "web_root"):
        with pytest.raises(SnapshotFailed, match="lvcreate"):
            contract.lvm.create_thin_volume(contract.group, pool, "contract1", 4 * MIB)
    assert before == contract.volume_names()
