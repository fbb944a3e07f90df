"""Places that we write to, as they are found: present, marked, mounted, on which storage."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from tests.builders import make_domain
from tests.house import build_host, build_house
from tests.recorded import RecordedHost
from tests.unit.test_monitor import make_process
from tests.unit.worlds import OFF, make_group, make_volume
from xenbackup.dom0.host import Host
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.xenstore import offers_no_suspend
from xenbackup.errors import CommandFailed, UnexpectedOutput
from xenbackup.inventory import places
from xenbackup.inventory.places import (
    Questions,
    find_monitored,
    find_no_suspend,
    read_places,
)
from xenbackup.model.inventory import PlaceSight
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec
from xenbackup.model.volume import TAG_DESTINATION, TAG_OURS, LogicalVolume
from xenbackup.operations.check import check_house
from xenbackup.operations.probing import Probe
from xenbackup.storage.images import ImagesDestination

LOCAL = DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup")
SLOTS = DestinationSpec(name="slots", kind=DestinationKind.VOLUME, path="xenvols")
MOUNTS = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "garbage\n"
    "40 22 253:7 / /srv rw,relatime shared:9 - xfs /dev/mapper/xenvols-backup rw\n"
)


class NumberedPath(type(Path())):  # type: ignore[misc]
    """A path that may be a block device: by its end, with (major, minor)."""

    numbers: ClassVar[dict[str, tuple[int, int]]] = {}

    def stat(self, **options: Any) -> os.stat_result:
        for end, (major, minor) in self.numbers.items():
            if str(self).endswith(end):
                fields = (stat.S_IFBLK | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0)
                return os.stat_result(fields, {"st_rdev": os.makedev(major, minor)})
        return super().stat(**options)  # type: ignore[no-any-return]


class PlacedHost:
    """A host of which nothing is asked but where its paths are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, path: str) -> Path:
        return NumberedPath(self.root / path.lstrip("/"))

    def write(self, path: str, text: str) -> Path:
        placed = self.place(path)
        placed.parent.mkdir(parents=True, exist_ok=True)
        placed.write_text(text)
        return placed

    def read(self, *volumes: LogicalVolume, spec: DestinationSpec = LOCAL) -> PlaceSight:
        configuration = Configuration(destinations=(spec,))
        found = read_places(cast(Host, self), volumes, (make_group(),), configuration)
        assert ("", "spool") == (found[-1].name, found[-1].kind)
        return found[0]

    def read_spool(self) -> PlaceSight:
        return read_places(cast(Host, self), (), (), Configuration())[-1]


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    return PlacedHost(tmp_path)


@pytest.fixture
def folder(host: PlacedHost) -> Path:
    """The destination's folder, marked."""
    placed = host.place(LOCAL.path)
    placed.parent.mkdir(parents=True)
    destination = ImagesDestination(placed, "local")
    destination.initialise()
    destination.close()
    return placed


def test_marked_folder_is_present_marked_and_measured(host: PlacedHost, folder: Path) -> None:
    place = host.read()
    assert ("local", "images", "/srv/backup") == (place.name, place.kind, place.path)
    assert (True, True, "") == (place.present, place.marked, place.problem)
    assert 0 < place.free_bytes <= place.total_bytes


def test_folder_that_is_mounted_read_only_is_a_problem_while_its_points_are_there(
    host: PlacedHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statvfs = os.statvfs
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((*statvfs(path)[:8], os.ST_RDONLY, 255))
    )
    place = host.read()
    assert (True, True) == (place.present, place.marked)
    assert place.problem.startswith("is mounted read-only")
    assert host.read_spool().problem.startswith("is mounted read-only")


def test_folder_without_its_marker_is_not_marked(host: PlacedHost, folder: Path) -> None:
    (folder / ".xenbackup-destination").unlink()
    place = host.read()
    assert (True, False) == (place.present, place.marked)


def test_marker_that_is_a_link_is_none(host: PlacedHost, folder: Path) -> None:
    marker = folder / ".xenbackup-destination"
    marker.rename(folder / "elsewhere")
    marker.symlink_to("elsewhere")
    assert not host.read().marked


def test_missing_folder_is_absent_and_no_defect(host: PlacedHost) -> None:
    place = host.read()
    assert (False, False, "") == (place.present, place.marked, place.problem)
    assert (0, 0) == (place.free_bytes, place.total_bytes)


def test_file_in_place_of_the_folder_is_a_problem(host: PlacedHost) -> None:
    host.write(LOCAL.path, "")
    assert "is no folder" == host.read().problem


def test_folder_below_a_file_is_a_problem_and_raises_nothing(host: PlacedHost) -> None:
    host.write("/srv", "")
    assert "cannot be looked at: Not a directory" == host.read().problem


def test_mount_is_the_nearest_above_the_path(host: PlacedHost, folder: Path) -> None:
    host.write("/proc/self/mountinfo", MOUNTS)
    place = host.read()
    assert ("/srv", "/dev/mapper/xenvols-backup") == (place.mount_point, place.mount_source)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("41 40 0:50 / /srv/backup rw - nfs4 nas:/export rw\n", ("/srv/backup", "nas:/export")),
        ("41 40 0:50 / /srv/back rw - nfs4 nas:/export rw\n", ("/", "/dev/sda1")),
        (
            "41 40 0:50 / /srv/backup rw - nfs4 nas:/a\\040b rw\n"
            "42 41 0:51 / /srv/backup rw - nfs4 nas:/later rw\n",
            ("/srv/backup", "nas:/later"),
        ),
        ("41 40 0:50 / /srv rw opt:1 opt:2 - cifs //nas/a\\040b rw\n", ("/srv", "//nas/a b")),
    ],
)
def test_mount_is_told_with_its_source(
    host: PlacedHost, folder: Path, line: str, expected: tuple[str, str]
) -> None:
    host.write("/proc/self/mountinfo", MOUNTS.splitlines(keepends=True)[0] + line)
    place = host.read()
    assert expected == (place.mount_point, place.mount_source)


def test_destination_on_a_logical_volume_has_its_uuid_and_what_is_below(
    host: PlacedHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumberedPath, "numbers", {"/dev/mapper/xenvols-backup": (253, 7)})
    host.write("/proc/self/mountinfo", MOUNTS)
    host.write("/sys/dev/block/253:7/slaves/sdb2/dev", "8:18\n")
    disk = host.place("/sys/devices/sdb")
    host.write("/sys/devices/sdb/dev", "8:16\n")
    host.write("/sys/devices/sdb/sdb2/partition", "2\n")
    host.place("/sys/dev/block/8:18").symlink_to(disk / "sdb2")
    place = host.read(make_volume("backup"), make_volume("web_root"))
    assert {"lv:uuid-of-backup", "block:253:7", "block:8:18", "block:8:16"} <= place.tokens
    assert "lv:uuid-of-web_root" not in place.tokens


def test_destination_in_a_loop_device_has_the_file_behind_it(
    host: PlacedHost, folder: Path
) -> None:
    image = host.write("/srv/guest.img", "")
    host.write("/proc/self/mountinfo", "22 1 7:0 / /srv/backup rw - ext4 /dev/loop0 rw\n")
    host.write("/sys/dev/block/7:0/loop/backing_file", "/srv/guest.img\n")
    found = image.stat()
    assert f"file:{found.st_dev}:{found.st_ino}" in host.read().tokens


def test_devices_in_a_circle_come_to_an_end(host: PlacedHost, folder: Path) -> None:
    host.write("/proc/self/mountinfo", "22 1 253:1 / /srv rw - ext4 /dev/dm-1 rw\n")
    host.write("/sys/dev/block/253:1/slaves/dm-2/dev", "253:2\n")
    host.write("/sys/dev/block/253:2/slaves/dm-1/dev", "253:1\n")
    assert {"block:253:1", "block:253:2"} <= host.read().tokens


# Destinations of volumes


def test_prepared_volumes_are_a_marked_place_with_their_room(host: PlacedHost) -> None:
    slot = make_volume("web--xvda", tags=frozenset((TAG_DESTINATION,)))
    place = host.read(slot, make_volume("web_root"), spec=SLOTS)
    assert (True, True) == (place.present, place.marked)
    assert slot.size_bytes == place.total_bytes
    assert frozenset(("lv:uuid-of-web--xvda",)) == place.tokens


def test_group_without_prepared_volumes_is_not_marked(host: PlacedHost) -> None:
    taken = make_volume("x", tags=frozenset((TAG_DESTINATION, TAG_OURS)))
    place = host.read(taken, spec=SLOTS)
    assert (True, False) == (place.present, place.marked)


def test_group_that_is_not_there_is_absent(host: PlacedHost) -> None:
    spec = DestinationSpec(name="slots", kind=DestinationKind.VOLUME, path="nowhere")
    assert not host.read(spec=spec).present


# The spool


def test_spool_that_is_yet_to_be_made_has_the_room_of_the_disk_above(host: PlacedHost) -> None:
    place = host.read_spool()
    assert (True, True, "") == (place.present, place.marked, place.problem)
    assert 0 < place.free_bytes


def test_spool_below_a_file_is_a_problem(host: PlacedHost) -> None:
    host.write("/var/lib/xenbackup", "")
    assert "is no folder" == host.read_spool().problem


def test_spool_that_leads_nowhere_is_a_problem(host: PlacedHost) -> None:
    place = host.place("/var/lib/xenbackup/spool")
    place.parent.mkdir(parents=True)
    place.symlink_to("/nowhere/at/all")
    assert "cannot be looked at" in host.read_spool().problem


# Monitors


def test_guests_with_a_monitor_are_found_in_one_listing() -> None:
    class CountingHost(RecordedHost):
        listings = 0

        def list_processes(self) -> Any:
            self.listings += 1
            return super().list_processes()

    host = CountingHost(
        processes=(make_process("/var/log/xen/xl-web.log"), make_process("/var/log/xen/xl-db.log"))
    )
    domains = (
        make_domain(),
        make_domain(name="mail", domid=7),
        make_domain(name="db", domid=-1, state=OFF),
    )
    assert frozenset(("web",)) == find_monitored(host, domains)
    assert 1 == host.listings


@pytest.mark.parametrize(("toolstack", "expected"), [("xl", set()), ("xm", {"web", "thinny"})])
def test_under_xm_every_guest_is_watched_by_xend_itself(
    tmp_path: Path, toolstack: str, expected: set[str]
) -> None:
    host = build_host(tmp_path / "host", toolstack=toolstack)
    for name in ("web", "thinny"):
        for process in find_monitors(host, name):
            host.signal_process(process, signal.SIGKILL)
    assert expected == build_house(host, toolstack).read_inventory().monitored


def test_guests_that_offer_no_suspend_are_found_among_those_that_run(tmp_path: Path) -> None:
    host = build_host(tmp_path / "host")
    house = build_house(host)
    assert frozenset() == house.read_inventory(whole=True).no_suspend
    with host.machine() as machine:
        machine.state.program_of("web").suspend = "cannot"
        machine.commit()
    assert frozenset(("web",)) == house.read_inventory(whole=True).no_suspend
    assert frozenset() == house.read_inventory().no_suspend, "it costs a command for each guest"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), False),
        (("run/systemd/system/",), True),
        (("run/systemd/system/", "run/dbus/system_bus_socket"), False),
        (("run/dbus/system_bus_socket",), False),
    ],
)
def test_a_bus_is_missed_where_systemd_rules(
    tmp_path: Path, there: tuple[str, ...], expected: bool
) -> None:
    host = build_host(tmp_path / "host")
    for path in there:
        place = host.place(f"/{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if path.endswith("/") else place.touch()
    assert expected == build_house(host).read_inventory().bus_missing


def test_guest_whose_xenstore_cannot_be_read_is_no_finding() -> None:
    root = "/local/domain/7/control"
    host = RecordedHost(
        {
            f"xenstore-ls -f {root}": f'{root}/feature-suspend = "0"\n',
            "xenstore-ls -f /local/domain/8/control": "garbage\n",
        }
    )
    domains = (
        make_domain(),
        make_domain(name="mail", domid=7),
        make_domain(name="odd", domid=8),
        make_domain(name="off", domid=-1, state=OFF),
    )
    with pytest.raises(CommandFailed):
        offers_no_suspend(host, domains[0].domid)
    with pytest.raises(UnexpectedOutput):
        offers_no_suspend(host, 8)
    assert frozenset(("mail",)) == find_no_suspend(host, domains)


def test_house_reads_its_places_with_the_inventory(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    places = house.read_inventory().places
    assert [("local", True, True), ("", True, True)] == [
        (place.name, place.present, place.marked) for place in places
    ]


def test_what_an_automount_mounts_when_it_is_looked_at_is_seen(
    host: PlacedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.place("/srv/backup").mkdir(parents=True)
    table = "40 22 0:50 / /srv/backup rw - autofs systemd-1 rw\n"
    host.write("/proc/self/mountinfo", table)
    measure = places._measure_room

    def mount(folder: Path) -> tuple[int, int]:
        host.write(
            "/proc/self/mountinfo", f"{table}41 40 0:51 / /srv/backup rw - nfs4 web:/export rw\n"
        )
        return measure(folder)

    monkeypatch.setattr(places, "_measure_room", mount)
    assert "web:/export" == host.read().mount_source


# Folders that do not answer


def test_a_folder_that_does_not_answer_has_that_for_its_problem(host: PlacedHost) -> None:
    place = host.place("/srv/backup")
    place.mkdir(parents=True)
    nas = DestinationSpec(name="nas", kind=DestinationKind.IMAGES, path="/mnt/nas")
    asked: list[str] = []

    def ask(questions: Questions) -> dict[str, PlaceSight]:
        asked.extend(questions)
        return {key: question() for key, question in questions.items() if "nas" not in key}

    configuration = Configuration(destinations=(nas, SLOTS, LOCAL))
    found = read_places(cast(Host, host), (), (make_group(),), configuration, ask)

    assert ["nas", "slots", "local", ""] == [place.name for place in found]
    assert ["images", "volume", "images", "spool"] == [place.kind for place in found]
    assert "does not answer: is its server gone, or its disk broken?" == found[0].problem
    assert ["", "", ""] == [place.problem for place in found[1:]]
    # A group is LVM's to list: nothing of it can hang here.
    assert 3 == len(asked)


def test_a_server_that_is_gone_keeps_nobody_from_looking_at_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build_house(build_host(tmp_path / "host"))
    released = threading.Event()

    def hang(folder: Path) -> tuple[int, int]:
        released.wait(60)
        return 0, 0

    monkeypatch.setattr(places, "_measure_room", hang)
    monkeypatch.setattr("xenbackup.operations.house.PLACES_PROBE", Probe(deadline_seconds=0.2))
    try:
        report = check_house(house)
    finally:
        released.set()
    codes = {problem.code for check in report.checks for problem in check.problems}
    assert {"destination-unusable", "spool-unusable"} <= codes
