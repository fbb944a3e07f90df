"""Teeth of a restore: what it proves first, its marks, and what an interrupted one left."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

SETTLING = "tests/unit/test_restore_settling.py"
HALF = "tests/unit/test_half_restored.py"
INTERRUPTED = "tests/unit/test_restore_interrupted.py"
FAILING = "tests/unit/test_restore_failing.py"
REFUSED = "tests/unit/test_restore_refused.py"
AGAIN = "tests/unit/test_restore_again.py"
PLANNED = "tests/unit/test_restore_plan.py"
WITHOUT_END = (
    f"{REFUSED}::test_a_memory_image_without_its_end_is_never_restored_though_its_digest_is_right"
)
WAITS = f"{SETTLING}::test_a_guest_that_only_waits_to_be_let_run_is_let_run"
NOT_OURS = f"{SETTLING}::test_a_paused_guest_that_is_not_the_restores_own_stays_paused"
CUT_OFF_BOOT = f"{SETTLING}::test_a_boot_that_was_cut_off_never_ran_and_is_made_again"

RESTORE_TEETH = (
    Tooth(
        name="targets-watched",
        act="behind each disk it is seen that no guest was started on the targets",
        file="operations/restore_disks.py",
        text="            refuse_written()\n",
        instead="",
        tests=(
            "tests/unit/test_restore_watched.py::"
            "test_guest_that_is_started_while_its_disks_are_written_is_not_called_restored",
        ),
    ),
    Tooth(
        name="targets-free-at-the-start",
        act="a guest that was started just before the first write is seen before it",
        file="operations/restore_watch.py",
        text="            if use.domain.exists:\n                name",
        instead="            if False:\n                name",
        tests=(
            "tests/unit/test_restore_watched.py::"
            "test_guest_that_is_started_at_the_last_moment_is_not_written_under",
        ),
    ),
    Tooth(
        name="earlier-marks-end",
        act="a restore that made the disks whole ends the marks of earlier ones",
        file="operations/restore.py",
        text="        context.keeper.supersede()\n",
        instead="",
        tests=(
            f"{SETTLING}::"
            "test_a_later_restore_that_made_the_disks_whole_ends_the_mark_of_an_earlier_one",
        ),
    ),
    Tooth(
        name="settling-lets-run",
        act="recovery lets a guest run that an interrupted restore had built whole",
        file="operations/restore.py",
        text="        _let_run(house, mark)\n",
        instead="",
        tests=(WAITS,),
    ),
    Tooth(
        name="settling-in-this-boot",
        act="recovery lets no guest run that a restore built before the host rebooted",
        file="operations/restore.py",
        text="RestorePhase.RESUMING or mark.boot_id != house.host.boot_id():\n",
        instead="RestorePhase.RESUMING:\n",
        tests=(NOT_OURS,),
    ),
    Tooth(
        name="settling-of-what-was-built",
        act="recovery lets no half-built guest run",
        file="operations/restore.py",
        text="    if mark.phase is not RestorePhase.RESUMING or mark.boot_id",
        instead="    if mark.boot_id",
        tests=(NOT_OURS,),
    ),
    Tooth(
        name="settling-of-its-own",
        act="recovery lets no paused domain run that is another than the restore built",
        file="operations/restore.py",
        text="domain.state.paused and domain.domid == mark.domid\n",
        instead="domain.state.paused\n",
        tests=(NOT_OURS,),
    ),
    Tooth(
        name="settling-locked",
        act="recovery leaves a guest to the restore that is at work on it",
        file="operations/restore.py",
        text='        with house.lock_domain(mark.domain, f"recover {mark.domain}"):\n',
        instead="        if mark.domain:\n",
        tests=(f"{SETTLING}::test_a_restore_that_is_at_work_lets_its_guest_run_itself",),
    ),
    Tooth(
        name="settling-keeps-marks",
        act="a mark stays as long as its targets hold half of a restore",
        file="operations/restore.py",
        text="        if runs or all(_is_gone(",
        instead="        if True or all(_is_gone(",
        tests=(
            f"{INTERRUPTED}::test_a_cut_off_restore_is_forgotten_once_its_targets_are_gone",
            f"{SETTLING}::test_a_restore_that_is_at_work_lets_its_guest_run_itself",
        ),
    ),
    Tooth(
        name="group-that-is-away",
        act="a target that cannot be seen is gone only where its group is there",
        file="operations/restore.py",
        text="        return inventory.find_group(target.group) is not None\n",
        instead="        return True\n",
        tests=(f"{HALF}::test_restore_whose_group_is_just_away_is_not_forgotten",),
    ),
    Tooth(
        name="file-system-that-is-away",
        act="a file that cannot be seen is gone only where its folder is the one it was in",
        file="operations/restore.py",
        text="        return _read_folder_inode(house, target.path) == target.folder_inode != 0\n",
        instead="        return True\n",
        tests=(f"{HALF}::test_restore_into_a_file_system_that_is_not_mounted_is_not_forgotten",),
    ),
    Tooth(
        name="half-restored-is-not-planned",
        act="a guest whose disks a restore has half written is refused by the plan",
        file="operations/plan.py",
        text="        *list_restore_problems(house, plan, inventory),\n",
        instead="",
        tests=(
            f"{HALF}::test_half_restored_guest_is_not_backed_up_until_its_restore_is_completed",
        ),
    ),
    Tooth(
        name="half-restored-is-not-run",
        act="a restore that began after the plan keeps the run from beginning",
        file="operations/backup.py",
        text="            refuse_half_restored(self.house, plan)\n",
        instead="",
        tests=(f"{HALF}::test_restore_that_began_after_the_plan_keeps_the_run_from_beginning",),
    ),
    Tooth(
        name="boot-built-paused",
        act="a restored guest that boots is built paused, and let run once its mark says so",
        file="operations/restore_guest.py",
        text="        paused=True,\n",
        instead="        paused=False,\n",
        tests=(CUT_OFF_BOOT, WAITS),
    ),
    Tooth(
        name="rebuilding-mark-of-a-boot",
        act="a restore's mark says that the guest is being built before a boot builds it",
        file="operations/restore_guest.py",
        text=(
            '    context.watcher.act_began("build")\n'
            "    context.keeper.note_phase(RestorePhase.REBUILDING, house.host.boot_id())\n"
        ),
        instead='    context.watcher.act_began("build")\n',
        tests=(CUT_OFF_BOOT,),
    ),
    Tooth(
        name="rebuilding-mark-of-memory",
        act="a restore's mark says that the guest is being built before its memory is",
        file="operations/restore_guest.py",
        text=(
            "        context.keeper.note_phase(RestorePhase.REBUILDING, house.host.boot_id())\n"
            "        result = "
        ),
        instead="        result = ",
        tests=(f"{INTERRUPTED}::test_a_half_built_domain_is_destroyed_and_built_again",),
    ),
    Tooth(
        name="resuming-mark-of-a-restore",
        act="a restore's mark says that the guest may run before it is let run",
        file="operations/restore_guest.py",
        text="    context.keeper.note_phase(RestorePhase.RESUMING, boot_id, domain.domid)\n",
        instead="",
        tests=(
            f"{SETTLING}::test_a_guest_that_was_let_run_and_paused_by_somebody_is_not_destroyed",
            WAITS,
        ),
    ),
    Tooth(
        name="half-built-of-a-restore",
        act="what an interrupted restore built half is destroyed before the next one builds",
        file="operations/restore.py",
        text="        destroy_half_built(context)\n",
        instead="",
        tests=(f"{INTERRUPTED}::test_a_half_built_domain_is_destroyed_and_built_again",),
    ),
    Tooth(
        name="half-built-and-never-ran",
        act="a half-built domain is looked at once more before it is destroyed",
        file="operations/restore_guest.py",
        text="    if domain.domid != domid or not domain.state.paused:\n",
        instead="    if False:\n",
        tests=(f"{SETTLING}::test_a_half_built_domain_that_runs_by_now_is_not_destroyed",),
    ),
    Tooth(
        name="half-built-by-a-failed-rebuild",
        act="what a failed rebuild left is destroyed before the next attempt",
        file="operations/restore_guest.py",
        text=(
            "        if domain is not None and domain.state.paused:\n"
            "            _destroy(context, domain)\n"
            "    explanation"
        ),
        instead="    explanation",
        tests=(f"{FAILING}::test_a_rebuild_that_fails_once_is_tried_again",),
    ),
    Tooth(
        name="half-built-by-its-phase",
        act="a paused domain is taken for half-built only where the mark says that it never ran",
        file="planning/restore_plan.py",
        text="        and mark.phase is RestorePhase.REBUILDING\n",
        instead="",
        tests=(f"{AGAIN}::test_only_a_paused_domain_that_never_ran_is_half_built",),
    ),
    Tooth(
        name="survivors-of-a-restore",
        act="a restore waits for commands that outlived an interrupted one",
        file="planning/restore_plan.py",
        text="        for process in self.sight.survivors:\n",
        instead="        for process in ():\n",
        tests=(f"{AGAIN}::test_a_command_that_outlived_its_restore_is_waited_for",),
    ),
    Tooth(
        name="unit-of-a-rebuilt-guest",
        act="a guest that a restore rebuilt lives in a unit of its own",
        file="operations/restore_guest.py",
        text=(
            '            own_unit=f"xenbackup-restore-{plan.restore}",\n'
            "            stderr_path=spool"
        ),
        instead="            stderr_path=spool",
        tests=(f"{SETTLING}::test_a_restored_guest_lives_in_a_unit_of_its_own",),
    ),
    Tooth(
        name="unit-of-a-booted-guest",
        act="a guest that a restore booted lives in a unit of its own",
        file="operations/restore_guest.py",
        text=(
            "        run_id=plan.restore,\n"
            '        own_unit=f"xenbackup-restore-{plan.restore}",\n'
            "    )\n"
        ),
        instead="        run_id=plan.restore,\n    )\n",
        tests=(f"{SETTLING}::test_a_restored_guest_lives_in_a_unit_of_its_own",),
    ),
    Tooth(
        name="restore-locked",
        act="a restore holds the locks of its guest",
        file="operations/restore.py",
        text="            held.enter_context(house.lock_domain(identity, ",
        instead="            print((identity, ",
        tests=(f"{REFUSED}::test_a_domain_that_another_process_works_on_is_locked",),
    ),
    Tooth(
        name="unfinished-run-refuses-a-restore",
        act="nothing is restored of a guest whose run nobody finished",
        file="operations/restore.py",
        text="        refuse_unfinished(house, name)\n",
        instead="        pass\n",
        tests=(f"{SETTLING}::test_a_restore_is_refused_while_a_run_of_its_guest_is_unfinished",),
    ),
    Tooth(
        name="guest-file-before-its-disks",
        act="the toolstack parses a guest's file before its disks are written over",
        file="operations/restore.py",
        text="    check_guest_file(context)\n",
        instead="",
        tests=(
            f"{REFUSED}::test_a_configuration_that_xl_refuses_stops_the_restore_before_its_disks",
        ),
    ),
    Tooth(
        name="image-whole-in-the-plan",
        act="a restore with memory is planned only for an image that goes on to its END record",
        file="operations/restore_configuration.py",
        text="    if not image.complete:\n",
        instead="    if False:\n",
        tests=(f"{WITHOUT_END}[False]",),
    ),
    Tooth(
        name="image-whole-before-overwriting",
        act="a memory image is read to its END record before the disks are written over",
        file="operations/restore_guest.py",
        text="    if not image.complete:\n        raise PointDamaged(",
        instead="    if False:\n        raise PointDamaged(",
        tests=(f"{WITHOUT_END}[True]",),
    ),
    Tooth(
        name="target-is-the-planned-volume",
        act="a volume that took the name of the planned one is not restored to",
        file="planning/restore_targets.py",
        text='            lv_uuid=volume.uuid if volume is not None else "",\n',
        instead='            lv_uuid="",\n',
        tests=(f"{REFUSED}::test_a_volume_that_took_the_name_of_the_planned_one_is_not_touched",),
    ),
    Tooth(
        name="target-is-the-marked-volume",
        act="an interrupted restore goes on with the very volume that it made, and no namesake",
        file="planning/restore_targets.py",
        text="        if marked.lv_uuid:\n            return",
        instead="        if False:\n            return",
        tests=(
            f"{INTERRUPTED}::test_a_volume_in_the_place_of_the_one_that_a_cut_off_restore_made_is_foreign",
        ),
    ),
    Tooth(
        name="no-second-of-a-guest",
        act="no guest is restored beside itself, nor beside a twin of its memory",
        file="planning/restore_plan.py",
        text="        yield from self._check_nobody_lives()\n",
        instead="",
        tests=(
            f"{PLANNED}::test_a_guest_that_exists_is_not_made_a_second_time",
            f"{PLANNED}::test_memory_has_no_twin_under_another_name",
        ),
    ),
    Tooth(
        name="memory-meets-its-own-disks",
        act="memory is not restored onto a writable disk that is not of its point",
        file="planning/restore_plan.py",
        text="            if disk.writable and self.options.memory:\n",
        instead="            if False:\n",
        tests=(f"{PLANNED}::test_memory_does_not_meet_a_writable_disk_that_is_not_in_the_point",),
    ),
    Tooth(
        name="disks-of-running-guests",
        act="a disk that a running guest or dom0 uses is never a target",
        file="planning/restore_targets.py",
        text="            *_explain_use(sight, self._sight),\n",
        instead="",
        tests=(
            f"{REFUSED}::test_a_running_guest_keeps_its_disks",
            f"{REFUSED}::test_a_guest_that_was_started_since_the_plan_keeps_its_disks",
        ),
    ),
)
