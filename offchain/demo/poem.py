"""The job file of `offchain demo --generation`: a small network that knows a poem by heart continues four beginnings.

A token is a word. The poem is William Blake's The Tyger, of 1794; each of its pairs of lines is one text.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from offchain.generation import Generation

POEM: Final = """
Tyger Tyger, burning bright, / In the forests of the night;
What immortal hand or eye, / Could frame thy fearful symmetry?
In what distant deeps or skies / Burnt the fire of thine eyes?
On what wings dare he aspire? / What the hand, dare seize the fire?
And what shoulder, & what art, / Could twist the sinews of thy heart?
And when thy heart began to beat, / What dread hand? & what dread feet?
What the hammer? what the chain, / In what furnace was thy brain?
What the anvil? what dread grasp, / Dare its deadly terrors clasp!
When the stars threw down their spears / And water'd heaven with their tears:
Did he smile his work to see? / Did he who made the Lamb make thee?
"""
END: Final = "\n"
TEXTS: Final = [[*line.split(), END] for line in POEM.strip().splitlines()]
WORDS: Final = sorted({word for text in TEXTS for word in text})
PROMPTS: Final = ("Tyger Tyger, burning", "When the stars", "Did he smile", "What the hammer?")
WIDTH: Final = 48
NEW: Final = 14  # words for each prompt
INTERVAL: Final = 4


class Reciter(nn.Module):
    """One layer of causal attention over words and their places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(len(WORDS), WIDTH), nn.Embedding(32, WIDTH)
        self.qkv, self.inner, self.out = (
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, len(WORDS)),
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (rows, length, words) after each word."""
        length = ids.shape[1]
        x = self.words(ids) + self.places(torch.arange(length))
        q, k, v = self.qkv(x).chunk(3, -1)
        unseen = ~torch.ones(length, length, dtype=torch.bool).tril()
        return self.scores(x, (q @ k.transpose(1, 2)).masked_fill(unseen, -1e9).softmax(-1) @ v)

    def scores(self, x: Tensor, seen: Tensor) -> Tensor:
        scores: Tensor = self.out(torch.relu(self.inner(x + seen)))
        return scores


def forward(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """Scores after one word, with the keys and values of those before."""
    x = model.words(ids) + model.places(position)
    q, k, v = model.qkv(x).chunk(3, -1)
    cache["k"][:, position], cache["v"][:, position] = k, v
    unseen = torch.arange(cache["k"].shape[1]) > position
    weights = (cache["k"] @ q.unsqueeze(2)).squeeze(2).masked_fill(unseen, -1e9).softmax(-1)
    return model.scores(x, (weights.unsqueeze(1) @ cache["v"]).squeeze(1)), cache


def numbers(words: list[str]) -> list[int]:
    return [WORDS.index(word) for word in words]


def trained(steps: int = 300) -> Reciter:
    """The network, once it knows the poem."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Reciter()
    longest = max(map(len, TEXTS))
    rows = torch.tensor([numbers(text + [END] * (longest - len(text))) for text in TEXTS])
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(steps):
        scores = network(rows[:, :-1])
        nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return network


def job() -> Generation:
    prompts = [numbers(prompt.split()) for prompt in PROMPTS]
    positions = Generation.positions_of(prompts, NEW)
    return Generation(
        trained(),
        prompts,
        NEW,
        forward=forward,
        cache={name: torch.zeros(len(prompts), positions, WIDTH) for name in "kv"},
        stop=WORDS.index(END),
        vocabulary=[f" {word}" for word in WORDS],
        interval=INTERVAL,
        name="poem",
    )
