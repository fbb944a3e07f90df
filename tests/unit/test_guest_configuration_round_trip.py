"""What is written reads back as the same guest; what libxl never wrote does no harm."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.recorded_guests import UUID, Recorded, compose, read, record
from xenbackup.dom0.guest_configuration import parse_configuration
from xenbackup.errors import ConfigurationError, UnexpectedOutput
from xenbackup.model.domain import Disk, GuestKind

LETTERS = st.text(alphabet=st.characters(exclude_characters="\0"), max_size=20).filter(
    lambda text: not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
)
PATHS = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x17F), max_size=20).map(
    lambda text: "/" + text.replace("\x7f", "")
)
DISKS = st.builds(
    lambda path, image_format, writable, cdrom: (
        {"pdev_path": path, "format": image_format, "readwrite": int(writable)}
        | ({"is_cdrom": 1, "removable": 1, "readwrite": 0} if cdrom else {})
    ),
    PATHS,
    st.sampled_from(["raw", "qcow", "qcow2", "vhd", "qed"]),
    st.booleans(),
    st.booleans(),
)
GUESTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["pv", "hvm", "pvh"]),
        "name": LETTERS.filter(bool),
        "cmdline": LETTERS,
        "memory_mib": st.integers(1, 1 << 20),
        "spare_mib": st.integers(0, 1 << 20),
        "vcpus": st.integers(1, 64),
        "spare_vcpus": st.integers(0, 64),
        "disks": st.lists(DISKS, max_size=4),
        "macs": st.lists(st.integers(0, 0xFFFFFF), max_size=3),
        "slots": st.lists(st.tuples(st.integers(0, 255), st.integers(0, 31)), max_size=3),
    }
)


@given(guest=GUESTS)
@settings(max_examples=400, deadline=None)
def test_what_is_written_reads_back_as_the_same_guest(guest: Recorded) -> None:
    disks = [disk | {"vdev": f"xvd{'abcd'[i]}"} for i, disk in enumerate(guest["disks"])]
    macs = [
        f"00:16:3e:{mac >> 16:02x}:{mac >> 8 & 255:02x}:{mac & 255:02x}" for mac in guest["macs"]
    ]
    memory_mib = guest["memory_mib"]
    config = record(
        guest["kind"],
        c_info={"name": guest["name"]},
        b_info={
            "cmdline": guest["cmdline"],
            "target_memkb": memory_mib * 1024,
            "max_memkb": (memory_mib + guest["spare_mib"]) * 1024,
            "avail_vcpus": list(range(guest["vcpus"])),
            "max_vcpus": guest["vcpus"] + guest["spare_vcpus"],
        },
        disks=disks,
        nics=[{"mac": mac, "model": "e1000"} for mac in macs],
        pcidevs=[{"bus": bus, "dev": slot, "vfunc_mask": 1} for bus, slot in guest["slots"]],
    )
    composed = compose(config)
    assert () == composed.unwritten
    found = parse_configuration(composed.content.decode("utf-8", "surrogateescape"), "f")
    assert (guest["name"], GuestKind(guest["kind"]), UUID) == (found.name, found.kind, found.uuid)
    assert (memory_mib, memory_mib + guest["spare_mib"]) == (
        found.memory_mib,
        found.maximum_memory_mib,
    )
    assert (guest["vcpus"], guest["vcpus"] + guest["spare_vcpus"]) == (
        found.vcpus,
        found.maximum_vcpus,
    )
    assert (
        tuple(
            Disk(
                vdev=disk["vdev"],
                target=disk["pdev_path"],
                format=disk["format"],
                writable=bool(disk["readwrite"]),
                cdrom=bool(disk.get("is_cdrom")),
            )
            for disk in disks
        )
        == found.disks
    )
    assert macs == [interface.mac for interface in found.network_interfaces]
    assert [f"0000:{bus:02x}:{slot:02x}.0" for bus, slot in guest["slots"]] == list(
        found.pci_devices
    )
    said = found.find_setting("extra")
    assert guest["cmdline"] == ("" if said is None else said.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["vdev", "pdev_path", "kernel", "enable", "leaf", "memkb", "mac", "vnc"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
FIELDS = [
    *("max_vcpus", "avail_vcpus", "cpuid", "vnuma_nodes", "sched_params", "vcpu_hard_affinity"),
    *("type.hvm", "type.pv", "arch_x86", "ioports", "kernel", "localtime", "video_memkb", "new"),
]
LISTS = ["disks", "nics", "pcidevs", "vfbs", "vkbs", "channels", "usbdevs", "on_reboot", "b_info"]


@given(
    kind=st.sampled_from(["pv", "hvm", "pvh"]),
    building=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    lists=st.dictionaries(st.sampled_from(LISTS), JSON, max_size=3),
)
@settings(max_examples=600, deadline=None)
def test_any_json_is_written_readably_or_refused(
    kind: str, building: Recorded, lists: Recorded
) -> None:
    config = record(kind, b_info=building) | lists
    try:
        composed = compose(config)
    except (UnexpectedOutput, ConfigurationError):
        return
    try:
        found = read(composed)
    except ConfigurationError as error:
        # Amounts beyond any host, or an interface's oddities, are the recording's own.
        assert all("not a whole number between" in problem for problem in error.problems), error
    else:
        assert "web" == found.name
