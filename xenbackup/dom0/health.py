"""Health of a domain: what it was just before a run, and in which ways it is less now.

A domain that is listed as running may have dead disks, a frozen device below them, or nobody left
to act on its next reboot; and a domain without PV drivers, with an empty CD drive or a driver
domain never looks textbook-healthy. So each is compared with itself.
"""

from __future__ import annotations

from xenbackup.dom0.device_mapper import find_suspended_under
from xenbackup.dom0.host import Host
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.dom0.xenstore import read_connections
from xenbackup.errors import DomainChanged, PlanRefused
from xenbackup.model.domain import (
    DiskConnection,
    Domain,
    DomainIdentity,
    HealthBaseline,
    HealthFinding,
)
from xenbackup.model.vdev import number_vdev


def take_baseline(
    host: Host, toolstack: Toolstack, domain: Domain, boot_id: str = ""
) -> HealthBaseline:
    """What healthy means for this domain, as it is now. Raises: CommandFailed, UnexpectedOutput."""
    present = toolstack.find_domain(domain.uuid)
    state = present.state if present is not None else domain.state
    return HealthBaseline(
        identity=DomainIdentity(
            boot_id=boot_id or host.boot_id(),
            uuid=domain.uuid,
            domid=domain.domid,
            name=domain.name,
        ),
        connections=read_connections(host, domain.domid),
        monitor_alive=bool(find_monitors(host, domain.name)),
        paused_by_administrator=state.paused,
    )


def refuse_unlisted_disks(toolstack: Toolstack, domain: Domain, baseline: HealthBaseline) -> None:
    """xenstore knows no virtual disk of the guest that the plan does not.

    xl before Xen 4.5 tells of the disks that a guest was created with: one that `xl block-attach`
    gave it later would be missing in the point, and nobody would know. Where a disk has a name
    without a number, nobody can tell.

    Raises: PlanRefused; DomainChanged for a disk that was attached since the plan was made, and
    that the next one will have; CommandFailed, UnexpectedOutput.
    """
    unlisted = _list_unlisted(domain, baseline)
    if not unlisted:
        return
    numbers = ", ".join(str(number) for number in unlisted)
    present = toolstack.find_domain(domain.uuid)
    if present is not None and not _list_unlisted(present, baseline):
        raise DomainChanged(
            f"{domain.name} was given a virtual disk since the plan was made (number {numbers} in "
            "xenstore): it would be missing in the point.",
            hint="run the job again",
        )
    raise PlanRefused(
        f"{domain.name} has a virtual disk that its configuration does not tell of (number "
        f"{numbers} in xenstore): it would be missing in the point.",
        hint="detach it, or write it into the guest's file and start the guest anew",
    )


def _list_unlisted(domain: Domain, baseline: HealthBaseline) -> list[int]:
    """Numbers of the disks that xenstore alone knows; none where that cannot be told."""
    numbers = {number_vdev(disk.vdev) for disk in domain.disks}
    if None in numbers:
        return []
    return [
        end.vdev_number
        for end in baseline.connections
        # A guest may write front-ends; only dom0 gives them back-ends.
        if end.backend_state and end.vdev_number not in numbers
    ]


def examine_health(
    host: Host, toolstack: Toolstack, baseline: HealthBaseline, domid: int | None = None
) -> tuple[HealthFinding, ...]:
    """Each way in which the domain is less than its baseline; () means healthy.

    `domid` is the number it must have now: that of the baseline, or the new one of a restore.
    Raises: CommandFailed, UnexpectedOutput.
    """
    identity = baseline.identity
    expected_domid = identity.domid if domid is None else domid
    domain = toolstack.find_domain(identity.uuid)
    if domain is None or domain.domid != expected_domid or host.boot_id() != identity.boot_id:
        now = f"domain {domain.domid} has its UUID" if domain else "no domain has its UUID"
        return (
            HealthFinding(
                code="gone", message=f"{identity.name} is not domain {expected_domid}: {now}"
            ),
        )
    return (
        *_examine_state(domain, baseline),
        *_examine_disks(host, domain, baseline),
        *_examine_monitor(host, baseline),
    )


def _examine_state(domain: Domain, baseline: HealthBaseline) -> tuple[HealthFinding, ...]:
    name, state = baseline.identity.name, domain.state
    findings = []
    if state.dying:
        findings.append(HealthFinding(code="dying", message=f"{name} is being torn down"))
    if state.shutdown:
        reason = state.shutdown_reason.value if state.shutdown_reason else "unknown"
        findings.append(
            HealthFinding(
                code="shutdown", message=f"{name} is shut down ({state.letters}, reason {reason})"
            )
        )
    if state.paused and not baseline.paused_by_administrator:
        findings.append(HealthFinding(code="paused", message=f"{name} is paused"))
    return tuple(findings)


def _examine_disks(
    host: Host, domain: Domain, baseline: HealthBaseline
) -> tuple[HealthFinding, ...]:
    name = baseline.identity.name
    findings = []
    now = {end.vdev_number: end for end in read_connections(host, domain.domid)}
    for before in baseline.connections:
        lost = _name_lost_ends(before, now.get(before.vdev_number))
        if lost:
            findings.append(
                HealthFinding(
                    code="disk-disconnected",
                    message=f"{name}: disk {before.vdev_number} lost its {lost}",
                )
            )
    targets = (disk.target for disk in domain.disks)
    for device in find_suspended_under(host, targets):
        findings.append(
            HealthFinding(
                code="device-suspended",
                message=f"{name}: the device {device} under its disks is suspended",
            )
        )
    return tuple(findings)


def _name_lost_ends(before: DiskConnection, now: DiskConnection | None) -> str:
    """Which ends were connected and are not; "" when none."""
    front, back = now.rank if now is not None else (False, False)
    frontend, backend = before.rank
    lost = []
    if frontend and not front:
        lost.append(f"front-end (state {now.frontend_state if now else 'missing'})")
    if backend and not back:
        lost.append(f"back-end (state {now.backend_state if now else 'missing'})")
    return " and ".join(lost)


def _examine_monitor(host: Host, baseline: HealthBaseline) -> tuple[HealthFinding, ...]:
    name = baseline.identity.name
    monitors = find_monitors(host, name)
    if baseline.monitor_alive and not monitors:
        message = f"{name} has no xl monitor any more: its own reboot or crash would leave it down"
        return (HealthFinding(code="monitor-gone", message=message),)
    if monitors and all(monitor.stopped for monitor in monitors):
        message = f"the xl monitor of {name} is stopped (process {monitors[0].pid})"
        return (HealthFinding(code="monitor-stopped", message=message),)
    return ()
