"""The xl toolstack over recorded answers: domains joined from both lists, argv, tuning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import Answer, RecordedHost, answer, load_recording
from xenbackup.dom0.toolstack import Toolstack, compare_tuning, open_toolstack
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xm import Xm
from xenbackup.errors import CommandFailed, CommandTimedOut, UnexpectedOutput, UsageError
from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning

WEB_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
RUN = "20261122T023000Z-k3f9qa"
TABLE = load_recording("xl-list-v").stdout
CONFIGURATIONS = load_recording("xl-list-l").stdout
INFO = load_recording("xl-info").stdout


def make_host(answers: dict[str, Answer] | None = None) -> RecordedHost:
    host = RecordedHost()
    host.answers.update(
        {
            "xl info": INFO,
            "xl list -l": CONFIGURATIONS,
            "xl list -v": TABLE,
            "xl vcpu-list": load_recording("xl-vcpu-list").stdout,
            "xl sched-credit2": load_recording("xl-sched-credit2").stdout,
            "xl sched-credit": "",
        }
    )
    host.answers.update(answers or {})
    return host


def with_version(minor: int) -> str:
    return INFO.replace("xen_minor              : 17", f"xen_minor              : {minor}")


def test_domains_join_configuration_with_todays_state() -> None:
    linux, web = Xl(make_host()).list_domains()
    assert ("linux01", 4, GuestKind.PV, "r-----") == (
        linux.name,
        linux.domid,
        linux.kind,
        linux.state.letters,
    )
    assert ("web", 6, WEB_UUID, 96, 96, 1, "") == (
        web.name,
        web.domid,
        web.uuid,
        web.memory_mib,
        web.maximum_memory_mib,
        web.vcpus,
        web.configured_uuid,
    )
    assert ["xvda", "xvdb"] == [disk.vdev for disk in web.disks]


def test_a_half_built_domain_is_listed_without_a_configuration() -> None:
    elements = [part for part in json.loads(CONFIGURATIONS) if part["domid"] != 6]
    xl = Xl(make_host({"xl list -l": answer(json.dumps(elements))}))
    web = xl.find_domain(WEB_UUID)
    assert web is not None
    assert (GuestKind.UNKNOWN, (), "") == (web.kind, web.disks, web.configuration_json)


MISSING = answer(exit_code=1, stderr="xenstore-read: couldn't read path x\n")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # What libxl writes for the domain of a device model, and init-xenstore-domain for its own.
        ({"xenstore-read /local/domain/6/target": "4\n"}, ["linux01"]),
        ({"xenstore-read /tool/xenstored/domid": "6\n"}, ["linux01"]),
        ({"xenstore-read /tool/xenstored/domid": "1\n"}, ["linux01", "web"]),
        ({}, ["linux01", "web"]),
        # Not to be read is no answer: then it is a guest that is being built.
        (
            {"xenstore-read": answer(exit_code=2, stderr="xenstore-read: xs_open\n")},
            ["linux01", "web"],
        ),
    ],
)
def test_a_domain_that_serves_guests_is_none_itself(
    answers: dict[str, Answer], expected: list[str]
) -> None:
    elements = [part for part in json.loads(CONFIGURATIONS) if part["domid"] != 6]
    listed = {"xl list -l": answer(json.dumps(elements)), "xenstore-read": MISSING, **answers}
    assert expected == [domain.name for domain in Xl(make_host(listed)).list_domains()]


def test_a_guest_with_disks_is_one_whatever_xenstore_says() -> None:
    host = make_host({"xenstore-read": "6\n"})
    assert ["linux01", "web"] == [domain.name for domain in Xl(host).list_domains()]
    assert [] == host.lines_of("xenstore-read")


def test_a_configuration_of_an_earlier_domain_with_that_number_is_not_joined() -> None:
    other = CONFIGURATIONS.replace(WEB_UUID, "11111111-bc1e-4273-8175-79ad2f3505e8")
    web = Xl(make_host({"xl list -l": other})).find_domain(WEB_UUID)
    assert web is not None
    assert GuestKind.UNKNOWN is web.kind


def test_nameless_rows_are_not_listed_but_their_uuid_still_exists() -> None:
    lines = TABLE.replace("web   ", "(null)").replace("-b----", "---ssd")
    xl = Xl(make_host({"xl list -v": lines}))
    assert ["linux01"] == [domain.name for domain in xl.list_domains()]
    dying = xl.find_domain(WEB_UUID.upper())
    assert dying is not None
    assert ("", True) == (dying.name, dying.state.dying)


def test_a_uuid_that_nobody_has_is_not_found() -> None:
    assert Xl(make_host()).find_domain("11111111-bc1e-4273-8175-79ad2f3505e8") is None


def test_a_name_that_ends_in_a_space_is_taken_from_the_json() -> None:
    xl = Xl(make_host({"xl list -l": CONFIGURATIONS.replace('"web"', '"web "')}))
    assert "web " in [domain.name for domain in xl.list_domains()]


@pytest.mark.parametrize(
    ("minor", "paused_save", "monitors_die"),
    [(3, False, True), (4, True, True), (17, True, True), (20, True, False)],
)
def test_abilities_follow_the_version(minor: int, paused_save: bool, monitors_die: bool) -> None:
    xl = Xl(make_host({"xl info": with_version(minor)}))
    assert (paused_save, monitors_die) == (xl.can_save_paused(), xl.monitors_die_on_suspend())


def test_the_version_is_asked_once() -> None:
    host = make_host()
    xl = Xl(host)
    xl.can_save_paused()
    xl.monitors_die_on_suspend()
    assert ["xl info"] == host.lines


def test_acts_address_domains_by_number_and_carry_the_mark() -> None:
    host = make_host({"xl": answer()})
    xl = Xl(host)
    image, log = Path("/spool/web.save"), Path("/spool/web.stderr")
    xl.pause(6, run_id=RUN)
    xl.unpause(6, run_id=RUN)
    xl.destroy(6, run_id=RUN)
    xl.request_sync(6, run_id=RUN)
    xl.save(6, image, run_id=RUN, stderr_path=log)
    xl.save_paused(6, image, run_id=RUN, stderr_path=log)
    xl.save_continue(6, image, run_id=RUN, stderr_path=log)
    xl.restore_paused(image, run_id=RUN, own_unit="unit", stderr_path=log)
    xl.restore_paused(image, run_id=RUN, configuration_path=Path("/spool/web.cfg"))
    xl.create(Path("/etc/xen/web.cfg"), run_id=RUN, own_unit="unit")
    xl.create(Path("/etc/xen/web.cfg"), paused=True, run_id=RUN)
    assert [
        "xl pause 6",
        "xl unpause 6",
        "xl destroy 6",
        "xl sysrq 6 s",
        "xl save 6 /spool/web.save",
        "xl save -p 6 /spool/web.save",
        "xl save -c 6 /spool/web.save",
        "xl restore -p /spool/web.save",
        "xl restore -p /spool/web.cfg /spool/web.save",
        "xl create /etc/xen/web.cfg",
        "xl create -p /etc/xen/web.cfg",
    ] == host.lines
    assert {RUN} == {call.run_id for call in host.calls}
    assert [log] * 4 == [call.stderr_path for call in host.calls if call.stderr_path]
    assert ["unit", "unit"] == [call.own_unit for call in host.calls if call.own_unit]


def test_a_save_waits_longer_than_xl_waits_for_a_deaf_guest() -> None:
    host = make_host({"xl": answer()})
    Xl(host).save_paused(6, Path("/spool/web.save"), run_id=RUN)
    assert host.calls[0].timeout_seconds > 120


@pytest.mark.parametrize("domid", [0, -1, 0x7FF0])
def test_no_act_is_built_for_dom0_or_impossible_numbers(domid: int) -> None:
    host = make_host({"xl": answer()})
    with pytest.raises(UsageError, match="not the number of a guest"):
        Xl(host).destroy(domid)
    assert [] == host.lines


def test_no_act_is_built_from_a_relative_path() -> None:
    host = make_host({"xl": answer()})
    with pytest.raises(UsageError, match="not absolute"):
        Xl(host).save(6, Path("-c"), run_id=RUN)
    assert [] == host.lines


def test_progress_is_told_in_frames() -> None:
    heard: list[tuple[int, int]] = []
    host = make_host({"xl": answer()})
    Xl(host).save(
        6, Path("/x"), run_id=RUN, on_progress=lambda done, total: heard.append((done, total))
    )
    deliver = host.calls[0].on_stderr_line
    assert deliver is not None
    for line in load_recording("save-killed").stderr.splitlines():
        deliver(line)
    assert ((2048, 24576), (24576, 24576)) == (heard[0], heard[-1])


def test_a_configuration_file_is_checked_without_creating() -> None:
    host = make_host({"xl": answer()})
    Xl(host).check_configuration(Path("/etc/xen/web.cfg"))
    assert ["xl -N create /etc/xen/web.cfg"] == host.lines


def test_a_failing_question_is_an_error_that_names_the_command() -> None:
    host = make_host({"xl list -v": load_recording("list-nonexistent")})
    with pytest.raises(
        CommandFailed, match="`xl list -v` ended with exit code 1: nosuch is an inv"
    ):
        Xl(host).list_domains()
    with pytest.raises(CommandTimedOut, match="deadline"):
        Xl(make_host({"xl list -v": answer(timed_out=True)})).list_domains()
    with pytest.raises(UnexpectedOutput):
        Xl(make_host({"xl list -v": "garbage"})).list_domains()


def test_tuning_is_read_whole() -> None:
    host = make_host()
    web = Xl(host).list_domains()[1]
    expected = Tuning(
        pinning=(VcpuPinning(vcpu=0, hard="all", soft="all"),),
        scheduler="credit2",
        weight=256,
        cap=0,
        vcpus=1,
        pool="Pool-0",
    )
    assert expected == Xl(host).read_tuning(web)
    assert "xl sched-credit" not in host.lines, "one table is enough where the guest stands in it"


def test_tuning_under_another_scheduler_has_no_weight() -> None:
    host = make_host({"xl info": INFO.replace(": credit2", ": null"), "xl sched-credit2": ""})
    tuning = Xl(host).read_tuning(Xl(host).list_domains()[1])
    assert ("null", None, None) == (tuning.scheduler, tuning.weight, tuning.cap)


FAST = """\
Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=0us
Name                                ID Weight  Cap
web                                  6    512   50
"""
WITHOUT_WEB = "".join(
    f"{line}\n"
    for line in load_recording("xl-sched-credit2").stdout.splitlines()
    if not line.startswith("web")
)


def test_guest_in_a_pool_with_another_scheduler_is_found_in_its_table() -> None:
    host = make_host({"xl sched-credit2": WITHOUT_WEB, "xl sched-credit": FAST})
    # What xl answers when a scheduler is asked for a domain of another one.
    host.answers["xl sched-credit2 -d 6"] = answer(
        exit_code=1, stderr="returned credit not credit2"
    )
    tuning = Xl(host).read_tuning(Xl(host).list_domains()[1])
    assert ("credit", 512, 50, "fast") == (
        tuning.scheduler,
        tuning.weight,
        tuning.cap,
        tuning.pool,
    )


def test_guest_in_a_pool_without_weights_has_none() -> None:
    host = make_host({"xl sched-credit2": WITHOUT_WEB})
    tuning = Xl(host).read_tuning(Xl(host).list_domains()[1])
    assert ("credit2", None, None, "") == (
        tuning.scheduler,
        tuning.weight,
        tuning.cap,
        tuning.pool,
    )


def test_table_that_ends_with_a_domain_is_asked_for_once_more() -> None:
    host = make_host()
    whole = host.answers["xl sched-credit2"]
    assert isinstance(whole, str)
    ended = answer(exit_code=1, stderr="libxl: error: Getting domain sched credit2")
    host.answers["xl sched-credit2"] = [ended, answer(whole)]
    assert 256 == Xl(host).read_tuning(Xl(host).list_domains()[1]).weight
    host.answers["xl sched-credit2"] = ended
    with pytest.raises(CommandFailed, match="sched-credit2"):
        Xl(host).read_tuning(Xl(host).list_domains()[1])


def test_guest_is_moved_to_its_pool_before_it_is_tuned() -> None:
    host = make_host({"xl cpupool-migrate": answer(), "xl sched-credit -d 6": answer()})
    host.answers["xl sched-credit2"] = [
        answer(load_recording("xl-sched-credit2").stdout),
        answer(WITHOUT_WEB),
    ]
    host.answers["xl sched-credit"] = [
        answer(FAST.replace("512   50", "256    0")),
        answer(FAST),
    ]
    wanted = Tuning(scheduler="credit", weight=512, cap=50, vcpus=1, pool="fast")
    assert () == Xl(host).apply_tuning(6, wanted)
    acts = [line for line in host.lines if "migrate" in line or "-w" in line]
    assert ["xl cpupool-migrate 6 fast", "xl sched-credit -d 6 -w 512 -c 50"] == acts


def test_guest_that_stays_out_of_its_pool_is_told() -> None:
    host = make_host({"xl cpupool-migrate": answer(exit_code=1, stderr="unknown cpupool 'fast'\n")})
    wanted = Tuning(scheduler="credit", weight=512, cap=50, vcpus=1, pool="fast")
    assert (
        "`xl cpupool-migrate 6 fast` failed: unknown cpupool 'fast'",
        "cpupool: fast before, Pool-0 now",
        "scheduler: credit before, credit2 now",
        "scheduler weight: 512 before, 256 now",
        "scheduler cap: 50 before, 0 now",
    ) == Xl(host).apply_tuning(6, wanted)


WANTED = Tuning(
    pinning=(VcpuPinning(vcpu=0, hard="1", soft="all"),),
    scheduler="credit2",
    weight=128,
    cap=200,
    vcpus=1,
)


def test_only_what_differs_is_applied_and_seen_again() -> None:
    host = make_host({"xl vcpu-pin": answer(), "xl sched-credit2": answer()})
    vcpus = load_recording("xl-vcpu-list").stdout
    pinned = vcpus.replace(
        "web                                  6     0    0   -b-      12.9  all",
        "web                                  6     0    0   -b-      12.9  1",
    )
    host.answers["xl vcpu-list"] = [answer(vcpus), answer(pinned)]
    host.answers["xl vcpu-pin"] = answer()
    shares = "Name  ID Weight  Cap\nweb   6    {}    {}\n"
    host.answers["xl sched-credit2"] = [
        answer(shares.format(256, 0)),
        answer(shares.format(128, 200)),
    ]
    host.answers["xl sched-credit2 -d 6"] = answer()
    assert () == Xl(host).apply_tuning(6, WANTED)
    acts = [line for line in host.lines if "pin" in line or "-w" in line or "vcpu-set" in line]
    assert ["xl vcpu-pin 6 0 1 all", "xl sched-credit2 -d 6 -w 128 -c 200"] == acts


def test_tuning_that_does_not_take_is_told_with_both_values() -> None:
    host = make_host()
    host.answers["xl vcpu-pin"] = answer(exit_code=1, stderr="libxl: error: no such cpu\n")
    host.answers["xl sched-credit2 -d 6 -w"] = answer()
    problems = Xl(host).apply_tuning(6, WANTED)
    assert (
        "`xl vcpu-pin 6 0 1 all` failed: libxl: error: no such cpu",
        "pinning of virtual CPU 0: 1 / all before, all / all now",
        "scheduler weight: 128 before, 256 now",
        "scheduler cap: 200 before, 0 now",
    ) == problems


def test_a_number_of_processors_is_set_again() -> None:
    host = make_host({"xl vcpu-set": answer()})
    problems = Xl(host).apply_tuning(6, Tuning(vcpus=4))
    assert "xl vcpu-set 6 4" in host.lines
    assert ("virtual CPUs: 4 before, 1 now",) == problems


def test_passed_through_devices_are_asked_of_the_running_domain() -> None:
    host = make_host({"xl pci-list": "Vdev Device\n05.0 0000:03:01.0\n"})
    assert ("0000:03:01.0",) == Xl(host).list_pci(6)
    assert ["xl pci-list 6"] == host.lines


def test_xl_knows_no_domain_that_is_shut_off() -> None:
    assert () == Xl(make_host()).list_stopped()


def test_nothing_is_run_when_nothing_differs() -> None:
    host = make_host()
    xl = Xl(host)
    tuning = xl.read_tuning(xl.list_domains()[1])
    host.calls.clear()
    assert () == xl.apply_tuning(6, tuning)
    assert [] == [line for line in host.lines if "pin" in line or "-w" in line]


def test_tuning_of_a_vanished_domain_is_an_error() -> None:
    with pytest.raises(CommandFailed, match="Domain 9 is gone"):
        Xl(make_host()).apply_tuning(9, WANTED)


def test_unknown_tuning_is_not_compared() -> None:
    assert () == compare_tuning(Tuning(), WANTED)
    assert ("virtual CPUs: 4 before, 1 now",) == compare_tuning(Tuning(vcpus=4), WANTED)


def test_the_toolstack_is_chosen_by_what_answers() -> None:
    both: Toolstack = open_toolstack(make_host())
    assert "xl" == both.name
    assert isinstance(open_toolstack(RecordedHost({"xm info": INFO})), Xm)
    assert "xm" == open_toolstack(RecordedHost(), "xm").name
    assert "xl" == open_toolstack(RecordedHost(), "xl").name
    with pytest.raises(CommandFailed, match="Neither xl nor xm"):
        open_toolstack(RecordedHost())
    with pytest.raises(UsageError, match="xapi"):
        open_toolstack(RecordedHost(), "xapi")
