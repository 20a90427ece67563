"""A small Llama of `transformers`, trained on the bytes of Moby Dick, continues ten beginnings of sentences.

The model goes in as its authors wrote it. One byte a step for all prompts; keys and values of earlier bytes are state.
`offchain.compile(job()).run()`, then `texts` of its output "token"; from the market, `offchain generate TASK`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

from offchain import Generation
from offchain.job import DEFAULT_BITS

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is made here, no hub is needed
sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
from gpt_text import split
from transformers import LlamaConfig, LlamaForCausalLM

PROMPTS = (
    "Call me", "The whale", "It was", "All hands", "In the sea", "Captain Ahab", "There she", "Upon the deck",
    "He said", "At last",
)  # fmt: skip
WIDTH, LAYERS = 128, 2


def model() -> nn.Module:
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def trained(steps: int) -> nn.Module:
    """The model after so many steps of plain torch."""
    network, (rows, _) = model(), split()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (16,), generator=generator)]
        scores = network(input_ids=batch[:, :-1]).logits
        nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network


def job(bits: int = DEFAULT_BITS, steps: int = 200, new: int = 50, temperature: float = 0.0) -> Generation:
    return Generation(
        trained(steps),
        [list(prompt.encode()) for prompt in PROMPTS],
        max_new_tokens=new,
        temperature=temperature,
        top_k=8 if temperature else None,
        stop=ord("\n"),
        vocabulary=[bytes([byte]) for byte in range(256)],
        bits=bits,
        name="text",
    )
