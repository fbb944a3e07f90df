"""Teeth of the acts that make sure a thing is the one that is meant, before it is used."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

TARGETS = "tests/unit/test_restore_targets.py"
HISTORY = "tests/unit/test_forgotten_history.py"

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
)
