"""Each field of libxl's JSON, and the key of xl.cfg(5) that says it."""

from __future__ import annotations

import pytest

from tests.unit.recorded_guests import UUID, Recorded, record, settings_of

HVM_PARTS: Recorded = {
    "firmware": "/fw",
    "bios": "ovmf",
    "system_firmware": "/ovmf.bin",
    "pae": "True",
    "acpi_s3": "False",
    "viridian": "True",
    "viridian_enable": [8],
    "viridian_disable": [6],
    "hpet": "False",
    "mmio_hole_memkb": 524288,
    "vga": {"kind": "std"},
    "vnc": {"enable": "True", "listen": "0.0.0.0:5", "passwd": 'p"w', "findunused": "False"},
    "sdl": {"enable": "False", "opengl": "True"},
    "spice": {"enable": "True", "port": 6000, "disable_ticketing": "True"},
    "gfx_passthru": "True",
    "gfx_passthru_kind": "igd",
    "serial": "pty",
    "boot": "cd",
    "usb": "True",
    "usbdevice_list": ["tablet", "host:1:2"],
    "rdm": {"strategy": "host", "policy": "strict"},
    "mca_caps": 1,
    "hdtype": "ahci",
    "vendor_device": "xenserver",
    "smbios": [{"key": "bios_vendor", "value": "Me, myself = I"}],
}


def test_a_fully_virtual_guest_says_its_firmware_screen_and_ports() -> None:
    said = settings_of(
        record("hvm", b_info={"type.hvm": dict(HVM_PARTS), "timer_mode": "delay_for_missed_ticks"})
    )
    expected = {
        "firmware_override": "/fw",
        "bios": "ovmf",
        "bios_path_override": "/ovmf.bin",
        "pae": 1,
        "acpi_s3": 0,
        "viridian": ("defaults", "stimer", "!crash_ctl"),
        "hpet": 0,
        "mmio_hole": 512,
        "vga": "stdvga",
        "vnc": 1,
        "vnclisten": "0.0.0.0:5",
        "vncpasswd": 'p"w',
        "vncunused": 0,
        "sdl": 0,
        "opengl": 1,
        "spice": 1,
        "spiceport": 6000,
        "spicedisable_ticketing": 1,
        "gfx_passthru": "igd",
        "serial": "pty",
        "boot": "cd",
        "usb": 1,
        "usbdevice": ("tablet", "host:1:2"),
        "rdm": "strategy=host,policy=strict",
        "mca_caps": ("lmce",),
        "hdtype": "ahci",
        "vendor_device": "xenserver",
        "smbios": ("bios_vendor=Me, myself = I",),
        "timer_mode": "delay_for_missed_ticks",
    }
    assert expected == {key: said.get(key) for key in expected}


@pytest.mark.parametrize(
    ("kind", "building", "expected"),
    [
        ("pv", {"bootloader": "pygrub", "bootloader_args": ["-q", "a b"]},
         {"bootloader": "pygrub", "bootloader_args": ("-q", "a b")}),
        ("pv", {"type.pv": {"e820_host": "True"}}, {"e820_host": 1}),
        ("pv", {"type.pv": {"kernel": "/old", "cmdline": "ro"}, "kernel": None},
         {"kernel": "/old", "extra": "ro"}),
        ("pvh", {"type.pvh": {"pvshim": "True", "pvshim_cmdline": "c"}},
         {"pvshim": 1, "pvshim_cmdline": "c"}),
        ("hvm", {"type.hvm": {"acpi": "False", "nested_hvm": "True"}, "acpi": "True"},
         {"acpi": 1, "nestedhvm": 1}),
        ("pv", {"device_model_version": "qemu_xen"}, {"device_model_version": "qemu-xen"}),
        ("pv", {"tsc_mode": "native_paravirt", "localtime": "True", "rtc_timeoffset": 4294963696},
         {"tsc_mode": "native_paravirt", "localtime": 1, "rtc_timeoffset": 4294963696}),
        ("pv", {"max_grant_frames": 64, "max_maptrack_frames": 4294967295},
         {"max_grant_frames": 64, "max_maptrack_frames": None}),
        ("pv", {"sched_params": {"sched": "credit", "weight": 128, "cap": 200, "period": -1}},
         {"cpu_weight": 128, "cap": 200, "period": None}),
        ("pv", {"max_vcpus": 4, "avail_vcpus": [0, 1]}, {"vcpus": 2, "maxvcpus": 4}),
        ("pv", {"vcpu_hard_affinity": [[0, 1, 3], [0, 1, 3]]}, {"cpus": "0-1,3"}),
        ("pv", {"vcpu_hard_affinity": [[0], [1]], "numa_placement": "False"}, {"cpus": ("0", "1")}),
        ("pv", {"vcpu_hard_affinity": [[0], [0]], "numa_placement": "False"}, {"cpus": ("0", "0")}),
        ("pv", {"vcpu_soft_affinity": [[2, 3]], "numa_placement": "False"},
         {"cpus_soft": ("2-3",)}),
        ("hvm", {"type.hvm": {"viridian": "False", "gfx_passthru": "False"}},
         {"viridian": 0, "gfx_passthru": 0}),
        ("hvm", {"type.hvm": {"rdm": {"strategy": "ignore", "policy": "relaxed"}}}, {"rdm": None}),
        ("pv", {"cpumap": [0, 1]}, {"cpus": "0-1"}),
        ("pv", {"ioports": [{"first": 760, "number": 8}], "irqs": [5],
                "iomem": [{"start": 983040, "number": 2, "gfn": 18446744073709551615}]},
         {"ioports": ("2f8-2ff",), "irqs": ("5",), "iomem": ("f0000,2",)}),
        ("pv", {"cpuid": [{"leaf": 1, "ecx": "x" * 32}]}, {"cpuid": (f"0x1:ecx={'x' * 32}",)}),
        ("pv", {"cpuid": {"cpuid": [{"leaf": 13, "subleaf": 1, "eax": "0" * 32}], "msr": []}},
         {"cpuid": (f"0xd,0x1:eax={'0' * 32}",)}),
        ("pv", {"numa_placement": "False", "vnuma_nodes": [
            {"memkb": 98304, "distances": [10], "vcpus": [0, 1]}]},
         {"vnuma": (("pnode=0", "size=96", "vcpus=0-1", "vdistances=10"),)}),
        ("hvm", {"shadow_memkb": 8192, "video_memkb": 16384},
         {"shadow_memory": 8, "videoram": 16}),
        ("hvm", {"shadow_memkb": 3424, "video_memkb": 0},
         {"shadow_memory": None, "videoram": None}),
        ("pv", {"exec_ssid_label": "run"}, {"init_seclabel": "made", "seclabel": "run"}),
    ],
)  # fmt: skip
def test_a_field_of_the_build_is_said_by_its_key(
    kind: str, building: Recorded, expected: Recorded
) -> None:
    creation = {"ssid_label": "made"} if "exec_ssid_label" in building else {}
    said = settings_of(record(kind, b_info=building, c_info=creation))
    assert expected == {key: said.get(key) for key in expected}


@pytest.mark.parametrize(
    ("part", "key", "expected"),
    [
        ({"nics": [{"mac": "00:16:3e:00:00:11", "bridge": "xenbr0", "model": "e1000",
                    "nictype": "vif_ioemu", "script": "vif-bridge", "ip": "10.0.0.7 10.0.0.8",
                    "backend_domname": "net", "ifname": "web0", "mtu": 9000, "devid": 0},
                   {"devid": 1}]},
         "vif", ("type=ioemu,mac=00:16:3e:00:00:11,bridge=xenbr0,model=e1000,ip=10.0.0.7 10.0.0.8,"
                 "script=vif-bridge,backend=net,vifname=web0,mtu=9000", "")),
        ({"nics": [{"rate_bytes_per_interval": 25000, "rate_interval_usecs": 20000}]},
         "vif", ("rate=1250000B/s@20000us",)),
        ({"pcidevs": [{"bus": 3, "dev": 1, "vfunc_mask": 1, "permissive": True},
                      {"domain": 1, "bus": 4, "vfunc_mask": 4294967295, "vdevfn": 248,
                       "rdm_policy": "strict", "name": "gpu"}]},
         "pci", ("0000:03:01.0,permissive=1", "0001:04:00.*@1f,rdm_policy=strict")),
        ({"channels": [{"name": "org.qemu.0", "connection.pty": {}},
                       {"name": "b", "connection.socket": {"path": "/run/b"}}]},
         "channel", ("connection=pty,name=org.qemu.0", "connection=socket,name=b,path=/run/b")),
        ({"usbctrls": [{"type": "pv", "version": 2, "ports": 4}]},
         "usbctrl", ("type=pv,version=2,ports=4",)),
        ({"usbdevs": [{"ctrl": 0, "port": 1, "type.hostdev": {"hostbus": 1, "hostaddr": 3}}]},
         "usbdev", ("type=hostdev,hostbus=1,hostaddr=3,controller=0,port=1",)),
        ({"vtpms": [{"uuid": UUID}]}, "vtpm", (f"backend=0,uuid={UUID}",)),
        ({"p9s": [{"tag": "t", "path": "/srv", "security_model": "none"}]},
         "p9", ("tag=t,path=/srv,security_model=none",)),
        ({"dtdevs": [{"path": "/soc/a,b"}]}, "dtdev", ("/soc/a,b",)),
        ({"vfbs": [{"devid": 0, "vnc": {"enable": "True", "listen": "::1"}, "keymap": "de"}],
          "vkbs": [{"devid": 0}]},
         "vfb", ("vnc=1,vnclisten=::1,keymap=de",)),
        ({"vkbs": [{"backend_type": "linux", "unique_id": "k", "width": 640,
                    "feature_abs_pointer": True}]},
         "vkb", ("backend-type=linux,unique-id=k,feature-abs-pointer=1,width=640",)),
    ],
)  # fmt: skip
def test_a_device_is_said_by_its_list(part: Recorded, key: str, expected: tuple[str, ...]) -> None:
    assert expected == settings_of(record(**part))[key]
