"""Teeth of the control socket: who may ask, and how much anybody may make the daemon hold."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

SERVER = "tests/unit/control/test_server.py"
HOSTILE = "tests/unit/control/test_hostile_clients.py"
FRAMES = "tests/unit/control/test_frames.py"
PROTOCOL = "tests/unit/control/test_protocol.py"
OUTBOX = "tests/unit/control/test_outbox.py"

CONTROL_TEETH = (
    Tooth(
        name="socket-permission-decided",
        act="a request is answered only after its peer's role was found to be enough",
        file="service/control/server.py",
        text="            if self._permit(request, peer, stream):\n",
        instead="            if True:\n",
        tests=(f"{SERVER}::test_role_of_the_peer_decides",),
    ),
    Tooth(
        name="socket-role-from-kernel",
        act="groups count by the host's accounts, not by what a process claims",
        file="service/control/permissions.py",
        text="    if reader_gid is not None and reader_gid in gids:\n",
        instead="    if True:\n",
        tests=(f"{SERVER}::test_kernel_tells_who_asks",),
    ),
    Tooth(
        name="frame-length-checked",
        act="a frame's length is judged before a byte of it is read",
        file="service/control/frames.py",
        text="                _check_length(self._length, self._limit_bytes)\n",
        instead="",
        tests=(f"{FRAMES}::test_length_out_of_bounds_is_refused_with_the_header",),
    ),
    Tooth(
        name="frame-deadline",
        act="a request that does not arrive in time is refused",
        file="service/control/connection.py",
        text="            return self._began + self._limits.frame_seconds\n",
        instead="            return self._moved + self._limits.frame_seconds + 3600\n",
        tests=(f"{HOSTILE}::test_outlasted_request_is_due",),
    ),
    Tooth(
        name="request-key-once",
        act="a request in which a key is there twice is refused",
        file="service/control/protocol.py",
        text="        _refuse_ambiguity(body)\n",
        instead="",
        tests=(f"{PROTOCOL}::test_anything_but_exactly_one_request_is_refused",),
    ),
    Tooth(
        name="request-names-no-option",
        act="a name that begins like an option is refused before a command could take it for one",
        file="service/control/protocol.py",
        text='    elif name[0] in "-.":\n',
        instead="    elif False:\n",
        tests=(f"{PROTOCOL}::test_name_that_could_pass_for_something_else_is_refused",),
    ),
    Tooth(
        name="outbox-bounded",
        act="what waits for a client that does not read is bounded",
        file="service/control/outbox.py",
        text="        self._shed()\n",
        instead="",
        tests=(f"{OUTBOX}::test_amounts_go_before_steps_and_steps_before_the_result",),
    ),
)
