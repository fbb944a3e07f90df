"""The copy engine against `dd bs=4M conv=sparse,fsync`, on the same image, in turn.

    python -m bench.copying [--size-mib 256] [--rounds 5] [--directory DIR]

Both end with their bytes on the disk (fsync) and both begin with a source that is not cached. The
engine hashes every block and the whole meanwhile; dd does not. A ratio above 1 means the engine
was faster. Rounds alternate, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.memory import measure_peaks
from xenbackup.storage.copying import BLOCK_SIZE_BYTES, copy_blocks
from xenbackup.system.block_device import BlockFile, open_block_device

_MIB = 1 << 20


def main() -> None:
    """Print a table of medians and ratios, then the peak memory of a small and a large copy."""
    parser = argparse.ArgumentParser(prog="python -m bench.copying")
    parser.add_argument("--size-mib", type=int, default=256, help="size of the image")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side")
    parser.add_argument("--directory", type=Path, help="where to work (default: a temporary one)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory measure out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-") as folder:
        print(f"copying {options.size_mib} MiB, {options.rounds} rounds in turn; seconds, medians")
        print(f"{'image':<16}{'dd':>9}{'xenbackup':>11}{'ratio':>8}   ratios of the rounds")
        for name, zero_share in (("all data", 0.0), ("half zeros", 0.5), ("mostly zeros", 0.9)):
            source = Path(folder, "source.img")
            make_image(source, options.size_mib * _MIB, zero_share)
            print(compare(name, source, Path(folder, "target.img"), options.rounds), flush=True)
        if not options.no_memory:
            for line in measure_peaks(Path(folder)):
                print(line, flush=True)


def make_image(path: Path, size_bytes: int, zero_share: float) -> None:
    """An image of random data in which `zero_share` of the 64 KiB grains are zeros, written out."""
    chance = random.Random(1)
    grain = 64 << 10
    with path.open("wb") as stream:
        for _ in range(size_bytes // grain):
            zero = chance.random() < zero_share
            stream.write(bytes(grain) if zero else chance.randbytes(grain))
        stream.flush()
        os.fsync(stream.fileno())


def compare(name: str, source: Path, target: Path, rounds: int) -> str:
    """One line of the table: both sides, round by round."""
    seconds: dict[str, list[float]] = {"dd": [], "xenbackup": []}
    for _ in range(rounds):
        seconds["dd"].append(_measure(copy_with_dd, source, target))
        seconds["xenbackup"].append(_measure(copy_with_engine, source, target))
    ratios = [a / b for a, b in zip(seconds["dd"], seconds["xenbackup"], strict=True)]
    dd, ours = (statistics.median(seconds[side]) for side in ("dd", "xenbackup"))
    listed = " ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{name:<16}{dd:>9.3f}{ours:>11.3f}{statistics.median(ratios):>8.2f}   {listed}"


def _measure(copy: Callable[[Path, Path], None], source: Path, target: Path) -> float:
    target.unlink(missing_ok=True)
    os.sync()
    descriptor = os.open(source, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    begin = time.perf_counter()
    copy(source, target)
    return time.perf_counter() - begin


def copy_with_dd(source: Path, target: Path) -> None:
    """What an administrator would type."""
    argv = ["dd", f"if={source}", f"of={target}", "bs=4M", "conv=sparse,fsync", "status=none"]
    subprocess.run(argv, check=True)


def copy_with_engine(source: Path, target: Path) -> None:
    """The same by the copy engine, as the `images` destination uses it."""
    device = open_block_device(source)
    size_bytes = device.size_bytes
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    image = BlockFile(descriptor, str(target), writable=True)
    os.ftruncate(descriptor, size_bytes)
    result = copy_blocks(device, image, size_bytes=size_bytes, sparse=True)
    image.close()
    device.close()
    if result.bytes_read != size_bytes or len(result.block_digests) != -(
        -size_bytes // BLOCK_SIZE_BYTES
    ):
        raise SystemExit(f"the copy of {source} is not whole")


if __name__ == "__main__":
    main()
