"""The Debian package: what lies where, nothing of the building machine, the same every time."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xenbackup
from xenbackup.cli.verbs import PLACES

PROJECT = Path(__file__).resolve().parents[2]
PACKAGING = PROJECT / "packaging"
SITE = "usr/lib/xenbackup/venv/lib/python3.11/site-packages"
PARTS = ("xenbackup", "systemd", "packaging", "docs", "jobs", "build/wheels")
FILES = ("pyproject.toml", "README.md", "LICENSE")
pytestmark = pytest.mark.timeout(900)  # building unpacks and compiles a thousand files
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", flags=re.M)


def read_pins(path: Path) -> dict[str, str]:
    return {name.lower(): version for name, version in ENTRY.findall(path.read_text())}


def build(tree: Path, output: Path) -> Path:
    done = subprocess.run(
        [sys.executable, tree / "packaging" / "build_deb.py", "--output", output],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1800000000", "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    (package,) = output.glob("*.deb")
    return package


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that nobody edits them in between."""
    copy = tmp_path_factory.mktemp("tree")
    for name in PARTS:
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    for name in FILES:
        shutil.copy(PROJECT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def package(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--raw-extract", package, root], check=True)
    return root


def test_libraries_are_pinned_at_the_versions_that_are_tested() -> None:
    pins = read_pins(PACKAGING / "requirements.lock")
    tested = read_pins(PROJECT / "requirements-development.lock")
    assert {name: tested.get(name) for name in pins} == pins, "run `make lock-runtime`"
    with (PROJECT / "pyproject.toml").open("rb") as stream:
        wanted = tomllib.load(stream)["project"]["dependencies"]
    names = {re.split(r"[<>=!~]", text)[0] for text in wanted}
    assert set() == names - pins.keys(), "run `make lock-runtime`"


def test_every_library_has_its_digests() -> None:
    text = (PACKAGING / "requirements.lock").read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.M)
    assert [] == [entry for entry in entries if entry.strip() and "--hash=sha256:" not in entry]


def test_package_wants_the_bus_over_which_systemd_is_asked_for_units() -> None:
    control = (PACKAGING / "build_deb.py").read_text().split('CONTROL = """')[1].split('"""')[0]
    (depends,) = re.findall(r"^Depends: (.*?)\n(?! )", control, flags=re.M | re.S)
    wanted = [" ".join(entry.split()) for entry in depends.split(",")]
    assert "default-dbus-system-bus | dbus-system-bus" in wanted


@pytest.mark.slow
def test_package_is_the_same_every_time(tree: Path, package: Path, tmp_path: Path) -> None:
    assert package.read_bytes() == build(tree, tmp_path).read_bytes()


@pytest.mark.slow
def test_nothing_of_the_building_machine_is_in_it(tree: Path, unpacked: Path) -> None:
    traces = [str(place).encode() for place in (PROJECT, tree, sys.prefix, sys.base_prefix)]
    traces = [trace for trace in traces if trace not in (b"/usr", b"/")] + [b"xenbackup-deb-"]
    found = [
        f"{path.relative_to(unpacked)}: {trace!r}"
        for path in unpacked.rglob("*")
        if path.is_file() and not path.is_symlink()
        for trace in traces
        if trace in path.read_bytes()
    ]
    assert [] == found


@pytest.mark.slow
def test_command_starts_from_where_it_will_lie(unpacked: Path) -> None:
    command = unpacked / "usr/bin/xenbackup"
    assert Path("../../usr/lib/xenbackup/venv/bin/xenbackup") == command.readlink()
    launcher = unpacked / "usr/lib/xenbackup/venv/bin/xenbackup"
    assert launcher.stat().st_mode & 0o111
    first = launcher.read_text().splitlines()[0]
    assert "#!/usr/lib/xenbackup/venv/bin/python3 -I" == first
    assert Path("/usr/bin/python3") == launcher.with_name("python3").readlink()
    script = (
        f"import sys; sys.path.insert(0, {str(unpacked / SITE)!r}); "
        "from xenbackup.cli.main import main; sys.exit(main(['--version']))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert f"xenbackup {xenbackup.__version__}\n" == said.stdout


@pytest.mark.slow
def test_bytecode_needs_no_look_at_its_source(unpacked: Path) -> None:
    unchecked_hash = 1
    modules = list((unpacked / SITE).rglob("*.py"))
    assert modules
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc"
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert unchecked_hash == flags, str(module)


@pytest.mark.slow
def test_units_groups_folders_and_rules_are_in_their_places(unpacked: Path) -> None:
    for name in ("xenbackup", "xenbackup-recover", "xenbackup-run@", "xenbackup-verify"):
        unit = unpacked / "usr/lib/systemd/system" / f"{name}.service"
        assert unit.read_bytes() == (PROJECT / "systemd" / unit.name).read_bytes()
        drop_in = unit.with_name(f"{unit.name}.d") / "hardening.conf"
        assert drop_in.read_bytes() == (PROJECT / "systemd" / "hardening.conf").read_bytes()
    for place in (
        "usr/lib/systemd/system/xenbackup-verify.timer",
        "usr/lib/sysusers.d/xenbackup.conf",
        "usr/lib/tmpfiles.d/xenbackup.conf",
        "usr/share/polkit-1/rules.d/60-xenbackup.rules",
        "usr/share/bash-completion/completions/xenbackup",
        "usr/share/doc/xenbackup/install.md",
        "usr/share/doc/xenbackup/examples/jobs/nightly.toml",
    ):
        assert (unpacked / place).is_file(), place


@pytest.mark.slow
def test_nothing_runs_before_somebody_has_written_a_configuration(unpacked: Path) -> None:
    shipped = [path.relative_to(unpacked) for path in (unpacked / "etc").rglob("*")]
    assert [Path("etc/xenbackup"), Path("etc/xenbackup/jobs")] == sorted(shipped)


@pytest.mark.slow
def test_manual_tells_of_every_verb(unpacked: Path) -> None:
    text = gzip.decompress((unpacked / "usr/share/man/man8/xenbackup.8.gz").read_bytes()).decode()
    assert [] == [verb for verb in PLACES if f".SS xenbackup {verb}" not in text]


@pytest.mark.slow
def test_completion_asks_the_command(unpacked: Path) -> None:
    script = (unpacked / "usr/share/bash-completion/completions/xenbackup").read_text()
    assert "_XENBACKUP_COMPLETE=bash_complete" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("name", ["debian/postinst", "debian/prerm", "debian/postrm", "install.sh"])
def test_scripts_are_sound_for_a_plain_shell(name: str) -> None:
    subprocess.run(["sh", "-n", PACKAGING / name], check=True)


def run_purge(tmp_path: Path) -> tuple[Path, str]:
    """`postrm purge` with its folders below `tmp_path`, and systemd's helpers out of the way."""
    state = tmp_path / "var/lib/xenbackup"
    text = (PACKAGING / "debian" / "postrm").read_text()
    for place in ("/etc/xenbackup", "/var/lib/xenbackup", "/run/xenbackup", "/run/systemd/system"):
        text = text.replace(place, f"{tmp_path}{place}")
    script = tmp_path / "postrm"
    script.write_text(text.replace("deb-systemd-helper", "true"))
    done = subprocess.run(["sh", script, "purge"], capture_output=True, text=True, check=True)
    return state, done.stderr


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "var/lib/xenbackup"
    for name in ("journals", "locks", "restored", "spool", "volumes", "what came later"):
        (folder / name).mkdir(parents=True)
    (folder / "journals" / "20270101T000000Z-abcdef.jsonl").write_text("{}\n")
    (folder / "catalog.sqlite").write_text("x")
    (tmp_path / "etc/xenbackup/jobs").mkdir(parents=True)
    return folder


def test_purge_removes_configuration_and_records(tmp_path: Path, state: Path) -> None:
    _, told = run_purge(tmp_path)
    assert not state.exists()
    assert not (tmp_path / "etc/xenbackup").exists()
    assert "" == told


def test_purge_leaves_a_destination_inside_the_state(tmp_path: Path, state: Path) -> None:
    point = state / "points" / "web" / "20270101T000000Z-abcdef" / "xvda.img"
    point.parent.mkdir(parents=True)
    point.write_text("x")
    (state / "points" / ".xenbackup-destination").write_text("x")
    _, told = run_purge(tmp_path)
    assert point.exists()
    assert "left where they are" in told


def test_purge_leaves_a_state_that_is_itself_a_destination(tmp_path: Path, state: Path) -> None:
    (state / ".xenbackup-destination").write_text("x")
    _, told = run_purge(tmp_path)
    assert (state / "journals").exists()
    assert "is itself a destination" in told


def test_purge_leaves_the_records_of_points_in_volumes(tmp_path: Path, state: Path) -> None:
    record = state / "volumes" / "standby" / "manifest.json"
    record.parent.mkdir()
    record.write_text("x")
    run_purge(tmp_path)
    assert record.exists()
    assert not (state / "journals").exists()


def test_purge_leaves_the_memory_of_a_guest_that_is_away(tmp_path: Path, state: Path) -> None:
    image = state / "spool" / "20270101T000000Z-abcdef" / "memory.save"
    image.parent.mkdir()
    image.write_text("x")
    _, told = run_purge(tmp_path)
    assert image.exists()
    assert (state / "journals" / "20270101T000000Z-abcdef.jsonl").exists()
    assert "memory of a guest" in told


def run_prerm(tmp_path: Path, recovery_exit_code: int) -> str:
    """`prerm remove` with its folders below `tmp_path`, and a recovery that ends so."""
    text = (PACKAGING / "debian" / "prerm").read_text()
    for place in ("/var/lib/xenbackup", "/run/systemd/system", "/proc/xen"):
        text = text.replace(place, f"{tmp_path}{place}")
    (tmp_path / "proc/xen").mkdir(parents=True, exist_ok=True)
    (tmp_path / "prerm").write_text(text)
    command = tmp_path / "bin/xenbackup"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\nexit {recovery_exit_code}\n")
    command.chmod(0o755)
    done = subprocess.run(
        ["sh", tmp_path / "prerm", "remove"],
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def test_purge_leaves_the_records_of_what_the_last_recovery_could_not_settle(
    tmp_path: Path, state: Path
) -> None:
    """A purge of an installed package follows its removal at once: the spool may lie elsewhere, and
    a snapshot that is held open has no file in it."""
    assert "Its records stay" in run_prerm(tmp_path, 1)
    _, told = run_purge(tmp_path)
    assert (state / "journals" / "20270101T000000Z-abcdef.jsonl").exists()
    assert "not all that earlier runs left on this host could be settled" in told


def test_purge_removes_the_records_once_a_later_recovery_has_settled_all(
    tmp_path: Path, state: Path
) -> None:
    run_prerm(tmp_path, 1)
    assert "" == run_prerm(tmp_path, 0)
    _, told = run_purge(tmp_path)
    assert (False, "") == (state.exists(), told)


def test_nothing_is_recovered_where_no_run_ever_began(tmp_path: Path, state: Path) -> None:
    """On a host that was never configured there may be no toolstack to ask."""
    shutil.rmtree(state / "journals")
    assert "" == run_prerm(tmp_path, 1)
    assert "" == run_purge(tmp_path)[1]


def test_what_is_installed_by_hand_is_for_all_to_use_whatever_the_umask() -> None:
    """Hardened hosts have 027 or 077: members of the groups could not even start the command."""
    lines = (PACKAGING / "install.sh").read_text().splitlines()
    first_command = next(line for line in lines if line and not line.startswith(("#", "set ")))
    assert "umask 022" == first_command
