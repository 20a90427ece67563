"""Chooses what multiplies quantised operands on this processor: digits in the widest vectors that it has, unless
narrower ones or the BLAS are clearly faster on the graph's own largest products.

All are exact, so the choice changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from threading import Lock
from typing import Final, Literal

import llvmlite.binding as llvm
import torch

from offchain.exec.fused.blas import Blas, fastest
from offchain.exec.fused.choice import Choices, Run
from offchain.exec.fused.digits import FEATURES
from offchain.exec.fused.planes import MAX_BITS, SINGLE, Digits
from offchain.exec.plan.products import Product, product_of
from offchain.ir.graph import LOG_SLOT, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.native.jit import compiler

WORTH: Final = 1 << 22  # multiply-accumulates of a product that is worth a trial
TRIAL: Final = 1 << 26  # of a trial, at most: a few milliseconds
BLAS: Final = "blas"
_ONE: Final = Lock()  # one trial at a time: two would measure each other

Planes = Literal["single", "several"]
Make = Callable[[Graph, "Engines"], Run]


@dataclass(frozen=True)
class Engines:
    """The lanes of digits for operands of a single plane and of several; 0 where the BLAS multiplies them."""

    single: int
    several: int

    @property
    def blas(self) -> Blas:
        """Raises OffchainError where none can be called."""
        return fastest()

    def digits(self, bits: int) -> Digits | None:
        """How operands of `bits` bits are held; None where the BLAS multiplies them."""
        lanes = self.single if bits <= SINGLE else self.several
        return Digits(bits, lanes) if lanes and bits <= MAX_BITS else None


def lanes() -> list[int]:
    """The lanes of the vectors of digits that this processor multiplies."""
    features = llvm.get_host_cpu_features()
    return [count for count, feature in FEATURES.items() if features.get(feature)]


def known_good() -> Engines:
    """What was the fastest wherever it was measured (docs/decisions/0011): the widest vectors of digits."""
    widest = max(lanes(), default=0)
    return Engines(widest, widest)


def engines(nodes: Iterable[Node], make: Make) -> Engines:
    """The engines for a graph of these nodes, as many threads as torch has now.

    Args:
        make: gives a step of a graph by engines, for trials.
    """
    chosen = known_good()
    if not lanes():
        return chosen
    for planes, node in _largest(nodes).items():
        product = product_of(node)
        graph, key = trial(product, node.bits)
        ways = {_name(count): _way(make, graph, count) for count in (*lanes(), 0)}
        with _ONE:
            name = _choices(torch.get_num_threads()).choose(f"{planes} {key}", _name(max(lanes())), ways)
        chosen = replace(chosen, **{planes: 0 if name == BLAS else int(name.split()[0])})
    return chosen


def trial(product: Product, bits: int) -> tuple[Graph, str]:
    """A graph of one product like that, with sizes that are powers of two; and its name."""
    sizes = [_down(n) for n in (product.batch, product.first.rows, product.second.rows, product.extent)]
    while prod(sizes) > TRIAL:
        sizes[sizes.index(max(sizes))] //= 2
    batch, rows, columns, k = sizes
    layout = "".join("NT"[side.down] for side in (product.first, product.second))
    inputs = []
    for n, (own, side) in enumerate(((rows, product.first), (columns, product.second))):
        step, along = (1, own) if side.down else (k, 1)
        strides = (own * k, *((step, 0) if n == 0 else (0, step)), along)
        view = View.strided((batch, rows, columns, k), strides)
        inputs.append(Input(Source.STATE, n, DType.F32, batch * own * k, view))
    node = Node(Kind.DOT, DType.F32, (batch, rows, columns), tuple(inputs), bits=bits, extent=k)
    slots = [Slot(TensorSpec(f"x{n}", DType.F32, (item.length,)), Source.STATE, n) for n, item in enumerate(inputs)]
    slots.append(Slot(TensorSpec("y", DType.F32, node.shape), Source.NODE, 0))
    log = Slot(TensorSpec(LOG_SLOT, DType.F32, (1, 1)), Source.STATE, 3)
    graph = Graph((node,), (*slots, log), (), (), (), (), ("loss",))
    return graph, f"{'x'.join(map(str, sizes))} {layout}"


def _largest(nodes: Iterable[Node]) -> dict[Planes, Node]:
    """The largest product of each kind of operands, where it is worth a trial."""
    found: dict[Planes, Node] = {}
    for node in nodes:
        if node.kind is Kind.DOT and node.bits <= MAX_BITS and _work(node) >= WORTH:
            planes: Planes = "single" if node.bits <= SINGLE else "several"
            if planes not in found or _work(node) > _work(found[planes]):
                found[planes] = node
    return found


def _work(node: Node) -> int:
    return node.length * node.extent


def _way(make: Make, graph: Graph, count: int) -> Callable[[], Run]:
    return lambda: make(graph, Engines(count, count))


def _name(count: int) -> str:
    return f"{count} lanes" if count else BLAS


def _down(n: int) -> int:
    """The largest power of two up to n."""
    return 1 << (n.bit_length() - 1)


@cache
def _choices(threads: int) -> Choices:
    return Choices(f"{compiler().processor}, {threads} threads, torch {torch.__version__}")
