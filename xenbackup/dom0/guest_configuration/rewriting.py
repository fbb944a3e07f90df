"""A guest's own configuration file with another name, uuid or disks: all else stays as it was.

Single words of the text are replaced where they stand, so comments, order and keys that nobody
here knows are kept. The outcome is read again, and refused unless it says what was asked for and
nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from xenbackup.dom0.guest_configuration.disks import parse_disk_specification
from xenbackup.dom0.guest_configuration.reading import parse_configuration
from xenbackup.dom0.guest_configuration.retargeting import retarget_specification
from xenbackup.dom0.guest_configuration.tokens import Token, TokenKind, cut_tokens
from xenbackup.dom0.guest_configuration.values import GuestConfiguration, NetworkInterface
from xenbackup.dom0.guest_configuration.writing import explain_unquotable, quote_string
from xenbackup.errors import ConfigurationError
from xenbackup.model.domain import Disk
from xenbackup.model.names import check_domain_name

_REWRITTEN_KEYS = ("name", "uuid", "disk", "vif")


@dataclass(frozen=True, kw_only=True)
class NewTarget:
    """Where a disk of the guest is now; `in_file` tells an image file from a device."""

    vdev: str
    path: str
    in_file: bool


@dataclass
class _Part:
    """The words of one assigned value: a single one, or those of a list with its commas."""

    words: list[Token] = field(default_factory=list)


def rewrite_configuration(
    text: str,
    *,
    source: str,
    name: str | None = None,
    uuid: str | None = None,
    disks: Iterable[NewTarget] = (),
    dropped_disks: Collection[str] = (),
    addresses: Sequence[str] = (),
    without_interface_names: bool = False,
) -> str:
    """The text with what is given replaced; an uuid that it lacks is added at its end.

    `dropped_disks` are vdevs to leave out. `addresses` are network addresses, one for each
    interface in order; an interface that names none keeps none. `without_interface_names` leaves
    out what dom0 is to call them. `source` is the file's name, for sentences.

    Raises: ConfigurationError when the text is not literal assignments, when a disk is not in it,
    or when what is asked for cannot be said; UsageError for a name no command may carry.
    """
    before = parse_configuration(text, source)
    targets = {target.vdev: target for target in disks}
    missing = (set(targets) | set(dropped_disks)) - {disk.vdev for disk in before.disks}
    if missing:
        raise ConfigurationError(
            tuple(f"{source}: the guest has no disk {vdev!r}." for vdev in sorted(missing))
        )
    values = _find_values(cut_tokens(text, source))
    rewriter = _Rewriter(text)
    if name is not None:
        rewriter.set_text("name", check_domain_name(name), values)
    if uuid is not None:
        rewriter.set_text("uuid", uuid, values)
    rewriter.rewrite_disks(values.get("disk", []), targets, dropped_disks)
    vifs = values.get("vif", [])
    rewriter.rewrite_interfaces(vifs, addresses, nameless=without_interface_names)
    written = rewriter.finish()
    expected = replace(
        before,
        name=before.name if name is None else name,
        uuid=before.uuid if uuid is None else uuid.lower(),
        disks=tuple(
            _move(disk, targets.get(disk.vdev))
            for disk in before.disks
            if disk.vdev not in dropped_disks
        ),
        network_interfaces=tuple(
            replace(interface, name="") if without_interface_names else interface
            for interface in before.network_interfaces
        ),
    )
    _check_outcome(written, source, expected, addresses)
    return written


def _move(disk: Disk, target: NewTarget | None) -> Disk:
    if target is None or target.path == disk.target:
        return disk
    return replace(disk, target=target.path, script="", backend="")


def _find_values(tokens: Iterable[Token]) -> dict[str, list[_Part]]:
    """The words that make up each key's final value; the text was parsed before."""
    values: dict[str, list[_Part]] = {}
    key = ""
    depth = 0
    for token in tokens:
        if not key:
            key = token.text if token.kind is TokenKind.NAME else ""
        elif depth == 0 and (token.is_mark("=") or token.is_mark("+=")):
            parts = values.setdefault(key, [])
            if token.text == "=":
                parts.clear()
            parts.append(_Part())
        elif token.is_mark("["):
            depth += 1
        elif token.is_mark("]"):
            depth -= 1
        elif depth == 0 and (
            token.kind in (TokenKind.NEWLINE, TokenKind.END) or token.is_mark(";")
        ):
            key = ""
        elif token.kind is not TokenKind.NEWLINE:
            values[key][-1].words.append(token)
    return values


class _Rewriter:
    """The text, and the words of it that will be other ones."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._edits: list[tuple[int, int, str]] = []
        self._added: list[str] = []

    def finish(self) -> str:
        written = self._text
        for start, end, words in sorted(self._edits, reverse=True):
            written = written[:start] + words + written[end:]
        if self._added and written:
            # A backslash before the last new line would join what follows to that line.
            joined = written.endswith(("\\\n", "\\\r\n"))
            written += "\n" if joined or not written.endswith("\n") else ""
        return written + "".join(f"{line}\n" for line in self._added)

    def set_text(self, key: str, value: str, values: dict[str, list[_Part]]) -> None:
        if reason := explain_unquotable(value):
            raise ConfigurationError((f"The {key} {value!r} cannot be written: {reason}.",))
        words = [word for part in values.get(key, []) for word in part.words]
        if not words:
            self._added.append(f"{key} = {quote_string(value)}")
            return
        self._replace(words[0], quote_string(value))
        for word in words[1:]:
            self._replace(word, '""')

    def _replace(self, word: Token, text: str) -> None:
        self._edits.append((word.start, word.end, text))

    def rewrite_disks(
        self, parts: Iterable[_Part], targets: dict[str, NewTarget], dropped: Collection[str]
    ) -> None:
        for part in parts:
            for position, word in enumerate(part.words):
                if word.kind is not TokenKind.STRING or not word.text:
                    continue
                disk = parse_disk_specification(word.text)
                target = targets.get(disk.vdev)
                if disk.vdev in dropped:
                    self._drop(part.words, position)
                elif target is not None and target.path != disk.target:
                    written = retarget_specification(word.text, target.path, in_file=target.in_file)
                    self._replace(word, quote_string(written))

    def _drop(self, words: list[Token], position: int) -> None:
        """An item of a list and the comma behind it; a list may end in a comma."""
        self._replace(words[position], "")
        if position + 1 < len(words):
            self._replace(words[position + 1], "")

    def rewrite_interfaces(
        self, parts: Iterable[_Part], addresses: Sequence[str], *, nameless: bool
    ) -> None:
        words = [word for part in parts for word in part.words if word.kind is TokenKind.STRING]
        for position, word in enumerate(words):
            address = addresses[position] if position < len(addresses) else ""
            written = ",".join(
                _readdress(piece, address)
                for piece in word.text.split(",")
                if not (nameless and piece.partition("=")[0].strip() == "vifname")
            )
            if written != word.text:
                self._replace(word, quote_string(written))


def _readdress(piece: str, address: str) -> str:
    key, sign, _ = piece.partition("=")
    return f"{key}={address}" if address and sign and key.strip() == "mac" else piece


def _check_outcome(
    written: str, source: str, expected: GuestConfiguration, addresses: Sequence[str]
) -> None:
    """Raises: ConfigurationError when the text now says anything else than it should."""
    after = parse_configuration(written, source)
    same = (after.name, after.uuid, after.disks) == (expected.name, expected.uuid, expected.disks)
    same = same and _list_others(after) == _list_others(expected)
    wanted = [*addresses, *("" for _ in expected.network_interfaces[len(addresses) :])]
    for now, then, address in zip(
        after.network_interfaces, expected.network_interfaces, wanted, strict=False
    ):
        same = same and _describe(now, now.mac) == _describe(
            then, address if then.mac and address else then.mac
        )
    if not same or len(after.network_interfaces) != len(expected.network_interfaces):
        raise ConfigurationError(
            (f"{source} cannot be rewritten: it would not say what it should.",),
            hint="this is a fault of xenbackup: please report it",
        )


def _list_others(configuration: GuestConfiguration) -> list[tuple[str, object, str]]:
    return [
        (setting.key, setting.value, setting.text)
        for setting in configuration.settings
        if setting.key not in _REWRITTEN_KEYS
    ]


def _describe(interface: NetworkInterface, mac: str) -> NetworkInterface:
    return replace(interface, mac=mac, specification="")
