"""Building the lab, stage by stage, into its cache folder: `python -m tests.lab.build`.

Each stage leaves its result under its final name only when it is whole, so a build that was
interrupted goes on with the first stage that is missing.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab import recipe
from tests.lab.machine import Machine, copy_disks
from tests.lab.wire import LabError

KEPT_LABS = 3
"""Built labs kept in the cache; the others are removed when a new one is finished."""


def say(text: str) -> None:
    print(f"lab: {text}", flush=True)


# -- tools -------------------------------------------------------------------------------------


def missing_packages() -> list[str]:
    """The Debian packages whose commands this machine lacks."""
    tools = dict(recipe.BUILD_TOOLS)
    if os.geteuid() != 0:
        tools |= {"fakeroot": "fakeroot", "newuidmap": "uidmap"}
    packages = [names for tool, names in tools.items() if shutil.which(tool) is None]
    return sorted({package for names in packages for package in names.split()})


def install_missing_tools() -> None:
    """Bring what is missing: installed here as root on Debian, else named in the error."""
    missing = missing_packages()
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(
            f"The lab needs tools that are not installed: {', '.join(missing)}.\n"
            f"Hint: as root on Debian or Ubuntu: {' '.join(command)}"
        )
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], check=True, env=environment)
    subprocess.run(command, check=True, env=environment)


# -- requirements and package sources ----------------------------------------------------------


def read_requirements(lock: Path = recipe.LOCK_FILE) -> str:
    """What pip is to bring into dom0: the recipe's names, at the lock file's versions.

    Of the lock file only `name==version` is used: hashes and environment markers are those of the
    development machine.
    """
    pinned = {}
    for line in lock.read_text().splitlines():
        found = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", line)
        if found:
            pinned[re.sub(r"[-_.]+", "-", found[1]).lower()] = found[2]
    lines = []
    for requirement in recipe.PYTHON_REQUIREMENTS:
        name = re.split(r"[<>=!~]", requirement)[0]
        lines.append(f"{name}=={pinned[name]}" if name in pinned else requirement)
    return "".join(f"{line}\n" for line in lines)


def debian_sources() -> list[str]:
    """One-line apt sources for the lab's suite, from this machine's own mirrors."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    mirrors: list[str] = []
    for path in files:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = "\n".join(
            line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")
        )
        mirrors += re.findall(r"(?:https?|ftp|file|copy):/\S+", text)
    lines = []
    for mirror in dict.fromkeys(mirror.rstrip("/") for mirror in mirrors):
        if mirror.endswith("/debian"):
            lines += [
                f"deb {mirror} {recipe.SUITE} main",
                f"deb {mirror} {recipe.SUITE}-updates main",
            ]
        elif mirror.endswith("/debian-security"):
            lines.append(f"deb {mirror} {recipe.SUITE}-security main")
    if not lines:
        raise LabError(
            "No Debian mirror is named in /etc/apt/sources.list or sources.list.d.\n"
            "Hint: the lab takes its packages from the mirrors of the machine that builds it."
        )
    return lines


def apt_network_options() -> list[str]:
    """This machine's proxy and TLS settings for apt, as mmdebstrap options."""
    listed = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    wanted = re.compile(r"Acquire::(https?|Check-Valid-Until|Check-Date|Retries)\b.*\"[^\"]+\";$")
    return [f"--aptopt={line}" for line in listed.stdout.splitlines() if wanted.match(line)]


# -- stages ------------------------------------------------------------------------------------


def download_wheels(folder: Path, requirements: str) -> None:
    """Bring the wheels for dom0's Python (3.11 on x86-64) with pip's ordinary settings."""
    wanted = folder / "requirements.txt"
    wanted.write_text(requirements)
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 17, 12, 5)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "any"]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder,
            "--requirement", wanted, "--only-binary=:all:", "--python-version=3.11",
            "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none",
            *(f"--platform={name}" for name in platforms),
        ],
        check=True,
    )  # fmt: skip


def compile_oracle(target: Path) -> None:
    """The guests' own program: static, since they have no library."""
    source = recipe.HERE / "guest" / "oracle.c"
    flags = ("-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", *flags, "-o", target, source], check=True)


def write_overlay(target: Path, wheels: Path, oracle: Path) -> None:
    """Pack what the lab adds to Debian: dom0's files, the guests' programs, the wheels."""
    places = {"opt/lab/console.py": recipe.HERE / "console.py", "opt/lab/guest/oracle": oracle}
    for source, prefix in (
        (recipe.HERE / "dom0", Path()),
        (recipe.HERE / "guest", Path("opt/lab/guest")),
        (wheels, Path("opt/lab/wheels")),
    ):
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            places[str(prefix / path.relative_to(source))] = path
    with tarfile.open(target, "w") as archive:
        for name, path in places.items():
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(content))


def build_root_filesystem(target: Path, overlay: Path) -> None:
    """Debian with Xen as a tar file, prepared by `dom0/opt/lab/prepare` in a chroot."""
    sources = target.parent / "rootfs.list"
    sources.write_text("".join(f"{line}\n" for line in debian_sources()))
    subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar",
            f"--include={','.join(recipe.PACKAGES)}",
            '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
            *apt_network_options(),
            "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"'
            ' && echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
            f"--customize-hook=tar-in {overlay.name} /",
            '--customize-hook=chroot "$1" /opt/lab/prepare',
            recipe.SUITE, target.name, sources.name,
        ],
        cwd=target.parent,
        check=True,
    )  # fmt: skip


def build_disks(folder: Path, rootfs: Path) -> None:
    """The disk images and the files that QEMU boots, from the root filesystem's tar file."""
    tree = folder / "tree"
    tree.mkdir()
    boot = folder / "boot"
    boot.mkdir()
    as_root = [] if os.geteuid() == 0 else ["fakeroot"]
    subprocess.run(
        [
            *as_root, "sh", "-e", "-c",
            'tar --extract --file "$1" --directory tree --numeric-owner; '
            "cp -L tree/opt/lab/boot/* boot/; "
            'mke2fs -q -t ext4 -L lab-root -d tree root.img "$2"; '
            'mke2fs -q -t ext4 -L lab-backup backup.img "$3"; '
            "rm -rf tree",
            "sh", rootfs, recipe.ROOT_SIZE, recipe.BACKUP_SIZE,
        ],
        cwd=folder,
        check=True,
    )  # fmt: skip
    for name in ("root", "backup"):
        raw = folder / f"{name}.img"
        subprocess.run(
            ["qemu-img", "convert", "-O", "qcow2", raw, folder / f"{name}.qcow2"], check=True
        )
        raw.unlink()
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", folder / "data.qcow2", recipe.DATA_SIZE],
        check=True,
    )
    for name in recipe.BOOT_FILES:
        (boot / name).rename(folder / name)
    boot.rmdir()


def provision(folder: Path, pristine: Path) -> None:
    """Boot the host for the first time, make its volumes and guests, and save the state."""
    copy_disks(pristine, folder)
    with Machine(folder) as machine:
        with stage("first boot"):
            machine.boot()
        with stage("volumes and guests"):
            print(machine.run("/opt/lab/provision", timeout_seconds=1800).check().stdout, end="")
        with stage("saved state"):
            machine.run("sync").check()
            machine.save_state(recipe.BASE_STATE)
    machine.console_log.rename(folder / "build-console.log")


# -- the whole ---------------------------------------------------------------------------------


class stage:  # noqa: N801 - reads as a statement
    """Prints how long the block took."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        outcome = "failed after" if kind else "took"
        say(f"{self._name} {outcome} {time.monotonic() - self._begun:.0f} s")


def _make(target: Path, name: str, create: Callable[[Path], None]) -> None:
    """Create `target` with `create(PARTIAL)` unless it is there, and only then name it so."""
    if target.exists():
        say(f"{name}: done before")
        return
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.unlink(missing_ok=True)
    with stage(name):
        create(partial)
    partial.rename(target)


def _in_folder(create: Callable[[Path], None]) -> Callable[[Path], None]:
    def create_in_folder(partial: Path) -> None:
        partial.mkdir()
        create(partial)

    return create_in_folder


def build(lock: Path = recipe.LOCK_FILE) -> Path:
    """Build what is missing, and return the folder that holds the disks with the base state."""
    install_missing_tools()
    requirements = read_requirements(lock)
    root = recipe.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    lab = root / recipe.cache_key(requirements)
    base = lab / "base"
    if base.exists():
        return base
    with (root / "build.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        lab.mkdir(exist_ok=True)
        with stage("the build"):
            _build_stages(lab, base, requirements)
        _remove_old_labs(root, lab)
    return base


def _build_stages(lab: Path, base: Path, requirements: str) -> None:
    if base.exists():
        return
    wheels, overlay, rootfs = lab / "wheels", lab / "overlay.tar", lab / "rootfs.tar"
    pristine, oracle = lab / "pristine", lab / "oracle"
    if not pristine.exists():
        if not rootfs.exists():
            _make(wheels, "wheels", _in_folder(lambda to: download_wheels(to, requirements)))
            _make(oracle, "guests' oracle", compile_oracle)
            _make(overlay, "overlay", lambda to: write_overlay(to, wheels, oracle))
            _make(rootfs, "root filesystem", lambda to: build_root_filesystem(to, overlay))
        _make(pristine, "disk images", _in_folder(lambda to: build_disks(to, rootfs)))
    _make(base, "base state", lambda to: _twice(lambda: provision(_emptied(to), pristine)))
    for leftover in (wheels, pristine):
        shutil.rmtree(leftover)
    for leftover in (oracle, overlay, rootfs, rootfs.with_suffix(".list")):
        leftover.unlink(missing_ok=True)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _twice(act: Callable[[], None]) -> None:
    try:
        act()
    except LabError as error:
        say(f"failed, one more try: {error}")
        act()


def _remove_old_labs(root: Path, current: Path) -> None:
    """Under the build's lock, so a lab without its base is one whose build was given up."""
    others = [path for path in root.iterdir() if re.fullmatch(r"[0-9a-f]{16}", path.name)]
    others.remove(current)
    whole = [path for path in others if (path / "base").exists()]
    whole.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in {*others} - {*whole[: KEPT_LABS - 1]}:
        say(f"removing the old lab {old.name}")
        shutil.rmtree(old, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the lab: a Xen host inside QEMU.")
    parser.add_argument(
        "--lock",
        type=Path,
        default=recipe.LOCK_FILE,
        help="file of name==version lines for dom0's Python (default: the project's)",
    )
    chosen = parser.parse_args(arguments)
    try:
        print(build(chosen.lock))
    except (LabError, subprocess.CalledProcessError) as error:
        print(f"The lab could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
