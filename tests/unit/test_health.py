"""Health: a domain is compared with what it was, and every way of being less is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.recorded import Answer, RecordedHost, answer, load_recording
from xenbackup.dom0 import health
from xenbackup.dom0.xl import Xl
from xenbackup.errors import DomainChanged, PlanRefused
from xenbackup.model.command import Process
from xenbackup.model.domain import DiskConnection, HealthBaseline

WEB_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
TABLE = load_recording("xl-list-v").stdout
DEVICES = load_recording("dmsetup-info").stdout
MONITOR = Process(
    pid=900,
    start_ticks=4242,
    argv=("/usr/lib/xen-4.17/bin/xl", "create", "/etc/xen/web.cfg"),
    log_path="/var/log/xen/xl-web.log",
    run_mark="",
    stopped=False,
)


def make_tree(*vdevs: int, state: int = 4, domid: int = 6) -> str:
    root = f"/local/domain/{domid}/device/vbd"
    return "".join(
        f'{root}/{vdev}/backend = "/local/domain/0/backend/vbd/{domid}/{vdev}"\n'
        f'{root}/{vdev}/state = "{state}"\n'
        for vdev in vdevs
    )


def make_host(answers: dict[str, Answer] | None = None) -> RecordedHost:
    host = RecordedHost(processes=(MONITOR,))
    host.answers.update(
        {
            "xl list -l": load_recording("xl-list-l").stdout,
            "xl list -v": TABLE,
            "xenstore-ls": make_tree(51712, 51728),
            "xenstore-read": "4\n",
            "dmsetup info": DEVICES,
            "dmsetup table": load_recording("dmsetup-table").stdout,
        }
    )
    host.answers.update(answers or {})
    return host


def take(host: RecordedHost) -> HealthBaseline:
    xl = Xl(host)
    domain = xl.find_domain(WEB_UUID)
    assert domain is not None
    return health.take_baseline(host, xl, domain)


def examine(
    answers: dict[str, Answer] | None = None,
    *,
    baseline: HealthBaseline | None = None,
    processes: tuple[Process, ...] = (MONITOR,),
    domid: int | None = None,
) -> list[str]:
    host = make_host(answers)
    host.processes = processes
    found = health.examine_health(host, Xl(host), baseline or take(make_host()), domid)
    assert all("web" in finding.message for finding in found)
    return [finding.code for finding in found]


def with_state(letters: str) -> dict[str, Answer]:
    return {"xl list -v": TABLE.replace("-b----      11.8", f"{letters}      11.8")}


def test_the_baseline_holds_identity_connections_and_monitor() -> None:
    baseline = take(make_host())
    assert (WEB_UUID, 6, "web") == (
        baseline.identity.uuid,
        baseline.identity.domid,
        baseline.identity.name,
    )
    assert [51712, 51728] == [end.vdev_number for end in baseline.connections]
    assert (True, False) == (baseline.monitor_alive, baseline.paused_by_administrator)


def test_what_is_as_it_was_is_healthy() -> None:
    assert [] == examine()


@pytest.mark.parametrize("letters", ["------", "r-----", "-b----"])
def test_any_runnable_state_is_healthy(letters: str) -> None:
    assert [] == examine(with_state(letters))


@pytest.mark.parametrize(
    ("letters", "codes"),
    [
        ("--p---", ["paused"]),
        ("---ss-", ["shutdown"]),
        ("--pss-", ["shutdown", "paused"]),
        ("---sr-", ["shutdown"]),
        ("---s--", ["shutdown"]),
        ("-----d", ["dying"]),
        ("---scd", ["dying", "shutdown"]),
    ],
)
def test_states_that_are_less_than_running(letters: str, codes: list[str]) -> None:
    assert codes == examine(with_state(letters))


def test_a_guest_that_an_administrator_paused_is_healthy_while_paused() -> None:
    paused = take(make_host(with_state("--p---")))
    assert paused.paused_by_administrator
    assert [] == examine(with_state("--p---"), baseline=paused)


def test_running_with_dead_disks_is_not_health() -> None:
    missing = answer(exit_code=1, stderr="xenstore-ls: could not access path\n")
    assert ["disk-disconnected"] * 2 == examine({"xenstore-ls": missing})


def test_each_end_of_a_disk_counts() -> None:
    assert ["disk-disconnected"] * 2 == examine({"xenstore-read": "6\n"})
    assert ["disk-disconnected"] == examine({"xenstore-ls": make_tree(51712)})
    assert ["disk-disconnected"] * 2 == examine({"xenstore-ls": make_tree(51712, 51728, state=1)})


def test_a_disk_that_never_was_connected_is_not_missed() -> None:
    odd = DiskConnection(vdev_number=5632, frontend_state=1, backend_state=2, backend_path="")
    baseline = take(make_host())
    baseline = replace(baseline, connections=(*baseline.connections, odd))
    assert [] == examine(baseline=baseline)


def test_a_frozen_device_below_the_disks_is_found() -> None:
    frozen = DEVICES.replace(
        "xenvols-web_data     253   2 L--w", "xenvols-web_data     253   2 L-sw"
    )
    assert frozen != DEVICES
    assert ["device-suspended"] == examine({"dmsetup info": frozen})
    other = DEVICES.replace(
        "xenvols-thin01       253   7 L--w", "xenvols-thin01       253   7 L-sw"
    )
    assert [] == examine({"dmsetup info": other})


def test_a_lost_or_stopped_monitor_is_found() -> None:
    assert ["monitor-gone"] == examine(processes=())
    assert ["monitor-stopped"] == examine(processes=(replace(MONITOR, stopped=True),))


def test_a_domain_that_never_had_a_monitor_does_not_lack_one() -> None:
    host = make_host()
    host.processes = ()
    assert [] == examine(baseline=take(host), processes=())


def test_a_domain_with_another_number_is_gone() -> None:
    assert ["gone"] == examine({"xl list -v": TABLE.split("web ")[0]})
    assert ["gone"] == examine(domid=9)


def test_after_a_restore_the_new_number_is_the_right_one() -> None:
    renumbered = TABLE.replace(" 6    96", " 9    96")
    tree = make_tree(51712, 51728, domid=9)
    assert ["gone"] == examine({"xl list -v": renumbered, "xenstore-ls": tree})
    assert [] == examine({"xl list -v": renumbered, "xenstore-ls": tree}, domid=9)


def test_after_a_reboot_of_the_host_the_domain_is_gone() -> None:
    baseline = take(make_host())
    host = make_host()
    host.current_boot = "another"
    assert ["gone"] == [finding.code for finding in health.examine_health(host, Xl(host), baseline)]


def test_a_disk_that_only_xenstore_knows_is_refused() -> None:
    host = make_host({"xenstore-ls": make_tree(51712, 51728, 51760)})
    domain = Xl(host).find_domain(WEB_UUID)
    assert domain is not None
    with pytest.raises(PlanRefused, match="number 51760 in xenstore"):
        health.refuse_unlisted_disks(Xl(host), domain, take(host))


def test_a_disk_that_was_attached_since_the_plan_is_one_for_the_next_plan() -> None:
    host = make_host()
    domain = Xl(host).find_domain(WEB_UUID)
    assert domain is not None
    planned = replace(domain, disks=domain.disks[:1])
    with pytest.raises(DomainChanged, match="since the plan was made") as caught:
        health.refuse_unlisted_disks(Xl(host), planned, take(host))
    assert caught.value.may_pass


def test_a_disk_without_a_back_end_or_a_name_without_a_number_proves_nothing() -> None:
    """A guest can write a front-end, and only dom0 a back-end; `sdzz` has no number."""
    host = make_host({"xenstore-ls": make_tree(51712, 51728, 51760)})
    domain = Xl(host).find_domain(WEB_UUID)
    assert domain is not None
    baseline = take(host)
    claimed = replace(baseline.connections[-1], backend_state=0)
    claimed_by_guest = replace(baseline, connections=(*baseline.connections[:-1], claimed))
    health.refuse_unlisted_disks(Xl(host), domain, claimed_by_guest)
    odd = replace(domain.disks[0], vdev="sdzz")
    odd_named = replace(domain, disks=(*domain.disks, odd))
    health.refuse_unlisted_disks(Xl(host), odd_named, baseline)
