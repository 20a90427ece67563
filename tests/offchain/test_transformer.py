"""Causal models of `transformers` in a generation: those with windows, experts, recurrences and biases of their own say
what plain torch says, and one that would say something else is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn

import offchain
from offchain.errors import BadInput
from offchain.generation import Generation
from offchain.lower import compile as lower
from offchain.training import Run

transformers = pytest.importorskip("transformers")
VOCABULARY, NEW = 31, 8
PROMPTS = [[3, 5, 9, 11, 4], [7], [3, 4, 5]]
ALL: Final = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
COMMON: Final = {**ALL, "hidden_size": 16, "num_hidden_layers": 2, "max_position_embeddings": 32}
GROUPED: Final = {**COMMON, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
UNTIED: Final = {**GROUPED, "tie_word_embeddings": False}
# What is special, with a family that has it.
FAMILIES: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "a window": ("MistralConfig", "MistralForCausalLM", {**UNTIED, "sliding_window": 4}),
    "some layers with a window": ("Gemma2Config", "Gemma2ForCausalLM", {**UNTIED, "head_dim": 4, "sliding_window": 4}),
    "experts": ("MixtralConfig", "MixtralForCausalLM", {**UNTIED, "num_local_experts": 4, "sliding_window": None}),
    "a recurrence": ("MambaConfig", "MambaForCausalLM", {**COMMON, "state_size": 4}),
    "convolutions beside attention": ("Lfm2Config", "Lfm2ForCausalLM", {**GROUPED, "full_attn_idxs": [1]}),
    "a padding mask of its own": (
        "OPTConfig",
        "OPTForCausalLM",
        {**COMMON, "ffn_dim": 32, "num_attention_heads": 2, "word_embed_proj_dim": 16, "tie_word_embeddings": False},
    ),
    "a bias by distance": ("BloomConfig", "BloomForCausalLM", {**ALL, "hidden_size": 16, "n_layer": 1, "n_head": 2}),
    "slices by what came before": (
        "MptConfig",
        "MptForCausalLM",
        {"vocab_size": VOCABULARY, "d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 32},
    ),
}  # fmt: skip


def made(config: str, model: str, fields: dict[str, Any]) -> nn.Module:
    """With weights large enough that texts differ."""
    torch.manual_seed(0)
    found: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**fields))
    with torch.no_grad():
        for weight in found.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) / weight.shape[-1] ** 0.5)
    return found.eval()


def greedy(model: Any) -> list[list[int]]:
    """Plain torch's text, the whole of it read again for each token."""
    found = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(NEW):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        found.append(ids[len(prompt) :])
    return found


def text(program: Generation) -> list[list[int]]:
    run = offchain.compile(program, executor="torch", threads=1)
    run.run()
    return program.continued(run.outputs["token"])


@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_plain_torch_says(family: str) -> None:
    model = made(*FAMILIES[family])
    wanted = greedy(model)
    assert len({token for row in wanted for token in row}) > 2
    assert text(Generation(model, PROMPTS, NEW, bits=21)) == wanted


def test_executors_agree_on_experts() -> None:
    task = lower(Generation(made(*FAMILIES["experts"]), PROMPTS, 2, bits=13))
    runs = [Run(task, executor, threads=1) for executor in ("reference", "torch", "fused")]
    for run in runs:
        run.run()
    assert runs[0].state_roots == runs[1].state_roots == runs[2].state_roots


NEO: Final = {
    **ALL, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "attention_types": [[["local"], 1]], "window_size": 3,
    "max_position_embeddings": 32, "intermediate_size": 32,
}  # fmt: skip


def reread(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """docs/programs.md's, for any causal model."""
    here = torch.arange(cache["text"].shape[1]) == position
    read = torch.where(here, ids.unsqueeze(1), cache["text"])
    return model(input_ids=read.long(), use_cache=False).logits[:, position], {"text": read}


def a_text() -> dict[str, Tensor]:
    return {"text": torch.zeros(len(PROMPTS), Generation.positions_of(PROMPTS, NEW), dtype=torch.int32)}


@pytest.mark.parametrize(
    ("config", "name", "fields", "said"),
    [
        (
            "GPTNeoConfig",
            "GPTNeoForCausalLM",
            NEO,
            r"gives other scores than for all of them at once \(by 0\.\d of the",
        ),
        (
            "OpenAIGPTConfig",
            "OpenAIGPTLMHeadModel",
            {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
            "keeps nothing in its cache",
        ),
    ],
)
def test_what_would_say_something_else_is_refused_and_the_remedy_holds(
    config: str, name: str, fields: dict[str, Any], said: str
) -> None:
    model = made(config, name, fields)
    remedy = r"; give forward and cache \(docs/programs.md has them for any causal model\)$"
    with pytest.raises(BadInput, match=rf"generation at .*test_transformer.py:\d+: model {name}.* {said}.*{remedy}"):
        Generation(model, PROMPTS, NEW)
    assert text(Generation(model, PROMPTS, NEW, forward=reread, cache=a_text(), bits=21)) == greedy(model)


def test_a_model_that_raises_is_refused_with_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(*FAMILIES["a window"])

    def forward(**_: Any) -> Callable[..., Any]:
        raise KeyError("no such layer\nand more")

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(BadInput, match=r"takes no such cache \(KeyError: .*no such layer.*\); give forward"):
        Generation(model, PROMPTS, NEW)
