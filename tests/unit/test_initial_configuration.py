"""The first configuration of a host: its text loads, whatever its guests are called."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MIB
from tests.unit.cli.inventories import CARD, INVENTORY, backing
from tests.unit.worlds import GIB, GOOD, OFF, make_backing, make_group, make_guest
from xenbackup.config import jobs_folder, load_configuration, load_jobs
from xenbackup.model.backing import BackingKind
from xenbackup.model.devices import DriverInventory, GuestDrivers
from xenbackup.model.inventory import BrokenConfiguration, Inventory, PlaceSight
from xenbackup.model.job import Configuration, Consistency, Job
from xenbackup.model.pipeline import AUTO
from xenbackup.model.plan import SnapshotKind
from xenbackup.planning.initial_configuration import (
    SuggestedDestination,
    compose_configuration,
    compose_nightly,
    compose_pattern,
    suggest_destination,
)
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.presets import (
    matches_any,
    select_domains,
    select_pipeline,
    select_requirement,
)

SPOOL = PlaceSight(
    name="", kind="spool", path="/var/lib/xenbackup/spool", free_bytes=50 * GIB,
    total_bytes=90 * GIB,
)  # fmt: skip
DESTINATION = SuggestedDestination(path="/srv/backup", reason="It has room.", free_bytes=GIB)
BARE = replace(
    INVENTORY, domains=(), backings=(), drivers=DriverInventory(), broken_configurations=()
)

# xl takes any letter but a slash in a name; bytes that are no UTF-8 reach us as surrogates.
odd_names = st.text(
    st.one_of(
        st.sampled_from("\"'\\ *?[]!-._#=$%äß字\u00a0\u200b\u0085\x7f\udcff"),
        st.characters(exclude_characters="\n\x00/"),
    ),
    min_size=1,
    max_size=24,
)


def write_files(folder: Path, configuration: str, nightly: str) -> Path:
    path = folder / "config.toml"
    jobs_folder(path).mkdir(exist_ok=True)
    path.write_bytes(configuration.encode())
    (jobs_folder(path) / "nightly.toml").write_bytes(nightly.encode())
    return path


def load(configuration: str, nightly: str) -> tuple[Configuration, Job]:
    """Both texts, read by the readers that a run uses."""
    with TemporaryDirectory() as folder:
        path = write_files(Path(folder), configuration, nightly)
        loaded = load_configuration(path)
        jobs = load_jobs(jobs_folder(path), loaded)
    assert () == jobs.problems
    (job,) = jobs.jobs
    return loaded, job


def compose(
    inventory: Inventory, destination: SuggestedDestination = DESTINATION
) -> tuple[str, str]:
    return (
        compose_configuration(inventory, "xl", destination, SPOOL),
        compose_nightly(inventory),
    )


def uncomment(text: str) -> str:
    """Keys and headers that are commented out brought to life; prose has a blank after its mark."""
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in ("", " ") else line
        for line in text.splitlines()
    )


def flatten(text: str) -> str:
    """The prose of the comments in one line."""
    return " ".join(line.removeprefix("# ") for line in text.splitlines())


def make_host(names: Sequence[str]) -> Inventory:
    """Guests of these names: one with a device, one that cannot be saved, the rest shut off."""
    domains = tuple(
        make_guest(
            name,
            number + 1 if number < 2 else -1,
            disks=(),
            pci_devices=(CARD,) if number == 0 else (),
        )
        for number, name in enumerate(names)
    )
    drivers = tuple(
        GuestDrivers(domain=name, kind="pv", can_save=number != 1, reasons=(f"of {name}",))
        for number, name in enumerate(names)
    )
    return replace(
        BARE,
        domains=domains,
        backings=tuple(
            backing(name, "xvda", f"/srv/{name}", BackingKind.IMAGE_FILE) for name in names
        ),
        drivers=DriverInventory(guests=drivers),
        broken_configurations=tuple(
            BrokenConfiguration(path=f"/etc/xen/{name}", problem=name) for name in names
        ),
        facts=replace(INVENTORY.facts, hostname=names[0]),
    )


# Whatever guests are called


@given(st.lists(odd_names, min_size=1, max_size=5, unique=True))
def test_texts_load_and_mean_the_guests_they_name(names: list[str]) -> None:
    configuration, nightly = compose(make_host(names))
    loaded, job = load(configuration, nightly)
    assert "xl" == loaded.toolstack
    assert set(names) == set(select_domains(job, names))
    assert "crash" == select_pipeline(job, names[0]).preset
    for other in names[1:]:
        if names[0].isprintable() and other != compose_pattern(names[0]):
            assert AUTO == select_pipeline(job, other).preset


@given(st.lists(odd_names, min_size=1, max_size=5, unique=True))
def test_lines_that_are_commented_out_load_too(names: list[str]) -> None:
    configuration, nightly = (uncomment(text) for text in compose(make_host(names)))
    loaded, job = load(configuration, nightly)
    assert 100 << 20 == loaded.bandwidth_limit_bytes_per_second
    assert not set(names[2:]) & set(select_domains(job, names))
    if len(names) > 1:
        assert "crash" == select_pipeline(job, names[1]).preset


@given(odd_names, odd_names)
def test_pattern_means_its_own_guest_and_no_other(name: str, other: str) -> None:
    pattern = compose_pattern(name)
    assert pattern is not None
    assert matches_any((pattern,), name)
    if name.isprintable() and name != other != pattern:
        assert not matches_any((pattern,), other)


def test_pattern_of_a_name_that_is_one_means_no_namesakes() -> None:
    assert "web[*]" == compose_pattern("web*")
    assert not matches_any(("web[*]",), "web1")
    assert "a?b" == compose_pattern("a\x07b")


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_name_that_no_key_takes_has_no_pattern(name: str) -> None:
    assert compose_pattern(name) is None


def test_long_list_of_guests_is_one_a_line() -> None:
    names = ["pci", "numa", *(f"a-guest-with-a-long-name-{number}" for number in range(9))]
    _, nightly = compose(make_host(names))
    assert all(len(line) <= 80 for line in nightly.splitlines())
    _, job = load(*(uncomment(text) for text in compose(make_host(names))))
    assert tuple(names[2:]) == job.exclude


# What they say


def test_nightly_job_is_what_a_first_job_should_be() -> None:
    _, job = load(*compose(INVENTORY))
    assert (AUTO, Consistency.MEMORY, "30 2 * * *", ("*",)) == (
        job.pipeline.preset, job.require, job.schedule, job.domains,
    )  # fmt: skip
    assert (7, 4, 6) == (job.retention.daily, job.retention.weekly, job.retention.monthly)


def test_guest_with_a_device_is_taken_by_crash_for_a_reason_that_is_told() -> None:
    _, nightly = compose(INVENTORY)
    _, job = load(*compose(INVENTORY))
    (override,) = job.overrides
    assert (("firewall",), "crash", Consistency.CRASH) == (
        override.domains, override.pipeline.preset, select_requirement(job, "firewall"),
    )  # fmt: skip
    assert f"firewall has the PCI device {CARD} passed through to it" in flatten(nightly)


def test_guest_with_a_device_and_a_disk_without_snapshot_is_warned_of() -> None:
    expected = "firewall can be backed up by no preset as it is: `crash` needs a snapshot"
    assert expected in flatten(compose(INVENTORY)[1])


def test_guest_that_cannot_be_saved_for_other_reasons_is_mentioned() -> None:
    text = compose(INVENTORY)[1]
    assert "numa cannot be saved (it has 2 virtual NUMA nodes)." in flatten(text)
    assert '#domains = ["numa"]' in text


def test_disks_that_leave_little_choice_are_noted() -> None:
    text = flatten(compose(INVENTORY)[1])
    expected = (
        "mail: disk xvda (/var/lib/xen/images/mail-server.img) takes no snapshot. So `auto` "
        "takes `cold` for this guest"
    )
    assert expected in text
    assert "mail-data.img" not in text
    assert "old: disk xvda (/dev/gone/disk): there is nothing to read" in text


def test_groups_without_room_for_snapshots_are_noted() -> None:
    free = GOOD.with_host(groups=(make_group(1068 * MIB),)).inventory
    full = GOOD.with_host(groups=(make_group(1068 * MIB - 1),)).inventory
    assert "xenvols" not in compose_nightly(free)
    assert (
        "Volume group xenvols has 1067 MiB free, too little for the snapshots of web: a tenth of "
        "each disk. Until there is room (`vgextend xenvols`), such a guest is refused."
        in flatten(compose_nightly(full))
    )


def test_a_guest_that_is_off_on_a_plain_file_is_said_to_be_refused() -> None:
    off = make_guest("mail", domid=-1, state=OFF)
    plain = make_backing("mail", lv_uuid="", group="", snapshot=SnapshotKind.NONE)
    text = flatten(compose_nightly(GOOD.with_host(domains=(off,), backings=(plain,)).inventory))
    assert "leave this guest out with `exclude` while it is off, or it is refused" in text


def test_guests_that_are_shut_off_are_suggested_for_exclusion() -> None:
    assert '\n#exclude = ["old"]\n' in compose(INVENTORY)[1]
    assert '\n#exclude = ["test-*"]\n' in compose(BARE)[1]


def test_file_that_cannot_be_read_is_mentioned() -> None:
    assert "/etc/xen/\\x1bodd.cfg could not be read" in flatten(compose(INVENTORY)[1])


def test_spool_tells_what_the_largest_guest_needs_and_whether_there_is_room() -> None:
    text = flatten(compose(INVENTORY)[0])
    assert "That is web now, with 1024 MiB: its image takes up to 1036 MiB." in text
    assert "The disk of this folder has 50 GiB free." in text
    assert "too little" not in text
    small = replace(SPOOL, free_bytes=GIB)
    text = flatten(compose_configuration(INVENTORY, "xl", DESTINATION, small))
    assert "That is too little" in text


def test_comments_fit_80_columns() -> None:
    for text in compose(INVENTORY):
        assert all(len(line) <= 80 for line in text.splitlines())


def test_plan_takes_every_guest_that_the_texts_promise_to_take() -> None:
    web = (make_guest("web", 1), make_guest("fw", 2, pci_devices=(CARD,)))
    fw = make_backing("fw")
    volume = replace(INVENTORY.volumes[0], name="fw_root", path=fw.target, uuid=fw.lv_uuid)
    host = replace(
        BARE,
        domains=web,
        volumes=(*INVENTORY.volumes, volume),
        backings=(make_backing(), fw),
    )
    loaded, job = load(*compose(host))
    plan = plan_backup(job, host, loaded)
    assert () == plan.refused
    assert {"web": "memory", "fw": "crash"} == {
        found.domain.name: found.consistency.value for found in plan.domains
    }


# Where recovery points go


def make_place(path: str, free_gib: int, **fields: object) -> PlaceSight:
    place = PlaceSight(
        name="mount", kind="images", path=path, marked=False, free_bytes=free_gib * GIB,
        total_bytes=900 * GIB, mount_point=path, mount_source="/dev/sdz1",
    )  # fmt: skip
    return replace(place, **fields)  # type: ignore[arg-type]


def suggest(*places: PlaceSight) -> SuggestedDestination:
    return suggest_destination(places, INVENTORY)


def test_file_system_with_the_most_room_is_suggested() -> None:
    found = suggest(make_place("/srv", 100), make_place("/mnt/usb", 700), make_place("/data", 5))
    assert ("/mnt/usb/backup", 700 * GIB) == (found.path, found.free_bytes)
    assert "/mnt/usb has the most room: 700 GiB free" in found.reason


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (make_place("/srv/backup", 9), "/srv/backup"),
        (make_place("/mnt/Backups-2", 9), "/mnt/Backups-2"),
        (make_place("/srv", 9), "/srv/backup"),
        (make_place("/data", 9, marked=True), "/data"),
    ],
)
def test_folder_is_named_for_what_it_holds(place: PlaceSight, path: str) -> None:
    assert path == suggest(place).path


@pytest.mark.parametrize(
    "place",
    [
        make_place("/srv/guests", 700),
        make_place("/srv", 700, tokens=frozenset(("lv:uuid-of-web_root",))),
        make_place("/mnt/nas", 700, mount_source="mail.example:/export"),
        make_place("/mnt/gone", 700, present=False),
        make_place("/mnt/sick", 700, problem="cannot be looked at"),
    ],
    ids=["image files on it", "on a guest's disk", "served by a guest", "not there", "sick"],
)
def test_place_that_guests_use_or_that_is_no_use_is_passed_over(place: PlaceSight) -> None:
    assert "/data/backup" == suggest(place, make_place("/data", 1)).path


def test_without_a_place_the_usual_folder_is_taken_and_the_reason_told() -> None:
    found = suggest(make_place("/srv/guests", 700))
    assert ("/srv/backup", None) == (found.path, found.free_bytes)
    assert "mount one here first" in found.reason
    text = compose(INVENTORY, found)[0]
    assert "mount one here first" in flatten(text)
    assert "/srv/backup" == load(text, compose(INVENTORY)[1])[0].destinations[0].path


def test_path_of_a_destination_may_hold_odd_letters() -> None:
    path = '/srv/a "b" \\c'
    texts = compose(INVENTORY, SuggestedDestination(path=path, reason=textwrap.dedent("x")))
    assert path == load(*texts)[0].destinations[0].path
