"""Puts a dispute's view together from the contract's storage and from what its events revealed, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.commit.merkle import Position
from offchain.errors import ChainUnavailable
from offchain.ir.graph import CHUNK
from offchain.market.view import DisputeView, Phase, Reveal, TreeName

MAX_CHILDREN: Final = 256
MAX_SUMS: Final = 64
VERDICTS: Final = ("ElementJudged", "ExtremumJudged", "ExponentJudged", "TermJudged", "SlotJudged")


Args = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many leaves the three trees have; that of chunks is known once a node is named."""

    nodes: int
    slots: int
    chunks: int

    def of(self, tree: TreeName) -> int:
        return {TreeName.NODES: self.nodes, TreeName.SLOTS: self.slots, TreeName.CHUNKS: self.chunks}[tree]


def dispute_view(dispute_id: int, raw: Mapping[str, Any], on_move: tuple[str, int], events: list[Event]) -> DisputeView:
    """From IDisputeGame.dispute, onMove, and the dispute's own events, all read at one block.

    Raises ChainUnavailable if they contradict each other: they were not of one block, or the node lies.
    """
    try:
        return _view(dispute_id, raw, on_move, events)
    except (ValueError, KeyError, TypeError) as error:
        raise ChainUnavailable(f"dispute {dispute_id}: the node's answer contradicts itself ({error})") from error


def _view(dispute_id: int, raw: Mapping[str, Any], on_move: tuple[str, int], events: list[Event]) -> DisputeView:
    place, node, claim, graph = raw["position"], raw["node"], raw["claim"], raw["graph"]
    counts = Counts(graph["nodes"], graph["slots"], -(-node["length"] // CHUNK))
    view = DisputeView(
        id=dispute_id,
        task_id=raw["taskId"],
        checkpoint=raw["checkpoint"],
        challenger=raw["challenger"],
        solver=raw["solver"],
        phase=Phase(raw["phase"]),
        tree=TreeName(raw["tree"]),
        lo=raw["lo"],
        hi=raw["hi"],
        conceded=raw["conceded"],
        claimed=raw["claimed"],
        position=Position(place["leaves"], place["level"], place["index"]),
        node=node["index"],
        element=claim["element"],
        word=claim["word"],
        segment=(claim["a"], claim["b"]),
        exponents=(claim["exponents"][0], claim["exponents"][1]),
        operand=claim["operand"],
        mover=on_move[0],
        deadline=on_move[1],
    )
    for event in events:
        view = EVENTS[event.name](view, counts, event.args)
    return view


def _trace(view: DisputeView, counts: Counts, args: Args) -> DisputeView:
    nodes = _top(TreeName.NODES, counts, args["nodeChildren"])
    return replace(view, reveals=(nodes, _top(TreeName.SLOTS, counts, args["slotChildren"])))


def _children(view: DisputeView, counts: Counts, args: Args) -> DisputeView:
    tree = TreeName(args["tree"])
    position = Position(counts.of(tree), args["level"], args["index"])
    return replace(view, reveals=(*view.reveals, _reveal(tree, position, args["children"])))


def _chunks(view: DisputeView, counts: Counts, args: Args) -> DisputeView:
    return replace(view, reveals=(*view.reveals, _top(TreeName.CHUNKS, counts, args["children"])))


def _top(tree: TreeName, counts: Counts, children: list[bytes]) -> Reveal:
    return _reveal(tree, Position.top(counts.of(tree)), children)


def _reveal(tree: TreeName, position: Position, children: list[bytes]) -> Reveal:
    if len(children) != len(position.children()):
        raise ValueError(f"{len(children)} children below a position that has {len(position.children())}")
    return Reveal(tree, position, _hashes(children))


def _hashes(values: list[bytes]) -> tuple[bytes, ...]:
    if len(values) > MAX_CHILDREN:
        raise ValueError(f"{len(values)} hashes in one reveal")
    return tuple(values)


def _chunk(value: bytes) -> bytes:
    if len(value) != 4 * CHUNK:
        raise ValueError(f"a chunk of {len(value)} bytes")
    return value


def _sums(values: list[int]) -> tuple[int, ...]:
    if len(values) > MAX_SUMS:
        raise ValueError(f"{len(values)} sums in one reveal")
    return tuple(values)


EVENTS: Final[Mapping[str, Callable[[DisputeView, Counts, Args], DisputeView]]] = {  # the view after one more event
    "StepsRevealed": lambda view, counts, args: replace(view, step_roots=_hashes(args["roots"]), reveals=()),
    "TraceRevealed": _trace,
    "ChildrenRevealed": _children,
    "ChunksRevealed": _chunks,
    "ChunkRevealed": lambda view, counts, args: replace(view, chunk=_chunk(args["chunk"])),
    "SumsRevealed": lambda view, counts, args: replace(view, sums=_sums(args["sums"])),
}
