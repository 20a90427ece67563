"""A sum's exponents in the contract and in the reference: which may be claimed, and what each makes of the terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from web3.contract import Contract

from offchain.exec import reference
from offchain.ir.encoding import encode_node
from offchain.ir.graph import Axis, Node, View
from offchain.ir.kinds import KINDS, Kind
from offchain.ir.primitives import CANONICAL_NAN, DType
from tests.support.evidence import Prover, call, flat, one_sum, state_input
from tests.support.reverts import reverts
from tests.support.strategies import Case, nodes, over_state

F32 = DType.F32


@pytest.fixture(scope="module")
def verifier(deploy: Any) -> Contract:
    return deploy("StepVerifier")


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if row.scaled])
def test_operand_out_of_range_reverts(verifier: Contract, kind: Kind) -> None:
    """The index of a scatter_add is an input, and not scaled."""

    @settings(max_examples=3)
    @given(nodes(kind))
    def run(case: Case) -> None:
        prover, number = Prover(case), len(case.graph.nodes) - 1
        scaled = len(KINDS[kind].scaled)
        for operand in (scaled, 255):
            opened = prover.evidence(number, 0, only=[operand] if operand < len(prover.node(number).inputs) else [])
            with reverts(verifier, "OperandOutOfRange", operand, scaled):
                call(verifier.functions.compareExponent, opened, operand, 0)

    run()


@pytest.mark.parametrize("claimed", [(-150, 0), (130, 0), (-(2**15), 0), (2**15 - 1, 0), (0, 1), (0, -149), (0, 129)])
def test_exponent_out_of_range_reverts(verifier: Contract, claimed: tuple[int, int]) -> None:
    encoding = one_sum(np.ones(5, np.float32)).evidence(0, 0).encoding
    wrong = 0 if claimed[0] else 1
    with reverts(verifier, "ExponentOutOfRange", wrong, claimed[wrong]):
        call(verifier.functions.rounded, encoding, claimed, 0)


@pytest.mark.parametrize("claimed", [(-149, 130), (-150, 129), (129, -150), (130, -149)])
def test_exponent_of_either_operand_is_in_range(verifier: Contract, claimed: tuple[int, int]) -> None:
    x = np.ones(2, np.float32)
    encoding = encode_node(Node(Kind.DOT, F32, (), (flat(0, x), flat(0, x)), 2, 21))
    wrong = 0 if claimed[0] in (-150, 130) else 1
    with reverts(verifier, "ExponentOutOfRange", wrong, claimed[wrong]):
        call(verifier.functions.rounded, encoding, claimed, 0)


@pytest.mark.parametrize("claimed", [(129, 0), (0, 129), (129, 129), (-149, 129)])
@pytest.mark.parametrize("total", [0, 1 << 52, -1])
def test_what_is_not_finite_makes_every_total_a_nan(verifier: Contract, claimed: tuple[int, int], total: int) -> None:
    x = np.ones(2, np.float32)
    encoding = encode_node(Node(Kind.DOT, F32, (), (flat(0, x), flat(0, x)), 2, 21))
    assert call(verifier.functions.rounded, encoding, claimed, total) == CANONICAL_NAN


def test_an_operand_that_reads_nothing_has_the_exponent_of_zero(verifier: Contract) -> None:
    """Nothing is opened there, and -149 is reached."""
    x = np.ones(3, np.float32)
    node = Node(Kind.SUM, F32, (), (state_input(0, x, View(0, (Axis(1, 3, 3),))),), 3, 20)
    prover = Prover(over_state([node], [x]))
    evidence = prover.evidence(0, 0, 2)
    assert (evidence.openings, reference.exponents(node, [x], 0)) == ([], (-149,))
    assert [call(verifier.functions.compareExponent, evidence, 0, e) for e in (-149, -148)] == [0, -1]
    assert call(verifier.functions.rounded, evidence.encoding, (-149, 0), 0) == prover.word(0, 0) == 0


@pytest.mark.parametrize("exponent", [-149, -148, -127, -1, 0, 1, 24, 31, 127, 128, 129])
@pytest.mark.parametrize("bits", [2, 31])
def test_any_exponent_has_a_verdict(verifier: Contract, exponent: int, bits: int) -> None:
    x = np.array([0x3F800000, 0x80000001, 0x7F7FFFFF, 0x7F800000, CANONICAL_NAN], np.uint32).view(np.float32)
    prover = one_sum(x, bits)
    node = prover.node(0)
    terms = [int(term) for term in reference.terms(node, prover.sources(0), 0, (exponent,))]
    assert [call(verifier.functions.term, prover.evidence(0, 0, k), (exponent, 0)) for k in range(5)] == terms
    word = reference.rounded_word(node, (exponent,), sum(terms))
    assert call(verifier.functions.rounded, encode_node(node), (exponent, 0), sum(terms)) == word
    orders = [call(verifier.functions.compareExponent, prover.evidence(0, 0, k), 0, exponent) for k in range(5)]
    assert orders == [(own > exponent) - (own < exponent) for own in (1, -148, 128, 129, 129)]
