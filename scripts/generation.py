"""Generation beside plain torch: SmolLM2-135M-Instruct continues ten prompts, greedy (examples/smollm_text.py).

    OMP_NUM_THREADS=1 .venv/bin/python scripts/generation.py --new 12

Prints the texts, how many are those of `generate` in plain torch, token for token, the time of a step relative to plain
torch's same step, interleaved, and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

import offchain
from offchain.bench.machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import smollm_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", type=int, default=12, help="tokens for each prompt")
    parser.add_argument("--bits", type=int, nargs="+", default=[21, 13, 8])
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = smollm_text.loaded()
    found: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "loaded, GB": _peak()}
    for bits in given.bits:
        program = smollm_text.generation(model, tokenizer, bits, new=given.new)
        wanted = [smollm_text.plain(model, prompt, given.new) for prompt in program.prompts]
        tokens, figures = compared(program, wanted)
        found[f"{bits} bits"] = {**figures, "texts": [tokenizer.decode(row) for row in tokens]}
    print(json.dumps(found, indent=1))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def compared(program: offchain.Generation, wanted: list[list[int]]) -> tuple[list[list[int]], dict[str, Any]]:
    """The continuations, and figures beside plain torch."""
    begun = perf_counter()
    run = offchain.compile(program, threads=1)
    built, plain, times = perf_counter() - begun, run.plain(), ([], [])  # type: Any
    while run.t < run.task.steps:
        for one, seconds in zip((run, plain), times, strict=True):
            begun = process_time()
            one.step()
            seconds.append(process_time() - begun)
    tokens = program.continued(run.outputs["token"])
    return tokens, {
        "texts as plain torch's": sum(ours == theirs for ours, theirs in zip(tokens, wanted, strict=True)),
        "time": median(times[0]) / median(times[1]),
        "plain seconds a step": median(times[1]),
        "build seconds": built,
        "nodes": len(run.task.graph.nodes),
        "peak memory, GB": _peak(),
    }


if __name__ == "__main__":
    main()
