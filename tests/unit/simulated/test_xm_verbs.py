"""What the verbs of the simulated xm do beyond the plain case, and how they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import GROUP, SPOOL, WEB, WEB_UUID, call, complaints, look, must
from xenbackup.dom0.memory_image import compose_xm_image, inspect_memory_image
from xenbackup.dom0.sexpressions import parse_expressions
from xenbackup.dom0.simulated import (
    DiskSpec,
    Fault,
    FaultKind,
    GuestSpec,
    SimulatedHost,
    create_host,
)
from xenbackup.dom0.simulated.state import MIB
from xenbackup.dom0.simulated.xm_expressions import ExpressionUnreadable, read_expression

IMAGE = f"{SPOOL}/image"
ROUTER = GuestSpec(
    name="router",
    kind="hvm",
    disks=(
        DiskSpec(volume="router_root", size_bytes=MIB),
        DiskSpec(volume="/srv/images/router.img", size_bytes=MIB, writable=False),
    ),
    memory_mib=32,
    vcpus=2,
    pci=("0000:03:01.0",),
    running=False,
)


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    create_host(tmp_path / "host", groups=(GROUP,), guests=(WEB, ROUTER), toolstack="xm")
    return SimulatedHost(tmp_path / "host")


def xm(host: SimulatedHost, *words: str) -> str:
    return must(host, "xm", *words)


def row(host: SimulatedHost, name: str) -> list[str]:
    return next(
        line.split() for line in xm(host, "list").splitlines() if line.startswith(f"{name} ")
    )


def test_lists_name_domain_zero_the_running_and_the_stopped(host: SimulatedHost) -> None:
    assert ["Name", "Domain-0", "web", "router"] == [
        line.split()[0] for line in xm(host, "list").splitlines()
    ]
    assert ["Name", "web"] == [line.split()[0] for line in xm(host, "list", "web").splitlines()]
    assert ["Name", "Domain-0", "web", "router"] == [
        line.split()[0] for line in xm(host, "list", "0").splitlines()
    ]


def test_long_list_is_one_expression_for_each(host: SimulatedHost) -> None:
    names = [e.word("name") for e in parse_expressions("xm", xm(host, "list", "--long"))]
    assert ["Domain-0", "web", "router"] == names
    (web,) = parse_expressions("xm", xm(host, "list", "-l", "web"))
    assert ("1", WEB_UUID) == (web.word("domid"), web.word("uuid"))
    assert "" == web.word("shutdown_reason")


def test_stopped_guest_is_told_with_disks_and_cards(host: SimulatedHost) -> None:
    text = xm(host, "list", "-l")
    router = parse_expressions("xm", text)[-1]
    image = router.find("image")
    assert image is not None
    assert ["hvm"] == [child.head for child in image.children]
    devices = [device.children[0] for device in router.find_all("device")]
    assert ["vbd", "vbd", "pci"] == [device.head for device in devices]
    assert [("phy:/dev/xenvols/router_root", "w"), ("file:/srv/images/router.img", "r")] == [
        (device.word("uname"), device.word("mode")) for device in devices[:2]
    ]
    (card,) = devices[2].find_all("dev")
    assert ["0x0", "0x3", "0x1", "0x0"] == [
        card.word(key) for key in ("domain", "bus", "slot", "func")
    ]


def test_expression_of_a_guest_is_read_back_into_its_configuration(host: SimulatedHost) -> None:
    xm(host, "create", "/etc/xen/router.cfg")
    configuration = read_expression(xm(host, "list", "-l", "router"))
    assert [("/dev/xenvols/router_root", 1), ("/srv/images/router.img", None)] == [
        (disk["pdev_path"], disk.get("readwrite"))
        for disk in configuration["disks"]  # type: ignore[attr-defined]
    ]
    assert [{"domain": 0, "bus": 3, "dev": 1, "func": 0}] == configuration["pcidevs"]
    path = host.place(f"{SPOOL}/router.sxp")
    path.write_text(xm(host, "list", "-l", "router"))
    xm(host, "destroy", "router")
    xm(host, "create", "-F", f"{SPOOL}/router.sxp")
    assert ["0000:03:01.0"] == look(host, "router").pci
    assert "Vdev Device\n00.0 0000:03:01.0\n" == xm(host, "pci-list", "router")
    assert "" == xm(host, "pci-list", "web")


def test_words_with_blanks_and_quotes_are_quoted(host: SimulatedHost) -> None:
    place = host.place("/etc/xen/web.cfg")
    place.write_text(place.read_text() + "extra = \"root='x y' \\\\ (ro)\"\n")
    xm(host, "destroy", "web")
    xm(host, "create", "/etc/xen/web.cfg")
    text = xm(host, "list", "-l", "web")
    assert "(args 'root=\\'x y\\' \\\\ (ro)')" in text
    (web,) = parse_expressions("xm", text)
    image = web.find("image")
    assert image is not None
    assert "root='x y' \\ (ro)" == image.children[0].word("args")


def test_dry_run_shows_the_expression_and_makes_nothing(host: SimulatedHost) -> None:
    said = xm(host, "create", "-n", "/etc/xen/router.cfg")
    first, rest = said.split("\n", 1)
    assert 'Using config file "/etc/xen/router.cfg".' == first
    (router,) = parse_expressions("xm", rest)
    assert "router" == router.word("name")
    with host.machine() as machine:
        assert ["web"] == [domain.name for domain in machine.state.domains]


def test_created_paused_it_boots_when_it_is_unpaused(host: SimulatedHost) -> None:
    said = xm(host, "create", "-p", "/etc/xen/router.cfg")
    assert said.endswith("Started domain router (id=2)\n")
    assert "--p---" == row(host, "router")[4]
    assert look(host, "router").ram is None
    for _ in range(2):
        xm(host, "unpause", "router")
    assert look(host, "router").ram is not None


def test_guest_is_made_known_once(host: SimulatedHost) -> None:
    place = host.place("/srv/other.cfg")
    place.write_text('name = "other"\nmemory = 32\n')
    for _ in range(2):
        assert 'Using config file "/srv/other.cfg".\n' == xm(host, "new", "/srv/other.cfg")
        place.write_text('name = "other"\nmemory = 64\n')
    assert ["other", "32", "1", "0.0"] == row(host, "other")


def test_names_numbers_and_processors_are_told(host: SimulatedHost) -> None:
    assert "1\n" == xm(host, "domid", "web")
    assert "web\n" == xm(host, "domname", "1")
    xm(host, "create", "/etc/xen/router.cfg")
    xm(host, "vcpu-pin", "router", "1", "0")
    assert ["any cpu", "any cpu", "0"] == [
        re.split(r" -b- +\d+\.\d ", line)[1] for line in xm(host, "vcpu-list").splitlines()[1:]
    ]
    assert 2 == len(xm(host, "vcpu-list", "web").splitlines())
    assert "credit" in xm(host, "info")


def test_guest_is_tuned(host: SimulatedHost) -> None:
    xm(host, "create", "/etc/xen/router.cfg")
    xm(host, "vcpu-set", "router", "1")
    xm(host, "mem-max", "router", "64")
    xm(host, "mem-set", "router", "48")
    xm(host, "sched-credit", "-d", "router", "-w", "512")
    xm(host, "sched-credit", "-d", "router", "-c", "50")
    router = look(host, "router")
    assert (1, 64, 48, 512, 50) == (
        router.vcpus,
        router.maximum_memory_mib,
        router.memory_mib,
        router.weight,
        router.cap,
    )
    table = xm(host, "sched-credit", "-d", "router")
    assert ["router", "2", "512", "50"] == table.splitlines()[1].split()


def test_guest_is_paused_as_often_as_it_is_told(host: SimulatedHost) -> None:
    for _ in range(2):
        xm(host, "pause", "web")
    xm(host, "unpause", "web")
    assert "--p---" == row(host, "web")[4]
    xm(host, "unpause", "web")
    assert look(host).executing


def test_guest_is_shut_down_and_hears_sysrq(host: SimulatedHost) -> None:
    assert "" == xm(host, "sysrq", "web", "s")
    xm(host, "shutdown", "web")
    assert ["web", "32", "1", "0.0"] == row(host, "web")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Usage: xm <subcommand>"),
        (("pause",), "Error: 'xm' requires at least 1 argument."),
        (("create",), "Error: 'xm create' requires at least 1 argument."),
        (("create", "/nosuch"), "Error: Unable to open config file: /nosuch"),
        (("create", "-F", "/nosuch"), "Error: Cannot read file /nosuch"),
        (("create", "-F", "/etc/xen/web.cfg"), "Error: config parse"),
        (("save", "web"), "Error: 'xm save' requires 2 arguments."),
        (("restore",), "Error: 'xm restore' requires 1 argument."),
        (("sched-credit",), "Error: 'xm sched-credit' needs a domain."),
        (("restore", "/srv/short"), "Error: not a valid guest state file: config read"),
        (("restore", "/srv/foreign"), "Error: not a valid guest state file: config parse"),
    ],
)
def test_what_makes_no_sense_is_refused(
    host: SimulatedHost, words: tuple[str, ...], said: str
) -> None:
    host.place("/srv/short").write_bytes(b"LinuxGuestRecord\0\0\0\x09(domain")
    host.place("/srv/foreign").write_bytes(b"LinuxGuestRecord\0\0\0\x08(domain)")
    before = xm(host, "domid", "web")
    result = call(host, "xm", *words)
    assert 1 == result.exit_code
    assert result.stderr.startswith(said)
    assert before == xm(host, "domid", "web")


# Expressions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config parse"),
        ("(domain", "config parse"),
        ("(domain) (domain)", "config parse"),
        ("(guest (name a) (uuid b) (image (linux)))", "config parse"),
        ("(domain (uuid b) (image (linux)))", "config parse"),
        ("(domain (name a) (image (linux)))", "config parse"),
        ("(domain (name a) (uuid b))", "no image"),
        ("(domain (name a) (uuid b) (image (mips)))", "no image"),
        ("(domain (name a) (uuid b) (image (linux)) (memory much))", "config parse"),
    ],
)
def test_expression_of_no_domain_is_refused(text: str, said: str) -> None:
    with pytest.raises(ExpressionUnreadable, match=f"^{said}$"):
        read_expression(text)


def test_drive_and_disks_are_told_apart() -> None:
    configuration = read_expression(
        "(domain (name a) (uuid b) (image (hvm (kernel /usr/lib/hvmloader)))"
        " (device (vbd (dev hda:disk) (uname phy:/dev/v/a) (mode w)))"
        " (device (vbd (dev hdb:disk) (uname phy:/dev/v/b) (mode r)))"
        " (device (vbd (dev hdc:cdrom) (uname file:/a.iso) (mode r))))"
    )
    assert [("hda", 1, None), ("hdb", None, None), ("hdc", None, 1)] == [
        (disk["vdev"], disk.get("readwrite"), disk.get("is_cdrom"))
        for disk in configuration["disks"]  # type: ignore[attr-defined]
    ]
    building = configuration["b_info"]
    assert isinstance(building, dict)
    assert ("/usr/lib/hvmloader", None) == (building["kernel"], building.get("ramdisk"))


# Saving and restoring


def test_save_that_is_refused_leaves_the_guest_running(host: SimulatedHost) -> None:
    with host.machine() as machine:
        machine.state.program_of("web").suspend = "ignores"
        machine.commit()
    result = call(host, "xm", "save", "web", IMAGE)
    assert (1, "Error: Domain did not suspend\n") == (result.exit_code, result.stderr)
    assert "web" == row(host, "web")[0]
    assert look(host).executing


def test_full_disk_fails_the_save_and_the_guest_goes_on(host: SimulatedHost) -> None:
    host.set_fault(Fault(tool="xm", verb="save", kind=FaultKind.ENOSPC, size_bytes=4096))
    result = call(host, "xm", "save", "web", IMAGE)
    assert (1, "Error: /usr/lib/xen/bin/xc_save failed\n") == (result.exit_code, result.stderr)
    assert 4096 == host.place(IMAGE).stat().st_size
    host.sleep(2.0)
    assert look(host).executing
    assert [] == complaints(host)


def test_continued_save_came_with_xen_3_1(tmp_path: Path) -> None:
    create_host(
        tmp_path / "host", groups=(GROUP,), guests=(WEB,), toolstack="xm", xen_version=(3, 0)
    )
    host = SimulatedHost(tmp_path / "host")
    result = call(host, "xm", "save", "-c", "web", IMAGE)
    assert (1, "Error: option -c not recognized\nUsage: xm save\n") == (
        result.exit_code,
        result.stderr,
    )
    assert not host.place(IMAGE).exists()


def test_guest_is_restored_running_or_paused(host: SimulatedHost) -> None:
    for words in ((), ("--paused",)):
        xm(host, "save", "web", IMAGE)
        assert inspect_memory_image(host.place(IMAGE)).complete
        xm(host, "restore", *words, IMAGE)
        assert ("p" in row(host, "web")[4]) == bool(words)
        if words:
            xm(host, "unpause", "web")
        host.sleep(2.0)
    assert [] == complaints(host)


def test_image_that_is_cut_short_restores_nothing(host: SimulatedHost) -> None:
    xm(host, "save", "web", IMAGE)
    place = host.place(IMAGE)
    place.write_bytes(place.read_bytes()[:-100])
    result = call(host, "xm", "restore", IMAGE)
    assert (1, "Error: /usr/lib/xen/bin/xc_restore failed\n") == (result.exit_code, result.stderr)
    assert 4 == len(row(host, "web")), "it is known, and does not run"


def test_memory_that_is_not_ours_restores_nothing(host: SimulatedHost) -> None:
    expression = xm(host, "list", "-l", "web")
    xm(host, "destroy", "web")
    content = compose_xm_image(expression, b"short", fully_virtual=False)
    mark = (5).to_bytes(8, "little") + b"short"
    assert 1 == content.count(mark)
    host.place(IMAGE).write_bytes(content.replace(mark, b"\xff" * 8 + b"short"))
    result = call(host, "xm", "restore", IMAGE)
    assert (1, "Error: /usr/lib/xen/bin/xc_restore failed\n") == (result.exit_code, result.stderr)


def test_restore_without_its_disk_leaves_no_domain(host: SimulatedHost) -> None:
    xm(host, "save", "web", IMAGE)
    must(host, "lvremove", "-y", "xenvols/web_data")
    result = call(host, "xm", "restore", IMAGE)
    assert (1, "Error: Device 51728 (vbd) could not be connected.\n") == (
        result.exit_code,
        result.stderr,
    )
    assert 4 == len(row(host, "web"))
