"""Fusion and other spellings of nodes: fewer nodes, the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.exec.reference import evaluate
from offchain.ir.axes import coalesced, cut
from offchain.ir.graph import Axis, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import MAX_INPUTS, Kind
from offchain.ir.moves import MAX_CALLDATA, MAX_GAS, Counts, excess, largest
from offchain.ir.primitives import DType, Instr, Op
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.builder import GraphBuilder
from offchain.lower.fuse import _Cluster, _Writer, fuse
from offchain.lower.node_order import peak, reordered
from offchain.lower.refs import Ref
from tests.support.draws import examples
from tests.support.gradients import assert_same_bits, gradient_job, run

LETTERS, WIDTH, HEADS, LENGTH = 7, 8, 2, 5


class Attention(nn.Module):
    """Heads by view and transpose, as nanoGPT writes them; `spelled` out, or by torch's function."""

    def __init__(self, spelled: bool) -> None:
        super().__init__()
        self.spelled = spelled
        self.register_buffer("mask", torch.ones(LENGTH, LENGTH).tril().bool())
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        parts = (part.view(rows, length, HEADS, width // HEADS).transpose(1, 2) for part in self.qkv(x).split(width, 2))
        q, k, v = parts
        if self.spelled:
            scores = (q @ k.transpose(-2, -1)) * k.shape[-1] ** -0.5
            y = F.softmax(scores.masked_fill(~self.mask, float("-inf")), dim=-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(rows, length, width))


class Block(nn.Module):
    def __init__(self, spelled: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), Attention(spelled)
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Embedded(nn.Module):
    """Letters and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.positions = nn.Embedding(LETTERS, WIDTH), nn.Embedding(LENGTH, WIDTH)

    def forward(self, text: Tensor) -> Tensor:
        return self.letters(text) + self.positions(torch.arange(text.shape[1]))


def language_model(layers: int, spelled: bool = False) -> nn.Module:
    torch.manual_seed(0)
    blocks = (Block(spelled) for _ in range(layers))
    return nn.Sequential(Embedded(), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, LETTERS))


def next_letter(model: Any, batch: dict[str, Tensor]) -> Tensor:
    scores = model(batch["text"][:, :-1])
    return F.cross_entropy(scores.reshape(-1, LETTERS), batch["text"][:, 1:].reshape(-1))


def text(rows: int = 3) -> dict[str, Tensor]:
    return {"text": torch.randint(0, LETTERS, (rows, LENGTH + 1), generator=torch.Generator().manual_seed(1))}


def test_a_transformer_gives_the_same_bits_fused_or_not() -> None:
    assert_same_bits(gradient_job(language_model(1), next_letter, text()))


def test_reshapes_of_attention_heads_cost_no_copy() -> None:
    """The output of attention is merged along the axis of the next product's sum: the one copy that has to be."""
    task = compile(gradient_job(language_model(1), next_letter, text()))
    copies = [n for n in task.graph.nodes if n.kind is Kind.MAP and [i.op for i in n.program] == [Op.INPUT]]
    assert len([node for node in copies if node.inputs[0].source is Source.NODE]) <= 2


def a_map(shape: tuple[int, ...]) -> tuple[Node, list[np.ndarray[Any, Any]]]:
    """x·10 + i0 + 2·i1 … over a permuted tensor and a broadcast one."""
    builder = GraphBuilder(21, 1)
    x = np.random.default_rng(0).standard_normal(shape[::-1]).astype(np.float32)
    y = np.arange(shape[-1], dtype=np.float32)
    refs = [
        Ref.whole(Source.DATA, 0, DType.F32, x.shape).permute(range(len(shape))[::-1]),
        Ref.whole(Source.DATA, 1, DType.F32, y.shape),
    ]

    def program(a: Any, b: Any) -> Any:
        out = a * 10 + b
        for axis in range(len(shape)):
            out = out + (a.program.index(axis) * (axis + 1)).to_float()
        return out

    builder.map(program, *refs)
    return builder.nodes[-1], [x.reshape(-1), y]


def result(node: Node, sources: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return evaluate(node, [sources[item.index] for item in node.inputs], 0)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4), st.integers(1, 60))
def test_a_cut_changes_the_spelling_and_no_bit(sizes: list[int], at: int) -> None:
    node, sources = a_map(tuple(sizes))
    other = cut(node, at)
    if other is not None:
        np.testing.assert_array_equal(result(other, sources), result(node, sources))
        assert other.length == node.length


def test_a_cut_within_a_factor_is_refused() -> None:
    node, _ = a_map((6, 4))
    assert cut(node, 8) is not None and cut(node, 16) is None


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5))
def test_coalescing_changes_no_bit(sizes: list[int]) -> None:
    node, sources = a_map(tuple(sizes))
    other = coalesced(node)
    np.testing.assert_array_equal(result(other, sources), result(node, sources))
    assert 1 not in other.shape


def test_an_empty_range_on_an_axis_of_size_one_reads_zero() -> None:
    """The reader must not become part of what it does not read."""
    one = Instr.const(DType.F32, 0x3F800000)
    made = Node(Kind.MAP, DType.F32, (1,), (), program=(one,))
    nothing = Input(Source.NODE, 0, DType.F32, 1, View(0, (Axis(0, 0, 0),)))
    reader = Node(Kind.MAP, DType.F32, (1,), (nothing,), program=(Instr(Op.INPUT), one, Instr(Op.ADD, 0, 1)))
    nodes, slots = fuse([made, reader], [Slot(TensorSpec("y", DType.F32, (1,)), Source.NODE, 1)])
    assert result(nodes[slots[0].index], [np.full(1, 7, np.float32)]).tolist() == [1]


@pytest.mark.parametrize("spelled", [True, False])
def test_four_layers_with_adam_take_at_most_three_hundred_nodes(spelled: bool) -> None:
    adam = (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.1})
    task = compile(gradient_job(language_model(4, spelled), next_letter, text(), optimizer=adam))
    assert len(task.graph.nodes) <= 300


@pytest.mark.parametrize("layers", [1, 2])
def test_fusion_is_deterministic(layers: int) -> None:
    roots = {compile(gradient_job(language_model(layers), next_letter, text())).graph_root for _ in range(2)}
    assert len(roots) == 1


class Recurrent(nn.Module):
    """An LSTM over the middle axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x)[0][:, -1].square().mean()


def recurrent(times: int) -> Job:
    return gradient_job(Recurrent(), lambda model, batch: model(batch["x"]), {"x": torch.randn(2, times, 3)})


def test_equal_cells_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many time steps more need few more programs; without what is known of others, the graph is the same."""
    written: list[int] = []
    write = _Writer.write
    monkeypatch.setattr(_Writer, "write", lambda self: written.append(self.root) or write(self))
    counts, graphs = [], []
    for times in (8, 12):
        written.clear()
        graphs.append(compile(recurrent(times)).graph)
        counts.append(len(written))
    assert counts[1] < 1.2 * counts[0]
    monkeypatch.setattr(_Cluster, "_pattern", lambda self, members: (object(),))
    assert compile(recurrent(12)).graph == graphs[1]
    assert len(written) > 2 * counts[1]


def test_nodes_run_in_an_order_that_keeps_little_alive() -> None:
    """Ten long tensors, then the sum of each: a sum may run as soon as its tensor is there."""
    builder = GraphBuilder(21, 1)
    source = Ref.whole(Source.DATA, 0, DType.F32, (1000,))
    longs = [builder.map(lambda v, i=i: v * (i + 2), source) for i in range(10)]
    sums = [builder.sum(long, [0]) for long in longs]
    slots = [Slot(TensorSpec(str(i), DType.F32, ()), Source.NODE, ref.index) for i, ref in enumerate(sums)]
    kept = {slot.index for slot in slots}
    assert peak(builder.nodes, kept, range(len(builder.nodes))) > 10_000
    nodes, moved = reordered(builder.nodes, slots)
    assert peak(nodes, {slot.index for slot in moved}, range(len(nodes))) < 1_100
    for old, new in zip(slots, moved, strict=True):  # the same sums, of the same tensors
        factors = [
            [i.word for i in graph[sum_.inputs[0].index].program if i.op is Op.CONST_F32]
            for graph, sum_ in ((builder.nodes, builder.nodes[old.index]), (nodes, nodes[new.index]))
        ]
        assert factors[0] == factors[1]
    assert reordered(nodes, moved) == (nodes, moved)  # nothing is left to gain


class Many(nn.Module):
    """So many parameters of several chunks each."""

    def __init__(self, count: int, length: int = 2_100) -> None:
        super().__init__()
        self.parts = nn.ParameterList(torch.linspace(-1, 1, length) * (i + 1) for i in range(count))


def added_up(model: Any, batch: dict[str, Tensor]) -> Tensor:
    total = model.parts[0]
    for part in model.parts[1:]:
        total = total * 0.5 + part
    return (total * batch["w"]).square().mean()


def joined(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return (torch.cat([part * batch["w"] for part in model.parts]) - 1).square().mean()


@pytest.mark.parametrize("loss", [added_up, joined])
def test_whatever_is_fused_can_be_disputed(loss: Any) -> None:
    """Thirty tensors in one expression, or end to end: chains of maps, none of which asks for too large a move."""
    torch.manual_seed(0)
    task = assert_same_bits(gradient_job(Many(30), loss, {"w": torch.tensor([0.5])}))
    longest, dearest = largest(task.graph)
    assert longest.calldata <= MAX_CALLDATA
    assert dearest.gas <= MAX_GAS


def test_fusion_goes_as_far_as_a_dispute_does() -> None:
    """Of tensors of 2^32 elements one input more would be too many, though a map may have more inputs."""
    builder, shape = GraphBuilder(21, 1), (1 << 16, 1 << 16)
    slots = [TensorSpec(f"x{i}", DType.F32, shape) for i in range(30)]
    wholes = [Ref.whole(Source.STATE, i, DType.F32, shape) for i in range(len(slots))]
    total = wholes[0]
    for other in wholes[1:]:
        total = builder.map(lambda a, b: a + b, total, other)
    made = [
        Slot(spec, Source.NODE if i == 0 else Source.STATE, total.index if i == 0 else i)
        for i, spec in enumerate(slots)
    ]
    nodes, _ = fuse(builder.nodes, made)
    counts = Counts(len(builder.nodes), 0, len(slots), 0)
    assert len(nodes) == 3
    assert not any(excess(node, counts) for node in nodes)
    most = max(nodes, key=lambda node: len(node.inputs))
    assert 9 < len(most.inputs) < MAX_INPUTS
    assert excess(replace(most, inputs=(*most.inputs, wholes[-1].input)), counts)


def test_a_log_of_many_metrics() -> None:
    """More than one map of the log can write."""
    metrics = {f"m{i}": (lambda m, b, i=i: b["w"].sum() * i) for i in range(12)}
    job = gradient_job(Many(1), added_up, {"w": torch.tensor([0.5])}, metrics=metrics, steps=4, interval=2)
    assert_same_bits(job, steps=3)
    log = run(compile(job), steps=3)["log"]
    np.testing.assert_allclose(log[0, 1:], [0.5 * i for i in range(12)])
    assert not log[1].any()
