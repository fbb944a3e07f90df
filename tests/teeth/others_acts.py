"""Teeth of a rescue that is not alone on its host: what others did, and whom it keeps waiting."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

OTHERS = "tests/pipeline/test_others_in_a_rescue_on_simulation.py"
PATIENCE = "tests/pipeline/test_patience_on_simulation.py"
RENAMED = "tests/pipeline/test_renamed_guests_on_simulation.py"
SAVE_FILES = "tests/pipeline/test_save_files_of_xendomains_on_simulation.py"
WAITS = "tests/unit/test_rescue_waits.py"

WRITTEN = "tests/pipeline/test_written_disks_on_simulation.py"
REBOOTED = "tests/pipeline/test_disks_over_a_reboot_on_simulation.py"

OTHERS_TEETH = (
    Tooth(
        name="written-disks-in-a-rescue",
        act="recovery restores no image over disks that were written since",
        file="planning/rescue.py",
        text="    if world.written_disks or world.started_since:\n        return True\n",
        instead="",
        tests=(
            f"{WRITTEN}::test_image_is_not_restored_over_disks_of_a_guest_that_ran_meanwhile",
            f"{WRITTEN}::test_image_is_not_restored_over_a_disk_that_was_written_in_dom0",
        ),
    ),
    Tooth(
        name="written-disks-after-the-copy",
        act="disks that were written while they were read give no point",
        file="pipeline/steps/copy.py",
        text='        check_disks_at_rest(context, when="before its disks were read")\n',
        instead="",
        tests=(f"{WRITTEN}::test_disks_that_were_written_in_the_copy_give_no_point",),
    ),
    Tooth(
        name="written-disks-after-the-snapshots",
        act="disks that were written before their snapshots were done give no point",
        file="pipeline/steps/snapshot.py",
        text='    check_disks_at_rest(context, when="before its snapshots were done")\n',
        instead="",
        tests=(f"{WRITTEN}::test_guest_that_was_let_run_between_save_and_snapshot_gives_no_point",),
    ),
    Tooth(
        name="counts-of-this-boot",
        act="what was counted in another boot says nothing of a disk",
        file="pipeline/stillness.py",
        text="    if record.at_rest_boot_id != context.host.boot_id():\n",
        instead="    if False:\n",
        tests=(f"{WRITTEN}::test_counts_of_another_boot_say_nothing",),
    ),
    Tooth(
        name="snapshots-that-kept-something",
        act="after a reboot a snapshot that had to keep anything says that its disk was written",
        file="pipeline/stillness.py",
        text="        and (volume.invalid or volume.snapshot_percent)\n",
        instead="        and volume.invalid\n",
        tests=(f"{REBOOTED}::test_guest_that_a_person_let_run_is_booted_afresh_after_a_power_cut",),
    ),
    Tooth(
        name="group-that-is-late",
        act="what would tell of written disks and is not to be seen is not taken for silent",
        file="pipeline/stillness.py",
        text="    if surely:\n",
        instead="    if False:\n",
        tests=(
            f"{REBOOTED}::test_group_that_comes_late_lets_no_old_memory_onto_disks_that_moved_on",
        ),
    ),
    Tooth(
        name="snapshot-that-is-not-active",
        act="a snapshot that is not active does not say that nothing was written",
        file="pipeline/stillness.py",
        text="        if made.name in silent or (",
        instead="        if (",
        tests=(f"{REBOOTED}::test_snapshot_that_is_not_active_says_nothing_and_is_waited_for",),
    ),
    Tooth(
        name="snapshots-that-go-on-telling",
        act="snapshots stay while the memory of a guest that is not back yet may be restored",
        file="pipeline/undo.py",
        text="    keeps = not guest_settled and keeps_telling(context)\n",
        instead="    keeps = False\n",
        tests=(
            f"{REBOOTED}::test_snapshots_of_a_guest_that_could_not_be_brought_back_go_on_telling",
        ),
    ),
    Tooth(
        name="down-beside-an-unreadable-journal",
        act="a guest that is down beside a journal that cannot be read gives no point",
        file="operations/plan.py",
        text="    if not unreadable:\n",
        instead="    if unreadable or True:\n",
        tests=(
            "tests/pipeline/test_unreadable_journals_on_simulation.py::"
            "test_guest_that_is_down_beside_a_journal_that_cannot_be_read_is_not_backed_up",
        ),
    ),
    Tooth(
        name="snapshots-that-kept-nothing",
        act="an untouched snapshot lets the guest come back with its memory",
        file="pipeline/stillness.py",
        text="        and (volume.invalid or volume.snapshot_percent)\n",
        instead="",
        tests=(f"{REBOOTED}::test_snapshots_that_kept_nothing_say_nothing",),
    ),
    Tooth(
        name="logs-of-starts",
        act="a log of xl that is another one tells that somebody started the guest",
        file="planning/rescue.py",
        text="    if world.written_disks or world.started_since:\n",
        instead="    if world.written_disks:\n",
        tests=(
            "tests/unit/test_rescue.py::test_a_guest_that_is_seen_running_makes_its_image_stale",
        ),
    ),
    Tooth(
        name="logs-of-starts-over-a-reboot",
        act="which log the guest had as it was saved is kept",
        file="records/journal.py",
        text="save_finished=True, known_logs=(entry.monitor_log,))",
        instead="save_finished=True)",
        tests=(f"{REBOOTED}::test_guest_that_a_person_started_is_booted_afresh_after_a_power_cut",),
    ),
    Tooth(
        name="logs-of-starts-in-a-copy",
        act="a guest that was started while its disks were read gives no point",
        file="pipeline/stillness.py",
        text="    if is_started_since(context):\n",
        instead="    if False:\n",
        tests=(f"{WRITTEN}::test_log_tells_of_a_guest_whose_disks_a_program_serves",),
    ),
    Tooth(
        name="logs-beside-a-restore-of-an-earlier-boot",
        act="a log that may be of our restore or of a person's start lets no old memory back",
        file="pipeline/stillness.py",
        text="    if record.restore_under_way and record.rebuilding_boot_id == "
        "context.host.boot_id():\n",
        instead="    if record.restore_under_way:\n",
        tests=(f"{REBOOTED}::test_guest_that_a_person_started_is_booted_afresh_after_a_power_cut",),
    ),
    Tooth(
        name="logs-after-our-restore",
        act="a start that came after our restore is told by its log",
        file="pipeline/stillness.py",
        text="    if record.restore_under_way and record",
        instead="    if record.restore_begun and record",
        tests=(
            f"{REBOOTED}::"
            "test_guest_that_a_person_started_in_place_of_the_restored_one_is_not_restored_again",
        ),
    ),
    Tooth(
        name="booted-and-paused",
        act="a guest that somebody paused after a boot afresh is not cleared away as half-built",
        file="planning/rescue.py",
        text="    if domain.state.paused and record.booted:\n",
        instead="    if False:\n",
        tests=("tests/unit/test_rescue_edges.py::test_edge_of_the_rescue_table",),
    ),
    Tooth(
        name="booted-and-gone",
        act="a guest that vanished after a boot afresh is not booted again",
        file="planning/rescue.py",
        text="    if record.booted:\n",
        instead="    if False:\n",
        tests=(f"{REBOOTED}::test_guest_that_is_ended_as_it_boots_afresh_is_not_booted_again",),
    ),
    Tooth(
        name="save-that-was-not-done",
        act="a guest that is gone, and whose save had not come to its end, is not booted here",
        file="planning/rescue.py",
        text="record.save_destroys and saved\n",
        instead="record.save_destroys\n",
        tests=("tests/unit/test_rescue_edges.py::test_edge_of_the_rescue_table",),
    ),
    Tooth(
        name="logs-of-others-beside-a-failed-restore",
        act="the log of a person's start is not taken for one of a restore that failed",
        file="pipeline/guest.py",
        text="        if has_known_log(context):\n",
        instead="        if context.journal.write(e.Restored(domid=0, monitor_log="
        "monitor.read_log_mark(context.host, name))) is None:\n",
        tests=(
            f"{REBOOTED}::test_log_of_a_start_beside_restores_that_fail_is_told_after_a_reboot",
        ),
    ),
    Tooth(
        name="logs-rotated",
        act="a log that was rotated tells of no start",
        file="pipeline/stillness.py",
        text="        monitor.is_same_log(known, found) for known in",
        instead="        known == found for known in",
        tests=(f"{WRITTEN}::test_log_that_was_rotated_while_the_guest_was_away_says_nothing",),
    ),
    Tooth(
        name="logs-in-memory",
        act="a log that is gone after a reboot tells nothing",
        file="pipeline/stillness.py",
        text="    return found == monitor.NO_LOG or any(",
        instead="    return any(",
        tests=(f"{REBOOTED}::test_log_that_did_not_outlast_the_reboot_says_nothing",),
    ),
    Tooth(
        name="shared-disks-not-counted",
        act="a disk that another guest writes too tells nothing of ours",
        file="pipeline/stillness.py",
        text="        and not context.record.sharers\n",
        instead="",
        tests=(f"{WRITTEN}::test_disks_that_another_guest_writes_too_are_not_noted",),
    ),
    Tooth(
        name="qemu-writes-late",
        act="a disk that a program serves is not at rest with its guest",
        file="pipeline/stillness.py",
        text="        if disk.vdev in served\n        and not context",
        instead="        if disk.vdev\n        and not context",
        tests=(f"{WRITTEN}::test_disk_that_a_program_serves_is_not_noted",),
    ),
    Tooth(
        name="save-file-of-this-shutdown",
        act="a save file of xendomains counts only if it is newer than what the run knows",
        file="pipeline/observing.py",
        text="    return path.stat().st_mtime > known\n",
        instead="    return True\n",
        tests=(
            f"{SAVE_FILES}::test_row_37_save_file_of_another_day_keeps_nobody_down_and_is_told_of",
        ),
    ),
    Tooth(
        name="survivors-killed-at-last",
        act="a command of ours that heeds no SIGTERM is killed",
        file="pipeline/undo.py",
        text="        _signal_survivors(context, signal.SIGKILL)\n",
        instead="        _signal_survivors(context, signal.SIGTERM)\n",
        tests=(
            f"{PATIENCE}::test_row_63_command_that_heeds_no_sigterm_is_killed_and_waited_for_no_more",
        ),
    ),
    Tooth(
        name="waits-have-an-end",
        act="a guest that is not healthy keeps others waiting for minutes, not for hours",
        file="planning/rescue.py",
        text="    if _count_waits(world, A.CONFIRM_RETURN) >= PATIENCE:\n",
        instead="    if False:\n",
        tests=(
            f"{PATIENCE}::test_guest_that_runs_without_a_disk_is_told_and_owed",
            f"{WAITS}::test_row_of_the_rescue_table",
        ),
    ),
    Tooth(
        name="at-once-before-patience",
        act="a guest that can be brought back at once does not wait for another",
        file="operations/recover.py",
        text="    return (*at_once, *later, ",
        instead="    return (*later, *at_once, ",
        tests=(
            f"{PATIENCE}::test_guest_that_can_be_brought_back_at_once_does_not_wait_for_another",
        ),
    ),
    Tooth(
        name="request-of-others-stays",
        act="a suspend request that somebody else made is not withdrawn",
        file="planning/rescue.py",
        text="    if not record.save_begun or record.guest_settled or domain is None:\n",
        instead="    if not record.save_begun or domain is None:\n",
        tests=(f"{OTHERS}::test_suspend_request_of_somebody_else_is_not_withdrawn",),
    ),
    Tooth(
        name="ran-on-is-not-destroyed",
        act="a guest that ran on since its save and ended by itself is not destroyed for its image",
        file="planning/rescue.py",
        text=(
            "    if _ended_by_itself(domain):\n        return _decide_ended(world, domain)\n"
            "    if record.destroy_begun"
        ),
        instead="    if record.destroy_begun",
        tests=(f"{OTHERS}::test_guest_that_ran_on_and_rebooted_is_not_destroyed_for_its_image",),
    ),
    Tooth(
        name="watched-by-others",
        act="a paused domain that somebody else created is not destroyed as half-built",
        file="planning/rescue.py",
        text="        if world.others_monitor:\n",
        instead="        if False:\n",
        tests=(f"{OTHERS}::test_guest_that_a_person_started_and_paused_is_left_to_them",),
    ),
    Tooth(
        name="let-run-is-written-down",
        act="that somebody let the guest run is in the journal as soon as it is seen",
        file="pipeline/others.py",
        text="        context.mark_image_stale(e.ImageStale())\n",
        instead="        pass\n",
        tests=(
            f"{OTHERS}::test_guest_that_the_run_saw_started_is_not_restored_though_it_is_gone_again",
        ),
    ),
    Tooth(
        name="monitor-of-a-renamed-guest-held",
        act="the monitor of a renamed guest is held around a suspend, too",
        file="pipeline/guest.py",
        text="        monitors = monitor.find_nameless_monitors(context.host, names)\n",
        instead="        assert names\n",
        tests=(
            f"{RENAMED}::test_monitor_of_a_guest_that_was_renamed_before_the_run_outlives_the_suspend",
        ),
    ),
    Tooth(
        name="monitor-of-a-renamed-guest-lives",
        act="the monitor of a guest that was renamed is never ended as a command that lives on",
        file="pipeline/observing.py",
        text="(process for process in found if not monitor.is_any_monitor(process))\n",
        instead="(found)\n",
        tests=(
            f"{RENAMED}::test_monitor_of_a_guest_that_was_renamed_before_its_save_is_no_command_that_lives_on",
        ),
    ),
)
