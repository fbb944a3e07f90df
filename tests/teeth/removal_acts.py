"""Teeth of the acts on points that retention lets go, on pins, and on journals of long ago."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

RETENTION = "tests/unit/test_retention.py"
PRUNE = "tests/unit/test_prune.py"
REMOVAL = "tests/unit/test_removal.py"
JOURNALS = "tests/unit/test_journals_trimmed.py"
ORDER = "tests/unit/test_publish_order.py"

REMOVAL_TEETH = (
    Tooth(
        name="out-of-sight-before-removal",
        act="a point is renamed out of sight before the first of its files goes",
        file="storage/removal.py",
        text=(
            "        home.rename(name, DELETING_PREFIX + point)\n"
            "        home.sync()\n"
            "        _empty(opened)\n"
        ),
        instead=(
            "        for entry in reversed(opened.list_entries()):\n"
            "            opened.remove_file(entry.name)\n"
            "        home.rename(name, DELETING_PREFIX + point)\n"
            "        home.sync()\n"
        ),
        tests=(
            f"{ORDER}::test_removal_never_leaves_half_a_point_in_sight",
            f"{REMOVAL}::test_prune_cut_off_at_any_call_is_finished_by_the_next",
        ),
    ),
    Tooth(
        name="removal-synced-before-files-go",
        act="that rename is on the disk before the first file goes",
        file="storage/removal.py",
        text="        home.sync()\n        _empty(opened)\n        home.remove_empty(DELETING",
        instead="        _empty(opened)\n        home.remove_empty(DELETING",
        tests=(
            f"{ORDER}::test_removal_never_leaves_half_a_point_in_sight",
            f"{REMOVAL}::test_prune_cut_off_at_any_call_is_finished_by_the_next",
        ),
    ),
    Tooth(
        name="readers-before-removal",
        act="a point that somebody reads is not removed",
        file="storage/removal.py",
        text="    if not opened.lock(shared=False):\n",
        instead="    if False:\n",
        tests=(f"{REMOVAL}::test_point_that_another_process_reads_is_not_removed",),
    ),
    Tooth(
        name="restore-holds-its-point",
        act="a restore holds its point from before the first look to its end",
        file="operations/restore.py",
        text="        held.enter_context(store.hold_point(plan.manifest.point))\n",
        instead="",
        tests=(f"{REMOVAL}::test_point_is_not_removed_while_it_is_restored",),
    ),
    Tooth(
        name="only-parts-of-points",
        act="a point with a foreign file or a link in it is left whole",
        file="storage/removal.py",
        text="    if foreign:\n",
        instead="    if False:\n",
        tests=(f"{PRUNE}::test_foreign_things_in_a_point_keep_all_of_it",),
    ),
    Tooth(
        name="destination-there-before-removal",
        act="nothing is removed once another disk, or none, lies at the destination's place",
        file="storage/images.py",
        text="        self.check_presence()\n        return super().delete_point(point_id)\n",
        instead="        return super().delete_point(point_id)\n",
        tests=(f"{PRUNE}::test_destination_that_goes_away_meanwhile_loses_nothing_more",),
    ),
    Tooth(
        name="pinned-is-kept",
        act="retention keeps what is pinned",
        file="planning/retention.py",
        text="        if point.pinned:\n",
        instead="        if False:\n",
        tests=(f"{RETENTION}::test_pinned_point_stays_and_stands_for_its_day",),
    ),
    Tooth(
        name="pinned-is-looked-at-again",
        act="the pin is looked at once more with the point's lock held",
        file="storage/removal.py",
        text="    if opened.find(PINNED_FILE) is not None:\n",
        instead="    if False:\n",
        tests=(f"{REMOVAL}::test_pinned_point_is_not_removed_even_if_somebody_asks_for_it",),
    ),
    Tooth(
        name="pin-synced",
        act="a pin is on the disk when it is told",
        file="storage/shelf.py",
        text="            folder.sync()\n            return fresh\n",
        instead="            return fresh\n",
        tests=(f"{REMOVAL}::test_pin_is_on_the_disk_when_it_is_told",),
    ),
    Tooth(
        name="damaged-stands-for-none",
        act="a damaged point never lets the last good one go",
        file="planning/retention.py",
        text="        if point.created_at <= now and all(hold.good for",
        instead="        if point.created_at <= now and all(True for",
        tests=(f"{PRUNE}::test_damaged_newest_point_never_lets_the_last_good_one_go",),
    ),
    Tooth(
        name="future-stands-for-none",
        act="a point from the future never lets one of today go",
        file="planning/retention.py",
        text="        if point.created_at <= now and all(hold.good for",
        instead="        if all(hold.good for",
        tests=(f"{RETENTION}::test_point_from_the_future_stays_and_lets_none_go",),
    ),
    Tooth(
        name="required-one-is-kept",
        act="the newest point that has what its job requires is kept",
        file="planning/retention.py",
        text="        if point.point == counting.best and not reasons:\n",
        instead="        if False:\n",
        tests=(f"{PRUNE}::test_newest_point_with_memory_stays_for_a_job_that_requires_it",),
    ),
    Tooth(
        name="interrupted-restore-keeps-its-point",
        act="the point that an interrupted restore needs is kept",
        file="operations/prune.py",
        text="    for mark in open_marks(house).list_marks():\n",
        instead="    for mark in ():\n",
        tests=(f"{PRUNE}::test_point_that_an_interrupted_restore_needs_stays",),
    ),
    Tooth(
        name="unfinished-journal-stays",
        act="the journal of a run that has not ended is never trimmed",
        file="operations/journals.py",
        text="    if record.ended is None or ",
        instead="    if ",
        tests=(f"{JOURNALS}::test_journal_that_is_unfinished_or_owes_or_cannot_be_read_stays",),
    ),
    Tooth(
        name="journal-of-a-point-stays",
        act="the journal of a point that may still exist is never trimmed",
        file="operations/journals.py",
        text="                if _may_exist(house, stores, path.stem):\n",
        instead="                if False:\n",
        tests=(f"{JOURNALS}::test_journal_of_a_point_half_removed_or_damaged_stays",),
    ),
)
