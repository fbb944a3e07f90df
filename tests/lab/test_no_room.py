"""Room that ends in the middle of a run: in a snapshot, at the destination, in the spool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import guests, recipe
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

LONG = pytest.mark.lab_long

JOBS = {
    # One extent of the group is the least that a snapshot of a MiB can have: 4 MiB.
    "tiny": '["save-paused", {step = "snapshot", size = "1MiB"}, "unpause", "copy", '
    '"remove-snapshot"]',
    "tiny-away": '["save", {step = "snapshot", size = "1MiB"}, "restore", "copy", '
    '"remove-snapshot"]',
}

# Two more words for the guest's console. Both write what is there already: no count and no digest
# changes, and a snapshot keeps every block of it all the same.
WORDS = """\
    flood) for disk in $(cat /run/disks); do
            dd if=/dev/$disk of=/dev/$disk bs=1M skip=4 seek=4 conv=notrunc,fsync iflag=direct \\
                oflag=direct status=none || echo "ERROR flood of $disk"
        done & ;;
    drip) read -r disk _ </run/disks
        for at in $(seq 16 255); do
            dd if=/dev/$disk of=/dev/$disk bs=256k count=1 skip=$at seek=$at iflag=direct \\
                oflag=direct conv=notrunc status=none || echo "ERROR drip on $disk"
            sleep 1
        done & ;;
"""
ANY_WORD = "    *) echo"


def teach(machine: Machine) -> None:
    """Let guests understand our words from their next boot on: a later file wins in an initrd."""
    obey = (recipe.HERE / "guest" / "obey").read_text()
    assert ANY_WORD in obey
    taught = obey.replace(ANY_WORD, WORDS + ANY_WORD)
    machine.put_bytes(taught.encode(), "/root/words/obey", mode="0755")
    machine.shell(
        "set -o pipefail; cd /root/words && echo obey | cpio --quiet -o -H newc | gzip -9 "
        ">>/srv/guests/initrd"
    ).check()


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    """With a guest that writes more when told."""
    product.prepare(shared_host)
    for name, steps in JOBS.items():
        text = f'domains = ["web"]\nsteps = {steps}\ndestination = "local"\nmax_away = "1h"\n'
        product.add_job(shared_host, name, text)
    shared_host.run("mkdir", "-p", "/root/words").check()
    teach(shared_host)
    guests.reboot_from_inside(shared_host, "web")
    return shared_host


@pytest.fixture(scope="module")
def older_point(dom0: Machine) -> None:
    """A backup that must stay."""
    product.ensure_running(dom0, "web")
    product.back_up(dom0, "crash", "web")


@pytest.fixture
def full_group(dom0: Machine) -> Iterator[None]:
    """No room in the volume group but for the snapshots themselves, and its reserve."""
    product.ensure_running(dom0, "web")
    dom0.shell(
        "free=$(vgs --noheadings -o vg_free_count xenvols); "
        "lvcreate -y -l $((free - 10)) -n filler xenvols"
    ).check()
    yield
    dom0.run("lvremove", "-y", "xenvols/filler").check()


@pytest.fixture
def slowly(dom0: Machine) -> Iterator[None]:
    """Copies that last long enough to be overtaken by their snapshots."""
    product.slow_down(dom0, "2MiB/s")
    yield
    product.speed_up(dom0)


def fill(machine: Machine, folder: str, *, leave: str = "0") -> None:
    """Fill the filesystem of a folder with files of no use, up to what is to be left."""
    script = f"""
        mkdir -p {folder}/lost+found/filler
        cd {folder}/lost+found/filler
        fallocate -l {leave} ../left
        for size in 1G 256M 64M 16M 4M 1M 64K 4K; do
            while fallocate -l $size $RANDOM-$RANDOM 2>/dev/null; do :; done
        done
        rm -f ../left
    """
    machine.shell(script).check()


def assert_failed_unharmed(machine: Machine, points: list[str]) -> None:
    """The run in the background fails, for want of room; the guest and older points are well."""
    run = product.wait_for_end(machine)
    assert "failed" == run["outcome"], run
    product.assert_well_for_good(machine, "web")
    assert points == product.list_points(machine, "web")


@pytest.mark.usefixtures("full_group")
@pytest.mark.parametrize(
    ("job", "moment"),
    [
        ("tiny", "staging"),
        pytest.param("tiny-away", "staging", marks=LONG),
        pytest.param("tiny", "disk-copied:xvda", marks=LONG),
    ],
)
def test_snapshot_that_overflowed_gives_no_point(dom0: Machine, job: str, moment: str) -> None:
    """Before its disk is read. The guest itself does not notice."""
    points = product.list_points(dom0, "web")
    product.begin_run(dom0, job, "web", stop_at=moment)
    guests.tell(dom0, "web", "flood")
    dom0.shell(
        "until lvs --noheadings -o lv_name,lv_snapshot_invalid -S 'lv_tags={xenbackup}' "
        "| grep 'xvdb.*invalid'; do sleep 0.5; done"
    ).check()
    product.let_go_on(dom0)
    assert_failed_unharmed(dom0, points)


@LONG
@pytest.mark.usefixtures("older_point", "full_group", "slowly")
def test_snapshot_that_overflows_while_it_is_read_ends_the_copy(dom0: Machine) -> None:
    points = product.list_points(dom0, "web")
    product.begin_run(dom0, "tiny", "web")
    product.wait_for_entry(dom0, "staging")
    guests.tell(dom0, "web", "flood")
    assert_failed_unharmed(dom0, points)


@LONG
@pytest.mark.usefixtures("slowly")
def test_snapshot_that_fills_is_extended_and_the_backup_is_good(dom0: Machine) -> None:
    product.ensure_running(dom0, "web")
    product.begin_run(dom0, "tiny", "web")
    product.wait_for_entry(dom0, "staging")
    guests.tell(dom0, "web", "drip")
    product.wait_for_entry(dom0, "snapshot-extended")
    run = product.wait_for_end(dom0)
    assert "ok" == run["outcome"], run
    product.assert_well_for_good(dom0, "web")


@LONG
@pytest.mark.usefixtures("older_point")
@pytest.mark.parametrize(
    ("preset", "moment"),
    [("checkpoint", "staging"), ("cold", "disk-copied:xvda"), ("snapshot", "disk-copied:xvdb")],
)
def test_destination_that_is_full_gets_no_point_and_keeps_the_others(
    dom0: Machine, preset: str, moment: str
) -> None:
    product.ensure_running(dom0, "web")
    points = product.list_points(dom0, "web")
    product.begin_run(dom0, preset, "web", stop_at=moment)
    fill(dom0, "/srv/backup")
    product.let_go_on(dom0)
    try:
        assert_failed_unharmed(dom0, points)
    finally:
        dom0.run("rm", "-r", "/srv/backup/lost+found/filler").check()
    assert "ok" == product.back_up(dom0, "crash", "web")["outcome"]


@LONG
@pytest.mark.usefixtures("older_point")
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_spool_that_is_full_lets_the_guest_go_on(dom0: Machine, preset: str) -> None:
    """xl gives up by itself, and resumes the guest that it could not save."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    points = product.list_points(dom0, "web")
    mount = ("mount", "-t", "tmpfs", "-o", "size=256m,mode=0700", "none", product.SPOOL)
    dom0.run(*mount).check()
    try:
        product.begin_run(dom0, preset, "web", stop_at="saving")
        fill(dom0, product.SPOOL, leave="32M")
        product.let_go_on(dom0)
        run = product.wait_for_end(dom0)
        assert "failed" == run["outcome"], run
        dom0.run("rm", "-r", f"{product.SPOOL}/lost+found").check()
        assert before.domid == product.assert_well_for_good(dom0, "web").domid
    finally:
        dom0.run("umount", product.SPOOL).check()
    assert points == product.list_points(dom0, "web")
