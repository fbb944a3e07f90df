"""Parsers of tools and files at their edges: the odd line, the empty one, that of another age."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.recorded import RecordedHost, answer
from tests.unit.test_guest_configuration_rewriting import FILE, rewrite
from xenbackup.dom0 import pci, xl_parsers, xm_parsers
from xenbackup.dom0.device_mapper import parse_tables
from xenbackup.dom0.drbd_configuration import parse_drbd_volumes
from xenbackup.dom0.kernel_modules import parse_module_list
from xenbackup.dom0.lspci import parse_lspci_records
from xenbackup.dom0.mount_table import find_mount, parse_mounts
from xenbackup.dom0.pci_hiding import assigns_pciback
from xenbackup.dom0.real import RealHost
from xenbackup.dom0.resource_tables import read_expression_sizes
from xenbackup.dom0.tool_output import split_lines
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.errors import ConfigurationError, UnexpectedOutput, UsageError
from xenbackup.model.command import Process
from xenbackup.model.domain import Tuning, VcpuPinning
from xenbackup.model.names import check_domain_name
from xenbackup.system.durable import append_durably


def test_line_longer_than_any_tool_prints_is_refused() -> None:
    assert ["x" * 8192] == split_lines("xl list", "x" * 8192 + "\n")
    with pytest.raises(UnexpectedOutput, match="lines of sane length"):
        split_lines("xl list", "x" * 8193)


def test_table_of_no_known_shape_is_refused() -> None:
    with pytest.raises(UnexpectedOutput, match="where a table was expected"):
        parse_tables("xenvols-web: linear")
    assert {} == parse_tables("No devices found\nempty:\n")


def test_drbd_file_cut_inside_a_quotation_counts_as_far_as_it_goes() -> None:
    text = 'resource "web" { device /dev/drbd1; on dom0 { disk "/dev/vg/web"; } } resource "cut\n'
    (volume,) = parse_drbd_volumes(text, "dom0")
    assert ("web", "/dev/drbd1", "/dev/vg/web") == (volume.resource, volume.device, volume.disk)


def test_lines_of_a_module_list_that_name_no_module_are_passed_over() -> None:
    text = "kernel/a/xen-blkback.ko: kernel/b\nkernel/.ko:\nkernel/notes.txt:\n\n/b/loop.ko.zst:\n"
    assert frozenset(("xen_blkback", "loop")) == parse_module_list(text)


def test_records_of_lspci_may_stand_apart_by_more_than_one_line() -> None:
    record = "Slot:\t0000:00:04.0\nClass:\tx\nVendor:\ty\nDevice:\tz\n"
    assert 1 == len(parse_lspci_records(f"\n\n{record}\n\n\n"))


def test_words_of_xends_file_that_no_shell_would_read_hide_nothing() -> None:
    assert assigns_pciback('MODULES="loop xen-pciback"\n', "MODULES")
    assert not assigns_pciback("MODULES='xen-pciback\n", "MODULES")


def test_slots_of_lspci_are_none_where_it_is_missing_or_fails() -> None:
    assert pci.list_pci_slots(RecordedHost()) is None
    assert pci.list_pci_slots(RecordedHost({"lspci": answer(exit_code=1)})) is None
    line = '0000:00:03.0 "SCSI storage controller" "Red Hat" "Virtio"\n'
    assert ("0000:00:03.0",) == pci.list_pci_slots(RecordedHost({"lspci": line}))
    with pytest.raises(UnexpectedOutput, match="a slot and a quoted class"):
        pci.list_pci_slots(RecordedHost({"lspci": "00:03.0 SCSI\n"}))


class SysfsHost(RecordedHost):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def test_device_whose_numbers_cannot_be_read_is_still_there(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:00:03.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_bytes(b"\xff\xfe")
    (folder / "device").write_text("0x100g\n")
    (found,) = pci.list_sysfs_devices(SysfsHost(tmp_path))
    assert ("Class unknown", "", "", "") == (
        found.class_name,
        found.vendor,
        found.device,
        found.driver,
    )


def test_innermost_file_system_is_the_one_a_path_lies_in() -> None:
    mounts = parse_mounts(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /srv rw - ext4 /dev/sdb1 rw\n"
        "3 2 8:3 / /srv/backup rw - ext4 /dev/sdc1 rw\n"
        "4 1 8:4 / /other rw - ext4 /dev/sdd1 rw\n"
    )
    places = {"/srv/backup/web": "/srv/backup", "/srv/x": "/srv", "/srv": "/srv", "/etc": "/"}
    for path, point in places.items():
        found = find_mount(mounts, path)
        assert found is not None
        assert point == found.point
    assert find_mount((), "/srv") is None


def test_later_mount_of_the_same_place_hides_the_earlier_one() -> None:
    mounts = parse_mounts("1 0 8:1 / / rw - ext4 /dev/a rw\n2 0 8:2 / / rw - ext4 /dev/b rw\n")
    found = find_mount(mounts, "/srv")
    assert found is not None
    assert "/dev/b" == found.source


def test_each_difference_of_a_tuning_is_told_with_both_values() -> None:
    pins = (VcpuPinning(vcpu=0, hard="1", soft="all"), VcpuPinning(vcpu=1, hard="1", soft="all"))
    before = Tuning(pinning=pins, scheduler="credit", weight=1, cap=2, vcpus=2, pool="fast")
    moved = (VcpuPinning(vcpu=0, hard="0", soft="all"),)
    after = Tuning(pinning=moved, scheduler="credit2", weight=3, cap=4, vcpus=1)
    assert (
        "cpupool: fast before, one that is not known now",
        "virtual CPUs: 2 before, 1 now",
        "pinning of virtual CPU 0: 1 / all before, 0 / all now",
        "virtual CPU 1 is not there any more",
        "scheduler: credit before, credit2 now",
        "scheduler weight: 1 before, 3 now",
        "scheduler cap: 2 before, 4 now",
    ) == compare_tuning(before, after)
    assert () == compare_tuning(before, before)
    assert () == compare_tuning(Tuning(), after), "what was unknown is not compared"


@pytest.mark.parametrize("line", ["nonsense", " x"])
def test_line_of_xl_info_without_a_colon_is_refused_unless_it_goes_on_another(line: str) -> None:
    good = "total_memory: 1\nfree_memory: 1\nnr_cpus: 1\nxen_major: 4\nxen_minor: 17\n\n"
    if line.startswith(" "):
        assert (4, 17) == xl_parsers.parse_info("xl info", good + line).version_tuple
        return
    with pytest.raises(UnexpectedOutput, match="nonsense"):
        xl_parsers.parse_info("xl info", good + line)


def test_domain_that_the_scheduler_has_no_answer_for_is_left_out() -> None:
    text = "Name       ID Weight  Cap\nweb         4    256    0\nold         5     -1   -1\n"
    assert [4] == [share.domid for share in xl_parsers.parse_credit_table("xm sched-credit", text)]


@pytest.mark.parametrize(
    ("line", "words"),
    [("nonsense", "a virtual CPU"), ("web    3   0   1   -b-   14.6 1-", "an affinity")],
)
def test_line_of_xm_vcpu_list_of_another_shape_is_refused(line: str, words: str) -> None:
    with pytest.raises(UnexpectedOutput, match=words):
        xm_parsers.parse_xm_vcpu_rows(line)


def test_passed_through_device_of_no_address_is_refused() -> None:
    text = (
        "(domain (domid 3) (name web) (uuid 66afb5c9-37b1-4244-86b8-765ada17fb18) (memory 1)"
        " (vcpus 1) (image (linux)) (state -b----)"
        " (device (pci (dev (slot 0x01) (domain zz) (bus 0x03) (func 0x0)))))"
    )
    with pytest.raises(UnexpectedOutput, match="a PCI address"):
        xm_parsers.parse_xm_domains(text)


def test_expression_without_memory_names_no_target() -> None:
    assert read_expression_sizes("(domain (name web)) (vm)").target_mib is None
    assert 512 == read_expression_sizes("(domain (memory 512.0))").target_mib


def test_word_that_no_file_can_hold_is_refused_before_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="cannot be written: it holds a NUL byte"):
        rewrite(FILE, uuid="a\0b")


def test_name_with_half_a_surrogate_pair_is_a_mistake_and_no_crash() -> None:
    with pytest.raises(UsageError, match="half a surrogate pair"):
        check_domain_name("web\ud800")
    assert "web\udcff" == check_domain_name("web\udcff"), "a byte that is no UTF-8 is a name"


def test_failure_on_a_descriptor_that_has_no_path_names_its_number() -> None:
    from xenbackup.errors import StateFailed

    with pytest.raises(StateFailed, match="append to descriptor 9999: Bad file descriptor"):
        append_durably(9999, b"x")


def test_this_machine_tells_its_boot_its_clock_and_its_processor(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("one\n")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Fast\nmodel name\t: Second\n")
    host = RealHost(proc_folder=tmp_path)
    assert ("one", "Fast") == (host.boot_id(), host.cpu_model())
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    assert "" == host.cpu_model()
    began = host.monotonic_seconds()
    host.sleep(0.001)
    assert host.monotonic_seconds() - began >= 0.001
    assert 0 == host.now().utcoffset().total_seconds()  # type: ignore[union-attr]
    assert Path("/dev/x") == host.place("/dev/x")
    assert () == host.list_processes()
    gone = Process(pid=1, start_ticks=1, argv=(), log_path="", run_mark="", stopped=False)
    assert not host.signal_process(gone, signal.SIGCONT)


def test_this_machine_reads_a_file_as_a_volume_and_clones_one_where_it_can(tmp_path: Path) -> None:
    from xenbackup.errors import SnapshotFailed

    (tmp_path / "disk").write_bytes(b"x" * 4096)
    volume = RealHost().open_volume(str(tmp_path / "disk"))
    try:
        assert 4096 == volume.size_bytes
    finally:
        volume.close()
    with pytest.raises(SnapshotFailed):
        RealHost().clone_file(str(tmp_path / "absent"), str(tmp_path / "copy"))
