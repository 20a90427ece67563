"""The table of lowerings of ATen operations, filled by `@lowers`, and what lowerings share."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch
from torch.fx import Node

from offchain.errors import Unsupported
from offchain.ir.primitives import DType
from offchain.ir.program import F32, I32, Value
from offchain.lower.builder import GraphBuilder
from offchain.lower.known import known_values
from offchain.lower.origin import described
from offchain.lower.refs import Complex, Ref

aten = torch.ops.aten
Lower = Callable[..., Any]
L = TypeVar("L", bound=Lower)
REGISTRY: Final[dict[Any, Lower]] = {}
_DTYPES: Final = {
    torch.float32: F32,
    torch.int32: I32,
    torch.int64: I32,
    torch.bool: I32,
    torch.complex64: F32,  # of each part
    torch.complex128: F32,  # of a number in Python
}
_ADDING: Final = {  # of truths torch makes a truth, where a graph counts
    aten.sum.dim_IntList,
    aten.cumsum.default,
    aten.scatter_add.default,
    aten.index_put.default,
    aten._unsafe_index_put.default,
}
_INSTEAD: Final = {  # part of an operation's name -> what to use instead
    "rand": "leave the generator out, or use torch.rand, randn, randint",
    "poisson": "count gaps: (-torch.rand(*x.shape, n).log()).cumsum(-1).le(x[..., None]).sum(-1), n above every count",
    **dict.fromkeys(
        ("_standard_gamma", "_sample_dirichlet"),
        "draw for fixed concentrations before, into a column of the dataset; for trained ones take a distribution that "
        "is a function of torch.rand, as Kumaraswamy's (1 - torch.rand_like(a) ** (1 / b)) ** (1 / a) in place of Beta",
    ),
    "nonzero": "compute all rows, and multiply by the mask or use torch.where(mask, a, b)",
    "masked_select": "compute all rows, and multiply by the mask or use torch.where(mask, a, b)",
    "cholesky": "use torch.linalg.cholesky and torch.linalg.solve_triangular",
    "triangular_solve": "use torch.linalg.solve_triangular",
    "lstsq": "use torch.linalg.solve(a.mT @ a, a.mT @ b), where a has the rank of its columns",
    "pinv": "use torch.linalg.solve(a.mT @ a, a.mT), where a has the rank of its columns",
    "linalg": "use products, sums, elementwise operations, torch.linalg.solve and torch.linalg.cholesky",
    "bincount": "sum F.one_hot",
    "histc": "sum comparisons with the edges; for experts of transformers call "
    "model.set_experts_implementation('batched_mm')",
    "unique": "sum F.one_hot over the rows, whose shape does not depend on values",
    "masked_scatter": "use torch.where(mask, s.flatten()[mask.flatten().cumsum(0).clamp(min=1) - 1].view_as(x), x)",
    "grid_sampler": "call torch.nn.functional.grid_sample",
    "ctc_loss": "call torch.nn.functional.ctc_loss",
    "fused_moving_avg_obs": "use torch.fake_quantize_per_tensor_affine with a scale of your own",
    "shift": "shift by a number, or look the factor up: x * torch.tensor([1, 2, 4, 8])[n]",
    "embedding_renorm": "leave max_norm out, or divide the rows by their norm",
    "fake_quantize_learnable": "write ((x / s).round() - x / s).detach() + x / s, clamped, times s",
}


def lowers(*operations: Any) -> Callable[[L], L]:
    """Register the lowering of ATen overloads: `f(context, *args, **kwargs)`, tensors as Ref, else plain values."""

    def register(lower: L) -> L:
        for operation in operations:
            if operation in REGISTRY:
                raise ValueError(f"{operation} has two lowerings")
            REGISTRY[operation] = lower
        return lower

    return register


@dataclass
class Context:
    """The captured node that is being lowered, and the builder that takes the result."""

    builder: GraphBuilder
    paired: Callable[[Context, Node], Any]  # lowers an operation on complex numbers
    values: dict[Node, Any] = field(default_factory=dict)
    node: Node = field(init=False)
    known: Mapping[Node, Any] | None = None

    def run(self, node: Node) -> Any:
        """Lower one captured operation. Raises Unsupported in one line: operation, place, what to use instead."""
        self.node = node
        if node.target is operator.getitem and not (self.known and node in self.known):
            source, index = node.args
            return self.values[source][index]  # type: ignore[index]
        if _is_zero_tangent(node):
            return Ref.constant(F32, 0, self.shape)
        if self.known is None:
            self.known = known_values(node.graph)
        try:
            if node in self.known:
                return self._constant(self.known[node])
            self._refuse_types(node)
            if self._is_complex(node):
                self._refuse_empty(node)
                return self.paired(self, node)
            lower = REGISTRY.get(node.target)
            if lower is None:
                raise Unsupported("not supported; " + instead(str(node.target)))
            self._refuse_empty(node)
            args = torch.fx.map_arg(node.args, lambda n: self.values[n])
            kwargs = torch.fx.map_arg(node.kwargs, lambda n: self.values[n])
            made = lower(self, *args, **kwargs)
            if node.target in _ADDING and self.torch_dtype is torch.bool:
                return self.builder.map(lambda v: v.truth(), made)
            return made
        except Unsupported as error:
            raise Unsupported(f"{described(node)}: {error}") from error

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(self.node.meta["val"].shape)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The result's dtype in torch."""
        dtype: torch.dtype = self.node.meta["val"].dtype
        return dtype

    @property
    def dtype(self) -> DType:
        """The result's dtype in the graph."""
        return _DTYPES[self.torch_dtype]

    @property
    def checked(self) -> bool:
        """Whether arithmetic must not wrap, because torch computes in 64 bits here."""
        return self.torch_dtype is torch.int64

    def elementwise(
        self, f: Callable[..., Value], *args: Ref | float | bool, dtype: DType | None = None, known: bool = False
    ) -> Ref:
        """A map over tensors and numbers, all cast to `dtype` (default: that of the result) before `f`.

        `known`: f is one of a table, and no function that was made for this call.
        """
        wanted = dtype or self.dtype
        refs = [arg if isinstance(arg, Ref) else Ref.constant(wanted, arg) for arg in args]
        truth = self.torch_dtype is torch.bool and dtype is None

        def program(*values: Value) -> Value:
            made = f(*(value.cast(wanted) for value in values))
            return made.truth() if truth else made

        return self.builder.map(program, *refs, checked=self.checked, key=(f, wanted, truth) if known else None)

    def number(self, value: float | bool, shape: tuple[int, ...] = ()) -> Ref:
        """A number in the dtype of the result, repeated."""
        return Ref.constant(self.dtype, bool(value) if self.torch_dtype is torch.bool else value, shape)

    def common(self, *args: Ref | float | bool) -> DType:
        """The dtype in which torch compares these."""
        floats = any(arg.dtype is F32 if isinstance(arg, Ref) else isinstance(arg, float) for arg in args)
        return F32 if floats else I32

    def dim(self, dim: int, rank: int) -> int:
        return dim % rank if rank else 0

    def dims(self, dims: Sequence[int] | int | None, rank: int) -> list[int]:
        """Axes as torch names them: negative from the end, none for all."""
        listed = [dims] if isinstance(dims, int) else list(dims or range(rank))
        return sorted({self.dim(d, rank) for d in listed}) if rank else []

    def keep(self, ref: Ref, dims: Sequence[int], keepdim: bool) -> Ref:
        """Put reduced axes back with size 1."""
        for d in sorted(dims) if keepdim else ():
            ref = ref.unsqueeze(d)
        return ref

    def _constant(self, value: torch.Tensor | None) -> Ref | None:
        if value is None:
            return None
        if value.is_floating_point():
            return self.builder.constant(value.float().numpy())
        whole = value.to(torch.int32)
        if not torch.equal(whole.to(value.dtype), value):
            raise Unsupported(f"integers up to {value.abs().max()} do not fit int32; use smaller, or float32")
        return self.builder.constant(whole.numpy())

    def _is_complex(self, node: Node) -> bool:
        """Whether an operation reads or makes complex numbers."""
        made = node.meta.get("val")
        results = made if isinstance(made, tuple | list) else (made,)
        return any(isinstance(self.values[n], Complex) for n in node.all_input_nodes) or any(
            isinstance(result, torch.Tensor) and result.is_complex() for result in results
        )

    def _refuse_types(self, node: Node) -> None:
        made = node.meta.get("val")
        for value in made if isinstance(made, tuple | list) else (made,):
            if not isinstance(value, torch.Tensor):
                continue
            if value.dtype not in _DTYPES or (value.dtype is torch.complex128 and value.ndim):
                use = "complex64" if value.is_complex() else "float32 (.float()), int32, int64 or bool"
                raise Unsupported(f"makes {value.dtype}; use {use}")

    def _refuse_empty(self, node: Node) -> None:
        made = node.meta.get("val")
        for value in made if isinstance(made, tuple | list) else (made,):
            if isinstance(value, torch.Tensor) and value.numel() == 0:
                raise Unsupported(f"makes an empty tensor of shape {tuple(value.shape)}; leave it out")


def _is_zero_tangent(node: Any) -> bool:
    """Whether this is a zero of torch.func.jvp, or a copy of one: of a number in Python it has 64 bits."""
    while isinstance(node, Node) and node.target is aten._to_copy.default:
        node = node.args[0]
    return isinstance(node, Node) and node.target is aten._efficientzerotensor.default


def instead(name: str) -> str:
    """What to use in place of an operation that is not supported."""
    hints = [hint for part, hint in _INSTEAD.items() if part in name]
    return hints[0] if hints else "write it with elementwise operations, sums, products and indexing"
