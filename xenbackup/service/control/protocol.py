"""Messages of the control socket: what a client may ask for, and how a request is read strictly.

A request names things (jobs, domains, runs, recovery points) and gives numbers and switches; there
is no field that could carry a path, an option or a command. What the daemon tells is in `events`.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from xenbackup.errors import FrameRefused, NameRefused
from xenbackup.service.control.events import VERSION, clip

JOB_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
DOMAIN_LIMIT_BYTES = 63
# A reference is an id, the beginning of one, a name, or a domain with `@latest` behind it.
REFERENCE_LIMIT_BYTES = DOMAIN_LIMIT_BYTES + len("@latest")
# A request needs two pairs at most; names with brackets leave some to spare. It bounds the depth.
_BRACKETS_LIMIT = 200
_EXCERPT_LETTERS = 300


def check_job(name: str) -> str:
    """The name of a job, if one can be called so. Raises: NameRefused."""
    if JOB_PATTERN.fullmatch(name) is None:
        raise NameRefused(
            f"No job can be called {_quote(name)}.",
            hint="1 to 64 letters, digits, - and _, with a letter or digit first",
        )
    return name


def check_domain(name: str) -> str:
    """The name of a domain, if a command of ours may carry it. Raises: NameRefused."""
    return _check_name(name, "domain", DOMAIN_LIMIT_BYTES)


def check_reference(text: str) -> str:
    """What may name a run, a round or a recovery point. Raises: NameRefused."""
    return _check_name(text, "run or recovery point", REFERENCE_LIMIT_BYTES)


def _check_name(name: str, noun: str, limit_bytes: int) -> str:
    reason = ""
    if not name:
        reason = "it is empty"
    elif not name.isprintable():
        reason = "it holds a control character"
    elif name[0] in "-.":
        reason = f"it begins with `{name[0]}`"
    elif "/" in name:
        reason = "it holds a `/`"
    elif len(name.encode()) > limit_bytes:
        reason = f"it is longer than {limit_bytes} bytes"
    if reason:
        raise NameRefused(f"No {noun} can be called {_quote(name)}: {reason}.")
    return name


def _quote(name: str) -> str:
    return ascii(name if len(name) <= 80 else name[:79] + "~")


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the one who asks wants a page laid out: as on that terminal, or as JSON."""

    json: bool = False
    width: Annotated[int, msgspec.Meta(ge=20, le=1000)] = 80
    colour: bool = False
    utf8: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests; each checks its names when it is made, here or from a frame."""

    verb: ClassVar[str] = ""

    def spell_arguments(self) -> str:
        """What is asked, for a log: `job=nightly`; the layout is of no interest there."""
        fields = msgspec.structs.asdict(self)
        return " ".join(f"{key}={value}" for key, value in fields.items() if key != "layout")


class StatusRequest(Request, frozen=True, kw_only=True):
    """How the host stands, as one document."""

    verb: ClassVar[str] = "status"


class PageRequest(Request, frozen=True, kw_only=True):
    """Base of what the daemon renders as the command line would."""

    layout: Layout = Layout()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line that mean this request."""
        return (self.verb,)


class RunsRequest(PageRequest, frozen=True, kw_only=True):
    """The newest `number` runs."""

    verb: ClassVar[str] = "runs"
    number: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 30

    @property
    def words(self) -> tuple[str, ...]:
        return (self.verb, "--number", str(self.number))


class PointsRequest(PageRequest, frozen=True, kw_only=True):
    """The recovery points; those of one domain when it is named."""

    verb: ClassVar[str] = "points"
    domain: str = ""

    def __post_init__(self) -> None:
        if self.domain:
            check_domain(self.domain)

    @property
    def words(self) -> tuple[str, ...]:
        return (self.verb, "--", self.domain) if self.domain else (self.verb,)


class ShowRequest(PageRequest, frozen=True, kw_only=True):
    """The story of a run, and its recovery point."""

    verb: ClassVar[str] = "show"
    name: str

    def __post_init__(self) -> None:
        check_reference(self.name)

    @property
    def words(self) -> tuple[str, ...]:
        return (self.verb, "--", self.name)


class JobRequest(PageRequest, frozen=True, kw_only=True):
    """Base of what is asked of all jobs, or of one."""

    job: str = ""

    def __post_init__(self) -> None:
        if self.job:
            check_job(self.job)

    @property
    def options(self) -> tuple[str, ...]:
        """Words between the verb and the job."""
        return ()

    @property
    def words(self) -> tuple[str, ...]:
        words = (self.verb, *self.options)
        return (*words, "--", self.job) if self.job else words


class CheckRequest(JobRequest, frozen=True, kw_only=True):
    """What stands in the way of the jobs, or of one."""

    verb: ClassVar[str] = "check"
    nagios: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        return ("--nagios",) if self.nagios else ()


class PlanRequest(PageRequest, frozen=True, kw_only=True):
    """What a job would do now."""

    verb: ClassVar[str] = "plan"
    job: str

    def __post_init__(self) -> None:
        check_job(self.job)

    @property
    def words(self) -> tuple[str, ...]:
        return (self.verb, "--", self.job)


class InventoryRequest(PageRequest, frozen=True, kw_only=True):
    """What the host has; `every` lists dom0's own PCI devices too."""

    verb: ClassVar[str] = "inventory"
    part: Literal["", "disks", "pci", "resources", "drivers"] = ""
    every: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        words = (self.verb, "--all") if self.every else (self.verb,)
        return (*words, "--", self.part) if self.part else words


class PruneRequest(JobRequest, frozen=True, kw_only=True):
    """Remove the points that no rule keeps, of all jobs or of one; or only say which."""

    verb: ClassVar[str] = "prune"
    dry_run: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        return ("--dry-run",) if self.dry_run else ()


class PointRequest(PageRequest, frozen=True, kw_only=True):
    """Base of what is asked of one point."""

    point: str

    def __post_init__(self) -> None:
        check_reference(self.point)

    @property
    def words(self) -> tuple[str, ...]:
        return (self.verb, "--", self.point)


class PinRequest(PointRequest, frozen=True, kw_only=True):
    """Keep a point whatever the rules say."""

    verb: ClassVar[str] = "pin"


class UnpinRequest(PointRequest, frozen=True, kw_only=True):
    """Let the rules have a point again."""

    verb: ClassVar[str] = "unpin"


class RunRequest(Request, frozen=True, kw_only=True):
    """Run an existing job now, or its part for one guest, and tell its course."""

    verb: ClassVar[str] = "run"
    job: str
    domain: str = ""
    layout: Layout = Layout()

    def __post_init__(self) -> None:
        check_job(self.job)
        if self.domain:
            check_domain(self.domain)


class AttachRequest(Request, frozen=True, kw_only=True):
    """Tell the course of a round that is under way or waits; `name` may be its job's."""

    verb: ClassVar[str] = "attach"
    name: str

    def __post_init__(self) -> None:
        check_reference(self.name)


class CancelRequest(Request, frozen=True, kw_only=True):
    """Stop a run or a round and undo what it began."""

    verb: ClassVar[str] = "cancel"
    name: str

    def __post_init__(self) -> None:
        check_reference(self.name)


class ReloadRequest(Request, frozen=True, kw_only=True):
    """Read configuration and jobs again, all or nothing."""

    verb: ClassVar[str] = "reload"


AnyRequest = (
    StatusRequest
    | RunsRequest
    | PointsRequest
    | ShowRequest
    | CheckRequest
    | PlanRequest
    | InventoryRequest
    | PruneRequest
    | PinRequest
    | UnpinRequest
    | RunRequest
    | AttachRequest
    | CancelRequest
    | ReloadRequest
)

REQUESTS: dict[str, type[AnyRequest]] = {kind.verb: kind for kind in AnyRequest.__args__}
"""The requests that there are, by their verb."""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    verb: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    version: int


_envelopes = msgspec.json.Decoder(_Envelope)
_versions = msgspec.json.Decoder(_Version)
_encoder = msgspec.json.Encoder()


def encode_request(request: Request) -> bytes:
    """The body of a request's frame."""
    arguments = msgspec.Raw(_encoder.encode(request))
    return _encoder.encode(_Envelope(version=VERSION, verb=request.verb, arguments=arguments))


def decode_request(body: bytes) -> AnyRequest:
    """The request that a frame's body spells.

    Raises: FrameRefused for anything that is not exactly one request of this version: no UTF-8, no
    JSON, a key twice, a field too many, a name that nothing can bear.
    """
    try:
        _refuse_ambiguity(body)
        version = _versions.decode(body).version
        if version != VERSION:
            raise FrameRefused(
                f"The request is of version {version}; this daemon speaks version {VERSION}.",
                hint="use the client that came with the daemon",
            )
        envelope = _envelopes.decode(body)
        kind = REQUESTS.get(envelope.verb)
        if kind is None:
            raise FrameRefused(
                f"There is no request {_quote(envelope.verb)}.",
                hint=f"the requests are {', '.join(REQUESTS)}",
            )
        return msgspec.json.decode(envelope.arguments, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        reason = clip(str(error), _EXCERPT_LETTERS)
        raise FrameRefused(f"The request cannot be read: {reason}.") from error
    except RecursionError as error:
        raise FrameRefused("The request is nested too deeply.") from error


def _refuse_ambiguity(body: bytes) -> None:
    """Two readers must not read two things out of one body. Raises: ValueError, RecursionError."""
    if body.count(b"[") + body.count(b"{") > _BRACKETS_LIMIT:
        raise ValueError("it is nested too deeply")
    json.loads(body.decode("utf-8"), object_pairs_hook=_refuse_repeated, parse_constant=_refuse)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
