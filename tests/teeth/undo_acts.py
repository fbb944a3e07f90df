"""Teeth of undo and rescue: what they see to before they destroy, restore, remove or let go."""

from __future__ import annotations

from tests.teeth.tooth import MEMORY, STORAGE, Tooth

EDGES = "tests/pipeline/test_edges_on_simulation.py"
EDGES_OF_UNDO = "tests/pipeline/test_edges_of_undo_on_simulation.py"
RUNS = "tests/pipeline/test_edges_of_runs_on_simulation.py"
ORDER = "tests/unit/test_recovery_order.py"
BESIDE_DEBTS = "tests/pipeline/test_runs_beside_debts_on_simulation.py"
FILLING = "tests/pipeline/test_filling_snapshots_on_simulation.py"
LEARNED = "tests/simulation/test_learned.py::test_a_story_that_ended_badly_once_ends_well"

ROWS = "tests/pipeline/test_catalogue_on_simulation.py"
AWAY = "tests/pipeline/test_places_away_on_simulation.py"

UNDO_TEETH = (
    Tooth(
        name="unlisted-is-not-gone",
        act="a snapshot that is not listed is gone only where its group is there",
        file="pipeline/steps/snapshot.py",
        text="    if made.group not in {group.name for group in context.lvm.list_groups()}:\n",
        instead="    if False:\n",
        tests=(
            f"{AWAY}::test_snapshots_of_a_group_that_comes_late_are_owed_and_removed_once_it_is_there",
        ),
    ),
    Tooth(
        name="boots-without-its-spool",
        act="a guest that is to boot afresh does so though the spool takes no file",
        file="pipeline/booting.py",
        text="    except StateFailed:\n        path = ",
        instead="    except ZeroDivisionError:\n        path = ",
        tests=(f"{AWAY}::test_image_in_a_spool_that_was_away_goes_once_it_is_back",),
    ),
    Tooth(
        name="late-images-go",
        act="an image of an ended run goes when the spool is back",
        file="operations/recover.py",
        text="        spool.remove(run_id)\n",
        instead="        pass\n",
        tests=(f"{AWAY}::test_image_in_a_spool_that_was_away_goes_once_it_is_back",),
    ),
    Tooth(
        name="unmounted-is-not-gone",
        act="a reflink copy that is not there is gone only where its file system is",
        file="pipeline/steps/clone.py",
        text="        _check_mounted(context, made)\n",
        instead="",
        tests=(f"{AWAY}::test_reflink_copy_on_a_file_system_that_is_not_mounted_is_owed",),
    ),
    Tooth(
        name="copied-image-is-the-verified-one",
        act="a memory image that changed since it was verified is not published",
        file="pipeline/steps/copy.py",
        text="    _check_image(context, stored)\n",
        instead="",
        tests=(f"{ROWS}::test_row_14_image_that_changed_after_it_was_verified_gives_no_point",),
    ),
    Tooth(
        name="verified-before-destroy",
        act="a guest is destroyed only with a verified image of its memory",
        file="pipeline/guest.py",
        text="    if not context.record.image_verified:\n",
        instead="    if False:\n",
        tests=(f"{EDGES}::test_guest_is_not_destroyed_without_a_verified_image",),
    ),
    Tooth(
        name="still-before-destroy",
        act="a saved guest that somebody let run is not destroyed",
        file="pipeline/guest.py",
        text="    if domain.state.alive:\n        note_let_run(context)\n        raise SaveFailed(",
        instead="    if False:\n        raise SaveFailed(",
        tests=(f"{EDGES}::test_guest_that_runs_again_is_not_destroyed_for_its_image",),
    ),
    Tooth(
        name="alive-is-not-destroyed-again",
        act="a destroy is not asked for again once the guest runs",
        file="pipeline/guest.py",
        text="        if ours and domain.state.alive:\n",
        instead="        if False:\n",
        tests=(f"{EDGES}::test_domain_that_somebody_let_run_is_not_destroyed_again",),
    ),
    Tooth(
        name="destroy-asked-again",
        act="a destroy that was killed half-way is asked for again",
        file="pipeline/guest.py",
        text="        if ours and context.host.monotonic_seconds() > ask_again:\n",
        instead="        if False:\n",
        tests=(
            f"{LEARNED}[after a reboot, killed as it destroys a half-built boot: that is asked for "
            "again]",
        ),
    ),
    Tooth(
        name="stale-image-not-restored",
        act="a restore refuses an image whose guest was let run since",
        file="pipeline/guest.py",
        text="    if context.record.resuming:\n        raise RestoreFailed(",
        instead="    if False:\n        raise RestoreFailed(",
        tests=(f"{EDGES}::test_image_of_before_the_guest_ran_is_not_restored",),
    ),
    Tooth(
        name="others-guest-not-cleared-away",
        act="a guest that somebody started is not cleared away for a failed restore",
        file="pipeline/guest.py",
        text="    if not domain.state.paused and not domain.state.dying:\n",
        instead="    if False:\n",
        tests=(
            f"{EDGES}::test_guest_that_somebody_started_meanwhile_is_not_cleared_away_for_a_failed_restore",
        ),
    ),
    Tooth(
        name="image-of-this-guest",
        act="an image of another domain is never taken for the guest's",
        file="pipeline/guest.py",
        text="    if found.uuid and found.uuid != context.plan.domain.uuid:\n",
        instead="    if False:\n",
        tests=(f"{EDGES}::test_image_of_another_domain_is_never_ours",),
    ),
    Tooth(
        name="start-is-not-half-built",
        act="the domain of the run's start is never destroyed as half-built",
        file="pipeline/undo.py",
        text="    if domain is None or (same_boot and domain.domid == start.plan.domain.domid):\n",
        instead="    if domain is None:\n",
        tests=(f"{EDGES}::test_domain_of_the_start_is_never_destroyed_as_half_built",),
    ),
    Tooth(
        name="rescue-of-its-own",
        act="a rescue acts on no domain that another put in its place",
        file="pipeline/undo.py",
        text="    if domain is None or not (record.boot_begun or domain.domid in allowed):\n",
        instead="    if domain is None:\n",
        tests=(f"{EDGES}::test_rescue_touches_no_domain_that_another_put_in_its_place",),
    ),
    Tooth(
        name="image-kept-while-unsettled",
        act="the memory image stays until the guest needs it no more",
        file="pipeline/undo.py",
        text="    if guest_settled:\n        discard_memory_image(context)\n",
        instead="    discard_memory_image(context)\n",
        tests=(f"{MEMORY}::test_row_11_image_is_kept_until_there_is_memory_again",),
    ),
    Tooth(
        name="xendomains-image-whole",
        act="a cut-off image of xendomains does not keep a guest down",
        file="pipeline/observing.py",
        text="    if path.exists() and inspect_memory_image(path).complete:\n",
        instead="    if path.exists():\n",
        tests=(f"{LEARNED}[xendomains left a cut-off image of a guest that we had paused]",),
    ),
    Tooth(
        name="stale-once-seen-running",
        act="an image is called stale for good once its guest is seen to run",
        file="pipeline/undo.py",
        text="        if runs_with_stale_image(context.record, world):\n",
        instead="        if False:\n",
        tests=(f"{LEARNED}[let run by hand and seen so, then the power cut: its image is stale]",),
    ),
    Tooth(
        name="daemon-waited-for",
        act="a save that the toolstack's daemon goes on with is waited for",
        file="pipeline/undo.py",
        text="                guest.wait_for_daemon(context)\n",
        instead="                pass\n",
        tests=(
            f"{LEARNED}[a save that xend goes on with is waited for, and its guest not resumed "
            "meanwhile]",
        ),
    ),
    Tooth(
        name="whole-point-kept",
        act="a point that was published before its mark was written is kept",
        file="pipeline/undo.py",
        text="        whole = destination.has_point(context.run_id)\n",
        instead="        whole = False\n",
        tests=(f"{RUNS}::test_point_that_was_whole_before_its_mark_is_kept",),
    ),
    Tooth(
        name="intent-of-staging",
        act="the intent to fill a point is in the journal before its first file",
        file="pipeline/steps/copy.py",
        text=(
            "    context.journal.write("
            "e.Staging(destination=context.destination.name, point=start.run))\n"
        ),
        instead="",
        tests=(
            f"{STORAGE}::test_rows_31_and_32_failing_write_discards_the_point_and_older_ones_stay",
        ),
    ),
    Tooth(
        name="intent-of-snapshot",
        act="the intent to snapshot is in the journal before the snapshot",
        file="pipeline/steps/snapshot.py",
        text=(
            "    context.journal.write(\n"
            "        e.Snapshotting(vdev=disk.vdev, group=disk.group, name=name, "
            "origin_uuid=origin.uuid)\n"
            "    )\n"
        ),
        instead="",
        tests=(
            f"{STORAGE}::test_rows_25_and_59_what_a_killed_lvcreate_left_is_no_snapshot_and_goes",
        ),
    ),
    Tooth(
        name="snapshot-is-one",
        act="what lvcreate made is read only when it is a snapshot of ours",
        file="pipeline/steps/snapshot.py",
        text="    if not is_real_snapshot(made, origin, context.run_id):\n",
        instead="    if False:\n",
        tests=(f"{RUNS}::test_volume_that_lvcreate_gives_out_as_a_snapshot_must_be_one",),
    ),
    Tooth(
        name="origin-replaced",
        act="a volume that was replaced during the run gives no point",
        file="pipeline/steps/snapshot.py",
        text="    if volume.uuid != disk.lv_uuid:\n",
        instead="    if False:\n",
        tests=(f"{EDGES}::test_volume_that_is_not_the_planned_one_is_refused",),
    ),
    Tooth(
        name="origin-not-merging",
        act="a volume that a snapshot is being merged into gives no point",
        file="pipeline/steps/snapshot.py",
        text="    if volume.merging:\n",
        instead="    if False:\n",
        tests=(f"{EDGES}::test_volume_that_a_snapshot_is_being_merged_into_is_refused",),
    ),
    Tooth(
        name="devices-after-a-failed-removal",
        act="a device that a failed lvremove left suspended is resumed at once",
        file="pipeline/steps/snapshot.py",
        text="            _free_devices(context)\n",
        instead="",
        tests=(
            f"{STORAGE}::test_row_24_lvremove_that_hangs_is_tried_again_once_the_disk_moves",
            "tests/pipeline/test_debts_on_simulation.py::test_lvremove_that_always_hangs_is_owed_and_the_guest_goes_on",
        ),
    ),
    Tooth(
        name="full-snapshot-ends-the-copy",
        act="a copy ends as soon as a snapshot of the run is seen to be full",
        file="pipeline/steps/watching.py",
        text="        if is_full(found):\n",
        instead="        if False:\n",
        tests=(f"{RUNS}::test_snapshot_that_is_full_is_written_down_once",),
    ),
    Tooth(
        name="full-pool-ends-the-copy",
        act="a backup is given up before its snapshot fills its thin pool",
        file="pipeline/steps/watching.py",
        text="                self.failure = _judge_pool(volume)\n",
        instead="",
        tests=(
            f"{FILLING}::test_thin_pool_that_fills_up_while_our_snapshot_lives_ends_the_backup",
        ),
    ),
    Tooth(
        name="intent-of-boot",
        act="the intent to boot a guest afresh is in the journal before it is created",
        file="pipeline/booting.py",
        text="    context.journal.write(e.Booting(boot_id=context.host.boot_id()))\n",
        instead="",
        tests=(
            f"{LEARNED}[after a reboot, killed as it destroys a half-built boot: that is asked for "
            "again]",
        ),
    ),
    Tooth(
        name="monitors-outlive-recovery",
        act="the monitor of a restored guest is never ended as a command that lives on",
        file="pipeline/observing.py",
        text="        and not monitor.is_monitor_of(process, name)\n",
        instead="",
        tests=(f"{LEARNED}[the monitor of a restored guest is no command that lives on]",),
    ),
    Tooth(
        name="recovery-leaves-who-works",
        act="recovery leaves a guest to the process that is at work on it",
        file="operations/recover.py",
        text='        with house.lock_domain(identity, f"recover {domain.name}"):\n',
        instead="        if identity:\n",
        tests=(f"{ORDER}::test_a_guest_that_another_process_works_on_is_left_to_it",),
    ),
    Tooth(
        name="one-recovery",
        act="a host has one recovery at a time",
        file="operations/recover.py",
        text="    with house.lock_recovery():\n        known =",
        instead="    if house:\n        known =",
        tests=(f"{ORDER}::test_of_two_recoveries_the_second_is_refused",),
    ),
    Tooth(
        name="no-third-owed-snapshot",
        act="a volume with two owed snapshots gets no third, whenever its plan was made",
        file="operations/debts.py",
        text="        if len(there) >= SNAPSHOTS_LIMIT:\n",
        instead="        if False:\n",
        tests=(
            f"{BESIDE_DEBTS}::test_volume_with_two_owed_snapshots_gets_no_third",
            f"{BESIDE_DEBTS}::test_plan_made_before_the_second_debt_adds_no_third_snapshot",
        ),
    ),
    Tooth(
        name="debts-looked-at-as-a-run-begins",
        act="what is owed is looked at as a run begins, with its guest locked",
        file="operations/backup.py",
        text="            owed = admit_run(self.house, plan)\n",
        instead="            owed: tuple[str, ...] = ()\n",
        tests=(f"{BESIDE_DEBTS}::test_plan_made_before_the_second_debt_adds_no_third_snapshot",),
    ),
    Tooth(
        name="cut-off-run-comes-first",
        act="a guest whose run was cut off gets no other run before recovery was there",
        file="operations/debts.py",
        text="    refuse_cut_off(unfinished, plan.domain.name)\n",
        instead="",
        tests=(
            f"{BESIDE_DEBTS}::test_run_that_was_cut_off_beside_a_debt_refuses_a_plan_of_before",
        ),
    ),
    Tooth(
        name="recovery-guests-first",
        act="recovery brings back guests that are down before it clears up after others",
        file="operations/recover.py",
        text="for run_id, record in _order_guests_first(house, unfinished)\n",
        instead="for run_id, record in unfinished\n",
        tests=(f"{ORDER}::test_guests_that_are_down_come_before_what_is_only_to_be_cleared_up",),
    ),
    Tooth(
        name="undo-guest-first",
        act="an undo brings the guest back before it removes snapshots",
        file="pipeline/undo.py",
        text="    guest_settled = settle_guest(context)\n",
        instead=("    remove_all_snapshots(context)\n    guest_settled = settle_guest(context)\n"),
        tests=(f"{ORDER}::test_an_undo_brings_the_guest_back_before_its_snapshots_go",),
    ),
    Tooth(
        name="bounded-discard",
        act="a dead destination keeps an undo waiting for its bound, and no longer",
        file="pipeline/undo.py",
        text="        if run_bounded(destination.name, discard, DISCARD_SECONDS):\n",
        instead="        if discard():\n",
        tests=(
            "tests/pipeline/test_dead_destinations_on_simulation.py::test_row_34_recovery_waits_for_a_dead_destination_no_longer_than_its_bound",
        ),
    ),
    Tooth(
        name="stale-before-it-goes-on",
        act="an image is called stale before a second save lets its guest go on",
        file="pipeline/undo.py",
        text=(
            "    context.mark_image_stale(e.Resuming())\n    try:\n"
            "        context.toolstack.save_continue(\n"
        ),
        instead="    try:\n        context.toolstack.save_continue(\n",
        tests=(
            f"{EDGES_OF_UNDO}::test_guest_that_a_second_save_let_go_on_is_not_brought_back_once_its_owner_ends_it",
        ),
    ),
    Tooth(
        name="unmarked-image-removed",
        act="an image that cannot be called stale, for want of a journal, is removed",
        file="pipeline/context.py",
        text="write(entry, instead=lambda: self.spool.remove(self.run_id))\n",
        instead="write(entry)\n",
        tests=(
            f"{EDGES_OF_UNDO}::test_guest_is_let_run_without_its_mark_only_once_its_image_is_gone",
        ),
    ),
    Tooth(
        name="rescued-by-its-own-image",
        act="a rescue brings no guest back from the image of another domain",
        file="pipeline/observing.py",
        text='    if found.complete and found.uuid in ("", context.plan.domain.uuid):\n',
        instead="    if found.complete:\n",
        tests=(f"{EDGES_OF_UNDO}::test_image_of_another_domain_brings_nobody_back",),
    ),
    Tooth(
        name="snapshot-is-the-one-made",
        act="a snapshot is read only while it is the very one that the run made",
        file="pipeline/steps/copy.py",
        text="    if found is None or found.uuid != made.lv_uuid:\n",
        instead="    if found is None:\n",
        tests=(f"{RUNS}::test_snapshot_that_somebody_put_in_the_place_of_ours_is_not_read",),
    ),
)
