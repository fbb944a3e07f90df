"""Who may ask for what: every user, every group and every verb, against a list spelled out here."""

from __future__ import annotations

from itertools import product

import pytest

from xenbackup.cli.verbs import PLACES
from xenbackup.service.control.permissions import PERMISSIONS, Role, decide, find_role
from xenbackup.service.control.protocol import REQUESTS

READER, OPERATOR, OTHER = 70001, 70002, 70003

MAY_READ = {"status", "inventory", "check", "plan", "runs", "show", "points"}
MAY_RUN = MAY_READ | {"run", "attach", "cancel"}
MAY_ALL = MAY_RUN | {"reload", "prune", "pin", "unpin"}
ALLOWED = {
    Role.NOBODY: set[str](),
    Role.READER: MAY_READ,
    Role.OPERATOR: MAY_RUN,
    Role.ROOT: MAY_ALL,
}
UNKNOWN = {"", "Status", "status ", "teleport", "__class__"}
UIDS = (0, 1, 990, 1000, 65534, 2**32 - 2)
GIDS = (
    frozenset({OTHER}),
    frozenset({0}),
    frozenset({READER}),
    frozenset({OPERATOR}),
    frozenset({OTHER, READER}),
    frozenset({OTHER, OPERATOR}),
    frozenset({READER, OPERATOR}),
    frozenset({0, 1, 65534, 2**32 - 2}),
)


@pytest.mark.parametrize("verb", sorted(set(PERMISSIONS) | UNKNOWN))
@pytest.mark.parametrize("uid", UIDS)
def test_every_user_group_and_verb(uid: int, verb: str) -> None:
    hosts = product(GIDS, (0, 990, 1000), (None, READER), (None, OPERATOR))
    for gids, daemon_uid, reader_gid, operator_gid in hosts:
        if uid in (0, daemon_uid):
            expected = Role.ROOT
        elif OPERATOR in gids and operator_gid:
            expected = Role.OPERATOR
        elif READER in gids and reader_gid:
            expected = Role.READER
        else:
            expected = Role.NOBODY
        role = find_role(
            uid,
            gids,
            daemon_uid=daemon_uid,
            reader_gid=reader_gid,
            operator_gid=operator_gid,
        )
        assert expected is role
        assert (verb in ALLOWED[expected]) == decide(verb, role).allowed


def test_group_that_is_not_on_the_host_has_no_members() -> None:
    """Not even those whose group 0 or highest group could pass for nothing."""
    for gids in GIDS:
        role = find_role(1000, gids, daemon_uid=0, reader_gid=None, operator_gid=None)
        assert Role.NOBODY is role


def test_each_verb_of_the_command_line_has_its_line() -> None:
    missing = set(PLACES) - set(PERMISSIONS)
    assert set() == missing


def test_what_is_served_is_what_can_be_asked() -> None:
    assert set(REQUESTS) == {verb for verb, found in PERMISSIONS.items() if found.served}
    assert set(REQUESTS) == MAY_ALL


@pytest.mark.parametrize(
    ("verb", "role", "reason", "hint"),
    [
        (
            "status",
            Role.NOBODY,
            "groups xenbackup and xenbackup-operators",
            "adduser USER xenbackup`",
        ),
        ("run", Role.READER, "the group xenbackup-operators", "adduser USER xenbackup-operators`"),
        ("prune", Role.OPERATOR, "root alone", "as root"),
        ("restore", Role.ROOT, "not served over the control socket", "`xenbackup restore` as root"),
        ("teleport", Role.ROOT, "not served over the control socket", ""),
    ],
)
def test_refusal_says_who_may_and_what_helps(verb: str, role: Role, reason: str, hint: str) -> None:
    decision = decide(verb, role)
    assert not decision.allowed
    assert reason in decision.reason
    assert hint in decision.hint
