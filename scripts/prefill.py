"""What an audit by prefill costs beside the generation that it audits: an interval's steps at once, and one by one.

    OMP_NUM_THREADS=1 .venv/bin/python scripts/prefill.py --rows 1 8 --bits 21 13
    OMP_NUM_THREADS=1 .venv/bin/python scripts/prefill.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --rows 1 10

By default a Llama of 20 million parameters with random weights; for the file see examples/smollm_text.py. Prints, for
each number of rows and bits, medians of rounds that take turns, in processor seconds. `generated` and `audited` make
all steps once, after kernels were compiled and weights packed; `made` is the audit's plan and kernels, once a task.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch

import offchain
from offchain.bench.machine import machine
from offchain.commit.roots import state_root
from offchain.exec.ahead import ahead_of
from offchain.exec.make import make_executor
from offchain.lower import compile as lower
from offchain.store.checkpoint import output_slots
from offchain.task import Task

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is in the file, no hub is needed
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

SIZES = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--new", type=int, default=128, help="tokens for each row, of one interval")
    parser.add_argument("--rows", type=int, nargs="+", default=[1])
    parser.add_argument("--bits", type=int, nargs="+", default=[21])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = _model(given.gguf)
    found: dict[str, Any] = {"machine": machine(), "torch": torch.__version__}
    for rows in given.rows:
        prompts = torch.randint(model.config.vocab_size, (rows, 1)).tolist()
        for bits in given.bits:
            program = offchain.Generation(model, prompts, given.new, bits=bits, interval=given.new)
            found[f"{rows} rows, {bits} bits"] = compared(lower(program), given.rounds)
    print(json.dumps(found, indent=1))


def _model(gguf: Path | None) -> Any:
    if gguf is None:
        return LlamaForCausalLM(LlamaConfig(vocab_size=8000, num_hidden_layers=4, max_position_embeddings=512, **SIZES))
    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


def compared(task: Task, rounds: int) -> dict[str, Any]:
    """Figures of a task of one interval. Raises SystemExit where the audit has another state."""
    executor, slots = make_executor("fused", task.graph, task.constants, task.datasets), output_slots(task)
    begun = process_time()
    ahead = ahead_of(executor, slots)
    made = process_time() - begun
    if ahead is None:
        raise SystemExit("nothing can be run ahead")
    start = executor.load(task.state)
    executor.step(start, 0)  # packs what is packed once
    generated, audited = list[float](), list[float]()
    for _ in range(rounds):
        begun, state = process_time(), start
        for t in range(task.steps):
            state = executor.step(state, t)
        generated.append(process_time() - begun)
        end = executor.dump(state)
        begun, state, t = process_time(), start, 0
        while t < task.steps:
            if t + ahead.steps <= task.steps:
                state, t = ahead.ahead(state, t, {slot: end[slot] for slot in slots})[0], t + ahead.steps
            else:
                state, t = executor.step(state, t), t + 1
        audited.append(process_time() - begun)
        if state_root(executor.dump(state)) != state_root(end):
            raise SystemExit("the audit has another state")
    ratio = median(a / g for a, g in zip(audited, generated, strict=True))
    figures = {"generated": median(generated), "audited": median(audited), "ratio": ratio, "made": made}
    return {**figures, "steps at once": ahead.steps, "of": task.steps}


if __name__ == "__main__":
    main()
