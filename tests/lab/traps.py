"""Traps: a script in the place of one of dom0's tools, which strikes at one call of it.

The product finds its tools where they always are, so that is where a trap lies. It lets all calls
pass but those of one verb; at the first of these it puts the tool back in its place, and strikes.
What it notes in between is in `NOTES`.
"""

from __future__ import annotations

from pathlib import PurePath

from tests.lab.machine import Machine

NOTES = "/root/trap.notes"
_REAL = "/root/real"
_ORIGINAL = ".original"

KILL_CALLER = 'kill -KILL "$(cat /root/run.pid)"'
"""Our own process dies with its tool: what is left is for `xenbackup recover`."""

# strace lets each request to the device mapper take so long that the moment cannot be missed.
KILL_IN_SUSPENDED_WINDOW = f"""\
strace -f -qq -o /dev/null -P /dev/mapper/control -e trace=ioctl \\
    -e inject=ioctl:delay_exit=200000 "$real" "$@" &
tracer=$!
until suspended=$(grep -lsx 1 /sys/block/dm-*/dm/suspended); do
    kill -0 $tracer || {{ echo too late >>{NOTES}; exit 1; }}
done
{{after}}
pkill -KILL -P $tracer
for path in $suspended; do cat "${{{{path%suspended}}}}name"; done >>{NOTES}
wait $tracer
kill -KILL $$
"""
"""With the guest's disk suspended by LVM; `after` comes first, and nobody is left to say sorry."""

KILL_EARLY_IN_SAVE = f"""\
"$real" "$@" &
tool=$!
until grep -qs Frames: /proc/$$/fd/2; do
    kill -0 $tool || {{ echo too late >>{NOTES}; exit 1; }}
done
kill -KILL $tool
wait $tool
xl list "$3" >>{NOTES}
kill -KILL $$
"""
"""At the first line of progress, with the image hardly begun."""

# `xl save` closes the image when its END record is written, before it lets the domain go.
KILL_LATE_IN_SAVE = f"""\
strace -qq -o /dev/null -P "$(realpath "${{@: -1}}")" -e trace=close \\
    -e inject=close:signal=KILL "$real" "$@"
xl list "$3" >>{NOTES}
kill -KILL $$
"""
"""With the image whole, and the domain still suspended."""


def set_trap(machine: Machine, tool: str, verb: str, strike: str) -> None:
    """Lay a trap in the place of a tool, for its first call that has the word `verb`.

    `strike` is bash; it finds the tool itself as `$real`, and its words as `$@`.
    """
    name = PurePath(tool).name
    # A copy that bears the tool's name: both xl and LVM go by what they are called.
    script = f"""\
#!/bin/bash
real={_REAL}/{name}
case " $* " in *" {verb} "*) ;; *) exec "$real" "$@" ;; esac
mv {tool}{_ORIGINAL} {tool} 2>/dev/null || exec "$real" "$@"
echo "{name} $*" >>{NOTES}
{strike}
"""
    machine.put_bytes(script.encode(), f"{_REAL}.trap", mode="0755")
    machine.shell(
        f"set -e; mkdir -p {_REAL}; rm -f {NOTES}; cp -L {tool} {_REAL}/{name}; "
        f"mv {tool} {tool}{_ORIGINAL}; mv {_REAL}.trap {tool}"
    ).check()


def read_notes(machine: Machine) -> str:
    """What the trap noted; it must have struck, and in time."""
    notes = machine.shell(f"cat {NOTES}").check().stdout
    assert "too late" not in notes, notes
    return notes
