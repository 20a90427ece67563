"""Claims about one element of one node, judged by the deployed StepVerifier as at the end of a dispute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.chain.abi import interface
from offchain.chain.client import Chain
from offchain.chain.reverts import Reverted
from offchain.chain.rpc import asking
from offchain.commit.merkle import Tree
from offchain.commit.roots import graph_counts
from offchain.commit.trace import TensorTree
from offchain.dispute.challenger import first_difference
from offchain.dispute.falsified import total_of
from offchain.dispute.replay import Opening, Record, pair
from offchain.dispute.spans import SUM_FAN, pieces
from offchain.exec import reference
from offchain.ir.arrays import Array
from offchain.ir.encoding import encode_node
from offchain.ir.graph import CHUNK, Node, Source
from offchain.ir.kinds import Ending, traits, unknown
from offchain.ir.primitives import CANONICAL_NAN

WORD: Final = 0xFFFFFFFF
SIGN: Final = 0x80000000
FALSEHOODS: Final[dict[str, Callable[[int, Random], int]]] = {
    "one bit": lambda word, rng: word ^ 1 << rng.randrange(32),
    "one ulp up": lambda word, rng: word + 1 & WORD,
    "one ulp down": lambda word, rng: word - 1 & WORD,
    "zero": lambda word, rng: 0,
    "NaN": lambda word, rng: CANONICAL_NAN,
    "sign": lambda word, rng: word ^ SIGN,
}
FUNCTIONS: Final = {  # of StepVerifier: what judges the last step of a dispute that ends so
    Ending.COMPUTE: "compute",
    Ending.EXTREMUM: "compare",
    Ending.SUM: "term",
}


def falsify(word: int, rng: Random) -> tuple[str, int]:
    """Name and word of a random falsehood, chosen among those that change the word."""
    made = [(name, make(word, rng)) for name, make in FALSEHOODS.items()]
    return rng.choice([(name, false) for name, false in made if false != word])


@dataclass
class Judge(Record):
    """A record that keeps the chunk trees it opens until `forget` is called."""

    _kept: dict[tuple[Source, int], tuple[TensorTree, list[bytes]]] = field(default_factory=dict)

    @cached_property
    def roots(self) -> tuple[Any, ...]:
        """IStepVerifier.Roots."""
        trees = (self.trace.nodes, self.before, self.ledger.tree)
        return (*(tree.root for tree in trees), *graph_counts(self.ledger.graph))

    def forget(self) -> None:
        self._kept.clear()

    def evidence(self, node: int, element: int, k: int, positions: tuple[int, ...] | None = None) -> list[Any]:
        """IStepVerifier.Evidence, with the inputs at `positions` (all by default) opened."""
        openings = self.open_inputs(self.trace.nodes, node, element, k, positions)
        encoding = encode_node(self.ledger.graph.nodes[node])
        return [self.roots, node, self.t, element, k, encoding, openings]

    def addresses(self, index: int, element: int, k: int) -> list[int]:
        """Flat index of each element that the openings of `evidence` show."""
        node = self.ledger.graph.nodes[index]
        found = (self._address(node, position, element, k) for position in range(len(node.inputs)))
        return [at for at in found if at is not None]

    def _committed(self, nodes: Tree, source: Source, index: int) -> tuple[TensorTree, list[bytes]]:
        key = (source, index)
        if key not in self._kept:
            arrays = {Source.NODE: self.trace.outputs, Source.STATE: self.state} | self.ledger.arrays
            tree, leaf = self._leaf(nodes, source, index)
            self._kept[key] = TensorTree(arrays[source][index]), tree.proof(leaf)
        return self._kept[key]

    def _leaf(self, nodes: Tree, source: Source, index: int) -> tuple[Tree, int]:
        """The tree that holds a tensor's root, and the leaf."""
        if source is Source.NODE:
            return nodes, index
        if source is Source.STATE:
            return self.before, index
        return self.ledger.tree, self.ledger.leaf(source, index)


@dataclass
class Case:
    """An element, and what the contract says to claims about it. Every question may raise Reverted.

    `rng` chooses the k that a challenger of a true claim names.
    """

    chain: Chain
    judge: Judge
    index: int
    element: int
    rng: Random
    _answers: dict[tuple[Any, ...], int] = field(default_factory=dict)

    @cached_property
    def node(self) -> Node:
        return self.judge.ledger.graph.nodes[self.index]

    @property
    def word(self) -> int:
        """The true word, as the executor computed it."""
        return int(self.judge.trace.outputs[self.index][self.element : self.element + 1].view(np.uint32)[0])

    def contradiction(self, word: int) -> str | None:
        """What the contract says against the claim that the element is `word`; None where the claim stands."""
        if self._ending is Ending.COMPUTE:
            return self._computed(word)
        if self._ending is Ending.EXTREMUM:
            return self._compared(word)
        if self._ending is Ending.SUM:
            return self._summed(word)
        raise unknown(self.node.kind)

    def conviction(self, word: int) -> str | None:
        """What the contract says against a cheat's claim; None where the claim stands.

        For a sum, the cheat's further claims must fall, too: a false exponent, and true exponents with a false total
        that rounds to `word`.
        """
        against = self.contradiction(word)
        if against is None or self._ending is not Ending.SUM:
            return against
        if self.contested(self._false_exponents()) is None:
            return None
        bent = self._bent(word)
        return against if bent is None else self._walk(word, bent)

    def contested(self, claimed: tuple[int, ...]) -> str | None:
        """What the contract says against claimed exponents."""
        for operand, e in enumerate(claimed):
            keys = reference.exponent_keys(self.node, self._sources, self.element, operand)
            claim = f"exponent {e} of operand {operand}"
            if against := self._extremum(claim, keys, "compareExponent", operand, e, positions=(operand,)):
                return against
        return None

    def forgery(self) -> str | None:
        """Shows the contract an input word that was never committed. Returns the typed error of the refusal.

        None if the contract judges nevertheless, "" if the element reads no input at this k.
        """
        k = self._some_k()
        *fixed, openings = self._evidence(k)
        if not openings:
            return ""
        which = self.rng.randrange(len(openings))
        at = self.judge.addresses(self.index, self.element, k)[which]
        openings[which] = _forged(openings[which], 32 * (at % CHUNK) + self.rng.randrange(32))
        try:
            self.chain.call("verifier", self._function, [*fixed, openings], *self._claim)
        except Reverted as refusal:
            return refusal.name
        return None

    def gas(self) -> int:
        """Gas of one judgement, as the node estimates it for a transaction."""
        data = interface("verifier").call_data(self._function, (self._evidence(self._some_k()), *self._claim))
        with asking("estimating gas"):
            to = self.chain.deployment.verifier
            return int(self.chain.w3.eth.estimate_gas({"to": to, "data": "0x" + data.hex()}))  # type: ignore[typeddict-item]

    # --- the three endings ---------------------------------------------------------------------------------------

    def _computed(self, word: int) -> str | None:
        computed = self._ask("compute")
        return None if computed == word else f"computes {computed:#010x}, not {word:#010x}"

    def _compared(self, word: int) -> str | None:
        keys = reference.extremum_keys(self.node, self._sources, self.element)
        return self._extremum(f"{word:#010x}", keys, "compare", word)

    def _summed(self, word: int) -> str | None:
        """The true total must round to the claim. The exponents and a term must withstand a challenger."""
        return (
            self._rounds_to(word, int(self._terms.sum()))
            or self.contested(self._exponents)
            or self._term_differs(self._some_k(), self._terms)
        )

    def _extremum(
        self,
        claim: str,
        keys: npt.NDArray[np.int64],
        function: str,
        *rest: Any,
        positions: tuple[int, ...] | None = None,
    ) -> str | None:
        """Asks at the greatest value and at another k: a right maximum has a witness and no value above it."""
        top, witness = int(keys.argmax()), False
        for k in (top, self._some_k()):
            order = self._ask(function, *rest, k=k, positions=positions)
            if order > 0:
                return f"the value at k = {k} is above {claim}"
            witness = witness or order == 0
        return None if witness else f"no witness for {claim}: the value at k = {top} is below it"

    def _walk(self, word: int, bent: npt.NDArray[np.int64]) -> str | None:
        """Descends through partial sums, false and true ones, to the one term that the contract computes."""
        if refused := self._rounds_to(word, int(bent.sum())):
            return refused
        a, b = 0, self.node.extent
        while b - a > 1:
            parts = pieces(a, b, SUM_FAN)
            theirs, mine = ([int(terms[i:j].sum()) for i, j in parts] for terms in (bent, self._terms))
            first = first_difference(theirs, mine)
            if first is None:
                return None
            a, b = parts[first]
        return self._term_differs(a, bent)

    def _rounds_to(self, word: int, total: int) -> str | None:
        rounded = int(self.chain.call("verifier", "rounded", encode_node(self.node), pair(self._exponents), total))
        return None if rounded == word else f"the total {total} rounds to {rounded:#010x}, not {word:#010x}"

    def _term_differs(self, k: int, claimed: npt.NDArray[np.int64]) -> str | None:
        term = self._ask("term", *self._claim, k=k)
        return None if term == claimed[k] else f"term {k} is {term}, not {int(claimed[k])}"

    def _bent(self, word: int) -> npt.NDArray[np.int64] | None:
        """The terms with one of them changed so that their total rounds to `word`; None if no total does."""
        total = total_of(self.node, self._exponents, word)
        if total is None:
            return None
        bent = self._terms.copy()
        bent[self._some_k()] += total - int(bent.sum())
        return bent

    def _false_exponents(self) -> tuple[int, ...]:
        """The exponents with one of them too high or too low by one."""
        false = list(self._exponents)
        false[self.rng.randrange(len(false))] += self.rng.choice((-1, 1))
        return tuple(false)

    # --- evidence ------------------------------------------------------------------------------------------------

    @property
    def _ending(self) -> Ending:
        return traits(self.node.kind).ending

    @property
    def _function(self) -> str:
        return FUNCTIONS[self._ending]

    @property
    def _claim(self) -> tuple[Any, ...]:
        """What the contract takes besides the evidence."""
        if self._ending is Ending.SUM:
            return (pair(self._exponents),)
        return (self.word,) if self._ending is Ending.EXTREMUM else ()

    @cached_property
    def _sources(self) -> list[Array]:
        return self.judge.sources(self.node)

    @cached_property
    def _exponents(self) -> tuple[int, ...]:
        return self.judge.exponents(self.index, self.element)

    @cached_property
    def _terms(self) -> npt.NDArray[np.int64]:
        return self.judge.terms(self.index, self.element)

    def _some_k(self) -> int:
        """A random k; 0 where the contract takes none."""
        return 0 if self._ending is Ending.COMPUTE else self.rng.randrange(self.node.extent)

    def _evidence(self, k: int = 0, positions: tuple[int, ...] | None = None) -> list[Any]:
        return self.judge.evidence(self.index, self.element, k, positions)

    def _ask(self, function: str, *rest: Any, k: int = 0, positions: tuple[int, ...] | None = None) -> int:
        """StepVerifier's answer. It is asked once, because the answer does not depend on the claim."""
        question = (function, rest, k, positions)
        if question not in self._answers:
            evidence = self._evidence(k, positions)
            self._answers[question] = int(self.chain.call("verifier", function, evidence, *rest))
        return self._answers[question]


def _forged(opening: Opening, bit: int) -> Opening:
    """The opening with one bit of its chunk flipped."""
    chunk = bytearray(opening[2])
    chunk[bit // 8] ^= 1 << bit % 8
    return (*opening[:2], bytes(chunk))
