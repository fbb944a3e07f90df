"""Configuration files of a host: links stay within it, each file once, problems as sentences."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.recorded import RecordedHost
from xenbackup.dom0.guest_configuration import ConfigurationFile, find_configurations


class PlacedHost(RecordedHost):
    """A host whose root lies in a folder, as a simulated one's does."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@pytest.fixture
def host(tmp_path: Path) -> PlacedHost:
    (tmp_path / "root/etc/xen/auto").mkdir(parents=True)
    return PlacedHost(tmp_path / "root")


def put(host: PlacedHost, path: str, text: str = "") -> Path:
    place = host.place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    name = place.name.removesuffix(".cfg")
    place.write_text(text or f"name = '{name}'\nmemory = 96\n", encoding="utf-8")
    return place


def names_of(found: tuple[ConfigurationFile, ...]) -> list[str]:
    return [file.configuration.name for file in found if file.configuration is not None]


def only(found: tuple[ConfigurationFile, ...]) -> ConfigurationFile:
    (file,) = found
    return file


def test_files_of_both_folders_are_found_and_sorted(host: PlacedHost) -> None:
    for path in ("web.cfg", "linux01.cfg", "auto/zulu", "auto/alpha.cfg"):
        put(host, f"/etc/xen/{path}")
    found = find_configurations(host)
    assert ["linux01", "web", "alpha", "zulu"] == names_of(found)
    assert [False, False, True, True] == [file.autostart for file in found]
    assert "/etc/xen/linux01.cfg" == found[0].path == found[0].real_path


def test_other_files_and_folders_and_hidden_ones_are_left_alone(host: PlacedHost) -> None:
    for path in ("xl.conf", "README", "scripts/vif.cfg", ".web.cfg.swp.cfg", "auto/.hidden"):
        put(host, f"/etc/xen/{path}")
    host.place("/etc/xen/auto/folder").mkdir()
    host.place("/etc/xen/folder.cfg").mkdir()
    assert () == find_configurations(host)


def test_a_host_without_the_folders_has_no_configurations(tmp_path: Path) -> None:
    assert () == find_configurations(PlacedHost(tmp_path))


@pytest.mark.parametrize("target", ["../web.cfg", "/etc/xen/web.cfg", "/etc/../etc/xen/./web.cfg"])
def test_an_autostart_link_is_another_name_of_the_same_file(host: PlacedHost, target: str) -> None:
    put(host, "/etc/xen/web.cfg")
    host.place("/etc/xen/auto/10-web").symlink_to(target)
    file = only(find_configurations(host))
    assert ("/etc/xen/web.cfg", ("/etc/xen/auto/10-web",), True, "") == (
        file.path,
        file.also_at,
        file.autostart,
        file.problem,
    )


def test_a_hard_link_is_another_name_of_the_same_file(host: PlacedHost) -> None:
    place = put(host, "/etc/xen/web.cfg")
    os.link(place, host.place("/etc/xen/auto/web"))
    assert ("/etc/xen/auto/web",) == only(find_configurations(host)).also_at


def test_an_absolute_link_is_followed_within_the_host_not_out_of_it(
    host: PlacedHost, tmp_path: Path
) -> None:
    outside = tmp_path / "srv/guests/web.cfg"
    outside.parent.mkdir(parents=True)
    outside.write_text("name = 'outside'")
    put(host, "/srv/guests/web.cfg", "name = 'inside'")
    host.place("/etc/xen/a.cfg").symlink_to("/srv/guests/web.cfg")
    host.place("/etc/xen/b.cfg").symlink_to(outside)
    host.place("/etc/xen/c.cfg").symlink_to("../../../../../../../../srv/guests/web.cfg")
    found = find_configurations(host)
    assert ["inside"] == names_of(found)
    assert ("/srv/guests/web.cfg", ("/etc/xen/c.cfg",)) == (found[0].real_path, found[0].also_at)
    assert f"/etc/xen/b.cfg leads to {outside.parts[0]}{outside.parts[1]}" in found[1].problem


def test_a_link_within_a_linked_folder_is_resolved_from_where_it_really_lies(
    host: PlacedHost,
) -> None:
    put(host, "/srv/xen/auto/web")
    put(host, "/srv/xen/db.cfg")
    host.place("/srv/xen/auto/db").symlink_to("../db.cfg")
    host.place("/etc/xen/auto").rmdir()
    host.place("/etc/xen/auto").symlink_to("/srv/xen/auto")
    assert ["/srv/xen/db.cfg", "/srv/xen/auto/web"] == [
        file.real_path for file in find_configurations(host)
    ]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("gone.cfg", "nowhere", "leads to /etc/xen/nowhere, which does not exist"),
        ("circle.cfg", "circle.cfg", "more than 40 links, perhaps in a circle"),
        ("folder.cfg", "auto", "cannot be read: Is a directory"),
    ],
)
def test_a_link_that_leads_to_no_file_is_a_problem(
    host: PlacedHost, name: str, target: str, words: str
) -> None:
    host.place(f"/etc/xen/{name}").symlink_to(target)
    file = only(find_configurations(host))
    assert file.configuration is None
    assert file.problem.startswith(f"/etc/xen/{name} ")
    assert words in file.problem


def test_a_folder_that_cannot_be_listed_is_a_problem(host: PlacedHost) -> None:
    host.place("/etc/xen/auto").rmdir()
    host.place("/etc/xen/auto").symlink_to("auto")
    assert "in a circle" in only(find_configurations(host)).problem
    host.place("/etc/xen/auto").unlink()
    host.place("/etc/xen/auto").write_text("no folder")
    file = only(find_configurations(host))
    assert ("/etc/xen/auto", "/etc/xen/auto cannot be listed: Not a directory.") == (
        file.path,
        file.problem,
    )


def test_a_pipe_or_an_endless_file_does_not_hold_the_inventory_up(host: PlacedHost) -> None:
    os.mkfifo(host.place("/etc/xen/pipe.cfg"))
    with host.place("/etc/xen/vast.cfg").open("wb") as file:
        file.truncate(1 << 40)
    assert [True, True] == ["no ordinary file" in one.problem for one in find_configurations(host)]


def test_a_file_that_would_run_code_is_a_problem_and_the_others_are_read(host: PlacedHost) -> None:
    put(host, "/etc/xen/bad.cfg", "import os\nname = os.popen('id').read()\n")
    put(host, "/etc/xen/good.cfg")
    found = find_configurations(host)
    assert ["good"] == names_of(found)
    assert "/etc/xen/bad.cfg:1: found the bare word os after import" in found[0].problem


def test_bytes_that_are_no_text_are_read_all_the_same(host: PlacedHost) -> None:
    put(host, "/etc/xen/latin.cfg").write_bytes(b"name = 'm\xfcller'\n")
    assert ["m\udcfcller"] == names_of(find_configurations(host))


def test_a_file_name_with_a_new_line_cannot_forge_a_line_of_output(host: PlacedHost) -> None:
    put(host, "/etc/xen/a\nname: b.cfg", "name = ")
    file = only(find_configurations(host))
    assert "\n" not in file.problem
    assert "\n" in file.path
