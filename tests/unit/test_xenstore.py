"""XenStore: both ends of each disk, believed only as far as a guest may write; suspend requests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import RecordedHost, answer, load_recording
from xenbackup.dom0 import xenstore
from xenbackup.errors import CommandFailed, CommandTimedOut, UnexpectedOutput, UsageError
from xenbackup.model.domain import DiskConnection

ROOT = "/local/domain/2/device/vbd"
BACKEND = "/local/domain/0/backend/vbd/2/51712"
SHUTDOWN = "/local/domain/2/control/shutdown"
# The wording of xenstore-read is recorded in health-kill9-rescue, that of xenstore-ls is err(3)'s.
MISSING_KEY = answer(exit_code=1, stderr=f"xenstore-read: couldn't read path {ROOT}\n")
MISSING_TREE = answer(
    exit_code=1, stderr=f"xenstore-ls: xs_directory ({ROOT}): No such file or directory\n"
)


def make_tree(vdev: int = 51712, state: str = "4", backend: str = BACKEND) -> str:
    disk = f"{ROOT}/{vdev}"
    return (
        f'{disk} = ""\n{disk}/backend = "{backend}"\n{disk}/backend-id = "0"\n'
        f'{disk}/state = "{state}"\n{disk}/virtual-device = "{vdev}"\n'
        f'{disk}/device-type = "disk"\n{disk}/protocol = "x86_64-abi"\n'
    )


def read(tree: str, backend_state: str = "4\n") -> tuple[DiskConnection, ...]:
    host = RecordedHost({"xenstore-ls": tree, "xenstore-read": backend_state})
    return xenstore.read_connections(host, 2)


def test_both_ends_of_a_connected_disk() -> None:
    expected = DiskConnection(
        vdev_number=51712, frontend_state=4, backend_state=4, backend_path=BACKEND
    )
    assert (expected,) == read(make_tree())


def test_the_back_end_is_read_where_the_front_end_says() -> None:
    backend = "/local/domain/7/backend/qdisk/2/51728"
    host = RecordedHost({"xenstore-ls": make_tree(51728, backend=backend)})
    host.answers[f"xenstore-read {backend}/state"] = "2\n"
    (found,) = xenstore.read_connections(host, 2)
    assert (2, backend) == (found.backend_state, found.backend_path)


def test_disks_come_in_the_order_of_their_numbers() -> None:
    found = read(make_tree(51728) + make_tree(51712))
    assert [51712, 51728] == [connection.vdev_number for connection in found]


def test_a_domain_without_front_ends_has_no_connections() -> None:
    host = RecordedHost({"xenstore-ls": MISSING_TREE})
    assert () == xenstore.read_connections(host, 2)
    assert () == read(f'{ROOT} = ""\n')


def test_a_back_end_that_is_gone_has_state_zero() -> None:
    host = RecordedHost({"xenstore-ls": make_tree(), "xenstore-read": MISSING_KEY})
    (found,) = xenstore.read_connections(host, 2)
    assert (4, 0) == (found.frontend_state, found.backend_state)


def test_a_front_end_without_state_counts_as_unconnected() -> None:
    (found,) = read(f'{ROOT}/51712/backend = "{BACKEND}"\n')
    assert (0, 4) == (found.frontend_state, found.backend_state)


@pytest.mark.parametrize("state", ["", "x", "44", "-4", "0", "4\\n"])
def test_odd_states_that_a_guest_wrote_count_as_unconnected(state: str) -> None:
    (found,) = read(make_tree(state=state))
    assert 0 == found.frontend_state


@pytest.mark.parametrize(
    "backend",
    [
        "",
        "/local/domain/0/backend/vbd/3/51712",
        "/local/domain/0/backend/vbd/2/51728",
        "/local/domain/2/data",
        "-h",
        "/local/domain/0/backend/../2/51712",
    ],
)
def test_a_guest_cannot_point_at_another_back_end(backend: str) -> None:
    host = RecordedHost({"xenstore-ls": make_tree(backend=backend)})
    (found,) = xenstore.read_connections(host, 2)
    assert 0 == found.backend_state
    assert [] == host.lines_of("xenstore-read")


def test_failures_other_than_a_missing_path_are_errors() -> None:
    refused = answer(exit_code=1, stderr="xenstore-ls: xs_open: Connection refused\n")
    with pytest.raises(CommandFailed, match="Connection refused"):
        xenstore.read_connections(RecordedHost({"xenstore-ls": refused}), 2)
    with pytest.raises(CommandTimedOut):
        late = answer(exit_code=-9, timed_out=True)
        xenstore.read_connections(RecordedHost({"xenstore-ls": late}), 2)


def test_dom0_is_never_asked_about() -> None:
    host = RecordedHost()
    with pytest.raises(UsageError):
        xenstore.read_connections(host, 0)
    assert [] == host.lines


def test_a_recorded_tree_is_read() -> None:
    text = load_recording("xenstore-domain").stdout
    tree = xenstore.parse_tree("xenstore-ls", text, "/local/domain/0")
    assert ("Domain-0", "1572864") == (tree["name"], tree["memory/target"])


@pytest.mark.parametrize("line", ["garbage", '/local/domain/22/x = "1"', '/other = "1"'])
def test_lines_from_elsewhere_are_refused(line: str) -> None:
    with pytest.raises(UnexpectedOutput, match="xenstore-ls"):
        xenstore.parse_tree("xenstore-ls", line, "/local/domain/2")


def test_a_key_that_vanished_while_it_was_listed_is_not_there() -> None:
    """xenstore-ls prints its name and a colon, and an empty line (do_ls in xenstore_client.c)."""
    text = '/local/domain/2/device/vbd/51712/state:\n\n/local/domain/2/name = "web"\n'
    assert {"name": "web"} == xenstore.parse_tree("xenstore-ls", text, "/local/domain/2")


def test_a_left_behind_suspend_request_is_cleared() -> None:
    host = RecordedHost({"xenstore-read": "suspend\n", "xenstore-write": answer()})
    assert xenstore.clear_suspend_request(host, 2)
    assert [("xenstore-read", SHUTDOWN), ("xenstore-write", SHUTDOWN, "")] == [
        call.argv for call in host.calls
    ]


@pytest.mark.parametrize("request_", ["", "poweroff", "reboot"])
def test_other_requests_are_left_alone(request_: str) -> None:
    host = RecordedHost({"xenstore-read": f"{request_}\n"})
    assert request_ == xenstore.read_shutdown_request(host, 2)
    assert not xenstore.clear_suspend_request(host, 2)


def test_a_domain_without_the_key_has_no_request() -> None:
    host = RecordedHost({"xenstore-read": MISSING_KEY})
    assert "" == xenstore.read_shutdown_request(host, 2)
    assert not xenstore.clear_suspend_request(host, 2)


@settings(max_examples=100, deadline=None)
@given(
    position=st.integers(0, 400),
    insert=st.text(max_size=15) | st.text(alphabet='0123456789=" \n/٣', max_size=15),
    remove=st.integers(0, 60),
)
def test_damaged_trees_are_read_or_refused(position: int, insert: str, remove: int) -> None:
    tree = make_tree()
    try:
        read(tree[:position] + insert + tree[position + remove :], backend_state=insert)
    except UnexpectedOutput as error:
        assert error.hint


CONTROL = "/local/domain/1/control"


def say(**features: str) -> RecordedHost:
    keys = {"shutdown": "", "sysrq": "", **{f"feature-{key}": features[key] for key in features}}
    tree = "".join(f'{CONTROL}/{key} = "{value}"\n' for key, value in keys.items())
    return RecordedHost({"xenstore-ls": tree})


def test_recorded_guest_offers_to_be_suspended() -> None:
    host = RecordedHost({"xenstore-ls": load_recording("xenstore-control")})
    assert not xenstore.offers_no_suspend(host, 1)
    assert [f"xenstore-ls -f {CONTROL}"] == host.lines


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"poweroff": "1", "reboot": "1", "suspend": ""}, True),
        ({"poweroff": "1", "reboot": "1"}, True),
        ({"poweroff": "1", "suspend": "0"}, True),
        ({"suspend": "0"}, True),
        ({"poweroff": "1", "suspend": "1"}, False),
        ({"poweroff": "", "reboot": "", "suspend": ""}, False),
        ({"suspend": ""}, False),
        ({"poweroff": "0", "suspend": ""}, False),
        ({"poweroff": "1", "suspend": "yes"}, False),
        ({}, False),
    ],
)
def test_only_a_guest_that_says_what_it_obeys_tells_that_it_is_not_suspend(
    features: dict[str, str], expected: bool
) -> None:
    assert expected == xenstore.offers_no_suspend(say(**features), 1)


def test_guest_that_is_gone_refuses_nothing() -> None:
    assert not xenstore.offers_no_suspend(RecordedHost({"xenstore-ls": MISSING_TREE}), 1)
