"""Guests count, and notice every way in which their memory and disks can part company."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulated.hosts import (
    SPOOL,
    WEB,
    call,
    complaints,
    counter,
    look,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import SimulatedHost, copy_host
from xenbackup.dom0.simulated.guests import (
    RECORD_OFFSET,
    RING_OFFSET,
    Record,
    decode_record,
    encode_record,
)

ROOT, DATA = "/dev/xenvols/web_root", "/dev/xenvols/web_data"


def disk_counter(host: SimulatedHost, path: str) -> int:
    record = decode_record(read_volume(host, path)[RECORD_OFFSET : RECORD_OFFSET + 512])
    assert record is not None
    return record.counter


def test_guest_counts_in_virtual_time(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(10.0)
    assert counter(host) in range(98, 104)
    assert [] == complaints(host)


@settings(max_examples=15)
@given(pauses=st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=1, max_size=8))
def test_disks_of_one_instant_never_break_the_invariant(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float]
) -> None:
    host = make_host(tmp_path_factory.mktemp("invariant"))
    for seconds in pauses:
        host.sleep(seconds)
        must(host, "xl", "pause", "web")
        ram, first, second = counter(host), disk_counter(host, ROOT), disk_counter(host, DATA)
        assert first - 1 <= second <= first <= ram <= first + 1
        must(host, "xl", "unpause", "web")
    assert [] == complaints(host)
    host.close()


def test_a_pause_can_fall_between_the_writes_of_a_round(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    seen = set()
    for _ in range(60):
        host.sleep(0.013)
        must(host, "xl", "pause", "web")
        first, second = disk_counter(host, ROOT), disk_counter(host, DATA)
        seen.add((counter(host) - first, counter(host) - second))
        must(host, "xl", "unpause", "web")
    assert {(0, 0), (0, 1), (1, 1)} == seen


def test_lost_write_is_noticed_at_the_next_round(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    old = read_volume(host, DATA)
    host.sleep(1.0)
    write_volume(host, DATA, old)
    host.sleep(1.0)
    assert any("xvdb is at" in text for text in complaints(host))


def test_lost_history_block_is_noticed(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(10.0)
    write_volume(host, ROOT, bytes(32 * 4096), RING_OFFSET)
    host.sleep(3.0)
    assert any("xvda lost the history" in text for text in complaints(host))


def test_torn_record_is_noticed_at_boot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    must(host, "xl", "destroy", "web")
    write_volume(host, ROOT, b"\xff", RECORD_OFFSET + 20)
    must(host, "xl", "create", "/etc/xen/web.cfg")
    assert ["boot: xvda holds no valid record"] == complaints(host)


def test_disks_of_two_instants_are_noticed_at_boot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    old = read_volume(host, DATA)
    host.sleep(1.0)
    must(host, "xl", "destroy", "web")
    write_volume(host, DATA, old)
    must(host, "xl", "create", "/etc/xen/web.cfg")
    assert ["boot: disks of two instants"] == [text[:27] for text in complaints(host)]


def test_swapped_disks_are_noticed_at_boot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    path = host.place("/etc/xen/web.cfg")
    text = path.read_text().replace("web_root", "other").replace("web_data", "web_root")
    path.write_text(text.replace("other", "web_data"))
    must(host, "xl", "create", "/etc/xen/web.cfg")
    assert any("is disk 1 of web" in text for text in complaints(host))


def test_crashed_guest_boots_from_its_own_disks_without_complaint(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    for seconds in (0.5, 1.03, 0.27, 0.011):
        host.sleep(seconds)
        must(host, "xl", "destroy", "web")
        must(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(5.0)
    assert [] == complaints(host)


def test_stale_memory_on_newer_disks_is_noticed(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-c", "web", f"{SPOOL}/old.save")
    host.sleep(2.0)
    must(host, "xl", "destroy", "web")
    must(host, "xl", "restore", f"{SPOOL}/old.save")
    assert any("resume: xvda is at" in text for text in complaints(host))


def test_memory_restored_twice_is_noticed_even_at_the_same_count(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "pause", "web")
    must(host, "xl", "unpause", "web")
    must(host, "xl", "save", "web", f"{SPOOL}/image")
    saved = {path: read_volume(host, path) for path in (ROOT, DATA)}
    must(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(1.0)
    must(host, "xl", "destroy", "web")
    record = decode_record(saved[ROOT][RECORD_OFFSET : RECORD_OFFSET + 512])
    assert record is not None
    other_life = Record(key=record.key, disk=0, counter=record.counter, epoch=record.epoch + 1)
    for path, content in saved.items():
        write_volume(host, path, content)
    write_volume(host, ROOT, encode_record(other_life), RECORD_OFFSET)
    must(host, "xl", "restore", f"{SPOOL}/image")
    assert any("another life" in text for text in complaints(host))


def test_memory_on_disks_of_its_own_instant_goes_on_in_peace(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "-p", "web", f"{SPOOL}/image")
    at, kept = counter(host), {path: read_volume(host, path) for path in (ROOT, DATA)}
    must(host, "xl", "unpause", "web")
    host.sleep(5.0)
    must(host, "xl", "destroy", "web")
    for path, content in kept.items():
        write_volume(host, path, content)
    must(host, "xl", "restore", "-p", f"{SPOOL}/image")
    assert at == counter(host)
    must(host, "xl", "unpause", "web")
    host.sleep(5.0)
    assert at < counter(host)
    assert [] == complaints(host)


def test_damaged_memory_image_is_noticed(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "save", "web", f"{SPOOL}/image")
    place = host.place(f"{SPOOL}/image")
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 0xFF
    place.write_bytes(content)
    must(host, "xl", "restore", f"{SPOOL}/image")
    assert ["resume: the memory image does not hold what was saved"] == complaints(host)


def test_a_day_leaves_what_its_hours_leave(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    host.close()
    copy_host(tmp_path / "host", tmp_path / "hours")
    hours = SimulatedHost(tmp_path / "hours")
    host.sleep(3600.0)
    for _ in range(60):
        hours.sleep(60.0)
    assert counter(hours) == counter(host)
    assert disk_counter(hours, DATA) == disk_counter(host, DATA)
    assert read_volume(hours, ROOT)[RING_OFFSET:] == read_volume(host, ROOT)[RING_OFFSET:]
    assert [] == complaints(host) == complaints(hours)


def test_write_to_a_suspended_device_waits_and_is_not_lost(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "dmsetup", "suspend", "xenvols-web_data")
    host.sleep(1.0)
    stuck = counter(host)
    host.sleep(5.0)
    assert stuck == counter(host)
    assert "-b----" == next(
        line.split()[4] for line in must(host, "xl", "list").splitlines() if "web" in line
    )
    must(host, "lvchange", "--refresh", "xenvols/web_data")
    host.sleep(5.0)
    assert stuck + 40 < counter(host)
    assert [] == complaints(host)


def test_guest_without_disks_counts_in_memory_alone(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.place("/etc/xen/hog.cfg").write_text('name = "hog"\nmemory = 64\n')
    must(host, "xl", "create", "/etc/xen/hog.cfg")
    host.sleep(2.0)
    assert 10 < counter(host, "hog")
    assert [] == complaints(host)


@pytest.mark.parametrize("act", ["pause", "save -p"])
def test_guest_that_stands_still_writes_nothing(tmp_path: Path, act: str) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    words = ["xl", *act.split(), "web"] + ([f"{SPOOL}/image"] if "save" in act else [])
    must(host, *words)
    before = read_volume(host, ROOT)
    host.sleep(3600.0)
    assert before == read_volume(host, ROOT)


def test_configured_scratch_fills_a_snapshot(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)
    with host.machine() as machine:
        ram = machine.state.domains[0].ram
        assert ram is not None
        ram.scratch_bytes, ram.scratch_region_bytes = 65536, 1 << 20
        machine.commit()
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/web_root")
    host.sleep(2.0)
    listed = must(host, "lvs", "--noheadings", "-o", "lv_attr,snap_percent", "xenvols/s").split()
    assert ["swi-I-s---", "100.00"] == listed
    assert [] == complaints(host)


def test_what_a_guest_writes_is_the_same_under_another_name(tmp_path: Path) -> None:
    """And under its first one again: its configuration file knows nothing of the new name."""
    host = make_host(tmp_path, WEB)
    must(host, "xl", "rename", "web", "other")
    must(host, "xl", "destroy", "other")
    must(host, "xl", "create", "/etc/xen/web.cfg")
    with host.machine() as machine:
        ram = machine.state.domains[0].ram
        assert ram is not None
        assert WEB.scratch_region_bytes == ram.scratch_region_bytes


def test_image_file_can_back_a_disk(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    config = 'name = "filed"\nmemory = 32\ndisk = [ "file:/srv/images/a.img,xvda,w" ]\n'
    host.place("/etc/xen/filed.cfg").write_text(config)
    place = host.place("/srv/images/a.img")
    place.parent.mkdir(parents=True)
    content = bytearray(1 << 20)
    content[RECORD_OFFSET : RECORD_OFFSET + 512] = encode_record(
        Record(key="filed", disk=0, counter=0, epoch=0)
    )
    place.write_bytes(content)
    must(host, "xl", "create", "/etc/xen/filed.cfg")
    host.sleep(3.0)
    assert 20 < counter(host, "filed")
    assert [] == complaints(host)
    assert 4 == look(host, "filed").vbds[0].frontend


def test_missing_disk_stops_the_creation(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    config = 'name = "lost"\nmemory = 32\ndisk = [ "phy:/dev/xenvols/nothing,xvda,w" ]\n'
    host.place("/etc/xen/lost.cfg").write_text(config)
    result = call(host, "xl", "create", "/etc/xen/lost.cfg")
    assert 3 == result.exit_code
    assert "/dev/xenvols/nothing: No such file or directory" in result.stderr
    assert "lost" not in must(host, "xl", "list")
