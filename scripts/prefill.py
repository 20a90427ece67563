"""What an audit by prefill costs beside the generation that it audits: an interval's steps at once, and one by one.

    OMP_NUM_THREADS=1 .venv/bin/python scripts/prefill.py --rows 1 8 --bits 21 13
    OMP_NUM_THREADS=1 .venv/bin/python scripts/prefill.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --rows 1 10
    OMP_NUM_THREADS=1 .venv/bin/python scripts/prefill.py --wrong 8 64 120

By default a Llama of 20 million parameters with random weights; for the file see examples/smollm_text.py. Prints, for
each number of rows and bits, medians of rounds that take turns, in processor seconds. `generated` and `audited` make
all steps once, after kernels were compiled and weights packed; `made` is the audit's plan and kernels, once a task.

With `--wrong` the token of the first row in that step is swapped, and the model goes on from it. `audited` is then what
it takes to contradict that by the state that is claimed at the end, `unshown` without that state; `disputed` what a
challenger computes in the dispute, up to the trees of the wrong step's outputs, `stepped` the same where nothing is
made at once. All are parts of `generated`.
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
from offchain.commit.roots import state_root, state_tree
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.dispute.replay import Ledger, Replay
from offchain.exec.ahead import Told, ahead_of
from offchain.exec.make import make_executor
from offchain.lower import compile as lower
from offchain.store.checkpoint import output_slots
from offchain.task import Task
from offchain.worker.doubt import Doubt

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
    parser.add_argument("--wrong", type=int, nargs="+", default=[], help="steps whose token is swapped, each in turn")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = _model(given.gguf)
    found: dict[str, Any] = {"machine": machine(), "torch": torch.__version__}
    for rows in given.rows:
        prompts = torch.randint(model.config.vocab_size, (rows, 1)).tolist()
        for bits in given.bits:
            task = lower(offchain.Generation(model, prompts, given.new, bits=bits, interval=given.new))
            found[f"{rows} rows, {bits} bits"] = {
                step: convicted(task, step, given.rounds) for step in given.wrong
            } or compared(task, given.rounds)
    print(json.dumps(found, indent=1))


def _model(gguf: Path | None) -> Any:
    if gguf is None:
        return LlamaForCausalLM(LlamaConfig(vocab_size=8000, num_hidden_layers=4, max_position_embeddings=512, **SIZES))
    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


def prepared(task: Task) -> tuple[Any, Any, Any, float]:
    """An executor, what makes many steps at once, the state before the first, and seconds that the second took."""
    executor = make_executor("fused", task.graph, task.constants, task.datasets)
    begun = process_time()
    ahead = ahead_of(executor, output_slots(task))
    made = process_time() - begun
    if ahead is None:
        raise SystemExit("nothing can be run ahead")
    start = executor.load(task.state)
    executor.step(start, 0)  # packs what is packed once
    return executor, ahead, start, made


def stepped(executor: Any, state: Any, steps: int) -> tuple[Any, float]:
    """The state after so many steps, and the seconds that they took."""
    begun = process_time()
    for t in range(steps):
        state = executor.step(state, t)
    return state, process_time() - begun


def convicted(task: Task, wrong: int, rounds: int) -> dict[str, float]:
    """Parts of generating that it takes to contradict a swapped token. Raises SystemExit where another step is."""
    executor, ahead, start, _ = prepared(task)
    ledger, tree = Ledger(task.graph, task.constants, task.datasets), state_tree(task.state)
    last = next(slot.index for slot in task.graph.slots if slot.spec.name == "last")
    cheat, ends = FalsifiedExecutor(executor, ledger, Falsehood(wrong, last, 0)), list(range(1, task.steps + 1))
    roots = Replay(cheat, ledger, 0, task.state, tree).roots(ends)
    end = executor.dump(stepped(cheat, start, task.steps)[0])
    said = {slot: end[slot] for slot in output_slots(task)}

    def replayed(told: Told | None) -> float:
        begun, made = process_time(), Replay(executor, ledger, 0, task.state, tree)
        made.told = told
        if made.contradicted(0, ends, roots) != wrong:
            raise SystemExit("another step is found wrong")
        made.step(wrong)
        return process_time() - begun

    found = []
    for _ in range(rounds):
        generated = stepped(executor, start, task.steps)[1]
        begun = process_time()
        if ahead.ahead(start, 0, said)[1] != wrong:
            raise SystemExit("another output is found wrong")
        ran = process_time() - begun
        doubt = Doubt(task, executor, 0, task.steps, start, lambda: [], wrong)
        if doubt.contradicted(end) != wrong:
            raise SystemExit("the state that is claimed is not contradicted")
        audited, unshown = process_time() - begun, ran + stepped(executor, start, wrong + 1)[1]
        found.append([part / generated for part in (audited, unshown, replayed(Told(said, ahead)), replayed(None))])
    names = ("audited", "unshown", "disputed", "stepped")
    return dict(zip(names, map(median, zip(*found, strict=True)), strict=True))


def compared(task: Task, rounds: int) -> dict[str, Any]:
    """Figures of a task of one interval. Raises SystemExit where the audit has another state."""
    (executor, ahead, start, made), slots = prepared(task), output_slots(task)
    generated, audited = list[float](), list[float]()
    for _ in range(rounds):
        state, seconds = stepped(executor, start, task.steps)
        generated.append(seconds)
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
