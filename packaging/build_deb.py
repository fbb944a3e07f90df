"""The Debian package: `python packaging/build_deb.py --output dist`.

A tree is staged as it will lie on the host: a virtual environment made by hand around Debian's
own Python (so no path of this machine is in it), the command, the units, the documents; `dpkg-deb`
packs it. The only thing fetched is the libraries, by version and digest, once.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PYTHON = (3, 11)
"""What Debian 12 has: the compiled libraries and the bytecode are for this one alone."""
VENV = "usr/lib/xenbackup/venv"
SITE = f"{VENV}/lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
WHEELS = PROJECT / "build" / "wheels"
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
SERVICES = ("xenbackup", "xenbackup-recover", "xenbackup-run@", "xenbackup-verify")

PLACES = {
    "systemd/xenbackup.service": "usr/lib/systemd/system/xenbackup.service",
    "systemd/xenbackup-recover.service": "usr/lib/systemd/system/xenbackup-recover.service",
    "systemd/xenbackup-run@.service": "usr/lib/systemd/system/xenbackup-run@.service",
    "systemd/xenbackup-verify.service": "usr/lib/systemd/system/xenbackup-verify.service",
    "systemd/xenbackup-verify.timer": "usr/lib/systemd/system/xenbackup-verify.timer",
    **{
        f"systemd/hardening.conf {name}": f"usr/lib/systemd/system/{name}.service.d/hardening.conf"
        for name in SERVICES
    },
    "systemd/xenbackup.sysusers": "usr/lib/sysusers.d/xenbackup.conf",
    "systemd/xenbackup.tmpfiles": "usr/lib/tmpfiles.d/xenbackup.conf",
    "systemd/60-xenbackup.rules": "usr/share/polkit-1/rules.d/60-xenbackup.rules",
    "LICENSE": "usr/share/doc/xenbackup/copyright",
}
"""File of the project (a second word only tells keys apart) → where it lies on the host."""

CONTROL = """\
Package: xenbackup
Version: {version}
Architecture: amd64
Maintainer: xenbackup <root@localhost>
Installed-Size: {size_kib}
Section: admin
Priority: optional
Depends: python3 (>= 3.11~), python3 (<< 3.12), libc6 (>= 2.34), systemd (>= 252~),
 default-dbus-system-bus | dbus-system-bus, init-system-helpers, lvm2, dmsetup, tzdata
Recommends: xen-utils-common, pciutils
Suggests: polkitd, default-mta | mail-transport-agent
Description: backups of guests on plain Xen hosts
 Backs up the guests of a Xen host with xl and LVM, by schedule and on demand: memory and
 disks of one instant, at the cost of seconds. Whatever fails, is killed or loses its
 power, the guest comes back first, then the snapshots go.
"""

LAUNCHER = f"""\
#!/{VENV}/bin/python3 -I
import sys

from xenbackup.cli.main import main

sys.exit(main())
"""
PYVENV = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n"


class BuildFailed(Exception):
    """The package cannot be built; the text says why and what to do."""


def say(text: str) -> None:
    print(f"deb: {text}", flush=True)


def read_version() -> str:
    """`__version__` of the package, read without importing it."""
    text = (PROJECT / "xenbackup" / "__init__.py").read_text()
    line = next(line for line in text.splitlines() if line.startswith("__version__"))
    return line.split('"')[1]


def find_source_date() -> int:
    """Seconds of the newest source: SOURCE_DATE_EPOCH where it is set."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given) if given else int(max(path.stat().st_mtime for path in list_sources()))


def list_sources() -> Iterator[Path]:
    """Everything that the package is made of."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        yield PROJECT / name
    for folder in ("xenbackup", "systemd", "packaging", "docs", "jobs"):
        for path in sorted((PROJECT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " ".join(str(word) for word in argv)
        raise BuildFailed(f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")


def fetch_wheels() -> Path:
    """The libraries at the versions and digests of the lock, unless they are there already."""
    lock = HERE / "requirements.lock"
    kept = WHEELS / "requirements.lock"
    if kept.exists() and kept.read_bytes() == lock.read_bytes():
        return WHEELS
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    say("fetching the libraries")
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--no-deps", "--requirement", lock, "--dest", WHEELS, *_pip_target(),
    )  # fmt: skip
    shutil.copy(lock, kept)
    return WHEELS


def _pip_target() -> list[str]:
    platforms = [f"--platform={name}_x86_64" for name in PLATFORMS]
    version = f"--python-version={PYTHON[0]}.{PYTHON[1]}"
    return ["--only-binary=:all:", version, "--implementation=cp", *platforms]


def build_wheel(work: Path) -> Path:
    """Our own wheel, from a copy: what an earlier build left in the tree stays out of it."""
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    shutil.copytree(
        PROJECT / "xenbackup", source / "xenbackup", ignore=shutil.ignore_patterns("__pycache__")
    )
    target = work / "wheel"
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source
    )  # fmt: skip
    (wheel,) = target.glob("*.whl")
    return wheel


def stage_environment(root: Path, work: Path) -> None:
    """The virtual environment with the libraries and ourselves, bytecode included."""
    site = root / SITE
    site.mkdir(parents=True)
    wheels = [*sorted(fetch_wheels().glob("*.whl")), build_wheel(work)]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-index", "--no-compile", "--target", site, *_pip_target(), *wheels,
    )  # fmt: skip
    shutil.rmtree(site / "bin", ignore_errors=True)  # launchers of this machine's Python
    for trace in site.glob("*.dist-info/direct_url.json"):
        trace.unlink()  # where on this machine the wheel lay
    for record in site.glob("*.dist-info/RECORD"):
        _clean_record(record)
    # A dom0 must not compile at each start what it could not store: it runs from these files as
    # they are, whatever the times of the sources say.
    run(
        sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
        "-s", root, "-p", "/", site,
    )  # fmt: skip
    (root / VENV / "pyvenv.cfg").write_text(PYVENV)
    binaries = root / VENV / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to("/usr/bin/python3")
    (binaries / "python").symlink_to("python3")
    (binaries / "xenbackup").write_text(LAUNCHER)
    (binaries / "xenbackup").chmod(0o755)
    command = root / "usr/bin/xenbackup"
    command.parent.mkdir(parents=True)
    command.symlink_to(f"../../{VENV}/bin/xenbackup")


def _clean_record(record: Path) -> None:
    """Leave out the launchers and the trace that were removed."""
    kept = [
        line
        for line in record.read_text().splitlines(keepends=True)
        if not line.startswith(("bin/", "../")) and "/direct_url.json," not in line
    ]
    record.write_text("".join(kept))


def stage_files(root: Path) -> None:
    """Units, rules, folders and documents."""
    for source, target in PLACES.items():
        place = root / target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / source.split()[0], place)
    (root / "etc/xenbackup/jobs").mkdir(parents=True)
    documents = root / "usr/share/doc/xenbackup"
    for page in sorted((PROJECT / "docs").glob("*.md")):
        shutil.copyfile(page, documents / page.name)
    examples = documents / "examples"
    (examples / "jobs").mkdir(parents=True)
    for path in sorted((PROJECT / "jobs").glob("*.toml")):
        shutil.copyfile(path, examples / "jobs" / path.name)
    for path in sorted((PROJECT / "docs/examples").glob("*.toml")):
        shutil.copyfile(path, examples / path.name)
    monitoring = PROJECT / "docs" / "monitoring"
    if monitoring.is_dir():
        shutil.copytree(monitoring, documents / monitoring.name)


def stage_generated(root: Path, version: str, source_date: int) -> None:
    """What is made from the verbs themselves: man page and completion."""
    made = subprocess.run(
        [sys.executable, HERE / "documents.py", "man", version, str(source_date)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    manual = root / "usr/share/man/man8/xenbackup.8.gz"
    manual.parent.mkdir(parents=True)
    manual.write_bytes(gzip.compress(made.encode(), mtime=0))
    made = subprocess.run(
        [sys.executable, HERE / "documents.py", "completion"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    completion = root / "usr/share/bash-completion/completions/xenbackup"
    completion.parent.mkdir(parents=True)
    completion.write_text(made)


def stage_control(root: Path, version: str) -> None:
    """dpkg's own folder."""
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(CONTROL.format(version=version, size_kib=size // 1024 + 1))
    for name in ("postinst", "prerm", "postrm"):
        shutil.copyfile(HERE / "debian" / name, folder / name)
        (folder / name).chmod(0o755)


def settle_tree(root: Path, source_date: int) -> None:
    """The same modes and times whoever builds, wherever and whenever."""
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (source_date, source_date), follow_symlinks=False)
    os.utime(root, (source_date, source_date))


def build(output: Path) -> Path:
    """Stage and pack; returns the package's file.

    Raises: BuildFailed.
    """
    if sys.version_info[:2] != PYTHON:
        raise BuildFailed(
            f"The package is for Python {PYTHON[0]}.{PYTHON[1]} and must be built by it; "
            f"this is {sys.version.split()[0]}. Hint: make deb PYTHON=python3.11"
        )
    if shutil.which("dpkg-deb") is None:
        raise BuildFailed("dpkg-deb is not installed. Hint: build on Debian or Ubuntu")
    version, source_date = read_version(), find_source_date()
    os.environ["SOURCE_DATE_EPOCH"] = str(source_date)
    os.umask(0o022)
    output.mkdir(parents=True, exist_ok=True)
    target = output.resolve() / f"xenbackup_{version}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="xenbackup-deb-") as folder:
        work = Path(folder)
        root = work / "root"
        root.mkdir()
        root.chmod(0o755)
        stage_environment(root, work)
        stage_files(root)
        stage_generated(root, version, source_date)
        stage_control(root, version)
        settle_tree(root, source_date)
        partial = work / target.name
        run("dpkg-deb", "--root-owner-group", "-Zxz", "-z6", "--build", root, partial)
        shutil.copyfile(partial, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("--output", type=Path, default=PROJECT / "dist")
    chosen = parser.parse_args(arguments)
    try:
        print(build(chosen.output))
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
