"""The systemd units: restrictions have their reasons, commands exist, the order is as promised."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from xenbackup.cli.verbs import PLACES, load_verb
from xenbackup.config.values import is_name
from xenbackup.errors import ExitCode
from xenbackup.service.daemon import AFTERWARDS_SECONDS, HANDOVER_SECONDS
from xenbackup.service.recovery import EXTENSION_SECONDS

FOLDER = Path(__file__).resolve().parents[2] / "systemd"
UNITS = sorted(
    path.name for path in FOLDER.glob("xenbackup*.*") if path.suffix in (".service", ".timer")
)
SERVICES = [name for name in UNITS if name.endswith(".service")]

HARDENING = (
    "CapabilityBoundingSet", "DeviceAllow", "DevicePolicy", "KeyringMode", "LimitCORE",
    "LockPersonality", "PrivateTmp", "ProtectClock", "ProtectControlGroups", "ProtectKernelLogs",
    "ProtectSystem", "ReadWritePaths", "RestrictAddressFamilies", "RestrictNamespaces",
    "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallErrorNumber",
    "SystemCallFilter", "UMask",
)  # fmt: skip
LEFT_OUT = (
    "NoNewPrivileges", "PrivateDevices", "ProtectProc", "ProcSubset", "PrivateIPC",
    "ProtectKernelTunables", "ProtectKernelModules", "ProtectHome", "ProtectHostname",
    "PrivateNetwork", "IPAddressDeny", "MemoryDenyWriteExecute", "PrivateUsers",
)  # fmt: skip


def read_lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def read_settings(name: str) -> dict[str, list[str]]:
    """`Section.Key` → its values, in the order of the file. Refuses what is no unit file."""
    settings: dict[str, list[str]] = {}
    section = ""
    for line in read_lines(name):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, equals, value = line.partition("=")
        assert equals and section and re.fullmatch(r"[A-Za-z]+", key), f"{name}: {line}"
        settings.setdefault(f"{section}.{key}", []).append(value)
    return settings


def read_words(name: str, key: str) -> set[str]:
    return {word for value in read_settings(name).get(key, []) for word in value.split()}


def test_units_are_those_that_are_documented() -> None:
    expected = [
        "xenbackup-recover.service",
        "xenbackup-run@.service",
        "xenbackup-verify.service",
        "xenbackup-verify.timer",
        "xenbackup.service",
    ]
    assert expected == UNITS


def test_every_restriction_has_a_reason_above_it() -> None:
    bare = []
    lines = read_lines("hardening.conf")
    for number, line in enumerate(lines):
        key = line.partition("=")[0]
        if line.startswith(("#", "[")) or not line:
            continue
        above = lines[number - 1]
        same_key = above.startswith(f"{key}=")
        paired = above.partition("=")[0] == "SystemCallFilter" and key == "SystemCallErrorNumber"
        if not (above.startswith("#") or same_key or paired):
            bare.append(line)
    assert [] == bare


def test_restrictions_are_those_that_the_page_counts_on() -> None:
    found = {key.removeprefix("Service.") for key in read_settings("hardening.conf")}
    assert set(HARDENING) == found


def test_what_is_not_restricted_is_told_with_its_reason() -> None:
    text = "\n".join(read_lines("hardening.conf")).partition("# Not here, and why:")[2]
    assert [] == [name for name in LEFT_OUT if name not in text]
    settings = read_settings("hardening.conf")
    assert [] == [name for name in LEFT_OUT if f"Service.{name}" in settings]


def test_rights_that_the_product_needs_are_kept() -> None:
    dropped = read_words("hardening.conf", "Service.CapabilityBoundingSet")
    needed = {
        "CAP_SYS_ADMIN", "CAP_IPC_LOCK", "CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_KILL", "CAP_CHOWN",
        "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
        "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID",
    }  # fmt: skip
    values = read_settings("hardening.conf")["Service.CapabilityBoundingSet"]
    assert all(value.startswith("~") for value in values), "lines of a list of exceptions"
    assert set() == needed & {word.removeprefix("~") for word in dropped}


def test_a_call_that_is_refused_is_an_error_and_kills_nobody() -> None:
    settings = read_settings("hardening.conf")
    assert ["EPERM"] == settings["Service.SystemCallErrorNumber"]
    assert all(value.startswith("~") for value in settings["Service.SystemCallFilter"])


@pytest.mark.parametrize("name", SERVICES)
def test_commands_exist(name: str) -> None:
    (command,) = read_settings(name)["Service.ExecStart"]
    program, verb, *_ = command.split()
    assert "/usr/bin/xenbackup" == program
    assert verb in PLACES


def test_a_job_on_demand_is_never_taken_for_an_option() -> None:
    (command,) = read_settings("xenbackup-run@.service")["Service.ExecStart"]
    assert "/usr/bin/xenbackup run -- %i" == command
    run = load_verb("run")
    with pytest.raises(click.UsageError):
        run.make_context("run", ["--", "--json", "surplus"])


def test_recovery_comes_before_whatever_starts_guests() -> None:
    before = read_words("xenbackup-recover.service", "Unit.Before")
    assert {"xendomains.service", "libvirtd.service"} <= before


def test_recovery_comes_after_xen_and_the_storage_of_guests() -> None:
    after = read_words("xenbackup-recover.service", "Unit.After")
    needed = {
        "xen.service", "xenstored.service", "xenconsoled.service", "xen-init-dom0.service",
        "xend.service", "lvm2-monitor.service", "local-fs.target", "remote-fs.target",
        "open-iscsi.service", "iscsid.service", "drbd.service",
    }  # fmt: skip
    assert needed <= after
    pulled = read_words("xenbackup-recover.service", "Unit.Requires")
    assert set() == pulled, "a unit that is absent or failed must not keep guests down"


def test_recovery_cannot_hold_up_the_boot_for_ever() -> None:
    settings = read_settings("xenbackup-recover.service")
    # Nothing in it may hang on a file server that is gone.
    assert ["/usr/bin/xenbackup recover --no-removals"] == settings["Service.ExecStart"]
    for key in ("Service.TimeoutStartSec", "Service.TimeoutStopSec"):
        (value,) = settings[key]
        assert re.fullmatch(r"[1-9][0-9]*(s|min)", value), key


def test_daemon_starts_after_guests_and_so_stops_before_them() -> None:
    after = read_words("xenbackup.service", "Unit.After")
    assert {"xendomains.service", "xenbackup-recover.service", "remote-fs.target"} <= after


@pytest.mark.parametrize("name", ["xenbackup", "xenbackup-recover", "xenbackup-run@"])
def test_commands_of_a_dead_service_are_left_to_end(name: str) -> None:
    assert ["process"] == read_settings(f"{name}.service")["Service.KillMode"]


@pytest.mark.parametrize("name", ["xenbackup", "xenbackup-recover", "xenbackup-run@"])
def test_what_restores_guests_is_ordered_after_the_bus_and_does_not_need_it(name: str) -> None:
    assert "dbus.service" in read_words(f"{name}.service", "Unit.After")
    settings = read_settings(f"{name}.service")
    pulled = {"Wants", "Requires", "Requisite", "BindsTo"}
    assert set() == {key for key in settings if key.removeprefix("Unit.") in pulled}


def test_daemon_is_started_again_however_often_it_fails() -> None:
    settings = read_settings("xenbackup.service")
    assert ["on-failure"] == settings["Service.Restart"]
    assert ["0"] == settings["Unit.StartLimitIntervalSec"]
    assert ["notify"] == settings["Service.Type"]
    assert ["main"] == settings["Service.NotifyAccess"]
    assert settings["Service.WatchdogSec"]
    assert ["/bin/kill -HUP $MAINPID"] == settings["Service.ExecReload"]


def test_a_wrong_configuration_alone_keeps_the_daemon_from_being_started_again() -> None:
    """Whoever holds its lock may be a killed process, which lets go when nobody is there to see."""
    expected = {str(int(ExitCode.USAGE))}
    assert expected == read_words("xenbackup.service", "Service.RestartPreventExitStatus")
    (start_seconds,) = read_settings("xenbackup.service")["Service.TimeoutStartSec"]
    assert "5min" == start_seconds
    assert HANDOVER_SECONDS < 5 * 60


def test_host_without_configuration_or_hypervisor_is_no_failure() -> None:
    conditions = read_settings("xenbackup.service")["Unit.ConditionPathExists"]
    assert ["/etc/xenbackup/config.toml", "/proc/xen"] == conditions


def test_recovery_asks_for_no_configuration() -> None:
    settings = read_settings("xenbackup-recover.service")
    assert ["/proc/xen"] == settings["Unit.ConditionPathExists"]


def test_groups_are_those_of_the_socket() -> None:
    text = (FOLDER / "xenbackup.sysusers").read_text()
    groups = re.findall(r"^g (\S+)", text, flags=re.M)
    assert ["xenbackup", "xenbackup-operators"] == groups


def test_folders_are_made_alike_by_tmpfiles_and_by_the_service() -> None:
    made = dict(
        re.findall(
            r"^d (\S+) (\S+) root root", (FOLDER / "xenbackup.tmpfiles").read_text(), flags=re.M
        )
    )
    settings = read_settings("xenbackup.service")
    expected = {
        f"/run/{settings['Service.RuntimeDirectory'][0]}": settings["Service.RuntimeDirectoryMode"][
            0
        ],
        f"/var/lib/{settings['Service.StateDirectory'][0]}": settings["Service.StateDirectoryMode"][
            0
        ],
    }
    assert expected == made
    assert "0700" == made["/var/lib/xenbackup"]


@pytest.mark.parametrize(
    "instance", ["nightly", "on-demand", "A1_b", "-x", "--json", "a b", "a.b", "../x", "", "ü"]
)
def test_operators_may_start_what_is_a_job_name_and_nothing_else(instance: str) -> None:
    rule = (FOLDER / "60-xenbackup.rules").read_text()
    (pattern,) = re.findall(r"/(\^xenbackup-run@.*\$)/\.test", rule)
    unit = f"xenbackup-run@{instance}.service"
    assert is_name(instance) == bool(re.search(pattern, unit))


def test_operators_may_start_but_do_nothing_else() -> None:
    rule = (FOLDER / "60-xenbackup.rules").read_text()
    assert ["start"] == re.findall(r'lookup\("verb"\) === "([a-z-]+)"', rule)
    assert ["xenbackup-operators"] == re.findall(r'isInGroup\("([a-z-]+)"\)', rule)
    assert 1 == rule.count("Result.YES")


def test_limits_of_a_stop_are_those_that_the_installation_page_tells() -> None:
    page = " ".join((FOLDER.parent / "docs/install.md").read_text(encoding="utf-8").split())
    spelled = {"2min": "2 minutes", "10min": "10 minutes", "30s": "30 seconds"}
    limits = {
        name: spelled[read_settings(name)["Service.TimeoutStopSec"][0]]
        for name in ("xenbackup.service", "xenbackup-run@.service", "xenbackup-recover.service")
    }
    for name, limit in limits.items():
        unit = name.replace("@.", "@JOB.")
        assert f"{limit} for `{unit}`" in page
    assert f"as much time as that takes, {EXTENSION_SECONDS:.0f} seconds at a time" in page
    assert f"hooks, plans and retention, it waits for {AFTERWARDS_SECONDS:.0f} seconds" in page
