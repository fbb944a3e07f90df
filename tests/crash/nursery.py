"""Where processes of the product come from: forked from one that has imported everything.

Each is a process of its own: its own session, folder, output and exit code, killed like any other.
Only what it does before its first line of work is spared, which is most of its time.

python -m tests.crash.nursery   told by lines of JSON on stdin, as `Nursery` does it
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import subprocess
import sys
from pathlib import Path

import xenbackup
from tests.crash.tracing import allow_tracing


class Nursery:
    """One warm process, started when it is first needed; `close` ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def fork(self, directory: Path, words: tuple[str, ...], output: Path, errors: Path) -> int:
        """The pid of `xenbackup --simulated DIRECTORY WORDS…`, which stands still before its start.

        Its working directory is the host's, by which it is found while it forks a command.
        """
        argv = ["xenbackup", "--simulated", str(directory), *words]
        wish = {"argv": argv, "folder": str(directory)}
        answer = self._ask({**wish, "output": str(output), "errors": str(errors)})
        return int(answer)

    def release(self) -> None:
        """Let the process go that was forked last."""
        self._tell("go")

    def wait(self, timeout_seconds: float) -> int | None:
        """Its exit code, below zero for a signal; None when it has not ended by then."""
        process = self._warm()
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], timeout_seconds)[0]:
            return None
        return os.waitstatus_to_exitcode(int(self._hear()))

    def close(self) -> None:
        """End it; what it forked has ended, or is ended by its host."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _warm(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        return self._process

    def _ask(self, wish: dict[str, object]) -> str:
        self._tell(json.dumps(wish))
        return self._hear()

    def _tell(self, line: str) -> None:
        process = self._warm()
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    def _hear(self) -> str:
        process = self._warm()
        assert process.stdout is not None
        answer = process.stdout.readline()
        if not answer:
            raise AssertionError("the process that the others are forked from has ended")
        return answer


def main() -> int:
    """Fork one process a line until stdin ends; its child comes out of here with its exit code."""
    import_everything()
    gc.freeze()
    while line := sys.stdin.readline():
        wish = json.loads(line)
        gate, opened = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(opened)
            return _live(wish, gate)
        os.close(gate)
        print(pid, flush=True)
        sys.stdin.readline()
        os.close(opened)
        print(os.waitpid(pid, 0)[1], flush=True)
    return 0


def import_everything() -> None:
    """Every module of the product: verbs import theirs when they are called."""
    for module in pkgutil.walk_packages(xenbackup.__path__, "xenbackup."):
        if module.name.rpartition(".")[2] != "__main__":
            importlib.import_module(module.name)


def _live(wish: dict[str, str], gate: int) -> int:
    """The child: a session and files of its own; still until the gate closes; then the verb."""
    os.setsid()
    os.chdir(wish["folder"])
    allow_tracing()
    _redirect("/dev/null", os.O_RDONLY, 0)
    _redirect(wish["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 1)
    _redirect(wish["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 2)
    os.read(gate, 1)
    os.close(gate)
    sys.argv = list(wish["argv"])
    from xenbackup.cli.main import main as run

    return run()


def _redirect(path: str, flags: int, number: int) -> None:
    descriptor = os.open(path, flags, 0o600)
    os.dup2(descriptor, number)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
