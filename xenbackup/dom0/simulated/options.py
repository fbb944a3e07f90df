"""Options of the simulated tools, refused in the words of the tool that would refuse them."""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from dataclasses import dataclass

from xenbackup.dom0.simulated.session import ToolFailed


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options in the order given, and what is no option."""

    given: tuple[tuple[str, str], ...]
    rest: tuple[str, ...]

    def has(self, *names: str) -> bool:
        return any(name in names for name, _ in self.given)

    def value(self, *names: str, default: str = "") -> str:
        """The last value given under one of the names."""
        return next((value for name, value in reversed(self.given) if name in names), default)

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.given if name in names]


def parse_xl_options(
    verb: str,
    words: Sequence[str],
    short: str = "",
    long: Sequence[str] = (),
    *,
    least: int = 0,
    most: int = 99,
) -> Options:
    """Options and arguments of an xl verb. Raises: ToolFailed with exit 2, as xl's own parser."""
    try:
        given, rest = getopt.getopt(list(words), short, list(long))
    except getopt.GetoptError as error:
        prefix = "--" if len(error.opt) > 1 else ""
        raise ToolFailed(
            2,
            f"option `{prefix or '-'}{error.opt}' not supported.\n"
            f"Type 'xl help {verb}' for more.\n",
        ) from None
    if not least <= len(rest) <= most:
        raise ToolFailed(
            2, f"'xl {verb}' requires at least {least} argument.\n\nUsage: xl [-vfN] {verb}\n"
        )
    return Options(given=tuple(given), rest=tuple(rest))


def parse_lvm_options(tool: str, words: Sequence[str], short: str, long: Sequence[str]) -> Options:
    """Options and arguments of an LVM tool. Raises: ToolFailed with exit 3, as LVM does."""
    try:
        given, rest = getopt.gnu_getopt(list(words), short, list(long))
    except getopt.GetoptError as error:
        missing = "requires argument" in error.msg
        if len(error.opt) > 1:
            text = (
                f"{tool}: option '--{error.opt}' requires an argument"
                if missing
                else f"{tool}: unrecognized option '--{error.opt}'"
            )
        else:
            text = (
                f"{tool}: option requires an argument -- '{error.opt}'"
                if missing
                else f"{tool}: invalid option -- '{error.opt}'"
            )
        raise ToolFailed(3, f"{text}\n  Error during parsing of command line.\n") from None
    return Options(given=tuple(given), rest=tuple(rest))
