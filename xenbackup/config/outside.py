"""What leads out of the program: commands of hooks, web addresses, mail addresses, the textfile."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from xenbackup.config.values import Unfit, read_path

MOST_WORDS = 64
LONGEST_WORD = 4096
_LONGEST_URL = 2000

_URL_EXPECTED = "a URL such as https://example.org/backup"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_APPRISE = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[!-~]+")
# Quoted local parts and comments are left out: attackers write them, administrators do not.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.+=-]{{0,63}}(?:@{_LABEL}(?:\.{_LABEL}){{0,20}})?")


def read_word(value: object) -> str | Unfit:
    """One word of a command: it goes to the program as it is, no shell reads it."""
    if not isinstance(value, str):
        return Unfit(expected="text in quotes")
    if len(value) > LONGEST_WORD or not all(letter.isprintable() for letter in value):
        return Unfit(expected=f"at most {LONGEST_WORD} printable letters")
    return value


def judge_command(words: tuple[str, ...]) -> Unfit | None:
    """Why these words are no command of a hook; None when they are one, or there are none."""
    if not words:
        return None
    program = words[0]
    path = read_path(program)
    if isinstance(path, Unfit) or path != program:
        hint = "give the program by its absolute path"
        if " " in program:
            hint += ', and each argument as a text of its own: ["/usr/local/sbin/x", "argument"]'
        return Unfit(expected="an absolute path first", hint=hint)
    if len(words) > MOST_WORDS:
        return Unfit(expected=f"at most {MOST_WORDS} words", hint="put them into a script")
    return None


def read_url(value: object) -> str | Unfit:
    """A URL of http or https with a host, and without blanks, control characters or passwords."""
    if not isinstance(value, str):
        return Unfit(expected=_URL_EXPECTED)
    # Checked before urlsplit(), which removes tabs and line ends without a word.
    if len(value) > _LONGEST_URL or not re.fullmatch(r"[!-~]+", value):
        return Unfit(
            expected=_URL_EXPECTED,
            hint=f"at most {_LONGEST_URL} letters of ASCII, and no blanks",
        )
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return Unfit(expected=_URL_EXPECTED, hint="check the host and the port")
    if parts.scheme not in ("http", "https"):
        return Unfit(expected=_URL_EXPECTED, hint="it begins with http:// or https://")
    if "@" in parts.netloc:
        return Unfit(expected="a URL without user and password", hint="use a token in the path")
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    if not _HOST.fullmatch(host) or port == 0:
        return Unfit(expected=_URL_EXPECTED, hint="a host follows the two slashes")
    if parts.fragment:
        return Unfit(expected="a URL without #", hint="what follows it is never sent")
    return value


def read_apprise_url(value: object) -> str | Unfit:
    """`SCHEME://...`: what follows is Apprise's own business."""
    if isinstance(value, str) and len(value) <= _LONGEST_URL and _APPRISE.fullmatch(value):
        return value
    return Unfit(expected='a URL of Apprise, such as "ntfy://example.org/backup"')


def read_address(value: object) -> str | Unfit:
    """A bare mail address, or the name of a user of this host."""
    if isinstance(value, str) and len(value) <= 254 and _ADDRESS.fullmatch(value):
        return value
    hint = "the bare address alone, without a name" if isinstance(value, str) else ""
    return Unfit(expected='a mail address such as "root" or "admin@example.org"', hint=hint)


def read_textfile(value: object) -> str | Unfit:
    """The path of a file for the node exporter, which reads nothing that does not end in .prom."""
    if value == "":
        return ""
    path = read_path(value)
    if isinstance(path, Unfit) or not path.endswith(".prom") or path.endswith("/.prom"):
        return Unfit(
            expected="an absolute path that ends in .prom",
            hint="Prometheus' node exporter reads no other file",
        )
    return path
