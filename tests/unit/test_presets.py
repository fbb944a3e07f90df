"""Pipelines: presets, the rules of spelled ones, and which guest gets which."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.model.job import (
    Consistency,
    Job,
    Override,
    PipelineSpec,
    SnapshotSize,
    StepName,
    StepSpec,
)
from xenbackup.planning.presets import (
    PRESETS,
    check_pipeline,
    consistency_of,
    excludes_disk,
    expand_pipeline,
    find_idle_patterns,
    satisfies_requirement,
    select_domains,
    select_pipeline,
)


def spell(*names: str) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(step=StepName(name)) for name in names)


def make_job(
    *,
    domains: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
    exclude_disks: tuple[str, ...] = (),
    overrides: tuple[Override, ...] = (),
) -> Job:
    return Job(
        name="nightly",
        pipeline=PipelineSpec(preset="checkpoint"),
        destination="local",
        domains=domains,
        exclude=exclude,
        exclude_disks=exclude_disks,
        overrides=overrides,
    )


def override(preset: str, *domains: str) -> Override:
    return Override(domains=domains, pipeline=PipelineSpec(preset=preset))


@pytest.mark.parametrize(
    ("preset", "steps", "consistency"),
    [
        ("cold", ("save", "copy", "restore"), Consistency.MEMORY),
        (
            "snapshot",
            ("save", "snapshot", "restore", "copy", "remove-snapshot"),
            Consistency.MEMORY,
        ),
        (
            "checkpoint",
            ("save-paused", "snapshot", "unpause", "copy", "remove-snapshot"),
            Consistency.MEMORY,
        ),
        (
            "crash",
            ("sync", "pause", "snapshot", "unpause", "copy", "remove-snapshot"),
            Consistency.CRASH,
        ),
        ("offline", ("snapshot", "copy", "remove-snapshot"), Consistency.OFFLINE),
    ],
)
def test_preset_has_its_steps_and_its_consistency(
    preset: str, steps: tuple[str, ...], consistency: Consistency
) -> None:
    expanded = expand_pipeline(PipelineSpec(preset=preset))

    assert steps == tuple(str(spec.step) for spec in expanded)
    assert consistency is consistency_of(expanded)
    assert () == check_pipeline(expanded)


def test_every_preset_is_covered_by_the_test_above() -> None:
    assert {"cold", "snapshot", "checkpoint", "crash", "offline"} == set(PRESETS)


def test_spelled_steps_are_what_the_job_means() -> None:
    steps = spell("save-paused", "copy", "unpause")
    assert steps == expand_pipeline(PipelineSpec(steps=steps))


@pytest.mark.parametrize(
    "steps",
    [
        ("save-paused", "copy", "unpause"),
        ("pause", "snapshot", "unpause", "copy", "remove-snapshot"),
        ("sync", "save-paused", "snapshot", "unpause", "copy", "remove-snapshot"),
        ("save", "snapshot", "copy", "remove-snapshot", "restore"),
    ],
)
def test_safe_pipelines_that_are_no_presets_are_accepted(steps: tuple[str, ...]) -> None:
    assert () == check_pipeline(spell(*steps))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), "There are no steps."),
        (("save", "copy"), "`save` is never followed by `restore`"),
        (("save-paused", "copy"), "`save-paused` is never followed by `unpause`"),
        (("pause", "snapshot", "copy"), "`pause` is never followed by `unpause`"),
        (("restore", "copy", "save"), "`restore` stands before `save`"),
        (("copy", "restore"), "`restore` has nothing to restore"),
        (("snapshot", "unpause", "copy"), "`unpause` has nothing to unpause"),
        (("save", "copy", "unpause"), "`unpause` has nothing to unpause"),
        (("pause", "snapshot", "restore", "copy"), "`restore` has nothing to restore"),
        (("save", "pause", "copy", "restore", "unpause"), "`save` and `pause` each take"),
        (("save", "restore"), "There is no `copy`"),
        (("save", "copy", "copy", "restore"), "`copy` stands there 2 times"),
        (("copy",), "`copy` has no source that stands still"),
        (("pause", "unpause", "copy"), "`copy` has no source that stands still"),
        (("save", "restore", "copy"), "`copy` reads disks that the running guest is writing"),
        (("pause", "copy", "unpause"), "frozen for the whole copy"),
        (
            ("pause", "snapshot", "copy", "unpause", "remove-snapshot"),
            "frozen for the whole copy",
        ),
        (("copy", "snapshot", "remove-snapshot"), "`copy` stands before `snapshot`"),
        (("snapshot", "copy"), "`snapshot` is never followed by `remove-snapshot`"),
        (("snapshot", "remove-snapshot", "copy"), "`remove-snapshot` stands too early"),
        (("remove-snapshot", "snapshot", "copy"), "`remove-snapshot` stands too early"),
        (("save", "copy", "restore", "remove-snapshot"), "`remove-snapshot` has nothing"),
        (
            ("pause", "unpause", "snapshot", "copy", "remove-snapshot"),
            "`snapshot` is taken while the guest runs",
        ),
        (
            ("snapshot", "save", "copy", "restore", "remove-snapshot"),
            "`snapshot` is taken while the guest runs",
        ),
        (("sync", "snapshot", "copy", "remove-snapshot"), "nothing holds the guest"),
        (
            ("pause", "sync", "snapshot", "unpause", "copy", "remove-snapshot"),
            "`sync` stands behind `pause`",
        ),
    ],
)
def test_broken_pipeline_is_refused_with_a_hint(steps: tuple[str, ...], expected: str) -> None:
    problems = check_pipeline(spell(*steps))

    assert any(expected in problem for problem in problems), problems
    assert all(" Hint: " in problem for problem in problems), problems


def test_all_problems_of_a_pipeline_are_told_at_once() -> None:
    problems = check_pipeline(spell("save", "sync", "snapshot"))

    assert 4 == len(problems), problems


def test_missing_release_causes_no_problems_beside_its_own() -> None:
    assert 1 == len(check_pipeline(spell("save", "copy")))


@pytest.mark.parametrize(
    "size",
    [
        SnapshotSize(percent=0),
        SnapshotSize(percent=-5),
        SnapshotSize(percent=101),
        SnapshotSize(size_bytes=20),
        SnapshotSize(size_bytes=(1 << 60) + 1),
        SnapshotSize(),
        SnapshotSize(percent=10, size_bytes=1 << 30),
    ],
)
def test_snapshot_size_out_of_bounds_is_refused(size: SnapshotSize) -> None:
    steps = (
        StepSpec(step=StepName.SNAPSHOT, size=size),
        *spell("copy", "remove-snapshot"),
    )
    assert 1 == len(check_pipeline(steps))


@pytest.mark.parametrize(
    "size",
    [SnapshotSize(percent=1), SnapshotSize(percent=100), SnapshotSize(size_bytes=1 << 20)],
)
def test_snapshot_size_at_its_bounds_is_accepted(size: SnapshotSize) -> None:
    steps = (
        StepSpec(step=StepName.SNAPSHOT, size=size),
        *spell("copy", "remove-snapshot"),
    )
    assert () == check_pipeline(steps)


def test_size_of_another_step_is_refused() -> None:
    steps = (
        StepSpec(step=StepName.SAVE, size=SnapshotSize(percent=10)),
        *spell("copy", "restore"),
    )
    assert ("`save` has a size, which only `snapshot` takes. Hint: remove `size`.",) == (
        check_pipeline(steps)
    )


def is_safe(names: tuple[StepName, ...]) -> bool:  # noqa: C901  (a walk over all nine steps)
    """Walk the steps as a guest and its disks would live them: an oracle apart from the rules."""
    held = ""  # what the guest was taken away by
    ever_held = any(n in (StepName.SAVE, StepName.SAVE_PAUSED, StepName.PAUSE) for n in names)
    was_held = synced = snapshot = copied = False
    for name in names:
        match name:
            case StepName.SAVE | StepName.SAVE_PAUSED | StepName.PAUSE:
                if was_held:
                    return False
                held, was_held = str(name), True
            case StepName.RESTORE:
                if held != "save":
                    return False
                held = ""
            case StepName.UNPAUSE:
                if held not in ("save-paused", "pause"):
                    return False
                held = ""
            case StepName.SYNC:
                if was_held or synced or not ever_held:
                    return False
                synced = True
            case StepName.SNAPSHOT:
                if snapshot or copied or (ever_held and not held):
                    return False
                snapshot = True
            case StepName.COPY:
                still = snapshot or held in ("save", "save-paused")
                if copied or not still or held == "pause":
                    return False
                copied = True
            case StepName.REMOVE_SNAPSHOT:
                if not snapshot or not copied:
                    return False
                snapshot = False
    return copied and not held and not snapshot


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(list(StepName)), max_size=10))
def test_rules_accept_exactly_what_is_safe(names: list[StepName]) -> None:
    steps = tuple(StepSpec(step=name) for name in names)
    assert is_safe(tuple(names)) is (check_pipeline(steps) == ())


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(PRESETS)), st.data())
def test_rules_accept_exactly_what_is_safe_near_the_presets(
    preset: str, data: st.DataObject
) -> None:
    names = [spec.step for spec in PRESETS[preset]]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(names)))
        match data.draw(st.sampled_from(["drop", "add", "swap"])):
            case "drop" if names and at < len(names):
                del names[at]
            case "add":
                names.insert(at, data.draw(st.sampled_from(list(StepName))))
            case "swap" if 0 < at < len(names):
                names[at - 1], names[at] = names[at], names[at - 1]
    steps = tuple(StepSpec(step=name) for name in names)
    assert is_safe(tuple(names)) is (check_pipeline(steps) == ()), check_pipeline(steps)


@pytest.mark.parametrize(
    ("consistency", "required", "expected"),
    [
        (Consistency.MEMORY, Consistency.MEMORY, True),
        (Consistency.MEMORY, Consistency.CRASH, True),
        (Consistency.CRASH, Consistency.MEMORY, False),
        (Consistency.CRASH, Consistency.CRASH, True),
        (Consistency.OFFLINE, Consistency.MEMORY, True),
        (Consistency.OFFLINE, Consistency.CRASH, True),
    ],
)
def test_requirement_is_met_by_the_same_or_better(
    consistency: Consistency, required: Consistency, expected: bool
) -> None:
    assert expected is satisfies_requirement(consistency, required)


def test_last_matching_override_wins() -> None:
    job = make_job(overrides=(override("crash", "win*"), override("cold", "win-dc", "old")))

    assert "checkpoint" == select_pipeline(job, "web").preset
    assert "crash" == select_pipeline(job, "win-7").preset
    assert "cold" == select_pipeline(job, "win-dc").preset


def test_override_order_matters() -> None:
    job = make_job(overrides=(override("cold", "win-dc"), override("crash", "win*")))

    assert "crash" == select_pipeline(job, "win-dc").preset


def test_exclude_wins_over_domains_and_order_is_kept() -> None:
    job = make_job(domains=("web*", "mail"), exclude=("web-test*",))
    names = ("web2", "mail", "web-test1", "db", "web1")

    assert ("web2", "mail", "web1") == select_domains(job, names)


def test_capitals_count_in_patterns() -> None:
    assert ("web",) == select_domains(make_job(domains=("web*",)), ("web", "Web"))


@pytest.mark.parametrize(
    "name", ["web[1]", "a*b", "what?", "--help", "two words", "käse", "it's", '"', "a\\b", "[!x]"]
)
def test_name_written_as_it_is_selects_that_guest(name: str) -> None:
    job = make_job(domains=(name,), overrides=(override("crash", name),))

    assert (name,) == select_domains(job, (name,))
    assert "crash" == select_pipeline(job, name).preset
    assert () == select_domains(make_job(exclude=(name,)), (name,))


def test_star_selects_names_of_every_kind() -> None:
    names = ("a\nb", "two words", "--all", "käse", "web[1]")
    assert names == select_domains(make_job(), names)


@given(st.lists(st.text(max_size=6)), st.lists(st.text(max_size=6)), st.lists(st.text(max_size=6)))
def test_selection_never_fails_and_excluded_names_never_come(
    patterns: list[str], exclude: list[str], names: list[str]
) -> None:
    job = make_job(domains=tuple(patterns), exclude=tuple(exclude))
    selected = select_domains(job, names)

    assert set(selected) <= set(names) - set(exclude)
    assert set(names) & set(patterns) - set(selected) <= {
        name for name in names if select_domains(make_job(domains=tuple(exclude)), (name,))
    }


def test_disk_is_excluded_by_its_name_or_for_one_guest() -> None:
    job = make_job(exclude_disks=("xvdc", "mail:xvdb", "a:b:hd?"))

    assert excludes_disk(job, "web", "xvdc")
    assert excludes_disk(job, "mail", "xvdb")
    assert not excludes_disk(job, "web", "xvdb")
    assert excludes_disk(job, "a:b", "hda")
    assert not excludes_disk(job, "a", "hda")


def test_patterns_that_match_no_guest_are_found() -> None:
    job = make_job(domains=("web*", "mial", "web*"), overrides=(override("crash", "win*", "web1"),))

    assert ("mial", "win*") == find_idle_patterns(job, ("web1", "mail"))
