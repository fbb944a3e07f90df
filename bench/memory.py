"""Peak memory of a copy, each in a process of its own: it must not grow with the size.

python -m bench.memory SOURCE TARGET      copies, and prints the peak resident set in KiB
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SMALL_MIB = 64
LARGE_MIB = 2048
BOUND_MIB = 8
_MIB = 1 << 20


def measure_peaks(folder: Path) -> Iterator[str]:
    """Copy a small and a large image; one line each, and one that judges the difference."""
    peaks = {size: measure_peak(folder, size) for size in (SMALL_MIB, LARGE_MIB)}
    for size, peak in peaks.items():
        yield f"peak memory of a {size} MiB copy: {peak / 1024:.1f} MiB"
    growth = (peaks[LARGE_MIB] - peaks[SMALL_MIB]) / 1024
    verdict = "within" if abs(growth) <= BOUND_MIB else "NOT within"
    yield f"it grew by {growth:+.1f} MiB, {verdict} the bound of {BOUND_MIB} MiB"


def measure_peak(folder: Path, size_mib: int) -> int:
    """Peak resident set, in KiB, of a process that copies an image of this size.

    The image has data at its beginning and in every 64th MiB, so that a large one costs little.
    """
    source, target = Path(folder, "memory-source.img"), Path(folder, "memory-target.img")
    with source.open("wb") as stream:
        stream.truncate(size_mib * _MIB)
        for offset in range(0, size_mib, 64):
            stream.seek(offset * _MIB)
            stream.write(bytes(range(256)) * 4096)
    target.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "bench.memory", str(source), str(target)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    source.unlink()
    target.unlink()
    return int(done.stdout)


def main() -> None:
    """Copy, and say what it took."""
    from bench.copying import copy_with_engine  # noqa: PLC0415 - it imports us for its report

    copy_with_engine(Path(sys.argv[1]), Path(sys.argv[2]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
