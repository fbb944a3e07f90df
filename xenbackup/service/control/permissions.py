"""Who may ask for what: a table and two pure decisions. What is not allowed here is denied.

The role of a process comes from the kernel's word about it (user and groups), never from anything
that it says of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

READER_GROUP = "xenbackup"
OPERATOR_GROUP = "xenbackup-operators"


class Role(IntEnum):
    """What a peer is to this daemon; each one may do all that the lower ones may."""

    NOBODY = 0
    READER = 1
    OPERATOR = 2
    ROOT = 3


@dataclass(frozen=True, kw_only=True)
class Permission:
    """The lowest role that may use a verb, and whether the socket serves that verb at all."""

    role: Role
    served: bool = True


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a request goes on; if not, the reason and what would help."""

    allowed: bool
    reason: str = ""
    hint: str = ""


_LOCAL = Permission(role=Role.ROOT, served=False)

PERMISSIONS: Mapping[str, Permission] = MappingProxyType(
    {
        "status": Permission(role=Role.READER),
        "inventory": Permission(role=Role.READER),
        "check": Permission(role=Role.READER),
        "plan": Permission(role=Role.READER),
        "runs": Permission(role=Role.READER),
        "show": Permission(role=Role.READER),
        "points": Permission(role=Role.READER),
        "run": Permission(role=Role.OPERATOR),
        "attach": Permission(role=Role.OPERATOR),
        "cancel": Permission(role=Role.OPERATOR),
        "reload": Permission(role=Role.ROOT),
        "prune": Permission(role=Role.ROOT),
        "pin": Permission(role=Role.ROOT),
        "unpin": Permission(role=Role.ROOT),
        "config": _LOCAL,
        "daemon": _LOCAL,
        "demo": _LOCAL,
        "destination": _LOCAL,
        "init": _LOCAL,
        "recover": _LOCAL,
        "restore": _LOCAL,
        "verify": _LOCAL,
    }
)
"""Every verb of the command line, and those that only the socket knows (`attach`, `reload`)."""


def find_role(
    uid: int,
    gids: Collection[int],
    *,
    daemon_uid: int,
    reader_gid: int | None,
    operator_gid: int | None,
) -> Role:
    """The role of a process by its user and all of its groups.

    A group that the host does not have (None) makes nobody a member. A daemon that does not run as
    root, as on a simulated host, serves its own user as one that does serves root.
    """
    if uid in (0, daemon_uid):
        return Role.ROOT
    if operator_gid is not None and operator_gid in gids:
        return Role.OPERATOR
    if reader_gid is not None and reader_gid in gids:
        return Role.READER
    return Role.NOBODY


def decide(
    verb: str,
    role: Role,
    *,
    reader_group: str = READER_GROUP,
    operator_group: str = OPERATOR_GROUP,
) -> Decision:
    """Whether somebody of this role may have the verb over the socket."""
    permission = PERMISSIONS.get(verb)
    if permission is None or not permission.served:
        return Decision(
            allowed=False,
            reason=f"`{verb}` is not served over the control socket.",
            hint=f"`xenbackup {verb}` as root does it without the daemon" if permission else "",
        )
    if role >= permission.role:
        return Decision(allowed=True)
    needed, hint = {
        Role.READER: (
            f"root, and members of the groups {reader_group} and {operator_group}",
            f"root can add you: `adduser USER {reader_group}`",
        ),
        Role.OPERATOR: (
            f"root, and members of the group {operator_group}",
            f"root can add you: `adduser USER {operator_group}`",
        ),
    }.get(permission.role, ("root alone", "ask again as root"))
    return Decision(allowed=False, reason=f"`{verb}` is for {needed}.", hint=hint)
