"""A dispute as a tree with one path taken: what stood to be named at each level, what was named, what was left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from offchain.ir.graph import CHUNK
from offchain.market.view import Terms, TreeName
from offchain.page import words
from offchain.page.chronicle import Args, DisputeTold

TREES: Final = {TreeName.NODES: "nodes", TreeName.SLOTS: "slots", TreeName.CHUNKS: "chunks"}


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the tree.

    Attributes:
        title, said: what was named.
        total: parts that the level has; 0 where that is not known.
        at, width: the named part; `width` of them. Those before it are conceded, those after it nobody looked at.
    """

    title: str
    said: str
    total: int = 0
    at: int = 0
    width: int = 1

    def row(self) -> dict[str, Any]:
        known = 0 <= self.at < self.total and 0 < self.width <= self.total - self.at
        before, after = (self.at, self.total - self.at - self.width) if known else (0, 0)
        parts = [before, self.width, after] if known else []
        return {"title": self.title, "said": self.said, "parts": parts}


@dataclass(frozen=True, slots=True)
class Shape:
    """How many nodes, slots and elements there are to name, from IDisputeGame.dispute; 0: not known."""

    nodes: int = 0
    slots: int = 0
    length: int = 0
    extent: int = 0

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Shape:
        return cls(raw["graph"]["nodes"], raw["graph"]["slots"], raw["node"]["length"], raw["node"]["extent"])


class Walk:
    """Follows the moves of a dispute down the tree."""

    def __init__(self, dispute: DisputeTold, terms: Terms, shape: Shape) -> None:
        self._shape = shape
        self._lo, self._hi = terms.steps_of(dispute.checkpoint)
        self._a, self._b = 0, shape.extent
        first, last = self._lo + 1, self._hi
        said = f"{dispute.checkpoint:,} is disputed: {_steps(first, last)}"
        self.levels = [Level("Checkpoint", said, terms.intervals, dispute.checkpoint)]
        rules: Mapping[str, Callable[[Args], None]] = {
            "StepNamed": self._step, "SubtreeNamed": self._subtree, "NodeNamed": self._node,
            "ChunkNamed": self._chunk, "ElementNamed": self._element, "SumsRevealed": self._sums,
            "SumNamed": self._sum, "ExponentNamed": self._exponent, "TermJudged": self._term,
            "ElementJudged": self._element, "ExtremumJudged": self._element, "SlotJudged": self._slot,
        }  # fmt: skip
        for name, args in dispute.moves:
            if name in rules:
                rules[name](args)

    def _add(self, title: str, said: str, total: int = 0, at: int = 0, width: int = 1) -> None:
        self.levels.append(Level(title, said, total, at, width))

    def _step(self, args: Args) -> None:
        lo, hi = args["lo"], args["hi"]
        title, what = ("Step", f"{hi:,} is") if hi == lo + 1 else ("Steps", f"{lo + 1:,} to {hi:,} hold")
        self._add(title, f"{what} the first wrong one", self._hi - self._lo, lo - self._lo, hi - lo)
        self._lo, self._hi = lo, hi

    def _subtree(self, args: Args) -> None:
        tree = TREES.get(args["tree"], "hashes")
        self._add("Subtree", f"{args['index']:,} of level {args['level']} in the tree of {tree}")

    def _node(self, args: Args) -> None:
        self._add("Node", f"{args['node']:,} has the first wrong output", self._shape.nodes, args["node"])

    def _slot(self, args: Args) -> None:
        said = f"{args['slot']:,} does not repeat what the graph says"
        self._add("Slot", said, self._shape.slots, args["slot"])

    def _chunk(self, args: Args) -> None:
        chunks = -(-self._shape.length // CHUNK)
        self._add("Chunk", f"{args['index']:,} of the node's output", chunks, args["index"])

    def _element(self, args: Args) -> None:
        if any(level.title == "Element" for level in self.levels):  # named before it was judged
            return
        element, start = args["element"], args["element"] // CHUNK * CHUNK
        total = min(CHUNK, self._shape.length - start) if self._shape.length else CHUNK
        self._add("Element", f"{element:,} of the node's output", total, element - start)

    def _sums(self, args: Args) -> None:
        self._a, self._b = args["a"], args["b"]

    def _sum(self, args: Args) -> None:
        a, b = args["a"], args["b"]
        said = f"of terms {a:,} to {b - 1:,} is wrong"
        self._add("Partial sum", said, self._b - self._a, a - self._a, b - a)
        self._a, self._b = a, b

    def _exponent(self, args: Args) -> None:
        self._add("Exponent", f"{args['exponent']} of operand {args['operand']} is wrong")

    def _term(self, args: Args) -> None:
        self._add("Term", f"{args['k']:,} of the sum", self._b - self._a, args["k"] - self._a)


def _steps(first: int, last: int) -> str:
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def verdict(dispute: DisputeTold) -> dict[str, str] | None:
    """What the contract computed, beside what was claimed; None where it has computed nothing."""
    if dispute.verdict is None:
        return None
    name, args = dispute.verdict
    return {"operation": _OPERATIONS[name](args), **_VALUES[name](args)}


def _compared(args: Args, shown: Callable[[int], str]) -> dict[str, str]:
    order = {1: "greater than what is claimed", 0: "equal to it"}.get(args["order"], "less than it")
    return {"claimed": shown(args["claimed"]), "computed": f"the input at k = {args['k']:,} is {order}"}


_OPERATIONS: Final[Mapping[str, Callable[[Args], str]]] = {
    "ElementJudged": lambda args: f"element {args['element']:,} of node {args['node']:,}, computed whole",
    "TermJudged": lambda args: f"term {args['k']:,} of element {args['element']:,} of node {args['node']:,}",
    "ExtremumJudged": lambda args: f"the extremum at element {args['element']:,} of node {args['node']:,}",
    "ExponentJudged": lambda args: f"the exponent of operand {args['operand']} of node {args['node']:,}",
    "SlotJudged": lambda args: f"slot {args['slot']:,} beside what it repeats",
}
_VALUES: Final[Mapping[str, Callable[[Args], dict[str, str]]]] = {
    "ElementJudged": lambda args: {"claimed": words.word(args["claimed"]), "computed": words.word(args["computed"])},
    "TermJudged": lambda args: {"claimed": f"{args['claimed']:,}", "computed": f"{args['computed']:,}"},
    "ExtremumJudged": lambda args: _compared(args, words.word),
    "ExponentJudged": lambda args: _compared(args, str),
    "SlotJudged": lambda args: {"claimed": words.digest(args["claimed"]), "computed": words.digest(args["source"])},
}

# event -> what its move says, from the arguments (lists are counts)
SENTENCES: Final[Mapping[str, Callable[[Args], str]]] = {
    "Opened": lambda args: f"says that checkpoint {args['checkpoint']} is wrong",
    "StepsRevealed": lambda args: f"reveals {args['roots']:,} state roots",
    "StepNamed": lambda args: f"names {_steps(args['lo'] + 1, args['hi'])}",
    "TraceRevealed": lambda args: f"reveals {args['nodeChildren']:,} nodes' hashes, {args['slotChildren']:,} slots'",
    "SubtreeNamed": lambda args: f"names a part of the tree of {TREES.get(args['tree'], 'hashes')}",
    "ChildrenRevealed": lambda args: f"reveals {args['children']:,} hashes below it",
    "NodeNamed": lambda args: f"names node {args['node']:,}",
    "ChunksRevealed": lambda args: f"reveals {args['children']:,} hashes of chunks",
    "ChunkNamed": lambda args: f"names chunk {args['index']:,}",
    "ChunkRevealed": lambda args: "reveals the chunk",
    "ElementNamed": lambda args: f"names element {args['element']:,}",
    "SumsRevealed": lambda args: f"reveals {args['sums']:,} partial sums",
    "SumNamed": lambda args: f"names the sum of terms {args['a']:,} to {args['b'] - 1:,}",
    "ExponentNamed": lambda args: f"names the exponent of operand {args['operand']}",
    "Followed": lambda args: "goes on: it was revealed in another dispute",
    "Resolved": lambda args: f"{words.account(args['winner'])} wins against {words.account(args['loser'])}",
    "Dismissed": lambda args: "is over: the attempt ended before it",
    **dict.fromkeys(_OPERATIONS, lambda args: "the contract judges"),
}  # fmt: skip
