"""Teeth of the acts on a guest and its memory: pause, save, destroy, restore, return, rescue."""

from __future__ import annotations

from tests.teeth.tooth import HOSTS, MEMORY, STORAGE, Tooth

RESCUE = "tests/unit/test_rescue.py"
HEALTH = "tests/unit/test_health.py"

GUEST_TEETH = (
    Tooth(
        name="pause-before-snapshots",
        act="the guest is paused before its disks are snapshotted",
        file="pipeline/steps/pause.py",
        text="    guest.pause_guest(context)\n",
        instead="",
        tests=(
            "tests/pipeline/test_presets_on_simulation.py::test_preset_leaves_a_good_point_and_a_guest_that_goes_on[web-crash]",
        ),
    ),
    Tooth(
        name="stands-still-before",
        act="the guest is seen to stand still before the first snapshot",
        file="pipeline/steps/snapshot.py",
        text='    check_guest_stands_still(context, when="before its snapshots")\n',
        instead="",
        tests=(f"{STORAGE}::test_disks_of_two_instants_are_never_taken_for_one",),
    ),
    Tooth(
        name="stands-still-after",
        act="the guest is seen to stand still after the last snapshot",
        file="pipeline/steps/snapshot.py",
        text='    check_guest_stands_still(context, when="after its snapshots")\n',
        instead="",
        tests=(f"{STORAGE}::test_disks_of_two_instants_are_never_taken_for_one",),
    ),
    Tooth(
        name="stands-still-while-read",
        act="a guest whose own disks were read is seen to have been away all the time",
        file="pipeline/steps/copy.py",
        text='        check_guest_stands_still(context, when="after its disks were read")\n',
        instead="        pass\n",
        tests=(f"{STORAGE}::test_guest_that_was_started_while_cold_read_its_disks_gives_no_point",),
    ),
    Tooth(
        name="dead-destination-left-behind",
        act="a destination that never returns does not keep a saved guest away",
        file="pipeline/abandoning.py",
        text="        if waited > GRACE_SECONDS:\n",
        instead="        if waited > 120 + GRACE_SECONDS:\n",
        tests=(
            "tests/pipeline/test_dead_destinations_on_simulation.py::test_row_34_guest_comes_back_though_a_write_never_returns",
        ),
    ),
    Tooth(
        name="fence-before-the-journal",
        act="an act that was left behind writes nothing when it wakes up",
        file="pipeline/abandoning.py",
        text="            if reason := self.explain():\n",
        instead="            if False:\n                reason = self.explain()\n",
        tests=(
            "tests/pipeline/test_dead_destinations_on_simulation.py::test_a_fence_that_is_down_lets_nothing_pass",
        ),
    ),
    Tooth(
        name="disk-set-in-the-pause",
        act="the disk set read inside the pause is compared with the plan's",
        file="pipeline/steps/snapshot.py",
        text="    if planned != found:\n",
        instead="    if False:\n",
        tests=(f"{STORAGE}::test_row_60_disk_set_that_changed_since_the_plan_ends_the_run",),
    ),
    Tooth(
        name="disk-set-before-the-destroy",
        act="the disk set of a saved guest is compared with the plan's before it is destroyed",
        file="pipeline/steps/memory.py",
        text="        check_disks_as_planned(context)\n        context.check_away()\n",
        instead="        context.check_away()\n",
        tests=(f"{STORAGE}::test_row_60_disk_set_that_changed_since_the_plan_ends_the_run",),
    ),
    Tooth(
        name="disks-of-xenstore",
        act="a disk that only xenstore knows of ends the run before the guest is touched",
        file="operations/backup.py",
        text="        health.refuse_unlisted_disks(house.toolstack, plan.domain, baseline)\n",
        instead="",
        tests=(
            "tests/pipeline/test_older_toolstacks_on_simulation.py::"
            "test_disk_that_xl_does_not_tell_of_fails_the_run_before_the_guest_is_touched",
        ),
    ),
    Tooth(
        name="identity-domid",
        act="a domain with another domid is not the run's any more",
        file="pipeline/context.py",
        text="        if found.domid != start.plan.domain.domid:\n",
        instead="        if False:\n",
        tests=(f"{HOSTS}::test_row_18_guest_that_was_made_anew_since_the_plan_is_left_alone",),
    ),
    Tooth(
        name="identity-in-rescue",
        act="a rescue keeps its hands off a domid that is not of this run",
        file="planning/rescue.py",
        text="    if world.domain.domid == original_domid:\n",
        instead="    if True:\n",
        tests=(f"{RESCUE}::test_a_domid_that_is_not_of_this_run_is_never_touched",),
    ),
    Tooth(
        name="identity-boot",
        act="a rescue tells a rebooted host from the one of the run's start",
        file="planning/rescue.py",
        text="    if record.start.boot_id != world.boot_id:\n",
        instead="    if False:\n",
        tests=(
            f"{HOSTS}::test_row_37_guest_that_stood_still_when_the_host_went_down_boots_afresh",
            f"{RESCUE}::test_rescue_table",
        ),
    ),
    Tooth(
        name="namesake",
        act="a rescue sees that somebody started another domain of the name",
        file="planning/rescue.py",
        text="    if world.namesake is not None:\n",
        instead="    if False:\n",
        tests=(
            f"{RESCUE}::test_rescue_table",
            f"{MEMORY}::test_row_12_name_that_somebody_else_took_makes_the_image_stale",
        ),
    ),
    Tooth(
        name="pause-of-an-administrator",
        act="a guest that an administrator paused is never unpaused",
        file="planning/rescue.py",
        text='return _decide(A.HANDS_OFF, "an administrator had paused it before the run")',
        instead="pass",
        tests=(f"{RESCUE}::test_a_guest_that_an_administrator_paused_is_never_unpaused",),
    ),
    Tooth(
        name="image-whole-before-destroy",
        act="the memory image is read to its END record before the guest is destroyed",
        file="pipeline/guest.py",
        text="    if not found.complete:\n        raise SaveFailed(",
        instead="    if False:\n        raise SaveFailed(",
        tests=(f"{MEMORY}::test_row_14_guest_is_never_destroyed_for_a_truncated_image",),
    ),
    Tooth(
        name="image-whole-before-restore",
        act="the memory image is read to its END record before it is restored",
        file="pipeline/guest.py",
        text="    if not found.complete:\n        raise RestoreFailed(",
        instead="    if False:\n        raise RestoreFailed(",
        tests=(f"{MEMORY}::test_row_14_damaged_image_is_not_restored_and_the_guest_boots",),
    ),
    Tooth(
        name="image-synced-before-destroy",
        act="the memory image is fsynced before the guest is destroyed",
        file="storage/spool.py",
        text="                    os.fsync(descriptor)\n",
        instead="",
        tests=(f"{MEMORY}::test_row_8_power_cut_after_the_destroy_finds_the_image_on_the_disk",),
    ),
    Tooth(
        name="postcondition-of-save",
        act="the guest is seen to be paused, not suspended, after `save -p`",
        file="pipeline/guest.py",
        text="        if not after.state.paused or after.state.shutdown:\n",
        instead="        if False:\n",
        tests=(f"{MEMORY}::test_row_5_save_that_did_not_resume_is_seen_in_spite_of_its_exit_code",),
    ),
    Tooth(
        name="intent-of-destroy",
        act="the intent to destroy is in the journal before the destroy",
        file="pipeline/guest.py",
        text="    context.journal.write(e.Destroying())\n",
        instead="",
        tests=(
            f"{HOSTS}::test_row_36_run_that_was_killed_is_recovered_before_the_next_one[snapshot-xl-destroy:dying]",
            f"{HOSTS}::test_row_36_run_that_was_killed_is_recovered_before_the_next_one[snapshot-xl-destroy:end]",
        ),
    ),
    Tooth(
        name="intent-of-pause",
        act="the intent to pause is in the journal before the pause",
        file="pipeline/guest.py",
        text="    context.journal.write(e.Pausing())\n",
        instead="",
        tests=(
            f"{HOSTS}::test_row_36_run_that_was_killed_is_recovered_before_the_next_one[crash-xl-pause:end]",
        ),
    ),
    Tooth(
        name="resuming-mark",
        act="`resuming` is in the journal before the guest is let run",
        file="pipeline/guest.py",
        text="    context.mark_image_stale(e.Resuming())\n",
        instead="",
        tests=(f"{MEMORY}::test_row_16_image_never_comes_back_after_the_guest_was_let_run",),
    ),
    Tooth(
        name="stale-image",
        act="a rescue never restores an image whose guest was let run since",
        file="planning/rescue.py",
        text="    if record.resuming:\n        return _decide(A.HANDS_OFF",
        instead="    if False:\n        return _decide(A.HANDS_OFF",
        tests=(
            f"{RESCUE}::test_no_row_restores_an_image_after_the_guest_was_let_run",
            f"{MEMORY}::test_row_16_image_never_comes_back_after_the_guest_was_let_run",
        ),
    ),
    Tooth(
        name="returned-is-its-owners",
        act="a guest that returned is never touched again",
        file="planning/rescue.py",
        text="    if record.hands_off or record.returned or not record.guest_touched:\n",
        instead="    if record.hands_off or not record.guest_touched:\n",
        tests=(f"{HOSTS}::test_row_37_guest_that_had_returned_is_not_started_after_a_reboot",),
    ),
    Tooth(
        name="half-built",
        act="a domain whose restore never finished is destroyed, not let run",
        file="planning/rescue.py",
        text="        if domain.state.paused or not world.connections:\n",
        instead="        if False:\n",
        tests=(f"{HOSTS}::test_row_53_half_built_domain_is_destroyed_and_built_again",),
    ),
    Tooth(
        name="restore-again",
        act="a restore that fails for what may pass is tried again",
        file="pipeline/guest.py",
        text="    for attempt in range(RESTORE_ATTEMPTS):\n",
        instead="    for attempt in range(1):\n",
        tests=(
            f"{MEMORY}::test_row_11_restore_short_of_memory_is_tried_again",
            f"{MEMORY}::test_row_15_disk_error_at_a_restore_is_tried_again",
        ),
    ),
    Tooth(
        name="unit-of-its-own",
        act="a restored guest lives in a unit of its own",
        file="pipeline/guest.py",
        text="            own_unit=context.restore_unit,\n",
        instead='            own_unit="",\n',
        tests=(f"{MEMORY}::test_row_17_restored_guest_lives_in_a_unit_of_its_own",),
    ),
    Tooth(
        name="monitor-frozen",
        act="the guest's monitor is held still around a suspend",
        file="pipeline/guest.py",
        text="        monitor.freeze_monitors(context.host, monitors)\n",
        instead="",
        tests=(f"{HOSTS}::test_row_58_monitor_outlives_the_suspend_and_sees_the_next_reboot",),
    ),
    Tooth(
        name="monitor-woken",
        act="the guest's monitor is woken after a suspend",
        file="pipeline/guest.py",
        text="        alive = monitor.wake_monitors(context.host, frozen)\n",
        instead="        alive = frozen\n",
        tests=(f"{HOSTS}::test_row_58_monitor_outlives_the_suspend_and_sees_the_next_reboot",),
    ),
    Tooth(
        name="suspend-request",
        act="a suspend request that a killed save left behind is withdrawn",
        file="dom0/xenstore.py",
        text='    require_success(_run(host, ("xenstore-write", _shutdown_path(domid), "")))\n',
        instead="",
        tests=(
            f"{HOSTS}::test_row_55_suspend_request_left_behind_is_withdrawn",
            "tests/unit/test_xenstore.py::test_a_left_behind_suspend_request_is_cleared",
        ),
    ),
    Tooth(
        name="suspend-request-in-rescue",
        act="a rescue withdraws the suspend request before it judges the guest",
        file="planning/rescue.py",
        text="    if world.suspend_requested and _asked_to_suspend(record, world.domain):\n",
        instead="    if False:\n",
        tests=(f"{RESCUE}::test_rescue_table",),
    ),
    Tooth(
        name="suspended-device-first",
        act="a suspended device under the guest is resumed before anything is judged",
        file="planning/rescue.py",
        text="    if world.suspended_devices:\n",
        instead="    if False:\n",
        tests=(f"{STORAGE}::test_row_24_origin_that_a_late_lvcreate_left_suspended_is_resumed",),
    ),
    Tooth(
        name="survivors",
        act="a command that outlived its caller is waited for",
        file="planning/rescue.py",
        text="    if world.survivors:\n",
        instead="    if False:\n",
        tests=(
            f"{HOSTS}::test_row_63_command_that_outlived_its_caller_is_waited_for_and_ended_at_last",
        ),
    ),
    Tooth(
        name="health-of-disks",
        act="a guest with a disconnected disk is not called healthy",
        file="dom0/health.py",
        text="        if lost:\n",
        instead="        if False:\n",
        tests=(
            f"{HEALTH}::test_running_with_dead_disks_is_not_health",
            f"{HEALTH}::test_each_end_of_a_disk_counts",
        ),
    ),
    Tooth(
        name="health-of-devices",
        act="a guest with a suspended device under it is not called healthy",
        file="dom0/health.py",
        text="    for device in find_suspended_under(host, targets):\n",
        instead="    for device in ():\n",
        tests=(f"{HEALTH}::test_a_frozen_device_below_the_disks_is_found",),
    ),
    Tooth(
        name="max-away",
        act="a copy that keeps the guest away for too long is given up",
        file="pipeline/context.py",
        text='        if away <= bound:\n            return ""\n',
        instead='        if away >= 0:\n            return ""\n',
        tests=(
            f"{STORAGE}::test_row_34_destination_too_slow_for_cold_is_given_up_and_the_guest_brought_back",
        ),
    ),
    Tooth(
        name="unfinished-run-refuses",
        act="a run that nobody finished refuses the next one of its guest",
        file="operations/runs.py",
        text="        if record.start.plan.domain.name == domain_name:\n",
        instead="        if False:\n",
        tests=(f"{HOSTS}::test_row_36_run_that_was_cut_off_since_the_plan_is_not_run_over",),
    ),
    Tooth(
        name="lock-of-a-domain",
        act="one run per domain: its lock is taken",
        file="operations/backup.py",
        text='            with self.house.lock_domain(identity, f"back up {plan.domain.name}"):\n',
        instead="            if True:\n",
        tests=(f"{HOSTS}::test_row_39_second_run_of_a_domain_at_the_same_time_is_refused",),
    ),
    Tooth(
        name="intent-of-restore",
        act="the intent to restore is in the journal before the restore",
        file="pipeline/guest.py",
        text=(
            "        context.journal.write(\n"
            "            e.Restoring(\n"
            "                path=start.memory_image_path,\n"
            "                unit=context.restore_unit,\n"
            "                boot_id=context.host.boot_id(),\n"
            "            )\n"
            "        )\n"
        ),
        instead="",
        tests=(
            f"{HOSTS}::test_row_53_half_built_domain_is_destroyed_and_built_again[building]",
            f"{HOSTS}::test_row_53_half_built_domain_is_destroyed_and_built_again[built]",
        ),
    ),
    Tooth(
        name="dom0-is-no-guest",
        act="no act of a toolstack is addressed to dom0",
        file="dom0/acts.py",
        text="    if not 0 < domid < 0x7FF0:\n",
        instead="    if not 0 <= domid < 0x7FF0:\n",
        tests=("tests/unit/test_xl.py::test_no_act_is_built_for_dom0_or_impossible_numbers",),
    ),
    Tooth(
        name="running-is-not-destroyed-again",
        act="a destroy is not asked for again once somebody let the domain run",
        file="pipeline/guest.py",
        text="        if ours and domain.state.alive:\n",
        instead="        if False:\n",
        tests=(
            "tests/pipeline/test_edges_on_simulation.py::test_domain_that_somebody_let_run_is_not_destroyed_again",
        ),
    ),
)
