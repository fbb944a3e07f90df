"""A lab machine for experiments, kept in the background: `python -m tests.lab.shell start`.

start [--state NAME|--boot]   a fresh work copy, loaded from a saved state (default: base)
exec -- ARGV...               run a command in dom0; its streams and exit code become ours
put FILE DEST | get FILE      copy a file into dom0, or one of dom0's to standard output
powercut                      reset the machine and wait for dom0
save NAME | load NAME         save a state; go back to one (in a new QEMU process)
console                       the end of Xen's and dom0's console
install PACKAGE               install the product, as the lab tests do
stop                          end the machine and delete its work copy
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab import recipe
from tests.lab.build import build
from tests.lab.machine import Machine, copy_disks
from tests.lab.product import install_product
from tests.lab.wire import LabError


def start(work: Path, *, state: str | None) -> None:
    """Copy the built disks into the work folder and start a machine that outlives us."""
    base = build()
    Machine(work).kill()
    shutil.rmtree(work, ignore_errors=True)
    copy_disks(base, work)
    machine = Machine(work, detached=True)
    if state is None:
        machine.boot()
    else:
        machine.load(state)


def act(machine: Machine, verb: str, words: list[str]) -> int:
    """One verb on the running machine; the exit code."""
    match verb, words:
        case "exec", ["--", *argv] | [*argv] if argv:
            done = machine.run(*argv)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.exit_code
        case "put", [source, destination]:
            machine.put(Path(source), destination)
        case "get", [source]:
            sys.stdout.buffer.write(machine.get(source))
        case "powercut", []:
            machine.power_cut()
        case "save", [name]:
            machine.save_state(name)
        case "load", [name]:
            machine.kill()
            machine.load(name)
        case "console", []:
            print(machine.console_tail())
        case "install", [package]:
            install_product(machine, Path(package))
        case "stop", []:
            machine.remove()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.shell",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="shell", help="which background machine")
    parser.add_argument("--state", default=recipe.BASE_STATE, help="for start: the saved state")
    parser.add_argument("--boot", action="store_true", help="for start: boot instead of loading")
    parser.add_argument("verb")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(arguments)
    work = recipe.cache_root() / "work" / chosen.name
    try:
        if chosen.verb == "start":
            start(work, state=None if chosen.boot else chosen.state)
            return 0
        return act(Machine(work, detached=True), chosen.verb, chosen.words)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
