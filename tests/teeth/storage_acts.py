"""Teeth of the acts on snapshots, copies, points, the journal, and targets of a restore."""

from __future__ import annotations

from tests.teeth.removal_acts import REMOVAL_TEETH
from tests.teeth.tooth import STORAGE, Tooth

LVM = "tests/unit/test_lvm.py"
IMAGES = "tests/unit/test_images.py"
ORDER = "tests/unit/test_publish_order.py"
REFUSED = "tests/unit/test_restore_refused.py"
DURABLE = "tests/unit/test_durable.py"

STORAGE_TEETH = (
    Tooth(
        name="domain-folder-synced",
        act="the name of a guest's folder is durable before anything is put into it",
        file="storage/shelf.py",
        text="            self.root.sync()\n            opened = self",
        instead="            opened = self",
        tests=(f"{ORDER}::test_a_point_after_a_kill_anywhere_outlives_a_power_cut",),
    ),
    Tooth(
        name="zeros-looked-at-again",
        act="zeros left alone in a pool that does not zero its chunks are looked at again",
        file="storage/copying.py",
        text="    if left is not None:\n        written = _write_lost_zeros",
        instead="    if False:\n        written = _write_lost_zeros",
        tests=(
            "tests/unit/test_stale_chunks.py::"
            "test_point_in_a_slot_of_such_a_pool_is_what_its_manifest_says",
        ),
    ),
    Tooth(
        name="journal-synced",
        act="each line of the journal is fsynced before its act",
        file="system/durable.py",
        text="        os.fsync(descriptor)\n\n\ndef sync_folder",
        instead="        pass\n\n\ndef sync_folder",
        tests=(f"{DURABLE}::test_append_is_synced_and_its_failed_sync_is_not_tried_again",),
    ),
    Tooth(
        name="snapshot-checked-after-last-read",
        act="a snapshot's validity is looked at after the last read of its disk",
        file="pipeline/steps/copy.py",
        text=(
            "    _check_source(context, disk, context.lvm.list_volumes())\n"
            "    watch.finish_disk(disk)\n"
        ),
        instead="    watch.finish_disk(disk)\n",
        tests=(f"{STORAGE}::test_row_20_snapshot_that_overflowed_with_its_last_read_is_worthless",),
    ),
    Tooth(
        name="origin-resized",
        act="an origin that changed its size during the run gives no point",
        file="pipeline/steps/snapshot.py",
        text="    if volume.size_bytes < disk.size_bytes if below else resized:\n",
        instead="    if False:\n",
        tests=(f"{STORAGE}::test_row_29_origin_that_was_resized_meanwhile_gives_no_point",),
    ),
    Tooth(
        name="tags-before-removal",
        act="a volume without this run's tags is never removed",
        file="dom0/lvm.py",
        text="    if not lv.is_snapshot_of_run(run_id) or not is_volume_uuid(lv.uuid):\n",
        instead="    if False:\n",
        tests=(f"{LVM}::test_what_is_not_ours_is_never_removed_nor_extended",),
    ),
    Tooth(
        name="tags-inside-removal",
        act="LVM itself tests UUID and tags in the command that removes",
        file="dom0/lvm.py",
        text="                f'lv_tags={{\"{TAG_RUN_PREFIX}{run_id}\"}}',\n",
        instead="",
        tests=(f"{LVM}::test_removal_lets_lvm_test_identity_marks_and_origin",),
    ),
    Tooth(
        name="origin-before-removal",
        act="a volume without an origin is removed as a snapshot by nobody",
        file="dom0/lvm.py",
        text="        self._remove_selected(lv, run_id, 'origin!=\"\"')\n",
        instead="        self._remove_selected(lv, run_id)\n",
        tests=(f"{LVM}::test_removal_lets_lvm_test_identity_marks_and_origin",),
    ),
    Tooth(
        name="half-made-snapshot",
        act="a plain volume is removed only with every mark of this run and its origin",
        file="dom0/lvm.py",
        text="        if not marks <= lv.tags or lv.origin or lv.open or",
        instead="        if",
        tests=(f"{LVM}::test_a_plain_volume_without_every_mark_is_never_removed",),
    ),
    Tooth(
        name="origin-is-the-planned-one",
        act="a snapshot is taken only of the very volume that the journal names",
        file="dom0/lvm.py",
        text='or origin_uuid not in ("", origin.uuid):\n',
        instead="or False:\n",
        tests=(f"{LVM}::test_a_replaced_origin_is_not_snapshotted",),
    ),
    Tooth(
        name="clone-is-ours",
        act="a reflink copy that is another file by now is not removed",
        file="pipeline/steps/clone.py",
        text='        and made.lv_uuid in ("", _identify(found))\n',
        instead="",
        tests=(
            "tests/pipeline/test_other_volumes_on_simulation.py::test_a_file_of_the_clones_name_that_is_not_ours_is_left_alone",
        ),
    ),
    Tooth(
        name="lvm-killed-late",
        act="a command of LVM gets ten times the grace before it is killed",
        file="dom0/lvm.py",
        text="                kill_late=True,\n",
        instead="",
        tests=(f"{LVM}::test_a_thick_snapshot_is_marked_and_looked_at",),
    ),
    Tooth(
        name="marker-of-the-destination",
        act="nothing is written where the destination's marker is missing",
        file="storage/images.py",
        text="        if found is None:\n            raise DestinationMissing(",
        instead=(
            '        if found is None:\n            return ""\n        if False:\n'
            "            raise DestinationMissing("
        ),
        tests=(
            f"{IMAGES}::test_folder_without_a_marker_is_never_written_to",
            f"{STORAGE}::test_row_33_destination_without_its_marker_is_refused_before_the_guest_is_touched",
        ),
    ),
    Tooth(
        name="destination-still-there",
        act="the destination is looked at once more before a point is published",
        file="storage/staging.py",
        text="        self._check_destination()\n",
        instead="",
        tests=(f"{IMAGES}::test_disk_unmounted_during_a_run_keeps_the_point_from_being_published",),
    ),
    Tooth(
        name="disk-flushed",
        act="a copied disk is made durable before its point is published",
        file="storage/copying.py",
        text=(
            "    result = engine.run(on_progress, cancelled, limit)\n    target.flush()\n"
            "    return result\n\n\ndef write_differences("
        ),
        instead=(
            "    result = engine.run(on_progress, cancelled, limit)\n"
            "    return result\n\n\ndef write_differences("
        ),
        tests=(
            "tests/unit/test_copying.py::test_failed_flush_fails_the_copy_and_is_asked_for_once",
        ),
    ),
    Tooth(
        name="names-synced-before-publishing",
        act="manifest and names are durable before the point gets its name",
        file="storage/staging.py",
        text="        self._folder.sync()\n        self._check_destination()\n",
        instead="        self._check_destination()\n",
        tests=(f"{ORDER}::test_a_point_is_invisible_or_complete_wherever_the_power_fails",),
    ),
    Tooth(
        name="manifest-before-publishing",
        act="the manifest is written before the point gets its name, not after",
        file="storage/staging.py",
        text=(
            "        self._folder.write_file(MANIFEST_FILE, content)\n"
            "        self._folder.sync()\n"
            "        self._check_destination()\n"
            "        self._home.rename(PARTIAL_PREFIX + self.point, self.point)\n"
        ),
        instead=(
            "        self._check_destination()\n"
            "        self._home.rename(PARTIAL_PREFIX + self.point, self.point)\n"
            "        self._folder.write_file(MANIFEST_FILE, content)\n"
            "        self._folder.sync()\n"
        ),
        tests=(f"{ORDER}::test_a_point_is_invisible_or_complete_wherever_the_power_fails",),
    ),
    Tooth(
        name="manifest-describes-what-was-copied",
        act="a manifest that describes other disks is not published",
        file="storage/staging.py",
        text="        self._check_manifest(manifest)\n",
        instead="",
        tests=(f"{IMAGES}::test_manifest_that_does_not_describe_what_was_copied_is_not_published",),
    ),
    Tooth(
        name="images-private",
        act="images of disks and memory are nobody else's to read",
        file="system/folder.py",
        text="            return os.open(name, flags, PRIVATE_FILE, dir_fd=self._descriptor)\n",
        instead="            return os.open(name, flags, 0o644, dir_fd=self._descriptor)\n",
        tests=(f"{IMAGES}::test_everything_in_a_point_is_private",),
    ),
    Tooth(
        name="spooled-memory-private",
        act="a memory image in the spool is nobody else's to read",
        file="storage/spool.py",
        text="                    os.fchmod(descriptor, 0o600)\n",
        instead="",
        tests=(
            "tests/unit/test_spool.py::test_image_written_for_all_to_read_becomes_private_and_durable",
        ),
    ),
    Tooth(
        name="failed-sync-is-final",
        act="after a failed fsync the same file is never called good",
        file="system/block_device.py",
        text="            raise self._failure from error\n\n    def close(",
        instead=(
            "            failure, self._failure = self._failure, None\n"
            "            raise failure from error\n\n    def close("
        ),
        tests=("tests/unit/test_block_device.py::test_failed_sync_is_final_and_never_tried_again",),
    ),
    Tooth(
        name="short-source",
        act="a source that ends early is an error, never a hole",
        file="storage/copying.py",
        text="        if found < slot.length:\n",
        instead="        if False:\n",
        tests=("tests/unit/test_copying.py::test_source_that_ends_early_is_no_hole",),
    ),
    Tooth(
        name="digests-before-overwriting",
        act="an image is proved by its digests before it replaces anybody's bytes",
        file="operations/restore_disks.py",
        text="        if expected != actual:\n",
        instead="        if False:\n",
        tests=(f"{REFUSED}::test_a_damaged_image_is_found_before_anything_is_overwritten",),
    ),
    Tooth(
        name="digest-of-each-block-written",
        act="each block is held to its digest in the moment it is written",
        file="storage/copying.py",
        text="    if expected and (index >= len(expected) or expected[index] != digest):\n",
        instead="    if False:\n",
        tests=("tests/unit/test_copying.py::test_block_that_is_not_as_expected_is_never_written",),
    ),
    Tooth(
        name="digest-of-memory",
        act="a memory image is proved by its digest before anything is touched",
        file="operations/restore_guest.py",
        text="    if found.digest != memory.digest:\n",
        instead="    if False:\n",
        tests=(f"{REFUSED}::test_a_damaged_memory_image_is_found_before_anything_is_overwritten",),
    ),
    Tooth(
        name="incomplete-mark",
        act="targets are marked incomplete before the first is written",
        file="operations/restore.py",
        text="    context.keeper.begin()\n",
        instead="",
        tests=(
            "tests/unit/test_restore_failing.py::test_a_write_error_leaves_the_mark_and_names_the_device",
        ),
    ),
    Tooth(
        name="second-look-before-restoring",
        act="who uses the targets is looked at again once the point has been read",
        file="operations/restore.py",
        text="        _check_unchanged(house, plan)\n",
        instead="",
        tests=(
            f"{REFUSED}::test_a_guest_that_was_started_while_the_point_was_read_keeps_its_disks",
        ),
    ),
    Tooth(
        name="names-stay-inside",
        act="no name of a domain leads out of the destination",
        file="model/names.py",
        text='        if letter in _FOLDER_SAFE or (letter == "." and position > 0):\n',
        instead="        if True:\n",
        tests=(
            "tests/unit/test_images_names.py::test_hostile_domain_names_stay_inside_and_come_back",
        ),
    ),
    *REMOVAL_TEETH,
    Tooth(
        name="one-limit-through-reloads",
        act="a reload changes the rate of runs under way: old ones and new ones share one",
        file="service/definitions.py",
        text="            self.limit.change_rate(self._rate)\n",
        instead="            self.limit = house.make_limit() or self.limit\n",
        tests=(
            "tests/service/test_threads.py::test_reload_changes_the_rate_of_runs_that_are_under_way",
        ),
    ),
    Tooth(
        name="extras-of-nobody-else",
        act="no library is taken from a folder that somebody else may write to",
        file="system/extras.py",
        text="    if folder not in sys.path and not explain_distrust(folder):\n",
        instead="    if folder not in sys.path:\n",
        tests=("tests/unit/test_extras.py::test_nothing_is_taken_from_where_everybody_may_write",),
    ),
)
