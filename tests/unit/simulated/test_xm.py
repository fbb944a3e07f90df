"""A host with the older toolstack: the product's own Xm reads it and acts through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.simulated.hosts import GROUP, RUN, SPOOL, THINNY, WEB, WEB_UUID, call, complaints
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.dom0.xm import Xm
from xenbackup.errors import CommandFailed
from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    create_host(tmp_path / "host", groups=(GROUP,), guests=(WEB, THINNY), toolstack="xm")
    return SimulatedHost(tmp_path / "host")


def test_xm_is_found_where_xl_is_missing(host: SimulatedHost) -> None:
    assert "xm" == open_toolstack(host).name
    with pytest.raises(CommandFailed, match="not installed"):
        call(host, "xl", "list")


def test_domains_are_read_from_its_lists(host: SimulatedHost) -> None:
    web = Xm(host).find_domain(WEB_UUID)
    assert web is not None
    assert ("web", 1, GuestKind.PV, 32) == (web.name, web.domid, web.kind, web.memory_mib)
    assert [("xvda", "/dev/xenvols/web_root", True), ("xvdb", "/dev/xenvols/web_data", True)] == [
        (disk.vdev, disk.target, disk.writable) for disk in web.disks
    ]
    assert web.state.alive


def test_guest_that_is_shut_off_is_still_known(host: SimulatedHost) -> None:
    xm = Xm(host)
    xm.destroy(2)
    assert ["web"] == [domain.name for domain in xm.list_domains()]
    assert ["thinny"] == [domain.name for domain in xm.list_stopped()]


def test_save_and_restore_bring_the_guest_back(host: SimulatedHost) -> None:
    xm = Xm(host)
    path = host.place(f"{SPOOL}/image")
    assert xm.save(1, path, run_id=RUN).succeeded
    assert xm.find_domain(WEB_UUID) is None
    image = inspect_memory_image(path)
    assert (True, "web", WEB_UUID) == (image.complete, image.domain_name, image.uuid)
    assert xm.restore_paused(path, run_id=RUN).succeeded
    web = xm.find_domain(WEB_UUID)
    assert web is not None
    assert web.state.paused
    xm.unpause(web.domid)
    host.sleep(2.0)
    assert [] == complaints(host)
    assert () == host.list_processes()


def test_continued_save_leaves_the_guest_running(host: SimulatedHost) -> None:
    xm = Xm(host)
    assert xm.save_continue(1, host.place(f"{SPOOL}/image"), run_id=RUN).succeeded
    host.sleep(2.0)
    web = xm.find_domain(WEB_UUID)
    assert web is not None
    assert web.state.alive
    assert [] == complaints(host)


def test_tuning_is_read_and_applied(host: SimulatedHost) -> None:
    xm = Xm(host)
    (web,) = [domain for domain in xm.list_domains() if domain.name == "web"]
    before = xm.read_tuning(web)
    assert "credit" == before.scheduler
    wanted = Tuning(
        pinning=(VcpuPinning(vcpu=0, hard="1", soft="all"),),
        scheduler="credit",
        weight=512,
        cap=0,
        vcpus=1,
    )
    assert () == xm.apply_tuning(1, wanted)
    assert wanted == xm.read_tuning(web)


def test_guest_reboots_itself_without_a_monitor(host: SimulatedHost) -> None:
    call(host, "xm", "reboot", "web")
    web = Xm(host).find_domain(WEB_UUID)
    assert web is not None
    assert 3 == web.domid


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "Sub Command frobnicate not found"),
        (("save", "-p", "web", "/x"), "option -p not recognized"),
        (("pause", "nosuch"), "Domain 'nosuch' does not exist."),
        (("save", "web", "/nosuch/x"), "Unable to create file"),
        (("restore", "/nosuch"), "Cannot read file"),
        (("restore", "/etc/xen/web.cfg"), "not a valid guest state file"),
    ],
)
def test_what_xm_does_not_know_is_refused(
    host: SimulatedHost, words: tuple[str, ...], said: str
) -> None:
    result = call(host, "xm", *words)
    assert 1 == result.exit_code
    assert said in result.stderr
