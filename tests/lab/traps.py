"""Traps: a script in the place of one of dom0's tools, which strikes at one call of it.

The product finds its tools where they always are, so that is where a trap lies. It lets all calls
pass but those of one verb; at the first of these it puts the tool back in its place, and strikes.
What it notes of that is in `NOTES`.
"""

from __future__ import annotations

from pathlib import PurePath

from tests.lab.machine import Machine

NOTES = "/root/trap.notes"
_COPIES = "/root/trapped"
_ORIGINAL = ".original"
_TOO_LATE = "too late"

# Each strike is bash. It finds the tool, in its place again, as `$tool`, and its words as `$@`.
# At CALLER it may kill the run itself as well.
CALLER = ": the caller lives on"

KILL_SAVE_EARLY = f"""\
"$tool" "$@" &
victim=$!
until grep -qs Frames: /proc/$$/fd/2; do
    kill -0 $victim || {{ echo {_TOO_LATE} >>{NOTES}; exit 1; }}
done
kill -KILL $victim
wait $victim
xl list "$3" >>{NOTES}
kill -KILL $$
"""
"""`xl save` dies at its first line of progress; the guest's row of `xl list` is noted."""

# xl closes the image when its END record is written, before it lets the domain go.
KILL_SAVE_LATE = f"""\
strace -qq -o /dev/null -P "$(realpath "${{@: -1}}")" -e trace=close \\
    -e inject=close:signal=KILL "$tool" "$@"
xl list "$3" >>{NOTES}
kill -KILL $$
"""
"""`xl save` dies when its image is whole; the guest's row of `xl list` is noted."""

KILL_DESTROY = f"""\
pgrep -f '^[^ ]*/xl destroy' >/dev/null || echo {_TOO_LATE} >>{NOTES}
{CALLER}
pkill -KILL -f '^[^ ]*/xl destroy'
exec "$tool" "$@"
"""
"""`xl destroy` dies while it takes the guest's devices away: for the script of block devices."""


def kill_with_suspended(device: str) -> str:
    """A command of LVM dies while it holds a device suspended, by its name in /dev/mapper.

    strace lets each of its requests to the device mapper take so long that the moment cannot be
    missed. That the device stays suspended is noted.
    """
    return f"""\
suspended=/sys/block/$(basename "$(readlink -f /dev/mapper/{device})")/dm/suspended
strace -f -qq -o /dev/null -P /dev/mapper/control -e trace=ioctl \\
    -e inject=ioctl:delay_exit=200000 "$tool" "$@" &
tracer=$!
until grep -qx 1 $suspended; do
    kill -0 $tracer || {{ echo {_TOO_LATE} >>{NOTES}; exit 1; }}
done
pkill -KILL -P $tracer
wait $tracer
echo "{device} suspended: $(cat $suspended)" >>{NOTES}
{CALLER}
kill -KILL $$
"""


def with_caller(strike: str) -> str:
    """The strike, and our own process killed with its tool: the rest is recovery's."""
    return strike.replace(CALLER, 'kill -KILL "$(cat /root/run.pid)"')


def set_trap(machine: Machine, tool: str, verb: str, strike: str) -> None:
    """Lay a trap in the place of a tool (a path), for its first call that has the word `verb`."""
    # Other calls go to a copy of the tool's own name: xl and LVM go by what they are called.
    copy = f"{_COPIES}/{PurePath(tool).name}"
    script = f"""\
#!/bin/bash
tool={tool}
case " $* " in *" {verb} "*) ;; *) exec {copy} "$@" ;; esac
mv "$tool{_ORIGINAL}" "$tool" || exec {copy} "$@"
echo "$tool $*" >>{NOTES}
{strike}"""
    machine.put_bytes(script.encode(), "/root/trap", mode="0755")
    machine.shell(
        f"set -e; mkdir -p {_COPIES}; rm -f {NOTES}; "
        # A test that failed may have left a trap that nobody went into.
        f"if [ -e {tool}{_ORIGINAL} ]; then mv {tool}{_ORIGINAL} {tool}; fi; cp -L {tool} {copy}; "
        f"mv {tool} {tool}{_ORIGINAL}; mv /root/trap {tool}"
    ).check()


def read_notes(machine: Machine) -> str:
    """What the trap noted; it must have struck, and in time."""
    notes = machine.run("cat", NOTES).check().stdout
    assert _TOO_LATE not in notes, notes
    return notes
