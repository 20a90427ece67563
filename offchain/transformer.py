"""A causal model of `transformers`, asked for one token at a time: what it keeps of earlier ones has a fixed size, and
lies in a step's state.

The model makes its own masks, of all positions, as it does for a cache that it compiles with. So windows, chunks and
biases by distance are what its authors wrote. Attention keeps keys and values at all positions; what is recurrent
keeps its states.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from offchain.errors import BadInput
from offchain.modes import evaluating

KEYS: Final = "keys"
VALUES: Final = "values"
LONG: Final = (KEYS, VALUES)  # have a place for each position
REMEDY: Final = "give forward and cache (docs/programs.md has them for any causal model)"
LONGEST: Final = 512  # positions at which a model is compared with itself
APART: Final = 1e-3  # of the greatest score: what its two ways may differ by, which round otherwise
EXPERTS: Final = "batched_mm"  # of those that `transformers` has, the one that chooses by a gather


class Held:
    """What a model takes for its cache: each layer's tensors, of which it writes those of one position."""

    is_compileable = True  # so it makes masks, where it might leave them out

    def __init__(self, layers: Mapping[str, Any], position: Tensor) -> None:
        self.kept = {layer: dict(tensors) for layer, tensors in layers.items()}
        self.position = position
        self.positions = next((held[KEYS].shape[2] for held in self.kept.values() if KEYS in held), 1)

    @property
    def is_sliding(self) -> list[bool]:
        """None is: each keeps all positions, and masks forget."""
        return [False] * len(self.kept)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        held = self.kept[str(layer_idx)]
        here = (torch.arange(self.positions) == self.position).reshape(-1, 1)
        held[KEYS] = torch.where(here, key_states, held[KEYS])
        held[VALUES] = torch.where(here, value_states, held[VALUES])
        return held[KEYS], held[VALUES]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of a convolution, which the model moves on in place."""
        return self.kept[str(layer_idx)].get(f"inputs{state_idx}")

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        return self.kept[str(layer_idx)].get(f"recurrent{state_idx}")

    def update_conv_state(self, conv_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        held = self.kept[str(layer_idx)]
        full = torch.cat([held[f"inputs{state_idx}"], conv_states], -1)
        held[f"inputs{state_idx}"] = full[..., conv_states.shape[-1] :]
        return full

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        self.kept[str(layer_idx)][f"recurrent{state_idx}"] = recurrent_states
        return recurrent_states

    def get_mask_sizes(self, *_: Any, **__: Any) -> tuple[int, int]:
        """Length of the keys, and the position of the first one."""
        return self.positions, 0

    def get_seq_length(self, *_: Any, **__: Any) -> Any:
        """How many tokens came before."""
        return self.position

    get_query_offset = get_seq_length

    def get_max_length(self, *_: Any) -> int:
        return self.positions

    def has_previous_state(self, *_: Any, **__: Any) -> bool:
        return True

    def is_recording_past(self, *_: Any) -> bool:
        return False


class Uncounted(Held):
    """One that tells only a mask how many tokens came before."""

    def get_seq_length(self, *_: Any, **__: Any) -> Any:
        return 0


class Reading(Held):
    """Notes what a model keeps of a text that it reads at once, from nothing."""

    is_compileable = False

    def __init__(self, positions: int) -> None:
        super().__init__({}, torch.zeros((), dtype=torch.int32))
        self.positions = positions

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self._of(layer_idx).update({KEYS: key_states, VALUES: value_states})
        return key_states, value_states

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        return None

    get_recurrent_state = get_conv_state

    def update_conv_state(
        self, conv_states: Tensor, layer_idx: int, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> Tensor:
        size = conv_kernel_size or conv_states.shape[-1]
        full = F.pad(conv_states, (max(size - conv_states.shape[-1], 0), 0))
        self._of(layer_idx)[f"inputs{state_idx}"] = full[..., -size:]
        return full

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        self._of(layer_idx)[f"recurrent{state_idx}"] = recurrent_states
        return recurrent_states

    def get_seq_length(self, *_: Any, **__: Any) -> Any:
        return 0

    get_query_offset = get_seq_length

    def has_previous_state(self, *_: Any, **__: Any) -> bool:
        return False

    def _of(self, layer: int) -> dict[str, Tensor]:
        return self.kept.setdefault(str(layer), {})


def transformer(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """`forward` of a causal model of `transformers`."""
    held = Held(cache, position)
    return _asked(model, ids.long().unsqueeze(1), held, position), held.kept


def _masked(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """That of one which would make a padding mask as long as what came before, as no graph can."""
    held = Held(cache, position)
    mask = torch.ones(len(ids), held.positions)
    return _asked(model, ids.long().unsqueeze(1), held, position, attention_mask=mask), held.kept


def _uncounted(model: Any, ids: Tensor, cache: Any, position: Tensor) -> tuple[Tensor, Any]:
    """That of one which slices by what it takes for the number of tokens before."""
    held = Uncounted(cache, position)
    return _asked(model, ids.long().unsqueeze(1), held, position), held.kept


Forward = Callable[[Any, Tensor, Any, Tensor], tuple[Tensor, Any]]
WAYS: Final[tuple[Forward, ...]] = (transformer, _masked, _uncounted)


def adapted(model: nn.Module, rows: int, positions: int) -> tuple[Forward, dict[str, Any]]:
    """`forward` and `cache` of a model of `transformers`: what it keeps before the first token, zeros, (rows, ...).

    Raises BadInput where the model, asked for one token after a text, gives other scores than for all of it.
    """
    name = type(model).__name__
    if not hasattr(model, "config"):
        raise BadInput(f"model is a {name}, none of transformers; give forward and cache")
    try:
        with evaluating(model), torch.no_grad():
            text = (torch.arange(min(positions, LONGEST)) * 7 + 1).remainder(_tokens(model)).unsqueeze(0)
            kept = _read(model, text[:, : max(text.shape[1] // 2, 1)])
            forward, apart = _way(model, kept, text) if kept else (transformer, 0.0)
    except Exception as error:  # of the model's own code, which takes its cache otherwise
        said = str(error).splitlines()[0] if str(error) else ""
        raise BadInput(f"model {name} takes no such cache ({type(error).__name__}: {said}); {REMEDY}") from error
    if not kept:
        raise BadInput(f"model {name} keeps nothing in its cache; {REMEDY}")
    if not apart <= APART:
        raise BadInput(
            f"model {name}, asked for one token at a time with a cache of fixed size, gives other scores than for all "
            f"of them at once (by {apart:.1g} of the greatest); {REMEDY}"
        )
    return forward, _empty(kept, rows, positions)


def _read(model: Any, text: Tensor) -> dict[str, Any]:
    """What the model keeps of a text (1, tokens), by layer."""
    read = Reading(text.shape[1])
    _asked(model, text, read, torch.zeros((), dtype=torch.int32))
    return read.kept


def _way(model: Any, kept: Mapping[str, Any], text: Tensor) -> tuple[Forward, float]:
    """The way to ask the model for one token that a graph can be and that agrees with all of them at once, and how far
    it is from that. If there is none: the first one that no value decides."""
    found = []
    for forward in WAYS:
        if _looks(model, forward, _empty(kept, 1, text.shape[1])):
            continue
        found.append((forward, _apart(model, forward, kept, text)))
        if found[-1][1] <= APART:
            return found[-1]
    return found[0] if found else (transformer, _apart(model, transformer, kept, text))


def _looks(model: Any, forward: Forward, cache: Mapping[str, Any]) -> bool:
    """Whether the model asks for the value of a tensor, which no graph can tell it, or cannot be asked so at all."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            ids, place = torch.zeros(1, dtype=torch.int32), torch.zeros((), dtype=torch.int32)
            forward(model, ids, cache, place)
    except Exception:  # of the model's own code: if no other way is better, it comes again with its line
        return True
    return False


def _apart(model: Any, forward: Forward, kept: Mapping[str, Any], text: Tensor) -> float:
    """How far the scores of a token in the middle of a text are from those of all at once, in parts of the greatest.

    In the middle, since then the cache has places that no token has reached.
    """
    middle, room = text.shape[1] // 2, _empty(kept, 1, text.shape[1])
    whole = model(input_ids=text[:, : middle + 1], use_cache=False).logits[:, -1]
    if middle:
        for layer, tensors in kept.items():
            for what, tensor in tensors.items():
                (room[layer][what][:, :, :middle] if what in LONG else room[layer][what]).copy_(tensor)
    step, _ = forward(model, text[:, middle], room, torch.tensor(middle, dtype=torch.int32))
    return float((step - whole).abs().max() / whole.abs().max().clamp(min=torch.finfo(torch.float32).tiny))


def _empty(kept: Mapping[str, Any], rows: int, positions: int) -> dict[str, Any]:
    """Zeros of the shapes that are kept of one row, with a place for each position, where they have any."""
    return {
        layer: {
            what: torch.zeros(rows, tensor.shape[1], positions, tensor.shape[3])
            if what in LONG
            else torch.zeros(rows, *tensor.shape[1:])
            for what, tensor in sorted(tensors.items())
        }
        for layer, tensors in kept.items()
    }


def _asked(model: Any, ids: Tensor, held: Held, position: Tensor, **more: Any) -> Tensor:
    """Scores after the last of `ids` (rows, tokens), the first of which is at this position."""
    taken = inspect.signature(model.forward).parameters
    places = position.long() + torch.arange(ids.shape[1])
    given: dict[str, Any] = {"cache_params" if "cache_params" in taken else "past_key_values": held}
    with _by_gather(model) if ids.shape[1] == 1 else nullcontext():  # each token takes a copy of its experts
        made = model(input_ids=ids, position_ids=places.expand(ids.shape), use_cache=True, **given, **more)
    scores: Tensor = made.logits[:, -1]
    return scores


def _tokens(model: Any) -> int:
    """Tokens of the vocabulary."""
    count: int = model.get_input_embeddings().weight.shape[0]
    return count


@contextmanager
def _by_gather(model: Any) -> Iterator[None]:
    """While open, a mixture's experts are chosen by a gather: other ways look at which they are."""
    before = model.get_experts_implementation() if hasattr(model, "get_experts_implementation") else {}
    if not any(before.values()):
        yield
        return
    model.set_experts_implementation(EXPERTS)
    try:
        yield
    finally:
        model.set_experts_implementation(before)
