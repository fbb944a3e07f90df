"""Records what the lab's real tools print: `make lab-record` adds what is not recorded yet.

Each recording is one file in tests/fixtures/recorded (command, exit code, both streams), and one
line of `versions.tsv` beside it: the recording's name and the versions it was made with. A file
that is there already stays as it is; `--again NAME…` records those anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.lab import recipe
from tests.lab.build import build
from tests.lab.machine import Completed, Machine, copy_disks

FOLDER = recipe.HERE.parents[1] / "tests" / "fixtures" / "recorded"
VOLUMES = (
    "lvs --all --reportformat json --units b --nosuffix --options "
    "lv_uuid,lv_name,vg_name,lv_size,lv_attr,lv_tags,origin,origin_uuid,pool_lv,snap_percent,"
    "data_percent,metadata_percent,lv_path,lv_dm_path,lv_active,lv_device_open,"
    "lv_snapshot_invalid,lv_merging"
)
COMMANDS: dict[str, str] = {
    "xl-list-l-thin-guest": "xl list -l thinny",
    "xenstore-ls-vbd": "xenstore-ls -f /local/domain/1/device/vbd",
    "xenstore-read-missing": "xenstore-read /local/domain/999/name",
    "xenstore-control": "xenstore-ls -f /local/domain/1/control",
    "dmsetup-info-columns": "dmsetup info --columns",
    "lvs-thin-guest": VOLUMES,
    "lvremove-selection-matches-nothing": (
        'lvremove --yes --select \'lv_uuid="none" && lv_tags={"xenbackup"} && origin!=""\' xenvols'
    ),
    "xl-create-dry-run": "xl -N create /etc/xen/web.cfg",
    "xl-create-missing-file": "xl create /etc/xen/nosuch.cfg",
    "xl-unpause-running": "xl unpause web",
    "xl-vcpu-list-one": "xl vcpu-list thinny",
    "xl-sched-credit2-one": "xl sched-credit2 -d thinny",
    "xl-info-topology": "xl info -n",
    "xl-cpupool-list": "xl cpupool-list",
    "xl-vcpu-list-all": "xl vcpu-list",
    "xl-sched-credit2-all": "xl sched-credit2",
    "xl-sched-credit-other-scheduler": "xl sched-credit",
    "xl-pci-assignable-list-without-pciback": "xl pci-assignable-list",
    "xl-cpupool-list-cpus": "xl cpupool-list -c",
    "xl-cpupool-list-missing": "xl cpupool-list nosuch",
    "lspci-numbers": "lspci -nn",
    "lspci-drivers": "lspci -k",
    "xl-vcpu-list-paused": "xl pause thinny; xl vcpu-list; xl unpause thinny",
    "lspci-machine-readable": "lspci -D -vmm -nn -k",
    "lspci-plain": "lspci",
    "proc-modules": "cat /proc/modules",
    "proc-cmdline": "cat /proc/cmdline",
    "proc-mountinfo": "cat /proc/self/mountinfo",
    "udevadm-settle": "udevadm settle --timeout=30",
    "monitors-in-proc": (
        "for p in $(pgrep -x xl); do tr '\\0' ' ' < /proc/$p/cmdline; readlink /proc/$p/fd/1; done"
    ),
}


def read_versions(machine: Machine) -> str:
    """`Xen A, lvm2 B, kernel C` of the machine that records."""
    script = (
        "echo \"Xen $(xl info | sed -n 's/^xen_version *: //p'), "
        "lvm2 $(lvm version | sed -n 's/^ *LVM version: *//p'), kernel $(uname -r)\""
    )
    return machine.shell(script).check().stdout.strip()


def write_recording(folder: Path, name: str, command: str, done: Completed, versions: str) -> None:
    """One recording and its line of versions."""
    text = f"$ {command}\n# exit {done.exit_code}\n# stdout\n{done.stdout}"
    if not text.endswith("\n"):
        text += "\n"
    (folder / f"{name}.txt").write_text(f"{text}# stderr\n{done.stderr}", encoding="utf-8")
    index = folder / "versions.tsv"
    lines = index.read_text("utf-8").splitlines() if index.exists() else ["recording\tmade with"]
    kept = [line for line in lines if not line.startswith(f"{name}\t")]
    index.write_text("\n".join([*kept, f"{name}\t{versions}"]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.record", description=__doc__)
    parser.add_argument("--again", nargs="*", default=[], metavar="NAME")
    again = set(parser.parse_args().again)
    wanted = [name for name in COMMANDS if name in again or not (FOLDER / f"{name}.txt").exists()]
    if not wanted:
        print("Everything is recorded.")
        return 0
    work = recipe.cache_root() / "work" / "record"
    copy_disks(build(), work)
    with Machine(work) as machine:
        machine.load(recipe.BASE_STATE)
        versions = read_versions(machine)
        for name in wanted:
            done = machine.shell(COMMANDS[name])
            write_recording(FOLDER, name, COMMANDS[name], done, versions)
            print(f"{name}: exit {done.exit_code}")
        machine.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
