"""Puts a dispute's view together from the contract's storage and from what the solver has revealed in its task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
Spot = tuple[Any, ...]  # where something is revealed; its first part says what


@dataclass
class Reveals:
    """Everything that the solver has revealed in one task. It serves all its disputes, as in the contract."""

    _shown: dict[Spot, Any] = field(default_factory=dict)
    _below: dict[int, dict[Spot, list[bytes]]] = field(default_factory=dict)  # step -> its positions' children

    def take(self, event: Event) -> None:
        """Learn what an event of the game says; other events than those of SPOTS say nothing."""
        if event.name == "TraceRevealed":
            step = event.args["step"]
            for tree, children in ((TreeName.NODES, "nodeChildren"), (TreeName.SLOTS, "slotChildren")):
                self._keep(step, (tree, 0, None, 0), event.args[children])
        elif event.name == "ChunksRevealed":
            self._keep(event.args["step"], (TreeName.CHUNKS, event.args["node"], None, 0), event.args["children"])
        elif event.name == "ChildrenRevealed":
            step, tree, node, level, index = (event.args[name] for name in ("step", "tree", "node", "level", "index"))
            self._keep(step, (tree, node if tree == TreeName.CHUNKS else 0, level, index), event.args["children"])
        elif event.name in SPOTS:
            shown, names = SPOTS[event.name]
            self._shown[event.name, *(event.args[name] for name in names)] = event.args[shown]

    def _keep(self, step: int, spot: Spot, children: list[bytes]) -> None:
        self._below.setdefault(step, {})[spot] = children

    def shown(self, event: str, *where: int) -> Any:
        """What an event of that name has shown there. Raises KeyError if nothing was."""
        return self._shown[event, *where]

    def below(self, step: int, tops: Mapping[TreeName, int], node: int) -> Iterator[Reveal]:
        """Hashes revealed in a step's trees. `tops`: leaves of each tree; of chunks, those of `node`."""
        for (tree, of, level, index), children in self._below.get(step, {}).items():
            if tree in tops and (tree != TreeName.CHUNKS or of == node):
                leaves = tops[tree]
                position = Position.top(leaves) if level is None else Position(leaves, level, index)
                yield _reveal(TreeName(tree), position, children)


class RevealLog:
    """What was revealed in each attempt at a task, from the game's events in their order."""

    def __init__(self) -> None:
        self._attempt_of: dict[int, tuple[int, int]] = {}  # dispute -> task and attempt
        self._reveals: dict[tuple[int, int], Reveals] = {}

    def take(self, event: Event) -> None:
        """Learn what an event of the game says."""
        if event.name == "Opened":
            self._attempt_of[event.args["id"]] = event.args["taskId"], event.args["attempt"]
        elif event.name in EVENTS and event.args["id"] in self._attempt_of:
            self.of(*self._attempt_of[event.args["id"]]).take(event)

    def of(self, task_id: int, attempt: int) -> Reveals:
        return self._reveals.setdefault((task_id, attempt), Reveals())


# event -> what it shows, and which of its arguments say where
SPOTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "StepsRevealed": ("roots", ("lo", "hi")),
    "ChunkRevealed": ("chunk", ("id",)),
    "SumsRevealed": ("sums", ("id", "a", "b")),
}
EVENTS: Final = frozenset((*SPOTS, "TraceRevealed", "ChildrenRevealed", "ChunksRevealed"))


def dispute_view(dispute_id: int, raw: Args, on_move: tuple[str, int], reveals: Reveals) -> DisputeView:
    """From IDisputeGame.dispute and onMove, and what was revealed in the dispute's attempt, all read at one block.

    Raises ChainUnavailable if they contradict each other: they were not of one block, or the node lies.
    """
    try:
        return _view(dispute_id, raw, on_move, reveals)
    except (ValueError, KeyError, TypeError) as error:
        raise ChainUnavailable(f"dispute {dispute_id}: the node's answer contradicts itself ({error})") from error


def _view(dispute_id: int, raw: Args, on_move: tuple[str, int], reveals: Reveals) -> DisputeView:
    place, node, claim = raw["position"], raw["node"], raw["claim"]
    phase, named = Phase(raw["phase"]), node["length"] > 0
    spots = _Spots(dispute_id, raw, phase, reveals)
    return DisputeView(
        id=dispute_id,
        task_id=raw["taskId"],
        attempt=raw["attempt"],
        checkpoint=raw["checkpoint"],
        challenger=raw["challenger"],
        solver=raw["solver"],
        phase=phase,
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
        revealed=spots.revealed(),
        step_roots=spots.steps() if phase is Phase.NAME_STEP else (),
        reveals=spots.below(named) if phase > Phase.NAME_STEP else (),
        chunk=spots.chunk() if phase is Phase.NAME_ELEMENT else b"",
        sums=spots.sums() if phase is Phase.NAME_SUM else (),
    )


@dataclass(frozen=True, slots=True)
class _Spots:
    """What is revealed where a dispute stands. Raises KeyError where the node hides what must have been revealed."""

    id: int
    raw: Args
    phase: Phase
    reveals: Reveals

    def steps(self) -> tuple[bytes, ...]:
        return _hashes(self.reveals.shown("StepsRevealed", self.raw["lo"], self.raw["hi"]))

    def chunk(self) -> bytes:
        return _chunk(self.reveals.shown("ChunkRevealed", self.id))

    def sums(self) -> tuple[int, ...]:
        claim = self.raw["claim"]
        return _sums(self.reveals.shown("SumsRevealed", self.id, claim["a"], claim["b"]))

    def below(self, named: bool) -> tuple[Reveal, ...]:
        graph, node = self.raw["graph"], self.raw["node"]
        tops = {TreeName.NODES: graph["nodes"], TreeName.SLOTS: graph["slots"]}
        if named:
            tops[TreeName.CHUNKS] = -(-node["length"] // CHUNK)
        found = tuple(self.reveals.below(self.raw["lo"], tops, node["index"]))
        if self.phase > Phase.REVEAL_TRACE and not found:
            raise KeyError("the trace is not shown")
        return found

    def revealed(self) -> bool:
        """Whether what the solver has to reveal was revealed in another dispute."""
        look = _DUE.get(self.phase)
        try:
            return look is not None and look(self)
        except KeyError:
            return False

    def has(self, tree: TreeName, position: Position) -> bool:
        named = self.raw["node"]["length"] > 0
        return any((shown.tree, shown.position) == (tree, position) for shown in self.below(named))

    def chunks_shown(self) -> bool:
        return self.has(TreeName.CHUNKS, Position.top(-(-self.raw["node"]["length"] // CHUNK)))

    def children_shown(self) -> bool:
        place = self.raw["position"]
        position = Position(place["leaves"], place["level"], place["index"])
        return self.has(TreeName(self.raw["tree"]), position)


_DUE: Final[Mapping[Phase, Callable[[_Spots], bool]]] = {
    Phase.REVEAL_STEPS: lambda spots: bool(spots.steps()),
    Phase.REVEAL_TRACE: lambda spots: bool(spots.below(False)),
    Phase.REVEAL_CHILDREN: _Spots.children_shown,
    Phase.REVEAL_CHUNKS: _Spots.chunks_shown,
}


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
