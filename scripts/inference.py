"""Batch prediction beside plain torch: the embeddings of mails by all-MiniLM-L6-v2 (examples/embed_mails.py).

    OMP_NUM_THREADS=1 .venv/bin/python scripts/inference.py --rows 400

Prints for each precision the least cosine between an embedding and plain torch's, how many nearest neighbours stay the
same, how often they give a mail the right label, and the time of a step relative to plain torch's, interleaved.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import Tensor

import offchain
from offchain.bench.machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import embed_mails


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="mails, evenly drawn from all 1,600")
    parser.add_argument("--bits", type=int, nargs="+", default=[21, 13, 8])
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"rows": given.rows, "machine": machine(), "torch": torch.__version__}
    for bits in given.bits:
        found[f"{bits} bits"], found["plain"] = compared(bits, given.rows, given.batch_size)
    print(json.dumps(found, indent=1))


def compared(bits: int, rows: int, batch_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of a precision, and of plain torch."""
    run = offchain.compile(embed_mails.job(bits, batch_size=batch_size, rows=rows, interval=1), threads=1)
    plain, times = run.plain(), ([], [])  # type: tuple[Any, tuple[list[float], list[float]]]
    while run.t < run.task.steps:
        for one, seconds in zip((run, plain), times, strict=True):
            begun = process_time()
            one.step()
            seconds.append(process_time() - begun)
    ours, theirs = run.outputs["embedding"], plain.outputs["embedding"]
    figures = {
        "least cosine": float(torch.nn.functional.cosine_similarity(ours.double(), theirs.double()).min()),
        "same neighbour": float((neighbours(ours) == neighbours(theirs)).float().mean()),
        **embed_mails.evaluate(ours, rows),
        "time": median(times[0]) / median(times[1]),
    }
    return figures, {**embed_mails.evaluate(theirs, rows), "seconds a step": median(times[1])}


def neighbours(embeddings: Tensor) -> Tensor:
    """The nearest other row of each row."""
    return (embeddings @ embeddings.T).fill_diagonal_(-1).argmax(1)


if __name__ == "__main__":
    main()
