"""Functions of torch in terms of others: their own look at values, or have a gradient that cannot be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.errors import Unsupported

MOST_PLACED: Final = 1 << 22  # comparisons of an index with a place
MOST_COMPARED: Final = 2048  # elements of a line whose mode is taken, by comparing all with all


def _det(a: Tensor) -> Tensor:
    """With the gradient of the logarithm; where the value is 0 torch's is 0."""
    value = torch.linalg.det(a.detach())
    regular = torch.where((value == 0)[..., None, None], torch.eye(a.shape[-1]), a)
    logarithm = torch.linalg.slogdet(regular).logabsdet
    scaled: Tensor = value * (logarithm - logarithm.detach()).exp()
    return scaled


def _scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Products by comparing each index with each place: torch's backward looks for zeros."""
    if reduce != "prod":
        return x.scatter_reduce(dim, index, src, reduce, include_self=include_self)
    if not x.ndim:
        wide = (x.reshape(1), 0, index.reshape(-1), src.reshape(-1))
        return _scatter_reduce(*wide, reduce, include_self=include_self).reshape(())
    own, places = x.movedim(dim, 0), index.movedim(dim, 0)
    source = src[tuple(slice(size) for size in index.shape)].movedim(dim, 0)
    here = places == torch.arange(len(own)).reshape(-1, *[1] * places.ndim)
    if here.numel() > MOST_PLACED or own.shape[1:] != places.shape[1:]:
        raise Unsupported(
            f"products of {index.numel()} elements at {len(own)} places; at most {MOST_PLACED} comparisons, of an "
            "index as wide as the result: split it, or take the exponential of a sum of logarithms"
        )
    made = torch.where(here, source, 1).prod(1)
    made = made * own if include_self else torch.where(here.any(1), made, own)
    return made.movedim(0, dim)


def _scatter_reduce_(x: Tensor, *args: Any, **options: Any) -> Tensor:
    return x.copy_(_scatter_reduce(x.clone(), *args, **options))


def _index_reduce(x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool = True) -> Tensor:
    """By scatter_reduce of whole rows."""
    wide = index.reshape([-1 if d == dim % x.ndim else 1 for d in range(x.ndim)]).expand(source.shape)
    return _scatter_reduce(x, dim, wide, source, reduce, include_self=include_self)


def _index_reduce_(x: Tensor, *args: Any, **options: Any) -> Tensor:
    return x.copy_(_index_reduce(x.clone(), *args, **options))


def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    lower = factor.mT if upper else factor
    half = torch.linalg.solve_triangular(lower, b, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(lower.mT, half, upper=True)
    return solution


def _mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The least of the most frequent numbers, and the place of the last that equals it. A NaN equals nothing."""
    if not x.ndim:
        return torch.return_types.mode((x, torch.zeros((), dtype=torch.int64)))
    lines = x.movedim(dim, -1)
    size = lines.shape[-1]
    if size > MOST_COMPARED:
        raise Unsupported(
            f"the mode of {size} elements; at most {MOST_COMPARED}: sum F.one_hot where there are few values"
        )
    constant = lines.detach()
    counts = (constant.unsqueeze(-1) == constant.unsqueeze(-2)).sum(-1)
    often = counts == counts.amax(-1, keepdim=True)
    least = constant.masked_fill(~often, float("inf")).amin(-1, keepdim=True)
    places = torch.where(often & (constant == least), torch.arange(size), 0).amax(-1, keepdim=True).movedim(-1, dim)
    values = x.gather(dim, places)
    given = (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))
    return torch.return_types.mode(given)


def _cov(x: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    if fweights is not None or aweights is not None:
        raise Unsupported("cov with weights, which it checks; write (x - m) * w @ (x - m).mT / w.sum() with a mean m")
    rows = x if x.ndim > 1 else x.reshape(1, -1)
    off = rows - rows.mean(1, keepdim=True)
    made = off @ off.mT / max(rows.shape[1] - correction, 0)
    return made if x.ndim > 1 else made.reshape(())


def _corrcoef(x: Tensor) -> Tensor:
    made = _cov(x)
    if not made.ndim:
        return made / made
    scale = made.diagonal().sqrt()
    return (made / scale.unsqueeze(0) / scale.unsqueeze(1)).clamp(-1, 1)


def _block_diag(*tensors: Tensor) -> Tensor:
    """Each block between zeros."""
    blocks = [tensor.reshape(1, -1) if tensor.ndim < 2 else tensor for tensor in tensors]
    width, before, rows = sum(block.shape[1] for block in blocks), 0, []
    for block in blocks:
        rows.append(F.pad(block, [before, width - before - block.shape[1]]))
        before += block.shape[1]
    return torch.cat(rows)


def _max_unpool(axes: int) -> Callable[..., Tensor]:
    """Each number at its place among those of its channel; torch's own adds to 64-bit places."""

    def each(given: Any) -> list[int]:
        return [given] * axes if isinstance(given, int) else list(given)

    def max_unpool(
        x: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Sequence[int] | None = None,
    ) -> Tensor:
        kernel = each(kernel_size)
        strides = kernel if stride is None else each(stride)
        size = vars(F)["_unpool_output_size"](x, kernel, strides, each(padding), output_size)
        empty = x.new_zeros((*x.shape[:-axes], prod(size)))
        return empty.scatter(-1, indices.flatten(-axes), x.flatten(-axes)).reshape(*x.shape[:-axes], *size)

    return max_unpool


def _renorm(x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    others = [d for d in range(x.ndim) if d != dim % x.ndim]
    norm = torch.linalg.vector_norm(x, p, others, keepdim=True)
    scale = torch.where(norm > maxnorm, maxnorm / (norm + 1e-7), 1.0)
    return x * scale


def _repeat_interleave(x: Tensor, repeats: Any, *args: Any, **options: Any) -> Tensor:
    if isinstance(repeats, Tensor) and repeats.numel() > 1:
        raise Unsupported(
            "how often each row is repeated follows from values; where that is the same in every step, index with rows "
            "that were repeated before the job is built: x[torch.arange(n).repeat_interleave(counts)]"
        )
    return torch.repeat_interleave(x, repeats, *args, **options)


RESTATED: Final[dict[Any, Callable[..., Any]]] = {
    torch.det: _det,
    torch.linalg.det: _det,
    torch.Tensor.det: _det,
    torch.cholesky_solve: _cholesky_solve,
    torch.Tensor.cholesky_solve: _cholesky_solve,
    torch.scatter_reduce: _scatter_reduce,
    torch.Tensor.scatter_reduce: _scatter_reduce,
    torch.Tensor.scatter_reduce_: _scatter_reduce_,
    torch.index_reduce: _index_reduce,
    torch.Tensor.index_reduce: _index_reduce,
    torch.Tensor.index_reduce_: _index_reduce_,
    F.max_unpool1d: _max_unpool(1),
    F.max_unpool2d: _max_unpool(2),
    F.max_unpool3d: _max_unpool(3),
    torch.renorm: _renorm,
    torch.Tensor.renorm: _renorm,
    torch.repeat_interleave: _repeat_interleave,
    torch.Tensor.repeat_interleave: _repeat_interleave,
    torch.mode: _mode,
    torch.Tensor.mode: _mode,
    torch.cov: _cov,
    torch.Tensor.cov: _cov,
    torch.corrcoef: _corrcoef,
    torch.Tensor.corrcoef: _corrcoef,
    torch.functional.block_diag: _block_diag,
}
