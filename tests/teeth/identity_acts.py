"""Teeth of the acts that make sure a thing is the one that is meant, before it is used."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

TARGETS = "tests/unit/test_restore_targets.py"
HISTORY = "tests/unit/test_forgotten_history.py"
MIGRATED = "tests/pipeline/test_migrated_guests_on_simulation.py::test_row_18_guest_that"

IDENTITY_TEETH = (
    Tooth(
        name="point-of-its-own-name",
        act="a point that lies under another's id is damaged",
        file="storage/shelf.py",
        text="        if manifest.point != point:\n",
        instead="        if False:\n",
        tests=("tests/unit/test_images_names.py::test_point_moved_under_another_id_is_damaged",),
    ),
    Tooth(
        name="domain-as-it-was-stored",
        act="a guest's configuration is handed out only as it was stored",
        file="storage/verification.py",
        text="    if blake3(content).hexdigest() != digest:\n        raise PointDamaged(",
        instead="    if False:\n        raise PointDamaged(",
        tests=(
            "tests/unit/test_images_verification.py::test_rotten_configuration_is_not_handed_out",
        ),
    ),
    Tooth(
        name="nothing-made-in-a-destination",
        act="a restore makes no file among the points",
        file="planning/restore_targets.py",
        text="        elif sight.inside:\n",
        instead="        elif False:\n",
        tests=(f"{TARGETS}::test_nothing_is_restored_into_a_destination",),
    ),
    Tooth(
        name="nothing-overwritten-in-a-destination",
        act="a restore overwrites no file among the points",
        file="planning/restore_targets.py",
        text="        if sight.inside:\n",
        instead="        if False:\n",
        tests=(f"{TARGETS}::test_nothing_is_restored_into_a_destination",),
    ),
    Tooth(
        name="namesake-of-another-host",
        act="a point of another host's guest is not restored over the guest here of that name",
        file="planning/restore_targets.py",
        text='        if named and there not in ("", here):\n',
        instead="        if False:\n",
        tests=(
            f"{TARGETS}::test_a_guest_of_another_host_known_by_name_alone_is_a_namesake",
            "tests/unit/test_shared_folder.py"
            "::test_restore_of_another_hosts_namesake_leaves_ours_alone",
        ),
    ),
    Tooth(
        name="points-of-another-host",
        act="retention removes no point that another host made of a guest of its own",
        file="planning/retention.py",
        text="        if why := explain_foreign(point, hostname):\n",
        instead='        if why := "":\n',
        tests=(
            "tests/unit/test_retention.py"
            "::test_points_of_another_host_stay_and_stand_for_none_of_ours",
            "tests/unit/test_shared_folder.py::test_pruning_removes_nothing_of_another_host",
        ),
    ),
    Tooth(
        name="clone-is-the-one-made",
        act="a reflink copy is read only while it is the file that this run made",
        file="pipeline/steps/clone.py",
        text="    if found is None or _identify(found) != made.lv_uuid:\n",
        instead="    if found is None:\n",
        tests=(
            "tests/pipeline/test_other_volumes_on_simulation.py"
            "::test_a_file_of_the_clones_name_that_is_not_ours_is_left_alone",
        ),
    ),
    Tooth(
        name="socket-in-a-folder-of-root",
        act="the socket is not made where others could put one of theirs",
        file="service/control/binding.py",
        text="    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:\n",
        instead="    if False:\n",
        tests=(
            "tests/unit/control/test_server.py"
            "::test_folder_is_made_and_one_that_others_can_write_is_refused",
        ),
    ),
    Tooth(
        name="history-of-journals",
        act="a run is not forgotten before its journal",
        file="operations/trimming.py",
        text="            kept={*kept, *(",
        instead="            kept={*(",
        tests=(f"{HISTORY}::test_a_run_stays_as_long_as_its_journal",),
    ),
    Tooth(
        name="history-of-points",
        act="a run is not forgotten before its point",
        file="records/catalog_rows.py",
        text='    "AND run NOT IN (SELECT point FROM points) "\n',
        instead="",
        tests=(f"{HISTORY}::test_a_run_of_a_point_stays_as_long_as_the_point",),
    ),
    Tooth(
        name="migrated-is-not-rescued",
        act="a guest that was migrated away is not let run here by a rescue",
        file="planning/rescue.py",
        text=(
            "    if was_migrated_away(world.domain.name):\n"
            "        return _decide_migrated(world.domain)\n"
            "    original_domid"
        ),
        instead="    original_domid",
        tests=(f"{MIGRATED}_was_migrated_after_a_kill_is_not_rescued",),
    ),
    Tooth(
        name="migrated-in-its-save",
        act="a guest that was migrated in the middle of a run gives no point and is not touched",
        file="pipeline/context.py",
        text="        if was_migrated_away(found.name):\n",
        instead="        if False:\n",
        tests=(f"{MIGRATED}_was_migrated_while_it_was_saved_is_not_let_run_here",),
    ),
    Tooth(
        name="migrated-before-the-act",
        act="a guest that is migrated between a rescue's look and its act is not touched",
        file="pipeline/undo.py",
        text="    if was_migrated_away(domain.name):\n",
        instead="    if False:\n",
        tests=(f"{MIGRATED}_is_migrated_between_look_and_act_is_not_let_run_here",),
    ),
    Tooth(
        name="let-run-is-not-cleared-away",
        act="a half-built guest that somebody has let run is not destroyed",
        file="pipeline/undo.py",
        text="    if domain.state.alive and xenstore.read_connections(",
        instead="    if False and xenstore.read_connections(",
        tests=(
            "tests/pipeline/test_acts_of_undo_on_simulation.py"
            "::test_half_built_guest_that_somebody_has_let_run_is_not_cleared_away",
        ),
    ),
    Tooth(
        name="arriving-is-not-backed-up",
        act="a guest that is still on its way to this host is not backed up here",
        file="planning/obstacles.py",
        text=(
            "    if domain.exists and "
            "(is_arriving(domain.name) or was_migrated_away(domain.name)):\n"
        ),
        instead="    if False:\n",
        tests=(
            "tests/unit/test_validation_guests.py::test_problem_of_a_guest_is_found_and_only_there",
        ),
    ),
)
