"""Lists of kernel modules: names in either spelling, of today and of old; no list is no answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.kernel_modules import (
    NEEDED_MODULES,
    parse_loaded_modules,
    parse_module_list,
    read_modules,
)

RELEASE = {"/proc/sys/kernel/osrelease": "6.1.0-56-amd64\n"}
FOLDER = "/lib/modules/6.1.0-56-amd64"


def states(files: dict[str, str]) -> dict[str, str]:
    return {module.name: module.state for module in read_modules(files.get)}


def test_a_host_without_any_list_is_unknown() -> None:
    assert {"unknown"} == set(states({}).values())


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("xen_blkback 49152 2 - Live 0x0", "xen-blkback"),
        ("blkbk 1 0 - Live 0x0", "xen-blkback"),
        ("netbk 1 0 - Live 0x0", "xen-netback"),
        ("pciback 1 0 - Live 0x0", "xen-pciback"),
        ("gntdev 1 0 - Live 0x0", "xen-gntdev"),
        ("dm_thin_pool 1 0 - Live 0x0", "dm_thin_pool"),
    ],
)
def test_a_loaded_module_counts_by_any_of_its_names(line: str, name: str) -> None:
    assert "loaded" == states({"/proc/modules": line})[name]


@pytest.mark.parametrize(
    "path",
    [
        "kernel/drivers/md/dm-snapshot.ko:",
        "kernel/drivers/md/dm-snapshot.ko.xz: kernel/drivers/md/dm-bufio.ko.xz",
        "kernel/drivers/md/dm-snapshot.ko.zst:",
        "/lib/modules/2.6.18-6-xen-amd64/kernel/drivers/md/dm-snapshot.ko:",
    ],
)
def test_a_module_file_counts_however_it_is_compressed(path: str) -> None:
    assert "available" == states(RELEASE | {f"{FOLDER}/modules.dep": path})["dm_snapshot"]


def test_what_only_another_module_needs_is_not_there() -> None:
    text = "kernel/a.ko: kernel/drivers/md/dm-snapshot.ko"
    assert frozenset({"a"}) == parse_module_list(text)


def test_missing_takes_both_lists() -> None:
    only_one = states(RELEASE | {f"{FOLDER}/modules.dep": ""})
    both = states(RELEASE | {f"{FOLDER}/modules.dep": "", f"{FOLDER}/modules.builtin": ""})

    assert {"unknown"} == set(only_one.values())
    assert {"missing"} == set(both.values())


def test_loaded_is_said_before_built_in_and_available() -> None:
    files = RELEASE | {
        "/proc/modules": "loop 1 0 - Live 0x0",
        f"{FOLDER}/modules.builtin": "kernel/loop.ko\nkernel/tun.ko",
        f"{FOLDER}/modules.dep": "kernel/tun.ko:\nkernel/drbd.ko:",
    }
    found = states(files)
    assert ("loaded", "built-in", "available") == (found["loop"], found["tun"], found["drbd"])


@pytest.mark.parametrize("release", ["", "../../etc", "a/b", "..", "."])
def test_a_release_that_is_no_name_opens_no_folder(release: str) -> None:
    asked: list[str] = []

    def read(path: str) -> str | None:
        asked.append(path)
        return release if path.endswith("osrelease") else None

    assert {"unknown"} == {module.state for module in read_modules(read)}
    assert not any(path.startswith("/lib") for path in asked)


def test_each_file_is_asked_for_once() -> None:
    asked: list[str] = []

    def read(path: str) -> str | None:
        asked.append(path)
        return RELEASE.get(path)

    read_modules(read)
    assert len(set(asked)) == len(asked) == 4


NAMES = st.sampled_from([name for m in NEEDED_MODULES for name in (m.name, *m.aliases)])


@given(text=st.text(max_size=80) | st.lists(NAMES).map("\n".join))
@settings(max_examples=2000, deadline=None)
def test_any_text_is_read_without_failing(text: str) -> None:
    loaded, listed = parse_loaded_modules(text), parse_module_list(text)
    assert loaded is not None
    assert listed is not None
    assert all(name and "-" not in name for name in loaded | listed)


@given(names=st.sets(NAMES), ending=st.sampled_from([".ko", ".ko.xz", ".ko.zst", ".ko.gz", ".o"]))
@settings(max_examples=1000, deadline=None)
def test_what_was_listed_is_found_again(names: set[str], ending: str) -> None:
    text = "\n".join(f"kernel/drivers/{name}{ending}: kernel/x.ko" for name in sorted(names))
    assert frozenset(name.replace("-", "_") for name in names) == parse_module_list(text)
