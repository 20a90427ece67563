"""GB/s of tensor leaf hashing, for one core and for all of this process.

    .venv/bin/python benchmarks/hash.py [MiB]

One core is measured in that thread's own CPU time, so that a busy machine does not change it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from offchain.commit import roots

REPEATS = 15


def rate(array: np.ndarray, clock: Callable[[], float]) -> float:
    """Median GB/s of `chunk_hashes`."""
    times = []
    for _ in range(REPEATS):
        start = clock()
        roots.chunk_hashes(array)
        times.append(clock() - start)
    return float(array.nbytes / statistics.median(times) / 1e9)


def main() -> None:
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    array = np.random.default_rng(0).standard_normal(mebibytes << 18, np.float32)
    # below the number of chunks from which threads pay, everything is hashed by this thread
    single = array[: roots.CHUNK * (roots.PARALLEL_CHUNKS - 1)]
    one = statistics.median(rate(single, time.thread_time) for _ in range(REPEATS))
    print(f"one core: {one:.2f} GB/s")
    print(f"all cores ({roots.threads()}): {rate(array, time.perf_counter):.2f} GB/s")


if __name__ == "__main__":
    main()
