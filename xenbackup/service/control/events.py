"""Events of the control socket: what the daemon tells a client, and how they are put into frames.

Nothing but Structs and texts is needed here, so that a client that only shows them stays small;
`relay` turns them into calls of a watcher and back.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from xenbackup.errors import FrameRefused

VERSION = 1
"""Of the protocol. Any change of a message's shape raises it; both sides refuse another one."""

TEXT_LETTERS = 4000
"""No single message of a person's size needs more; what is longer is cut, with an ellipsis."""


def clip(text: str, limit: int = TEXT_LETTERS) -> str:
    """The text, cut to `limit` letters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _spell_tag(name: str) -> str:
    """`StepBegan` is `step-began` on the wire."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one domain: field by field the `RunResult` of the model."""

    run: str
    domain: str
    uuid: str
    outcome: Literal["ok", "partial", "failed", "cancelled"]
    preset: str = ""
    consistency: str = ""
    point: str = ""
    away_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    exit_code: int = 1
    may_pass: bool = False


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="event",
    tag=_spell_tag,
):
    """Base of all events."""

    version: int = VERSION


class Welcome(Event, frozen=True, kw_only=True):
    """The first event of every connection: `daemon` is the version of the program."""

    daemon: str


class Alive(Event, frozen=True, kw_only=True):
    """Nothing happened for a while, and the daemon is well."""


class Attached(Event, frozen=True, kw_only=True):
    """What the stream shows from here on: the round's id is what `cancel` takes."""

    round: str
    job: str


class Queued(Event, frozen=True, kw_only=True):
    """A run waits, and why."""

    round: str
    job: str
    domain: str
    reason: str


class PlanTold(Event, frozen=True, kw_only=True):
    """The plan as a page for a person; `told` are the warnings that it holds."""

    job: str
    text: str
    told: tuple[str, ...] = ()


class RunBegan(Event, frozen=True, kw_only=True):
    """A run began, with these steps before it."""

    run: str
    domain: str
    steps: tuple[str, ...]


class StepBegan(Event, frozen=True, kw_only=True):
    """A step began."""

    run: str
    step: str


class StepDone(Event, frozen=True, kw_only=True):
    """A step is done."""

    run: str
    step: str


class AmountDone(Event, frozen=True, kw_only=True):
    """How far something is, in bytes: a disk, `memory image` or `saving memory`."""

    run: str
    what: str
    done: int
    total: int


class AbsenceBegan(Event, frozen=True, kw_only=True):
    """The guest is about to stand still."""

    run: str


class AbsenceEnded(Event, frozen=True, kw_only=True):
    """The guest runs again."""

    run: str


class RescueBegan(Event, frozen=True, kw_only=True):
    """A run is being undone, the guest first."""

    run: str
    reason: str


class Warned(Event, frozen=True, kw_only=True):
    """A run goes on, but somebody should know this."""

    run: str
    message: str


class RunEnded(Event, frozen=True, kw_only=True):
    """A run is over."""

    result: RunFacts


class ResultTold(Event, frozen=True, kw_only=True):
    """The round is over; `error` is why it failed as a whole, before any run.

    A large one comes in parts: `more` says that another one follows.
    """

    round: str
    job: str
    outcome: Literal["ok", "partial", "failed", "cancelled"]
    exit_code: int
    runs: tuple[RunFacts, ...]
    error: str = ""
    hint: str = ""
    more: bool = False


class PageText(Event, frozen=True, kw_only=True):
    """A piece of a page, in order."""

    stream: Literal["stdout", "stderr"]
    text: str


class StatusTold(Event, frozen=True, kw_only=True):
    """The state of the host, one JSON document of its own."""

    status: msgspec.Raw


class Noted(Event, frozen=True, kw_only=True):
    """A remark for a person."""

    text: str


class Error(Event, frozen=True, kw_only=True):
    """Why what was asked is refused, or failed; `end` follows."""

    message: str
    hint: str = ""
    exit_code: int = 1


class End(Event, frozen=True, kw_only=True):
    """Nothing follows. The exit code is what a command line ends with."""

    exit_code: int = 0


AnyEvent = (
    Welcome
    | Alive
    | Attached
    | Queued
    | PlanTold
    | RunBegan
    | StepBegan
    | StepDone
    | AmountDone
    | AbsenceBegan
    | AbsenceEnded
    | RescueBegan
    | Warned
    | RunEnded
    | ResultTold
    | PageText
    | StatusTold
    | Noted
    | Error
    | End
)


class _Version(msgspec.Struct, frozen=True):
    version: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)
_versions = msgspec.json.Decoder(_Version)


def encode_event(event: Event) -> bytes:
    """The body of an event's frame.

    A name whose bytes are not UTF-8 is told with those bytes escaped: JSON has no word for them.
    """
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(_escape_stray_bytes(msgspec.to_builtins(event)))


def decode_event(body: bytes) -> AnyEvent:
    """The event in a frame's body.

    Raises: FrameRefused, which tells a daemon of another version from one that speaks nonsense.
    """
    try:
        event: AnyEvent = _decoder.decode(body)
        version = event.version
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        version = _find_version(body)
        if version in (0, VERSION):
            reason = clip(str(error), 300)
            raise FrameRefused(f"The daemon's answer cannot be read: {reason}.") from error
    if version != VERSION:
        raise FrameRefused(
            f"The daemon speaks version {version} of the protocol, this program {VERSION}.",
            hint="restart the daemon: `systemctl restart xenbackup`",
        )
    return event


def _find_version(body: bytes) -> int:
    try:
        return _versions.decode(body).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0


def _escape_stray_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _escape_stray_bytes(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_escape_stray_bytes(inner) for inner in value]
    return value
