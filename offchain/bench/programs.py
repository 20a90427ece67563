"""The programs that `offchain bench step` measures: batch prediction and generation, whose weights no step changes."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from typing import Final

import torch

from offchain.bench.jobs import EXAMPLES
from offchain.errors import BadInput
from offchain.generation import Generation
from offchain.plain import PlainProgram
from offchain.program import Program

PROMPTS: Final = 8
NEW: Final = 100  # tokens


def minilm(quick: bool, bits: int) -> Program:
    """Embeddings of mails by all-MiniLM-L6-v2, 32 a step: one of the examples."""
    if not EXAMPLES.is_dir():
        raise BadInput("the job 'minilm' is one of the project's examples: run this in a checkout")
    sizes = {"rows": 4, "batch_size": 2, "layers": 1} if quick else {"rows": 256}
    made: Program = runpy.run_path(str(EXAMPLES / "embed_mails.py"), run_name="__job__")["job"](bits=bits, **sizes)
    return made


def generation(quick: bool, bits: int) -> Program:
    """A token a step for 8 prompts by a Llama of `transformers`: 17 million weights, as random as they begin."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is made here
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise BadInput("the job 'generation' needs transformers: pip install '.[examples]'") from error
    width, layers, new = (32, 1, 2) if quick else (512, 4, NEW)
    config = LlamaConfig(vocab_size=128 if quick else 4096, hidden_size=width, intermediate_size=3 * width,
                         num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4,
                         max_position_embeddings=2 * NEW)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return Generation(model, [[n + 1, n + 2, n + 3, n + 4] for n in range(PROMPTS)], new, bits=bits)


_MAKERS: Final[dict[str, Callable[[bool, int], Program]]] = {"minilm": minilm, "generation": generation}
PROGRAMS: Final = tuple(_MAKERS)


def program(name: str, bits: int, quick: bool = False) -> Program:
    """A program of `PROGRAMS` at that precision. Raises BadInput where what it needs is not installed."""
    return _MAKERS[name](quick, bits)


class PlainSteps:
    """The program in eager torch on the CPU: each call is its next step; after the last one it starts anew."""

    def __init__(self, program: Program) -> None:
        self._program, self._plain = program, PlainProgram(program)

    def __call__(self) -> None:
        if self._plain.t == self._program.steps:
            self._plain = PlainProgram(self._program)
        self._plain.step()
