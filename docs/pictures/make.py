"""Regenerates every picture of the documents from real runs: a pty of 80 columns, drawn as SVG.

Each scene is a list of commands; they run one after the other on one simulated host, and what a
terminal of 80 columns would show at the end is drawn. Nothing is typed in by hand.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 80
HERE = Path(__file__).parent
XENBACKUP = Path(sys.executable).with_name("xenbackup")
SCENES: dict[str, list[list[str]]] = {
    "demo": [["demo"]],
    "night": [
        ["--simulated", "DIR", "plan", "nightly"],
        ["--simulated", "DIR", "run", "nightly"],
        ["--simulated", "DIR", "points"],
    ],
    "restore": [
        ["--simulated", "DIR", "show", "web@latest"],
        ["--simulated", "DIR", "verify", "web@latest"],
    ],
}


def run_in_terminal(argv: list[str]) -> str:
    """Everything a command wrote to a terminal of 80 columns; it must succeed."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    pieces = []
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(leader)
    if process.wait() != 0:
        raise SystemExit(
            f"{' '.join(argv)}: exit {process.returncode}\n{b''.join(pieces).decode()}"
        )
    return b"".join(pieces).decode()


def settle_lines(text: str) -> str:
    """What stays on the screen: a line redrawn after a carriage return keeps its last drawing."""
    settled = []
    for line in text.replace("\r\n", "\n").split("\n"):
        drawn = re.split(r"\r|\x1b\[2K|\x1b\[K", line)
        kept = [part for part in drawn if part.strip()]
        if kept or len(drawn) == 1:
            settled.append(kept[-1] if kept else line)
    return "\n".join(settled)


def draw(name: str, text: str, folder: str) -> None:
    """Write NAME.svg; the temporary folder's name gives way to a stable one."""
    clean = settle_lines(text).replace(folder, "/tmp/xen-demo")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(clean))
        console.save_svg(str(HERE / f"{name}.svg"), title="xenbackup", unique_id=f"xb-{name}")


def main() -> None:
    wanted = sys.argv[1:] or list(SCENES)
    with tempfile.TemporaryDirectory(prefix="xenbackup-pictures-") as parent:
        folder = f"{parent}/host"
        run_in_terminal([str(XENBACKUP), "demo", "--directory", folder])
        for name in wanted:
            shown = []
            for arguments in SCENES[name]:
                spelled = [folder if part == "DIR" else part for part in arguments]
                shown.append(f"\x1b[1m# xenbackup {' '.join(spelled)}\x1b[0m\n")
                shown.append(run_in_terminal([str(XENBACKUP), *spelled]))
            draw(name, "".join(shown), folder)


if __name__ == "__main__":
    main()
