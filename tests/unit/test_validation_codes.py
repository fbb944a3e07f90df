"""Validation: each code is produced by some test, and no host whatever makes it raise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import (
    test_validation_guests,
    test_validation_host,
    test_validation_jobs,
    test_validation_storage,
    test_validation_volumes,
)
from tests.unit.worlds import FACTS, GOOD
from xenbackup.errors import ExitCode
from xenbackup.model.backing import DiskBacking
from xenbackup.model.devices import DriverInventory, PciDevice, PciInventory
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import (
    Consistency,
    DestinationKind,
    DestinationSpec,
    Job,
    JobSet,
    Override,
    PipelineSpec,
)
from xenbackup.model.pipeline import PRESET_NAMES
from xenbackup.model.plan import Plan, RefusedDomain
from xenbackup.model.problem import Severity
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.planning.validation import CODES, make_problem, validate, validate_host

# The doctor's own: a host that cannot be read has no inventory that could be validated, and what a
# run owes is told by its journal, what verification found by the catalog. Programs and libraries
# for telling people: test_tellable.py.
OF_TELLING = {"hook-unfit", "sendmail-missing", "apprise-missing", "metrics-folder-missing"}
OF_OPERATIONS = {
    "host-unreadable",
    "debt-owed",
    "snapshots-owed",
    "point-damaged",
    "restore-unfinished",
} | OF_TELLING
CASES = (
    *test_validation_guests.CASES,
    *test_validation_host.CASES,
    *test_validation_jobs.CASES,
    *test_validation_storage.CASES,
    *test_validation_volumes.CASES,
)


def test_each_code_has_a_case() -> None:
    assert CODES.keys() - OF_OPERATIONS == {case.code for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_is_complete_and_told_once(case: object) -> None:
    assert isinstance(case, type(CASES[0]))
    world = case.bad
    for found in (
        validate(world.job, world.inventory, world.setting),
        validate_host(world.inventory, world.setting),
    ):
        assert len(set(found)) == len(found)
        for problem in found:
            assert CODES[problem.code].severity is problem.severity
            assert problem.subject
            assert problem.message.endswith(".")
            assert not problem.hint.endswith(".")


def test_code_that_is_in_no_table_is_refused() -> None:
    with pytest.raises(KeyError):
        make_problem("no-such-code", subject="x", message="x")


def test_codes_are_kebab_case_and_their_meaning_one_sentence() -> None:
    for name, code in CODES.items():
        assert name == code.code
        assert name.replace("-", "").isalnum()
        assert name == name.lower()
        assert code.meaning.endswith(".")
        assert "|" not in code.meaning


# Anything at all

NAMES = st.sampled_from(("web", "db", "web\n", "", "nas", "x" * 70, "w[1]", "*"))
VDEVS = st.sampled_from(("xvda", "xvdb", "hda", ""))
TOKENS = st.frozensets(st.sampled_from(("lv:1", "lv:2", "block:8:1", "file:1:2")), max_size=3)
UUIDS = st.sampled_from(("uuid-1", "uuid-2", ""))
GROUPS = st.sampled_from(("xenvols", "backup", ""))
PATHS = st.sampled_from(("/dev/xenvols/web_root", "/srv/web.img", "/", "", "backup", "nas:/x"))
SIZES = st.integers(min_value=0, max_value=1 << 50)
COUNTS = st.integers(min_value=-2, max_value=1 << 20)
PERCENTS = st.none() | st.floats(min_value=0, max_value=100)

st.register_type_strategy(
    VolumeGroup,
    st.builds(
        VolumeGroup,
        uuid=UUIDS,
        name=GROUPS,
        size_bytes=SIZES,
        free_bytes=SIZES,
        extent_size_bytes=st.integers(min_value=512, max_value=1 << 30),
    ),
)
st.register_type_strategy(
    LogicalVolume,
    st.builds(
        LogicalVolume,
        uuid=UUIDS,
        name=NAMES,
        group=GROUPS,
        size_bytes=SIZES,
        attributes=st.sampled_from(("-wi-ao----", "twi-aotz--", "Vwi-aotz--", "swi-aos---", "")),
        path=PATHS,
        dm_path=PATHS,
        pool=NAMES,
        data_percent=PERCENTS,
        metadata_percent=PERCENTS,
    ),
)
DOMAINS = st.builds(
    Domain,
    name=NAMES,
    domid=st.integers(min_value=-1, max_value=9),
    uuid=UUIDS,
    memory_mib=COUNTS,
    vcpus=COUNTS,
    configured_uuid=UUIDS,
    pci_devices=st.tuples() | st.just(("0000:03:01.0",)),
)
BACKINGS = st.builds(
    DiskBacking,
    domain=NAMES,
    vdev=VDEVS,
    size_bytes=SIZES,
    allocated_bytes=st.none() | SIZES,
    tokens=TOKENS,
    held=st.sampled_from(("", "mounted in dom0 at /mnt")),
)
PCI = st.builds(
    PciInventory,
    devices=st.lists(st.builds(PciDevice), max_size=2).map(tuple),
    asked_for=st.lists(
        st.tuples(st.text(max_size=12), st.lists(NAMES, max_size=3).map(tuple)), max_size=2
    ).map(tuple),
)
INVENTORIES = st.builds(
    Inventory,
    facts=st.just(FACTS),
    domains=st.lists(DOMAINS, max_size=3).map(tuple),
    backings=st.lists(BACKINGS, max_size=3).map(tuple),
    pci=PCI,
    drivers=st.builds(DriverInventory),
    monitored=st.frozensets(NAMES, max_size=2),
    no_suspend=st.frozensets(NAMES, max_size=2),
)
PIPELINES = st.builds(PipelineSpec, preset=st.sampled_from(PRESET_NAMES), steps=st.just(()))
PATTERNS = st.lists(NAMES, max_size=2).map(tuple)
JOBS = st.builds(
    Job,
    name=NAMES,
    pipeline=PIPELINES,
    destination=st.sampled_from(("local", "volumes", "nowhere")),
    domains=PATTERNS,
    schedule=st.sampled_from(("", "30 2 * * *", "* * * * *", "nonsense", "0 0 31 2 *")),
    timezone=st.sampled_from(("", "Europe/Berlin", "Nowhere/At_All")),
    exclude=PATTERNS,
    exclude_disks=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    require=st.sampled_from((Consistency.MEMORY, Consistency.CRASH)),
    overrides=st.lists(
        st.builds(Override, domains=PATTERNS, pipeline=PIPELINES, require=st.none()), max_size=1
    ).map(tuple),
)
PLANS = st.none() | st.builds(
    Plan,
    job=NAMES,
    domains=st.just(()),
    refused=st.lists(
        st.builds(
            RefusedDomain,
            name=NAMES,
            uuid=UUIDS,
            exit_code=st.sampled_from((ExitCode.FAILED, ExitCode.LOCKED)),
        ),
        max_size=2,
    ).map(tuple),
    idle_patterns=st.just(()),
)
CONFIGURATION = replace(
    GOOD.setting.configuration,
    destinations=(
        DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup"),
        DestinationSpec(name="volumes", kind=DestinationKind.VOLUME, path="backup"),
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    inventory=INVENTORIES,
    job=JOBS,
    others=st.lists(JOBS, max_size=2),
    plan=PLANS,
    parallel_runs=st.integers(min_value=-1, max_value=4),
)
def test_validation_never_raises_and_says_what_it_promises(
    inventory: Inventory, job: Job, others: list[Job], plan: Plan | None, parallel_runs: int
) -> None:
    setting = replace(
        GOOD.setting,
        configuration=CONFIGURATION,
        jobs=JobSet(jobs=(job, *others)),
        plan=plan,
        parallel_runs=parallel_runs,
    )
    for problem in (*validate(job, inventory, setting), *validate_host(inventory, setting)):
        assert CODES[problem.code].severity is problem.severity
        assert isinstance(problem.severity, Severity)
        assert problem.message
