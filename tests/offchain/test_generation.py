"""Generation: token for token the text of plain torch, prompts of any lengths, sampling by the graph's own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import offchain
from offchain.errors import BadInput
from offchain.generation import MOST_K, Generation
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.store.checkpoint import save_model
from offchain.task import Task
from offchain.training import ProgramRun, Run

VOCABULARY, WIDTH, NEW = 31, 16, 7
PROMPTS = [[1, 5, 9], [7], [3, 4, 5, 6]]


class Small(nn.Module):
    """One layer of causal attention with positions."""

    def __init__(self, positions: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(positions, WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (rows, length, vocabulary) of all positions at once."""
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        q, k, v = self.qkv(x).chunk(3, -1)
        seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        weights = (q @ k.transpose(1, 2)).masked_fill(~seen, -1e9).softmax(-1)
        scores: Tensor = self.out(x + weights @ v)
        return scores


def forward(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """Scores of one token, with what was kept of those before."""
    x = model.tokens(ids) + model.places(position)
    q, k, v = model.qkv(x).chunk(3, -1)
    cache["k"][:, position], cache["v"][:, position] = k, v
    seen = torch.arange(cache["k"].shape[1]) <= position
    weights = (cache["k"] @ q.unsqueeze(2)).squeeze(2).masked_fill(~seen, -1e9).softmax(-1)
    return model.out(x + (weights.unsqueeze(1) @ cache["v"]).squeeze(1)), cache


def a_cache(prompts: list[list[int]] = PROMPTS, new: int = NEW) -> dict[str, Tensor]:
    return {name: torch.zeros(len(prompts), Generation.positions_of(prompts, new), WIDTH) for name in "kv"}


def a_generation(**changes: Any) -> Generation:
    fields: dict[str, Any] = {"model": Small(), "prompts": PROMPTS, "max_new_tokens": NEW, "bits": 21, "interval": 5}
    own = {"forward": forward, "cache": a_cache(changes.get("prompts", PROMPTS))}
    return Generation(**{**fields, **own, **changes})


def greedy(model: Any, prompts: list[list[int]], new: int = NEW) -> list[list[int]]:
    """Plain torch's text, the whole of it read again for each token."""
    found = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(new):
            with torch.no_grad():
                scores = model(torch.tensor([ids]))
            ids.append(int(getattr(scores, "logits", scores)[0, -1].argmax()))
        found.append(ids[len(prompt) :])
    return found


def done(program: Generation, executor: str = "fused") -> ProgramRun:
    run = offchain.compile(program, executor=executor, threads=1)
    run.run()
    return run


def text(program: Generation, executor: str = "torch") -> list[list[int]]:
    return program.continued(done(program, executor).outputs["token"])


def test_greedy_text_is_plain_torch_s_token_for_token() -> None:
    program = a_generation()
    run = done(program)
    assert program.continued(run.outputs["token"]) == greedy(Small(), PROMPTS)
    assert run.task.steps == 10 and run.outputs["token"].shape == (10, 3)  # 4 + 7 - 1 positions
    plain = run.plain()
    plain.run()
    assert plain.outputs["token"].tolist() == run.outputs["token"].tolist()
    assert run.metrics["score"] == pytest.approx(plain.metrics["score"], rel=1e-4)
    slots = {slot.spec.name: slot.spec.shape for slot in run.task.graph.slots}
    assert slots["outputs.token"] == (5, 1, 3) and slots["cache.k"] == (3, 10, WIDTH)


def test_the_result_has_tokens_and_texts_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = a_generation(vocabulary=[f" {n}" for n in range(VOCABULARY)], stop=3)
    run = done(program)
    save_model(tmp_path / "a", run.task, run.arrays(), run.metrics, outputs=run.output_arrays)
    with safe_open(tmp_path / "a", "np") as file:
        assert [*file.keys()] == ["token"] and (file.get_tensor("token") == run.outputs["token"].numpy()).all()
        texts = json.loads(file.metadata()["texts"])
    continued = program.continued(run.outputs["token"])
    assert texts == ["".join(f" {n}" for n in row) for row in continued] and all(texts)
    assert run.state["cache"]["k"].abs().sum() > 0 and run.state["done"].dtype is torch.bool
    monkeypatch.setattr("offchain.store.checkpoint.MOST_TEXT", 9)
    save_model(tmp_path / "b", run.task, run.arrays(), run.metrics, outputs=run.output_arrays)
    with safe_open(tmp_path / "b", "np") as file:
        assert "texts" not in file.metadata()
    monkeypatch.setattr(Generation, "results", Program.results)
    whole = lower(program)
    assert {entry.key for entry in whole.model} == {"last", "done", "cache.k", "cache.v"} and not run.task.model
    assert (whole.graph_root, whole.state_root) == (run.task.graph_root, run.task.state_root)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_executors_agree(temperature: float) -> None:
    task = lower(a_generation(temperature=temperature, top_k=5 if temperature else None, bits=13))
    runs = [Run(task, executor, threads=1) for executor in ("reference", "torch", "fused")]
    for run in runs:
        run.run()
    assert runs[0].state_roots == runs[1].state_roots == runs[2].state_roots


def test_a_prompt_alone_is_continued_as_among_others() -> None:
    together = text(a_generation())
    assert [text(a_generation(prompts=[prompt]))[0] for prompt in PROMPTS] == together


def test_a_row_ends_at_its_stop_token() -> None:
    whole = greedy(Small(), PROMPTS)
    stop = whole[0][2]
    run = done(program := a_generation(stop=[stop, whole[1][0]]), "torch")
    found = program.continued(run.outputs["token"])
    assert found[1] == [] and found[0] == whole[0][: whole[0].index(stop)]
    first = len(PROMPTS[0]) - 1 + whole[0].index(stop)
    assert set(run.outputs["token"][first:, 0].tolist()) == {stop}  # nothing but that follows
    assert run.metrics["done"][0] == 1 and run.metrics["done"][-1] == 3


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_models_of_transformers_go_in_as_they_are(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = {
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=16,
            )
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=16)
        ),
    }[kind]()
    assert text(a_generation(model=model, forward=None, cache=None)) == greedy(model.eval(), PROMPTS)
    with pytest.raises(BadInput, match="prompt 1 has 10 tokens, which with 7 new ones do not fit the model's 16"):
        a_generation(model=model, prompts=[[1], [1] * 10], forward=None, cache=None)


class Fixed(nn.Module):
    """The same scores always."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))


def fixed(**changes: Any) -> Generation:
    def scores(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
        return model.scores.expand(len(ids), -1), cache

    fields = {"model": Fixed([2.0, 1.0, 0.0, -1.0]), "prompts": [[0]] * 400, "max_new_tokens": 5, "interval": 5}
    return Generation(**{**fields, "forward": scores, "cache": {"none": torch.zeros(1)}, **changes})


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 2), (1.0, 1)])
def test_tokens_are_drawn_as_softmax_says(temperature: float, top_k: int | None) -> None:
    tokens = done(fixed(temperature=temperature, top_k=top_k), "torch").outputs["token"]
    wanted = (torch.tensor([2.0, 1.0, 0.0, -1.0])[: top_k or 4] / temperature).softmax(0)
    shares = torch.bincount(tokens.flatten(), minlength=4) / tokens.numel()
    assert shares[len(wanted) :].sum() == 0
    # 2,000 draws: four standard deviations of a share are 0.045 at most
    torch.testing.assert_close(shares[: len(wanted)], wanted, atol=0.045, rtol=0)


def test_another_seed_draws_others_and_the_same_one_the_same() -> None:
    first, again, other = (text(a_generation(temperature=1.0, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": []}, r"prompts is \[\], must be a list"),
        ({"prompts": [[1], []]}, r"prompt 1 is \[\], must be a list of token numbers"),
        ({"prompts": [["a"]]}, "prompt 0 is .* must be a list of token numbers"),
        ({"prompts": [[1], [2, -1]]}, "prompt 1 has the token -1, must be 0 or more"),
        ({"prompts": [[1 << 70]]}, "prompt 0 has the token 1180591620717411303424, must be"),
        ({"temperature": True}, "temperature is True, must be 0 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, must be a positive integer"),
        ({"temperature": -1}, "temperature is -1, must be 0 or more"),
        ({"top_k": MOST_K + 1}, "top_k is 65, must be 1 to 64"),
        ({"top_k": 0}, "top_k is 0, must be 1 to 64"),
        ({"top_k": 4}, "top_k is 4, but at temperature 0 no token is drawn; give a temperature above 0, or no top_k"),
        ({"top_k": 1, "temperature": 0.0}, "top_k is 1, but at temperature 0 no token is drawn"),
        ({"temperature": float("nan")}, "temperature is nan, must be 0 or more"),
        ({"temperature": 1e-300}, "temperature is 1e-300, must be 0, or 0.001 to 1000.0"),
        ({"prompts": torch.zeros(2, 3)}, r"prompts is a tensor of shape \(2, 3\), must be a list of lists"),
        ({"stop": 2.0}, "stop is 2.0, must be a token number, or a list of them"),
        ({"stop": [None]}, r"stop is \[None\], must be a token number"),
        ({"forward": "f"}, "forward is 'f', must be a function"),
        ({"interval": 0}, "interval is 0"),
        ({"cache": None}, "forward and cache belong together"),
        ({"forward": None, "cache": None}, "model is a Small, none of transformers; give forward and cache"),
        ({"model": 3}, "model is 3, must be a torch.nn.Module"),
        ({"cache": {"k": torch.zeros(2, dtype=torch.float64)}}, "state 'cache.k' is torch.float64"),
    ],
)
def test_fields_that_no_generation_can_have_are_refused(changes: dict[str, Any], said: str) -> None:
    fields = {"prompts": PROMPTS, **changes}
    with pytest.raises(BadInput, match=said) as raised:
        Generation(**{"model": Small(), "max_new_tokens": NEW, "forward": forward, "cache": a_cache(), **fields})
    assert str(raised.value).startswith("generation at ") and "test_generation.py" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stop": VOCABULARY},
            "test_generation.py:[0-9]+: stop has the token 31, which is not in the vocabulary of 31",
        ),
        ({"prompts": [[1], [2, 99]]}, "test_generation.py:[0-9]+: prompts has the token 99, which is not in the voc"),
        ({"cache": a_cache(new=NEW - 2)}, "outside of 0 to 7"),
        (
            {"forward": lambda m, ids, cache, t: (m.out(m.tokens(ids)).mean(1), cache)},
            r"gives a tensor of shape \(3,\)",
        ),
        (
            {"forward": lambda m, ids, cache, t: (m.out(m.tokens(ids)), {"k": cache["k"]})},
            "generation: forward at .*test_generation.py:[0-9]+ leaves out state 'cache.v'",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_with_the_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        lower(a_generation(**changes))


def test_a_task_that_is_only_written_takes_no_copy_of_the_weights() -> None:
    program = a_generation()
    own, lent = lower(program), lower(program, lent=True)
    assert (own.graph_root, own.state_root) == (lent.graph_root, lent.state_root)
    weights = [weight.detach().numpy() for weight in program.reader.parameters()]

    def shared(task: Task) -> int:
        return sum(any(np.shares_memory(weight, held) for held in task.constants) for weight in weights)

    assert shared(own) == 0 and shared(lent) == len(weights)
    weights[0][:] = 0
    assert own.constants[0].any()
