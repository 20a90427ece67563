"""Random operations of a step as pure functions of seed, step and place, in plain torch operations.

While a step is captured, every random operation of torch is replaced by words of Philox4x32-10 whose counter is
(step, block of four elements, number of the operation within the step, domain). The data order has domain 0.
Backward passes read the tensors that the forward pass drew. `replayed` does the same to eager torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf, log1p, pi, prod
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from offchain.errors import Unsupported
from offchain.lower.aids import without_checkpoints
from offchain.lower.philox import high_product, random_words
from offchain.lower.sorting import LONGEST, MOST_ROUNDS

aten = torch.ops.aten
DOMAIN: Final = 1
_TURN: Final = 6.283185307179586
Step = Callable[..., tuple[Tensor, ...]]


@contextmanager
def replayed(seed: int, t: int | Tensor) -> Iterator[None]:
    """`with replayed(job.seed, t): ...`: eager torch on the CPU draws what the graph of a job draws in step t.

    The random operations must be run once each, in the order of the job's own step. All numbers are equal bit for
    bit, except normal and exponential ones, which go through torch's own log and cos: these agree to some ulp.
    Raises Unsupported for random operations that have no such form.
    """
    # fused attention would draw its dropout itself
    with sdpa_kernel(SDPBackend.MATH), without_checkpoints(), _Draws(seed, torch.as_tensor(t, dtype=torch.int32)):
        yield


def drawn(step: Step, seed: int) -> Step:
    """`step(*tensors, t)` with every random operation drawn by counter."""

    def drawn_step(*flat: Tensor) -> tuple[Tensor, ...]:
        with replayed(seed, flat[-1]):
            return step(*flat)

    return drawn_step


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While on, replaces random operations, and counts them."""

    def __init__(self, seed: int, t: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.t, self.number = seed, t, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None:
            raise Unsupported(f"{func} with a generator; leave it out, numbers come from the job's seed")
        if func in DRAWN:
            return DRAWN[func](self, *args, **kwargs)
        if func in IN_PLACE:
            return args[0].copy_(DRAWN[IN_PLACE[func]](self, *args, **kwargs))
        # during capture the lowering refuses it, since it knows where the operation comes from
        if torch.Tag.nondeterministic_seeded in func.tags and get_proxy_mode() is None:
            raise Unsupported(f"{func} is not supported; use torch.rand, randn, randint, randperm or bernoulli")
        return func(*args, **kwargs)

    def draw(self, size: Sequence[int], f: Callable[[Tensor], Tensor]) -> Tensor:
        """f of fresh words, of shape (blocks, 4), in the given shape."""
        count = prod(size)
        words = random_words(self.t, self.seed, count, self.number, DOMAIN)
        self.number += 1
        return f(words).reshape(-1)[:count].reshape(tuple(size))

    def uniform(self, size: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.draw(size, lambda words: _scaled(_unit(words), low, high))

    def below(self, size: Sequence[int], p: float) -> Tensor:
        """1.0 with probability p, else 0.0."""
        return self.draw(size, lambda words: (_unit(words) < p).to(torch.float32))

    def normal(self, size: Sequence[int]) -> Tensor:
        return self.draw(size, _gauss)

    def whole(self, size: Sequence[int], low: int, high: int) -> Tensor:
        """Integers in [low, high), with a bias below (high − low)/2^32."""
        span = high - low
        if span > 1 << 31 or not -(1 << 31) <= low < high <= 1 << 31:
            raise Unsupported(f"random integers from {low} to {high - 1}; they must fit int32")
        mask = (1 << (span - 1).bit_length()) - 1  # changes no bit, but tells the lowering the bounds
        return self.draw(size, lambda words: (high_product(words, span) & mask) + low)


def _unit(words: Tensor) -> Tensor:
    """The upper 24 bits as a multiple of 2^−24 in [0, 1)."""
    return ((words >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def _scaled(unit: Tensor, low: float, high: float) -> Tensor:
    return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low


def _gauss(words: Tensor) -> Tensor:
    """Box and Muller (1958): words 0 and 1 give two normal numbers, words 2 and 3 two more; all are below 5.77."""
    pairs = words.reshape(-1, 2, 2)
    radius, turn = (_unit(pairs[:, :, j : j + 1].expand(pairs.shape)) for j in (0, 1))
    turn = turn - torch.arange(2, dtype=torch.float32) * 0.25  # the second is the sine
    return (((radius + 2.0**-24).log() * -2.0).sqrt() * (turn * _TURN).cos()).reshape(words.shape)


def _exponential(draws: _Draws, x: Tensor, rate: float = 1.0, **_: Any) -> Tensor:
    return draws.draw(x.shape, lambda words: (_unit(words) + 2.0**-24).log() * (-1.0 / rate))


def _geometric(draws: _Draws, x: Tensor, p: float, **_: Any) -> Tensor:
    """How many trials it takes until one of chance p succeeds."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")  # as torch does
    return (draws.draw(x.shape, lambda words: 1 - _unit(words)).log() * (1 / log1p(-p))).ceil().clamp(min=1)


def _native_dropout(draws: _Draws, x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    if train is False or p == 0:
        return x.clone(), torch.ones(x.shape, dtype=torch.bool)
    kept = draws.below(x.shape, 1 - p)
    return x * kept * (1 / (1 - p) if p < 1 else 0.0), kept.to(torch.bool)


def _rrelu(
    draws: _Draws, x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: Any
) -> tuple[Tensor, Tensor]:
    """The result, and what the gradient is multiplied by: fresh slopes where x ≤ 0, else 1."""
    if not training:
        return torch.where(x <= 0, x * ((lower + upper) / 2), x), noise.clone()
    slopes = torch.where(x <= 0, draws.uniform(x.shape, lower, upper), 1.0)
    return x * slopes, slopes


def _rrelu_with_noise(draws: _Draws, x: Tensor, noise: Tensor, *args: Any) -> Tensor:
    result, slopes = _rrelu(draws, x, noise, *args)
    noise.copy_(slopes)
    return result


def _permutation(draws: _Draws, n: int) -> Tensor:
    """The order of n fresh words. Two that are equal keep theirs; the chance that there are any is below n²/2^33."""
    if n > LONGEST:
        raise Unsupported(
            f"torch.randperm({n}): {n} elements; at most {LONGEST} are sorted in a step: shuffle in Job.order, or take "
            f"some of them by torch.rand({n}).topk(k).indices, k up to {MOST_ROUNDS}"
        )
    return draws.draw((n,), lambda words: words).argsort(stable=True)


def _multinomial(draws: _Draws, p: Tensor, count: int, replacement: bool = False, **_: Any) -> Tensor:
    """Coordinates along the last axis, by weights of which none is below 0 and a sum is above 0.

    Without replacement the greatest of p/q, with q exponential, as in torch: the order is that of draws in turn.
    """
    _check_weights(p, count, replacement)
    if replacement and count > 1:
        sums = p.cumsum(-1)
        u = draws.uniform((*p.shape[:-1], count)) * sums[..., -1:]
        return torch.searchsorted(sums, u, right=True).clamp(max=p.shape[-1] - 1)
    times = _exponential(draws, p).clamp(min=2.0**-25)  # of the greatest unit it is 0
    return (p / times).topk(count).indices


def _check_weights(p: Tensor, count: int, replacement: bool) -> None:
    """Raise RuntimeError, as torch does, for weights that are none."""
    if not (replacement or count <= p.shape[-1]):
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    none = (p < 0) | (p == inf) | (p != p)
    _refuse_where(none, "probability tensor contains either `inf`, `nan` or element < 0")
    _refuse_where(p.sum(-1) <= 0, "invalid multinomial distribution (sum of probabilities <= 0)")


def _refuse_where(outside: Tensor, said: str) -> None:
    """Raise RuntimeError, as torch does, where an argument is none. Of a captured step ranges.py looks at all rows."""
    if get_proxy_mode() is not None:
        try:
            torch.zeros(1).index_select(0, outside.to(torch.int64).reshape(-1))
        except IndexError as error:  # in the first step
            raise RuntimeError(said) from error
    elif bool(outside.any()):
        raise RuntimeError(said)


def _probable(draws: _Draws, p: Tensor, size: Sequence[int]) -> Tensor:
    """Truths, each with its own probability."""
    _refuse_where((p < 0) | (p > 1), "Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return draws.uniform(size) < p


def _deviating(draws: _Draws, mean: Tensor | float, std: Tensor, size: Sequence[int]) -> Tensor:
    _refuse_where(std < 0, "normal expects all elements of std >= 0.0")
    return draws.normal(size) * std + mean


def _random(draws: _Draws, x: Tensor, low: int, high: int | None) -> Tensor:
    """Integers in [low, high), where no `high` is given up to the greatest that the dtype holds without a gap."""
    if high is None:
        whole = {torch.float32: (1 << 24) + 1, torch.int32: 1 << 31, torch.bool: 2}
        if x.dtype not in whole:
            raise Unsupported("random_() of 64 bits; give bounds that fit int32: random_(to), or random_(from, to)")
        high = whole[x.dtype]
    return draws.whole(x.shape, low, high)


def _made(make: Callable[..., Tensor], default: torch.dtype) -> Callable[..., Tensor]:
    """`make` in the dtype that a factory function is asked for."""
    return lambda *args, dtype=None, **_: make(*args).to(dtype or default)


def _like(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`make` in the dtype of its tensor, unless another is asked for."""
    return lambda draws, x, *args, dtype=None, **options: make(draws, x, *args, **options).to(dtype or x.dtype)


_RANDOM_FROM: Final = getattr(aten.random, "from")
DRAWN: Final[dict[Any, Callable[..., Any]]] = {
    aten.bernoulli.default: _like(lambda d, p, **_: _probable(d, p, p.shape)),
    aten.bernoulli.p: _like(lambda d, x, p=0.5, **_: d.below(x.shape, p)),
    aten.bernoulli.Tensor: _like(lambda d, x, p, **_: _probable(d, p, x.shape)),
    aten.native_dropout.default: _native_dropout,
    aten.rand.default: _made(lambda d, size: d.uniform(size), torch.float32),
    aten.randn.default: _made(lambda d, size: d.normal(size), torch.float32),
    aten.rand_like.default: _like(lambda d, x, **_: d.uniform(x.shape)),
    aten.randn_like.default: _like(lambda d, x, **_: d.normal(x.shape)),
    aten.uniform.default: _like(lambda d, x, low=0.0, high=1.0, **_: d.uniform(x.shape, low, high)),
    aten.normal_functional.default: _like(lambda d, x, mean=0.0, std=1.0, **_: d.normal(x.shape) * std + mean),
    aten.normal.float_float: _made(lambda d, mean, std, size: d.normal(size) * std + mean, torch.float32),
    aten.normal.Tensor_float: lambda d, mean, std=1.0, **_: d.normal(mean.shape) * std + mean,
    aten.normal.float_Tensor: lambda d, mean, std, **_: _deviating(d, mean, std, std.shape),
    aten.normal.Tensor_Tensor: lambda d, mean, std, **_: _deviating(d, mean, std, (mean + std).shape),
    aten.exponential.default: _like(_exponential),
    aten.log_normal.default: _like(lambda d, x, mean=1.0, std=2.0, **_: (d.normal(x.shape) * std + mean).exp()),
    aten.cauchy.default: _like(
        lambda d, x, median=0.0, sigma=1.0, **_: ((d.uniform(x.shape) - 0.5) * pi).tan() * sigma + median
    ),
    aten.geometric.default: _like(_geometric),
    aten.randint.default: _made(lambda d, high, size: d.whole(size, 0, high), torch.int64),
    aten.randint.low: _made(lambda d, low, high, size: d.whole(size, low, high), torch.int64),
    aten.randint_like.default: _like(lambda d, x, high, **_: d.whole(x.shape, 0, high)),
    aten.rrelu_with_noise_functional.default: _rrelu,
    aten.rrelu_with_noise.default: _rrelu_with_noise,
    aten.rrelu_with_noise_.default: lambda d, x, *args: x.copy_(_rrelu_with_noise(d, x, *args)),
    aten.randperm.default: _made(_permutation, torch.int64),
    aten.multinomial.default: _multinomial,
    aten.random.default: _like(lambda d, x, **_: _random(d, x, 0, None)),
    aten.random.to: _like(lambda d, x, to, **_: _random(d, x, 0, to)),
    _RANDOM_FROM: _like(lambda d, x, low, to, **_: _random(d, x, low, to)),
    aten.randint_like.low_dtype: _like(lambda d, x, low, high, **_: d.whole(x.shape, low, high)),
}
IN_PLACE: Final = {
    aten.bernoulli_.float: aten.bernoulli.p,
    aten.bernoulli_.Tensor: aten.bernoulli.Tensor,
    aten.uniform_.default: aten.uniform.default,
    aten.normal_.default: aten.normal_functional.default,
    aten.exponential_.default: aten.exponential.default,
    aten.log_normal_.default: aten.log_normal.default,
    aten.cauchy_.default: aten.cauchy.default,
    aten.geometric_.default: aten.geometric.default,
    aten.random_.default: aten.random.default,
    aten.random_.to: aten.random.to,
    getattr(aten.random_, "from"): _RANDOM_FROM,
}
