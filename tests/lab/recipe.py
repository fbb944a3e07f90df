"""What the lab is made of: packages, sizes, names, the QEMU command line, and the key of its cache.

A change to anything that decides the built machine (this file, the build, the folders `dom0/` and
`guest/`, the Python requirements, QEMU's version) changes the key, and so builds a new lab.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK_FILE = HERE.parents[1] / "requirements-development.lock"
SUITE = "bookworm"
QEMU = "qemu-system-x86_64"

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "psmisc", "util-linux",
    "linux-image-amd64", "xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xen-utils-common",
    "xenstore-utils", "qemu-system-xen", "seabios",
    "lvm2", "dmsetup", "thin-provisioning-tools", "e2fsprogs", "xfsprogs", "qemu-utils",
    "python3", "python3-venv", "pciutils", "iproute2", "busybox-static", "cpio", "strace",
    "qemu-guest-agent", "polkitd", "tzdata",
)  # fmt: skip

BUILD_TOOLS = {
    QEMU: "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "tar": "tar",
    "cp": "coreutils",
    "gcc": "gcc libc6-dev",
}
"""Command → the Debian packages that bring it, on the machine that builds and runs the lab."""

PYTHON_REQUIREMENTS = (
    "apscheduler>=3.11.3,<4", "cronsim", "sh>=2.4,<3", "structlog", "click", "rich", "msgspec",
    "blake3", "zstandard", "cryptography", "pytest", "hypothesis", "pytest-timeout",
)  # fmt: skip
"""What dom0's virtual environment holds; versions come from the lock file when there is one."""

ROOT_SIZE = "6G"
DATA_SIZE = "3G"
BACKUP_SIZE = "3G"
DISKS = ("root.qcow2", "data.qcow2", "backup.qcow2")
"""In order vda (dom0's root), vdb (volume group xenvols), vdc (/srv/backup)."""
BOOT_FILES = ("xen", "vmlinuz", "initrd")
BASE_STATE = "base"
PRODUCT_STATE = "product"

AGENT_SOCKET = "agent.sock"
MONITOR_SOCKET = "monitor.sock"
PIDFILE = "qemu.pid"
CONSOLE_LOG = "console.log"
QEMU_LOG = "qemu.log"

VENV = "/opt/xenbackup/venv"
GUESTS = ("web", "thinny")
"""The guests that run in the saved state; more are configured in dom0/etc/xen."""


def qemu_argv(*, load_state: str | None) -> list[str]:
    """QEMU's command line, to be run inside a work folder (all names are relative to it).

    The processor model has no AVX and no SMAP on purpose: with SMAP a PV dom0 crashes, and emulated
    AVX registers are not kept across context switches, which puts wrong bytes into save files.
    """
    disks = []
    for index, name in enumerate(DISKS):
        disks += [
            "-drive", f"file={name},if=none,id=disk{index},format=qcow2,cache=unsafe",
            "-device", f"virtio-blk-pci,drive=disk{index},serial=lab{index}",
        ]  # fmt: skip
    argv = [
        QEMU, "-name", "xenbackup-lab", "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "q35", "-cpu", "Opteron_G3,+svm,+npt",
        "-accel", "tcg,thread=multi,tb-size=512", "-smp", "2", "-m", "4096",
        "-kernel", "xen",
        "-append", "dom0_mem=1536M,max:1536M console=com1 com1=115200,8n1",
        "-initrd", "vmlinuz root=/dev/vda rw console=hvc0 net.ifnames=0 loglevel=5,initrd",
        *disks,
        "-chardev", f"file,id=console,path={CONSOLE_LOG},append=on",
        "-serial", "chardev:console",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,path={AGENT_SOCKET},server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-qmp", f"unix:{MONITOR_SOCKET},server=on,wait=off",
        "-nic", "none",
    ]  # fmt: skip
    if load_state is not None:
        argv += ["-loadvm", load_state]
    return argv


def cache_root() -> Path:
    """Where all built labs live."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xenbackup-lab"


@functools.cache
def qemu_version() -> str:
    """QEMU's own version line: a saved state belongs to the QEMU that saved it."""
    answer = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0]


def deciding_files() -> list[Path]:
    """Every file whose change must lead to a new lab, sorted."""
    files = [HERE / "recipe.py", HERE / "build.py", HERE / "console.py"]
    for folder in (HERE / "dom0", HERE / "guest"):
        files += [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files)


def cache_key(requirements: str) -> str:
    """The name of the built lab's folder for these requirements (the text pip is given)."""
    digest = hashlib.sha256()
    for path in deciding_files():
        content = path.read_bytes()
        mode = "x" if os.access(path, os.X_OK) else "-"
        digest.update(f"{path.relative_to(HERE)} {mode} {len(content)}\n".encode())
        digest.update(content)
    digest.update(f"{qemu_version()}\n{requirements}".encode())
    return digest.hexdigest()[:16]
