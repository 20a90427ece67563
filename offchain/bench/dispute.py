"""`offchain bench dispute`: whole disputes on Ganache, played against steps, nodes and tensor size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from offchain.adjudicate import court
from offchain.adjudicate.report import Trial
from offchain.adjudicate.trial import TRIES, Arena, Interval
from offchain.bench.chain import Market
from offchain.bench.timing import Row, Settings, Watch, unwatched
from offchain.chain.client import Chain
from offchain.commit.roots import state_root
from offchain.commit.trace import Trace
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.dispute.replay import Record
from offchain.errors import OffchainError
from offchain.exec.base import state_after
from offchain.ir.encoding import encode_node
from offchain.ir.kinds import Kind
from offchain.job import Job
from offchain.lower import compile as lower

DISPUTES: Final = 3
BATCH: Final = 4
FLIPPED: Final = 1 << 22  # a bit of the mantissa that no later rounding hides


class Layers(nn.Module):
    """Linear layers with ReLU, each of which adds a share to its input, so that all layers matter."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.relu(layer(x)) / len(self.layers)
        return x


@dataclass(frozen=True)
class Size:
    """The size of a disputed task: its linear layers of one width, and the steps of its interval."""

    steps: int = 16
    layers: int = 2
    width: int = 32

    def job(self, bits: int) -> Job:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Layers(self.layers, self.width)
            x = torch.randn(64, self.width)
        return Job(
            model=model,
            loss=lambda model, batch: (model(batch["x"]) - batch["x"]).square().mean(),
            optimizer=(torch.optim.SGD, {"lr": 0.01}),
            dataset={"x": x},
            batch_size=BATCH,
            steps=self.steps,
            interval=self.steps,
            bits=bits,
            name="layers",
        )


BASE: Final = Size()
SIZES: Final[dict[str, tuple[Size, ...]]] = {  # what grows, and how far
    "steps": (BASE, replace(BASE, steps=1_024)),
    "nodes": (BASE, replace(BASE, layers=24)),
    "elements": (BASE, replace(BASE, width=1_024)),
}
KINDS: Final = (Kind.MAP, Kind.DOT)  # a verdict by one computation, and by one term of a sum


@dataclass(frozen=True)
class Played:
    """Disputes about one element of a task: how each went, and its seconds beside those of a replay of the interval."""

    trials: list[Trial]
    pairs: list[tuple[float, float]]
    nodes: int  # of the graph
    elements: int  # of the largest tensor
    proof: int  # bytes of the evidence for the disputed element: the node's encoding, its inputs opened

    @property
    def figures(self) -> dict[str, float]:
        """The last dispute; its seconds, and those of the replay, are medians."""
        last, row = self.trials[-1], Row.of("", 0, self.pairs)
        return {
            "moves": last.moves,
            "gas": last.gas,
            "largest": last.largest,
            "proof": self.proof,
            "ours_s": row.ours,
            "peer_s": row.peer,
            "n": row.n,
        }

    def row(self, label: str, bits: int, transfer: int | None = None) -> Row:
        """The comparison in seconds, and in gas where the gas of a token transfer is given."""
        if transfer is not None:
            return Row.of(label, bits, [(float(trial.gas), float(transfer)) for trial in self.trials], "gas")
        last = self.trials[-1]
        return replace(Row.of(label, bits, self.pairs), notes={"moves": str(last.moves), "gas": f"{last.gas:,}"})


def rows(settings: Settings, unit: str = "s", watch: Watch = unwatched) -> Iterator[Row]:
    """Disputes about a map and a dot of each size, at each precision."""
    sizes: dict[str, tuple[Size, ...]] = {"steps": (BASE,)} if settings.quick else SIZES
    done: dict[tuple[Size, int, Kind], Played] = {}
    with court() as chain:
        transfer = None
        if unit == "gas":
            market = Market(chain)
            transfer = market.transfer(market.requester).gas
        for what, size, bits, kind in _plan(sizes, settings.bits):
            if (size, bits, kind) not in done:
                done[size, bits, kind] = play(chain, size, bits, kind, settings, watch)
            played = done[size, bits, kind]
            value = {"steps": size.steps, "nodes": played.nodes, "elements": played.elements}[what]
            yield played.row(f"{kind.name.lower()}, {value:,} {what}", bits, transfer)


def _plan(sizes: dict[str, tuple[Size, ...]], precisions: Sequence[int]) -> Iterator[tuple[str, Size, int, Kind]]:
    for what, some in sizes.items():
        for size in some:
            for bits in precisions:
                for kind in KINDS:
                    yield what, size, bits, kind


def play(chain: Chain, size: Size, bits: int, kind: Kind, settings: Settings, watch: Watch = unwatched) -> Played:
    """Disputes about the last step of a task's only interval; both players have computed the interval and that step.

    Raises OffchainError where the cheat is not convicted.
    """
    task = lower(size.job(bits))
    interval = Interval.around(task, size.steps - 1, settings.runs(task, watch))
    arena, honest = Arena(chain, interval), interval.replay()
    record = honest.step(interval.step)
    lie = _lie(interval, record, kind)
    cheat = interval.replay(lie)
    for player in (honest, cheat):
        player.step(interval.step)
        player.root(interval.end)
    trials: list[Trial] = []

    def dispute() -> None:
        trials.append(arena.dispute(Trial(lie.node, kind, lie.element), cheat, honest))

    what = f"{kind.name.lower()}, {size.steps} steps, {size.layers} layers of {size.width}"
    pairs = settings.measure(dispute, lambda: _replayed(interval), settings.pairs(DISPUTES), watch, what, warm=0)
    if wrong := [trial for trial in trials if not trial.convicted]:
        raise OffchainError(str(wrong[0]))
    elements = max(output.size for output in record.trace.outputs)
    return Played(trials, pairs, len(task.graph.nodes), elements, _proof(record, lie))


def _lie(interval: Interval, record: Record, kind: Kind) -> Falsehood:
    """A falsehood about a large element of the largest map, or of the longest dot, that changes the checkpoint."""
    nodes = record.ledger.graph.nodes
    own = [n for n, node in enumerate(nodes) if node.kind is kind]
    n = max(own, key=lambda n: (nodes[n].extent or nodes[n].length, n))
    for element in np.argsort(record.trace.outputs[n])[::-1][:TRIES]:
        lie = Falsehood(record.t, n, int(element), FLIPPED)
        if _matters(interval, record, lie):
            return lie
    raise OffchainError(f"no lie about node {n} ({kind.name.lower()}) changes the state after the step")


def _matters(interval: Interval, record: Record, lie: Falsehood) -> bool:
    false = FalsifiedExecutor(interval.executor, interval.ledger, lie)
    outputs = list(false.outputs(false.load(record.state), record.t))
    return Trace(outputs, state_after(false.graph, record.state, outputs)).state_root != record.trace.state_root


def _proof(record: Record, lie: Falsehood) -> int:
    openings = record.open_inputs(record.trace.nodes, lie.node, lie.element)
    sizes = (sum(map(len, reference)) + sum(map(len, proof)) + len(chunk) for reference, proof, chunk in openings)
    return len(encode_node(record.ledger.graph.nodes[lie.node])) + sum(sizes)


def _replayed(interval: Interval) -> bytes:
    """What it takes to find out who is right: the interval's steps once more, and the root of the last state."""
    executor = interval.executor
    state = executor.load(interval.state)
    for t in range(interval.checkpoint * interval.task.interval, interval.end):
        state = executor.step(state, t)
    return state_root(executor.dump(state))
