"""How torch takes operations apart while a step is captured, and shorter ways to the same captured operations.

Torch's own functions convert and check arguments by many nested calls, which took a third of the time of a capture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.fx.experimental import proxy_tensor

aten = torch.ops.aten
_DECOMPOSED: Final = [
    aten.native_layer_norm,
    aten.gelu,
    aten.gelu_backward,
    aten._log_softmax,
    aten._softmax,
    aten.var_mean,
    aten.embedding_dense_backward,
    aten.addmm,
    aten.nll_loss_forward,
    aten.nll_loss_backward,
    aten.silu,
    aten.silu_backward,
    aten.elu,
    aten.elu_backward,
    aten.mish,
    aten.mish_backward,
    aten.native_group_norm,
    aten.native_group_norm_backward,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_functional,
    aten.softplus_backward,
    aten.sigmoid_backward,
    aten.tanh_backward,
    aten.threshold_backward,
    aten.rrelu_with_noise_backward,
    aten.detach,
    aten.t,
    aten.linalg_vector_norm,
    aten.addmv,
    aten.dist,
    aten.new_empty_strided,
]
_DIRECT: Final = [
    aten.roll,
    aten.eye,
    aten.native_layer_norm_backward,
    aten._safe_softmax,
    aten.softplus,
    aten.im2col,
    aten.col2im,
    aten._adaptive_avg_pool2d,
    aten._adaptive_avg_pool3d,
    *(getattr(aten, f"upsample_nearest{n}d") for n in (1, 2, 3)),
    *(getattr(aten, f"_upsample_nearest_exact{n}d") for n in (1, 2, 3)),
    aten.upsample_linear1d,
    aten.upsample_bilinear2d,
    aten.upsample_trilinear3d,
    aten.upsample_bicubic2d,
]  # our lowerings of these are shorter than torch's decompositions


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """What takes operations apart before they are lowered, by operation."""
    table = {operation: f for operation, f in torchs().items() if operation.overloadpacket not in _DIRECT}
    return {operation: SHORT.get(operation, f) for operation, f in table.items()}


@cache
def torchs() -> dict[Any, Callable[..., Any]]:
    """Torch's own functions."""
    return {**core_aten_decompositions(), **get_decompositions(_DECOMPOSED)}


@contextmanager
def shapes_on_meta() -> Iterator[None]:
    """While open, what is noted of a captured tensor's shape is a tensor without memory, and not a fake one.

    Torch makes a mode for each fake tensor, which looks at the whole stack, and notes what nobody reads.
    """
    extract_own, set_own = proxy_tensor.extract_val, proxy_tensor.set_meta

    def extract(value: Any, include_real: bool = False) -> Any:
        if type(value) is Tensor and value.layout is torch.strided:
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return extract_own(value, include_real)

    def set_meta(proxy: Any, value: Any) -> Any:
        if type(value) is not Tensor:
            return set_own(proxy, value)
        proxy.node.meta["val"] = extract(value)
        return proxy

    proxy_tensor.extract_val = extract  # type: ignore[assignment]  # torch's types are its own
    proxy_tensor.set_meta = set_meta  # type: ignore[assignment]
    try:
        yield
    finally:
        proxy_tensor.extract_val, proxy_tensor.set_meta = extract_own, set_own


def _real(*tensors: Tensor) -> bool:
    """Whether nothing is to be converted."""
    return all(tensor.dtype is torch.float32 for tensor in tensors)


def _t(x: Tensor) -> Any:
    return aten.permute.default(x, [1, 0]) if x.ndim == 2 else torchs()[aten.t.default](x)


def _transpose(x: Tensor, first: int, second: int) -> Any:
    axes = list(range(x.ndim))
    if not axes or axes[first] == axes[second]:
        return torchs()[aten.transpose.int](x, first, second)
    axes[first], axes[second] = axes[second], axes[first]
    return aten.permute.default(x, axes)


def _rsub(x: Tensor, number: Any, alpha: Any = 1) -> Any:
    if not _real(x) or alpha != 1:
        return torchs()[aten.rsub.Scalar](x, number, alpha)
    return torch.sub(number, x)


def _sigmoid_backward(gradient: Tensor, y: Tensor) -> Any:
    if not _real(gradient, y):
        return torchs()[aten.sigmoid_backward.default](gradient, y)
    return aten.mul.Tensor(gradient, aten.mul.Tensor(y, torch.sub(1, y)))


def _tanh_backward(gradient: Tensor, y: Tensor) -> Any:
    if not _real(gradient, y):
        return torchs()[aten.tanh_backward.default](gradient, y)
    return aten.mul.Tensor(gradient, torch.sub(1, aten.mul.Tensor(y, y)))


def _addmm(x: Tensor, first: Tensor, second: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if not _real(x, first, second) or beta == 0:
        return torchs()[aten.addmm.default](x, first, second, beta=beta, alpha=alpha)
    product = torch.mul(aten.mm.default(first, second), alpha)
    return aten.add.Tensor(product, torch.mul(x, beta))


def _split(x: Tensor, size: int, dim: int = 0) -> Any:
    whole = x.shape[dim] if x.ndim else 0
    if size < 1 or whole < 1:
        return torchs()[aten.split.Tensor](x, size, dim)
    sizes: Sequence[int] = [min(size, whole - start) for start in range(0, whole, size)]
    return aten.split_with_sizes.default(x, sizes, dim)


SHORT: Final[dict[Any, Callable[..., Any]]] = {
    aten.t.default: _t,
    aten.transpose.int: _transpose,
    aten.rsub.Scalar: _rsub,
    aten.sigmoid_backward.default: _sigmoid_backward,
    aten.tanh_backward.default: _tanh_backward,
    aten.addmm.default: _addmm,
    aten.split.Tensor: _split,
    aten.unsafe_split.Tensor: _split,
}  # the same operations as torch's own
