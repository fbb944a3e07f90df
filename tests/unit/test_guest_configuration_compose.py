"""Configuration files written from libxl's JSON: all of it said, or reported as unsaid."""

from __future__ import annotations

import json

import pytest

from tests.recorded import load_recording
from tests.unit.recorded_guests import (
    OTHER_UUID,
    Recorded,
    compose,
    read,
    record,
    settings_of,
)
from xenbackup.dom0.guest_configuration import compose_configuration
from xenbackup.errors import ConfigurationError, UnexpectedOutput, UsageError
from xenbackup.model.domain import Disk, GuestKind


def test_a_recorded_guest_of_a_real_host_is_written_whole() -> None:
    recorded = json.loads(load_recording("xl-list-l-one").stdout)[0]["config"]
    composed = compose(recorded)
    assert () == composed.unwritten
    assert (
        """\
# Written by xenbackup from a recorded configuration, for `xl create`.
name = "web"
uuid = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
type = "pv"
memory = 96
maxmem = 96
vcpus = 1
maxvcpus = 1
cpu_weight = 256
cap = 0
kernel = "/srv/domu/vmlinuz"
ramdisk = "/srv/domu/domu-initrd.gz"
extra = "console=hvc0"
disk = [
    "vdev=xvda,format=raw,access=rw,target=/dev/xenvols/web_root",
    "vdev=xvdb,format=raw,access=rw,target=/dev/xenvols/web_data",
]
on_poweroff = "destroy"
on_reboot = "restart"
on_watchdog = "destroy"
on_crash = "destroy"
on_soft_reset = "soft-reset"
"""
        == composed.text
    )


def test_every_recorded_guest_reads_back_as_it_was() -> None:
    for listed in json.loads(load_recording("xl-list-l").stdout)[1:]:
        config = listed["config"]
        found = read(compose(config))
        assert config["c_info"]["name"] == found.name
        assert config["c_info"]["uuid"] == found.uuid
        assert GuestKind.PV is found.kind
        assert config["b_info"]["target_memkb"] == found.memory_mib * 1024
        assert [disk["pdev_path"] for disk in config["disks"]] == [
            disk.target for disk in found.disks
        ]


def test_name_uuid_and_targets_can_be_replaced() -> None:
    composed = compose(
        record(), name="web-restored", uuid=OTHER_UUID, disks={"xvda": "/dev/vg2/web,new"}
    )
    found = read(composed)
    assert ("web-restored", OTHER_UUID) == (found.name, found.uuid)
    assert (Disk(vdev="xvda", target="/dev/vg2/web,new"),) == found.disks
    assert () == composed.unwritten


def test_an_empty_uuid_lets_xl_draw_one() -> None:
    assert "uuid" not in compose(record(), uuid="").text


def test_a_new_target_leaves_behind_what_belonged_to_the_old_one() -> None:
    disk = {
        "pdev_path": "iqn.2001-05.com.example:storage",
        "vdev": "xvda",
        "format": "raw",
        "readwrite": 1,
        "script": "block-iscsi",
        "backend": "phy",
        "backend_domname": "storage",
    }
    kept = compose(record(disks=[disk]))
    assert (
        Disk(
            vdev="xvda",
            target="iqn.2001-05.com.example:storage",
            script="block-iscsi",
            backend="storage",
        )
        == read(kept).disks[0]
    )
    moved = compose(record(disks=[disk]), disks={"xvda": "/dev/vg/new"})
    assert Disk(vdev="xvda", target="/dev/vg/new") == read(moved).disks[0]
    assert [
        f"disks[0].{key}: left out, because the disk has a new target"
        for key in ("script", "backend_domname", "backend")
    ] == list(moved.unwritten)


@pytest.mark.parametrize("kind", ["pv", "hvm", "pvh"])
def test_the_kind_is_written_and_for_old_xl_the_builder_too(kind: str) -> None:
    said = settings_of(record(kind))
    assert kind == said["type"]
    assert ("hvm" if kind == "hvm" else None) == said.get("builder")


def test_actions_left_out_by_libxl_are_destroy_whatever_xl_would_do_by_itself() -> None:
    config = record(on_crash="coredump_restart", on_poweroff="restart_rename")
    del config["on_reboot"], config["on_soft_reset"]
    said = settings_of(config)
    assert ("rename-restart", "destroy", "destroy", "coredump-restart", "destroy") == tuple(
        said[f"on_{event}"] for event in ("poweroff", "reboot", "watchdog", "crash", "soft_reset")
    )


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        ({"pdev_path": "/a", "readwrite": 0}, "format=raw,access=ro,target=/a"),
        ({"pdev_path": "/a,", "readwrite": 1}, "format=raw,access=rw,target=/a,,"),
        ({"format": "empty", "is_cdrom": 1, "removable": 1}, "devtype=cdrom"),
        ({"pdev_path": "/i.iso", "is_cdrom": 1}, "format=raw,devtype=cdrom,target=/i.iso"),
        ({"pdev_path": "/a", "format": "qcow2", "readwrite": 1, "direct_io_safe": True,
          "discard_enable": "False", "trusted": "False", "specification": "virtio",
          "transport": "mmio", "irq": 33, "base": 33554432, "backend": "standalone",
          "colo_restore_enable": "False", "grant_usage": "True"},
         "format=qcow2,access=rw,backendtype=standalone,direct-io-safe,no-discard,untrusted,"
         "grant_usage=1,specification=virtio,target=/a"),
    ],
)  # fmt: skip
def test_a_disk_is_said_with_its_target_last(disk: Recorded, expected: str) -> None:
    config = record(disks=[{"vdev": "xvda", "format": "raw"} | disk])
    assert (f"vdev=xvda,{expected}",) == settings_of(config)["disk"]
    assert disk.get("pdev_path", "") == read(compose(config)).disks[0].target


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"c_info": {"xsdata": {"a": "b"}}}, "c_info.xsdata: no key of xl.cfg(5)"),
        ({"b_info": {"a_new_field": 7}}, "b_info.a_new_field: no key"),
        ({"b_info": {"type.pv": {"features": "x"}}}, "b_info.type.pv.features: no key"),
        ({"b_info": {"type.hvm": {"boot": "c"}}}, "b_info.type.hvm.boot: no key"),
        ({"b_info": {"arch_x86": {"assisted_xapic": "True"}}}, "arch_x86.assisted_xapic: no"),
        ({"b_info": {"target_memkb": 98303}}, "b_info.target_memkb: 98303 KiB is no whole number"),
        ({"b_info": {"avail_vcpus": [1]}}, "b_info.avail_vcpus: xl.cfg brings up the first 1"),
        ({"b_info": {"numa_placement": "False"}}, "b_info.numa_placement: "),
        ({"b_info": {"timer_mode": "native"}}, "b_info.timer_mode: xl refuses it"),
        ({"b_info": {"device_model_version": "none"}}, "xl has no word for 'none'"),
        ({"b_info": {"kernel": "/a\0b"}}, "b_info.kernel: it holds a NUL byte"),
        ({"b_info": {"kernel": ["/a"]}}, "b_info.kernel: found list where libxl has another type"),
        ({"b_info": {"localtime": "perhaps"}}, "b_info.localtime: found str where"),
        ({"b_info": {"max_grant_frames": 1 << 70}}, "the number is larger than xl reads"),
        ({"b_info": {"irqs": [5, "x"]}}, "b_info.irqs[1]: found str where"),
        ({"b_info": {"cpuid": [{"leaf": 1, "eax": "short"}]}}, "is no mask of 32 letters"),
        ({"b_info": {"exec_ssid_label": "run"}}, "b_info.exec_ssid_label: xl.cfg has no label"),
        ({"c_info": {"ssidref": 5}}, "c_info.ssidref: a label's number belongs to one policy"),
        ({"b_info": {"type.pv": {"slack_memkb": 4}}}, "b_info.type.pv.slack_memkb: no key"),
        ({"b_info": {"nodemap": [0]}}, "b_info.nodemap: xl chooses the nodes anew"),
        ({"b_info": {"sched_params": {"budget": 9}}}, "b_info.sched_params.budget: xl.cfg has no"),
        ({"b_info": {"sched_params": {"slice": 9}}}, "b_info.sched_params.slice: it has had no"),
        ({"b_info": {"vnuma_nodes": [{"memkb": 98303}]}}, "vnuma_nodes[0].memkb: 98303 KiB"),
        ({"b_info": {"cpuid": [{"eax": "x" * 32}]}}, "cpuid[0].leaf: there is no leaf number"),
        ({"b_info": {"ioports": [{"first": 5}]}}, "ioports[0].number: the range of ports is empty"),
        ({"b_info": {"iomem": [{"start": 5}]}}, "iomem[0].number: the range of frames is empty"),
        ({"nics": [{"nictype": "vif_x"}]}, "nics[0].nictype: xl has no interface type"),
        ({"nics": [{"trusted": "False"}]}, "nics[0].trusted: "),
        (
            {"nics": [{"rate_bytes_per_interval": 1 << 40, "rate_interval_usecs": 7}]},
            "nics[0].rate_bytes_per_interval: no rate of xl.cfg gives exactly",
        ),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a", "removable": 1}]}, "disks[0].removable: "),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a", "backend": "x"}]}, "no backendtype 'x'"),
        ({"b_info": {"bootloader_args": ["a\0b", "c"]}}, "b_info.bootloader_args[0]: it holds a"),
        ({"pcidevs": [{"vfunc_mask": "all"}]}, "pcidevs[0].vfunc_mask: found str where"),
        ({"vsnds": [{"devid": 0, "short_name": "s"}]}, "vsnds: no key"),
        ({"nics": [{"script": "a,b"}]}, "nics[0] (script): xl would end 'a,b' at its `,`"),
        ({"nics": [{"devid": 3}]}, "nics[0].devid: xl numbers the devices anew"),
        ({"nics": [{"backend_domid": 5}]}, "nics[0].backend_domid: a driver domain's number"),
        ({"nics": [{"colo_checkpoint_host": "h"}]}, "nics[0].colo_checkpoint_host: no key"),
        ({"nics": ["x"]}, "nics[0]: found str where"),
        ({"channels": [{"name": "a=b", "connection.pty": {}}]}, "xl would end 'a=b' at its `=`"),
        ({"channels": [{"name": " a", "connection.pty": {}}]}, "xl would trim ' a'"),
        ({"channels": [{"connection.socket": {}}]}, "neither a terminal nor a socket with a path"),
        ({"vkbs": [{"devid": 0}]}, "vkbs[0].backend_type: xl.cfg needs"),
        ({"pcidevs": [{"vfunc_mask": 5}]}, "xl.cfg can name one function"),
        ({"on_crash": "explode"}, "on_crash: xl has no action 'explode'"),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a", "colo_enable": "True"}]}, "COLO"),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a", "backend_domid": 3}]}, "does not last"),
        ({"b_info": {"ev\nil": 1}}, "'b_info.ev\\nil': no key"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_reported_and_the_rest_is_written(
    parts: Recorded, words: str
) -> None:
    composed = compose(record(**parts))
    assert any(words in sentence for sentence in composed.unwritten), composed.unwritten
    assert "web" == read(composed).name


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"mca_caps": 6}, "mca_caps: xl.cfg has no words for 0x6"),
        ({"pirq": "True"}, "pirq: no key"),
        ({"viridian_enable": [99]}, "viridian_enable: enlightenment 99 has no name here"),
        ({"vga": {"kind": "matrox"}}, "vga.kind: xl has no word for 'matrox'"),
        ({"timeoffset": "5"}, "timeoffset: no key"),
    ],
)
def test_what_cannot_be_said_of_a_fully_virtual_guest_is_reported(
    part: Recorded, words: str
) -> None:
    composed = compose(record("hvm", b_info={"type.hvm": part}))
    assert any(f"b_info.type.hvm.{words}" in sentence for sentence in composed.unwritten)


def test_a_generation_id_is_drawn_anew_and_reported() -> None:
    composed = compose(record("hvm", b_info={"type.hvm": {"ms_vm_genid": [1] * 16}}))
    setting = read(composed).find_setting("ms_vm_genid")
    assert setting is not None
    assert "generate" == setting.value
    assert ("b_info.type.hvm.ms_vm_genid: xl.cfg cannot keep it; a new one was asked for",) == (
        composed.unwritten
    )


def test_fields_that_say_nothing_are_not_reported() -> None:
    config = record(
        c_info={"domid": 4294967295, "run_hotplug_scripts": "True", "hap": "<default>"},
        b_info={"claim_mode": "True", "ramdisk": None, "shadow_memkb": 18446744073709551615},
        p9s=[],
    )
    assert () == compose(config).unwritten


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ("[]", "is a JSON list, not an object"),
        ("{}", "c_info.type is ''"),
        ('{"c_info": {"type": "lxc"}}', "c_info.type is 'lxc'"),
        ('{"c_info": {"type": "pv"}}', "has no name"),
        ('{"domid": 5, "config": {"c_info": {"type": "pv", "name": "a"}}}', "c_info.type is ''"),
        (json.dumps(record(disks=[{"pdev_path": "/a"}])), "disks[0].vdev of the recorded guest"),
        (json.dumps(record(disks=[{"vdev": "xvda,x"}])), "disks[0].vdev of the recorded guest"),
        (
            json.dumps(record(disks=[{"vdev": "xvda", "pdev_path": "/a", "format": "zip"}])),
            "disks[0].format of the recorded guest is 'zip'",
        ),
    ],
)
def test_what_libxl_never_records_is_refused(text: str, words: str) -> None:
    with pytest.raises(UnexpectedOutput) as caught:
        compose_configuration(text)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("parts", "options", "words"),
    [
        ({"c_info": {"name": "a\0b"}}, {}, "it holds a NUL byte"),
        ({"c_info": {"uuid": "x"}}, {}, "'x' is no UUID"),
        ({}, {"uuid": "x"}, "'x' is no UUID"),
        ({}, {"disks": {"xvdz": "/a"}}, "no disk 'xvdz'"),
        ({}, {"disks": {"xvda": "vg/lv"}}, "is no full path"),
        ({}, {"disks": {"xvda": "/a\nb"}}, "control character"),
        ({"disks": [{"vdev": "xvda"}]}, {}, "no target"),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a\nb"}]}, {}, "control character"),
        ({"disks": [{"vdev": "xvda", "pdev_path": "/a", "script": "x,y"}]}, {}, "its script"),
    ],
)
def test_a_guest_is_not_written_without_its_name_or_a_disk(
    parts: Recorded, options: Recorded, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compose(record(**parts), **options)
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 64])
def test_a_new_name_must_be_one_that_commands_may_carry(name: str) -> None:
    with pytest.raises(UsageError):
        compose(record(), name=name)
