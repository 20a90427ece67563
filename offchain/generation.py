"""Generation of text as a program: one token a step for each prompt, keys and values of earlier tokens in the state.

    job = Generation(model, [[5, 17, 2], [5, 3]], max_new_tokens=64, stop=0)

Prompts are read token by token in the first steps, so that those of different lengths need no padding: each row goes on
with its own tokens while it has some.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from offchain.continuation import LENGTH, OUTPUT, PROMPT, Continuation
from offchain.errors import BadInput
from offchain.fields import check_model, shown
from offchain.inference import OfModel, check_forward, interval_of
from offchain.ir.arrays import Array
from offchain.job import DEFAULT_BITS
from offchain.lines import at, line_of, line_of_caller
from offchain.modes import evaluating
from offchain.transformer import adapted
from offchain.vocabulary import Vocabulary, words_of

Forward = Callable[[Any, Tensor, Any, Tensor], tuple[Tensor, Any]]
MOST_K: Final = 64
MOST_TOKEN: Final = (1 << 31) - 1
COLDEST, HOTTEST = 1e-3, 1e3  # temperatures


class Generation(OfModel):
    """Continues prompts by a causal model.

    model           a causal model of `transformers`, or any with `forward` and `cache`; it runs in evaluation mode
    prompts         token numbers of each prompt; one row of the batch each
    max_new_tokens  tokens for each
    temperature     0: the token with the greatest score. Else one is drawn by softmax(scores / temperature)
    top_k           it is drawn among the k greatest scores, up to 64; equal scores count once. None at temperature 0
    stop            a token, or several, after which a row is done
    forward         `forward(model, ids, cache, position)`: scores (rows, vocabulary) of the token that follows `ids`
                    (rows,) at this position, all int32, and the next cache, of the same shapes and dtypes
    cache           for `forward`: the cache before the first token, as a Program's state; usually zeros, with a place
                    for each of `Generation.positions_of(prompts, max_new_tokens)` positions
    vocabulary      what the tokens are as text, for people: a tokenizer of `transformers`, or texts or bytes by number.
                    It goes into the task's file, so that whoever has that reads text
    interval, seed, bits, precision, name  as a Program's

    Step t outputs the tokens at position t + 1, (1, rows); `continued` cuts them into what follows each prompt.
    """

    prompts: tuple[tuple[int, ...], ...]
    stop: tuple[int, ...]
    new: int
    vocabulary: Vocabulary

    def __init__(
        self,
        model: nn.Module,
        prompts: Sequence[Any],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        stop: int | Sequence[int] | None = None,
        forward: Forward | None = None,
        cache: Mapping[str, Any] | None = None,
        vocabulary: Any = None,
        interval: int | None = None,
        seed: int = 0,
        bits: int = DEFAULT_BITS,
        precision: str | None = None,
        name: str = "generation",
    ) -> None:
        try:
            check_model(model)
            rows = _rows(prompts)
            _check(model, rows, max_new_tokens, temperature, top_k)
            ends = _ends(stop)
            if interval is not None and (type(interval) is not int or interval < 1):
                raise BadInput(f"interval is {shown(interval)}, must be a positive integer")
            if (forward is None) != (cache is None):
                raise BadInput("forward and cache belong together; give both, or for a model of transformers neither")
            check_forward(forward)
            positions = self.positions_of(rows, max_new_tokens)
            if forward is None or cache is None:
                forward, cache = adapted(model, len(rows), positions)
            words = Vocabulary(() if vocabulary is None else words_of(vocabulary), ends)
        except BadInput as error:
            raise BadInput(f"generation{at(line_of_caller())}: {error}") from error
        own = {"reader": model, "forward": forward, "prompts": rows, "stop": ends, "new": max_new_tokens}
        for what, value in {**own, "vocabulary": words}.items():
            object.__setattr__(self, what, value)
        pick = _Pick(temperature, top_k)
        whole = interval or interval_of(positions)
        super().__init__(
            step=lambda state, data, t: self._stepped(pick, state, data, t),
            state={
                "last": torch.zeros(len(rows), dtype=torch.int32),
                "done": torch.zeros(len(rows), dtype=torch.bool),
                "cache": cache,
            },
            data={PROMPT: _padded(rows), LENGTH: torch.tensor([len(row) for row in rows])},
            steps=-(-positions // whole) * whole,
            interval=whole,
            outputs={OUTPUT: positions},
            seed=seed,
            bits=bits,
            precision=precision,
            name=name,
        )

    @property
    def results(self) -> frozenset[str]:
        """None of its state: tokens are output, and the cache is as large as all of them times the model's width."""
        return frozenset()

    @staticmethod
    def positions_of(prompts: Sequence[Any], max_new_tokens: int) -> int:
        """Positions that the model sees: the last token of the longest continuation is only output."""
        return max(map(len, prompts)) + max_new_tokens - 1

    def continued(self, tokens: Tensor | Array) -> list[list[int]]:
        """What follows each prompt, up to its stop token, in the output "token" of all steps or of the first ones."""
        return Continuation(self.prompts, self.new, self.stop).rows(tokens)

    def texts(self, tokens: Tensor | Array) -> list[str]:
        """Each prompt with what follows it, as `vocabulary` has it; without one, the numbers of the tokens."""
        pairs = zip(self.prompts, self.continued(tokens), strict=True)
        return [self.vocabulary.text([*prompt, *new]) for prompt, new in pairs]

    def _stepped(self, pick: _Pick, state: Any, data: Any, t: Tensor) -> Any:
        prompt, length = data[PROMPT], data[LENGTH].int()
        last, after = prompt.shape[1] - 1, t + 1
        ids = torch.where(t < length, prompt[:, t.clamp(max=last)].int(), state["last"])
        with evaluating(self.reader), torch.no_grad():
            place = t.clamp(max=last + self.new - 1)  # steps that fill the last interval write where nobody reads
            scores, cache = self.forward(self.reader, ids, state["cache"], place)
            self._check_scores(scores, line_of(self.forward))
            chosen = pick(scores)
        free = after >= length
        end = self.stop[0] if self.stop else 0
        token = torch.where(free, torch.where(state["done"], end, chosen), prompt[:, after.clamp(max=last)])
        done = state["done"] | (free & (after - length >= self.new - 1))
        for stop in self.stop:
            done = done | (free & (token == stop))
        said = {"score": scores.amax(-1).mean(), "done": done.sum()}
        return {"last": token.int(), "done": done, "cache": cache}, said, {OUTPUT: token.int().unsqueeze(0)}

    def _check_scores(self, scores: Any, line: str) -> None:
        if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != len(self.prompts):
            gave = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise BadInput(
                f"generation: forward{at(line)} gives {gave} as scores, must give ({len(self.prompts)}, vocabulary)"
            )
        vocabulary, held = scores.shape[1], [token for prompt in self.prompts for token in prompt]
        for name, tokens in (("prompts", held), ("stop", self.stop)):
            bad = next((token for token in tokens if not 0 <= token < vocabulary), None)
            if bad is not None:
                where = at(self.line_of(name))
                raise BadInput(
                    f"generation{where}: {name} has the token {bad}, which is not in the vocabulary of {vocabulary}"
                )


class _Pick:
    """Chooses tokens by their scores."""

    def __init__(self, temperature: float, top_k: int | None) -> None:
        self.temperature, self.top_k = temperature, top_k

    def __call__(self, scores: Tensor) -> Tensor:
        if not self.temperature:
            return scores.argmax(-1)
        if self.top_k is not None:
            scores = torch.where(scores >= _greatest(scores, self.top_k), scores, -math.inf)
        noise = -torch.log(-torch.log(torch.rand(scores.shape)))  # Gumbel's: the greatest sum is drawn by softmax
        return (scores / self.temperature + noise).argmax(-1)


def _greatest(scores: Tensor, k: int) -> Tensor:
    """The k-th greatest different score of each row, or the least of fewer."""
    for _ in range(k - 1):
        top = scores.amax(-1, keepdim=True)
        rest = torch.where(scores < top, scores, -math.inf)
        scores = torch.where(rest.amax(-1, keepdim=True) > -math.inf, rest, scores)
    return scores.amax(-1, keepdim=True)


def _rows(prompts: Any) -> tuple[tuple[int, ...], ...]:
    """The prompts as tuples of integers."""
    if not isinstance(prompts, list | tuple) or not prompts:
        raise BadInput(f"prompts is {shown(prompts)}, must be a list of lists of token numbers")
    rows = []
    for number, prompt in enumerate(prompts):
        tokens = prompt.tolist() if isinstance(prompt, Tensor) else prompt
        if not isinstance(tokens, list | tuple) or not tokens or any(type(token) is not int for token in tokens):
            raise BadInput(f"prompt {number} is {shown(prompt)}, must be a list of token numbers, at least one")
        if bad := next((token for token in tokens if not 0 <= token <= MOST_TOKEN), None):
            raise BadInput(f"prompt {number} has the token {bad}, must be 0 or more, and in the model's vocabulary")
        rows.append(tuple(tokens))
    return tuple(rows)


def _ends(stop: Any) -> tuple[int, ...]:
    """The stop tokens."""
    ends = () if stop is None else tuple(stop) if isinstance(stop, list | tuple) else (stop,)
    if any(type(end) is not int for end in ends):
        raise BadInput(f"stop is {shown(stop)}, must be a token number, or a list of them")
    return ends


def _check(model: Any, rows: Sequence[Sequence[int]], new: Any, temperature: Any, top_k: Any) -> None:
    if type(new) is not int or new < 1:
        raise BadInput(f"max_new_tokens is {shown(new)}, must be a positive integer")
    if not isinstance(temperature, int | float) or isinstance(temperature, bool) or not 0 <= temperature < math.inf:
        raise BadInput(f"temperature is {shown(temperature)}, must be 0 or more")
    if temperature and not COLDEST <= temperature <= HOTTEST:  # scores divided by it fit float32, and tell tokens apart
        raise BadInput(f"temperature is {shown(temperature)}, must be 0, or {COLDEST} to {HOTTEST}")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= MOST_K):
        raise BadInput(f"top_k is {shown(top_k)}, must be 1 to {MOST_K}")
    if top_k is not None and not temperature:
        raise BadInput(
            f"top_k is {top_k}, but at temperature 0 no token is drawn; give a temperature above 0, or no top_k"
        )
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    for number, row in enumerate(rows):
        if isinstance(most, int) and len(row) + new > most:
            raise BadInput(
                f"prompt {number} has {len(row)} tokens, which with {new} new ones do not fit the model's {most} "
                "positions; shorten it, or ask for fewer"
            )


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
