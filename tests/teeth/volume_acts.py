"""Teeth of points in prepared volumes, and of how points of every kind get their names."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

VOLUMES = "tests/unit/test_volume_destination.py"
GROUPS = "tests/unit/test_volume_groups.py"
SLOTS = "tests/unit/test_slots.py"
ORDER = "tests/unit/test_publish_order.py"
NAMES = "tests/unit/test_images_names.py"

VOLUME_TEETH = (
    Tooth(
        name="retired-before-overwriting",
        act="the point in a volume is taken off the shelf before its first byte is written over",
        file="storage/volume.py",
        text="            self._destination.retire_points(slot)\n",
        instead="",
        tests=(
            f"{VOLUMES}::test_half_written_volume_is_never_called_good",
            f"{VOLUMES}::test_point_in_a_volume_is_out_of_sight_while_the_volume_is_written",
        ),
    ),
    Tooth(
        name="retired-durably",
        act="that is on the disk before the volume is written over",
        file="storage/shelf.py",
        text=(
            "            folder.rename(point, OVERWRITTEN_PREFIX + point)\n"
            "            folder.sync()\n"
        ),
        instead="            folder.rename(point, OVERWRITTEN_PREFIX + point)\n",
        tests=(f"{ORDER}::test_point_to_be_written_over_is_out_of_sight_on_the_disk_too",),
    ),
    Tooth(
        name="pinned-keeps-its-volume",
        act="a volume that holds a pinned point is not written over",
        file="storage/volume.py",
        text="            if summary.pinned:\n",
        instead="            if False:\n",
        tests=(f"{VOLUMES}::test_pinned_point_keeps_its_volume",),
    ),
    Tooth(
        name="volume-locked",
        act="a volume has one writer",
        file="storage/volume.py",
        text="        self._held.enter_context(self._destination.lock_slot(slot))\n",
        instead="",
        tests=(f"{VOLUMES}::test_volume_being_written_is_locked_to_its_writer",),
    ),
    Tooth(
        name="volume-still-the-same",
        act="a volume that was replaced while it was written gives no point",
        file="storage/volume.py",
        text="        self._destination.check_slot(slot)\n",
        instead="",
        tests=(f"{VOLUMES}::test_volume_replaced_while_it_is_written_fails_the_run",),
    ),
    Tooth(
        name="group-of-another-disk",
        act="a group of the same name on another disk is not written to before it is made ready",
        file="storage/volume_records.py",
        text="            check_stranger()\n",
        instead="",
        tests=(f"{GROUPS}::test_another_group_of_the_name_is_told_and_nothing_is_written_to_it",),
    ),
    Tooth(
        name="group-still-the-same",
        act="a disk that is exchanged during a run is not written to",
        file="storage/volume.py",
        text="        self.check_presence()\n",
        instead="",
        tests=(f"{GROUPS}::test_a_disk_that_is_exchanged_during_a_run_gets_nothing",),
    ),
    Tooth(
        name="records-taken-over-whole",
        act="records of an earlier version are all in a group's folder before it has its name",
        file="storage/volume_records.py",
        text="        own, moving = self.folder / uuid, self.folder / (_MOVING_PREFIX + uuid)\n",
        instead="        own = moving = self.folder / uuid\n",
        tests=(f"{GROUPS}::test_taking_over_that_was_cut_off_goes_on",),
    ),
    Tooth(
        name="volume-in-use",
        act="a volume that somebody uses is not written over",
        file="storage/volume.py",
        text="        if use := explain_use(self._host, slot):\n",
        instead='        if use := "":\n',
        tests=(f"{VOLUMES}::test_volume_in_use_is_refused",),
    ),
    Tooth(
        name="volume-marked",
        act="a volume that nobody marked is not written over",
        file="storage/slots.py",
        text="    if TAG_DESTINATION not in volume.tags:\n",
        instead="    if False:\n",
        tests=(f"{VOLUMES}::test_unmarked_volume_is_never_written_to",),
    ),
    Tooth(
        name="volume-of-a-run",
        act="a snapshot of a run is never taken for a destination",
        file="storage/slots.py",
        text="    if TAG_OURS in volume.tags:\n",
        instead="    if False:\n",
        tests=(f"{SLOTS}::test_volume_that_cannot_serve_is_refused_with_the_reason",),
    ),
    Tooth(
        name="volume-is-not-the-source",
        act="a disk is never copied onto itself",
        file="storage/slots.py",
        text='    if set(request.sources) & {volume.path, volume.dm_path} - {""}:\n',
        instead="    if False:\n",
        tests=(f"{SLOTS}::test_volume_that_cannot_serve_is_refused_with_the_reason",),
    ),
    Tooth(
        name="name-synced-after-publishing",
        act="a point's name is on the disk before the run calls it published",
        file="storage/staging.py",
        text=(
            "        self._home.rename(PARTIAL_PREFIX + self.point, self.point)\n"
            "        self._home.sync()\n"
        ),
        instead="        self._home.rename(PARTIAL_PREFIX + self.point, self.point)\n",
        tests=(f"{ORDER}::test_a_published_point_is_on_the_disk_whole",),
    ),
    Tooth(
        name="name-synced-when-found",
        act="a point that its run had no time to sync is synced before it is called there",
        file="storage/shelf.py",
        text="            folder.sync()\n            return True\n",
        instead="            return True\n",
        tests=(
            f"{ORDER}::test_a_point_whose_publisher_was_killed_is_synced_before_it_is_called_there",
        ),
    ),
    Tooth(
        name="folder-of-its-owner",
        act="no point goes into the folder of another guest of the same name",
        file="storage/shelf.py",
        text="            if self._read_owner(opened, identity, domain) == identity:\n",
        instead="            if True:\n",
        tests=(f"{NAMES}::test_namesake_of_another_identity_gets_a_folder_of_its_own",),
    ),
)
