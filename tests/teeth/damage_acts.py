"""Teeth of what keeps a damaged point from passing for a good one."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

DAMAGE = "tests/unit/test_damage.py"
MARKS = "tests/unit/test_damage_marks.py"
RETENTION = "tests/unit/test_retention.py"

DAMAGE_TEETH = (
    Tooth(
        name="damage-marked",
        act="a point that was found damaged is marked before its verdict is told",
        file="operations/damage.py",
        text="        store.mark_damaged(point, found_at, findings)\n",
        instead="        pass\n",
        tests=(
            f"{DAMAGE}::test_verdict_is_kept_before_it_is_told",
            f"{DAMAGE}::test_damage_is_marked_and_a_good_verdict_takes_the_mark_off",
        ),
    ),
    Tooth(
        name="damage-in-catalog-first",
        act="the catalog hears of damage before the mark is written",
        file="operations/damage.py",
        text="        house.catalog.record_damaged(marked)\n",
        instead="        pass\n",
        tests=(f"{DAMAGE}::test_catalog_is_told_of_damage_first_and_last_of_its_end",),
    ),
    Tooth(
        name="unread-is-no-verdict",
        act="a read that fails marks nothing as damaged",
        file="storage/verification.py",
        text="            yield VerifyFinding(file=file, message=error.message, certain=False)\n",
        instead="            yield VerifyFinding(file=file, message=error.message)\n",
        tests=(f"{DAMAGE}::test_read_that_fails_is_no_verdict_and_leaves_marks_as_they_are",),
    ),
    Tooth(
        name="unreadable-mark-is-damage",
        act="a mark of damage that cannot be read counts as damage",
        file="storage/damage_marks.py",
        text="        return Damage(found_at=None, reason=reason)\n",
        instead="        return None\n",
        tests=(
            f"{MARKS}::test_mark_that_cannot_be_read_counts_as_damage",
            f"{DAMAGE}::test_point_whose_mark_cannot_be_read_lets_no_good_one_be_pruned",
        ),
    ),
    Tooth(
        name="damaged-stands-for-no-other",
        act="retention ranks good points among good ones alone",
        file="planning/retention.py",
        text="[p for p in counted if p.damage is None]",
        instead="counted",
        tests=(
            f"{RETENTION}::test_point_found_damaged_stands_for_no_other_and_is_the_last_good_one_for_nobody",
            f"{RETENTION}::test_what_is_damaged_changes_nothing_for_the_good_ones",
        ),
    ),
    Tooth(
        name="damaged-stays-as-if-good",
        act="a damaged point goes no earlier than a good one of its age",
        file="planning/retention.py",
        text="        reasons += counting.list_reasons(point)\n",
        instead=(
            "        reasons += counting.list_reasons(point) if point.damage is None else []\n"
        ),
        tests=(
            f"{RETENTION}::test_point_found_damaged_stands_for_no_other_and_is_the_last_good_one_for_nobody",
        ),
    ),
    Tooth(
        name="damaged-is-no-last-point",
        act="the last good point of a guest is none that was found damaged",
        file="planning/status.py",
        text=(
            "    sound = [point for point in counted if is_sound(point, evidence.now)]\n"
            "    newest = max(sound"
        ),
        instead=(
            "    sound = [p for p in counted if not is_ahead(p.created_at, evidence.now)]\n"
            "    newest = max(sound"
        ),
        tests=(
            "tests/unit/test_status_verdicts.py"
            "::test_a_damaged_point_keeps_no_promise_and_an_older_good_one_counts",
        ),
    ),
    Tooth(
        name="future-is-no-last-point",
        act="the last good point of a guest is none of a time that is yet to come",
        file="planning/counted_points.py",
        text="    return point.damage is None and not is_ahead(point.created_at, now)\n",
        instead="    return point.damage is None\n",
        tests=(
            "tests/unit/test_future_points.py"
            "::test_a_point_from_the_future_keeps_no_promise_and_an_older_good_one_counts",
        ),
    ),
)
