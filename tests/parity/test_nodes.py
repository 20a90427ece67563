"""Contract, reference and torch executor agree on every node kind, bit for bit, and the contract sees a changed bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3.contract import Contract

from offchain.dispute.replay import pair
from offchain.exec import make_executor, reference
from offchain.ir.encoding import encode_node
from offchain.ir.graph import Node
from offchain.ir.kinds import Ending, Kind, traits, unknown
from offchain.ir.legality import check
from offchain.ir.primitives import CANONICAL_NAN, MAX_PROGRAM, TABLE, DType, Instr, Op
from tests.support.evidence import Evidence, Prover, call
from tests.support.strategies import SPECIAL_FLOATS, SPECIAL_INTS, Case, graphs, nodes, over_state

SPECIAL_WORDS = {DType.F32: SPECIAL_FLOATS, DType.I32: SPECIAL_INTS}


@pytest.fixture(scope="module")
def verifier(deploy: Any) -> Contract:
    return deploy("StepVerifier")


def judge(verifier: Contract, prover: Prover, number: int, data: st.DataObject) -> None:
    """The contract's verdicts about a drawn element of a node are those of the reference."""
    node = prover.node(number)
    element = data.draw(st.integers(0, node.length - 1), label="element")
    described = call(verifier.functions.describe, encode_node(node))
    row = traits(node.kind)
    assert tuple(described) == (row.ending, node.dtype, node.length, node.extent, len(row.scaled))
    if row.ending is Ending.COMPUTE:
        assert call(verifier.functions.compute, prover.evidence(number, element)) == prover.word(number, element)
    elif row.ending is Ending.SUM:
        judge_sum(verifier, prover, number, element, data)
    elif row.ending is Ending.EXTREMUM:
        judge_extremum(verifier, prover, number, element, data)
    else:
        raise unknown(node.kind)


def judge_sum(verifier: Contract, prover: Prover, number: int, element: int, data: st.DataObject) -> None:
    """With its own exponents, and with any that somebody may claim."""
    node, sources = prover.node(number), prover.sources(number)
    exponents = reference.exponents(node, sources, element)
    any_of_them = data.draw(st.tuples(*(st.integers(-149, 129) for _ in exponents)), label="claimed exponents")
    for claimed in (exponents, any_of_them):
        terms = [int(x) for x in reference.terms(node, sources, element, claimed)]
        word = reference.rounded_word(node, claimed, sum(terms))
        assert claimed != exponents or word == prover.word(number, element)
        assert call(verifier.functions.rounded, encode_node(node), pair(claimed), sum(terms)) == word
        for k in {data.draw(st.integers(0, node.extent - 1), label="k"), int(np.argmax(np.abs(terms)))}:
            assert call(verifier.functions.term, prover.evidence(number, element, k), pair(claimed)) == terms[k]
    for operand, (own, other) in enumerate(zip(exponents, any_of_them, strict=True)):
        keys = reference.exponent_keys(node, sources, element, operand)
        assert keys.max() == own
        for k in {data.draw(st.integers(0, node.extent - 1), label="k"), int(keys.argmax())}:
            evidence = prover.evidence(number, element, k, [operand])
            for e in (own, other):
                assert call(verifier.functions.compareExponent, evidence, operand, e) == sign(int(keys[k]) - e)


def judge_extremum(verifier: Contract, prover: Prover, number: int, element: int, data: st.DataObject) -> None:
    node = prover.node(number)
    keys = reference.extremum_keys(node, prover.sources(number), element)
    claim = prover.word(number, element)
    witness = int(np.argmax(keys))
    k = data.draw(st.integers(0, node.extent - 1), label="k")
    assert compare(verifier, prover.evidence(number, element, witness), claim) == 0
    assert compare(verifier, prover.evidence(number, element, k), claim) == sign(int(keys[k] - keys[witness]))
    lie = claim ^ 1 << data.draw(st.integers(0, 31), label="changed bit")
    difference = int(keys[witness]) - key_of(node, lie)
    if lie & 0x7FFFFFFF > 0x7F800000 and node.dtype is DType.F32 and lie != CANONICAL_NAN:
        difference = 1  # no word that a maximum can have: refuted by any k
    assert compare(verifier, prover.evidence(number, element, witness), lie) == sign(difference)


def compare(verifier: Contract, evidence: Evidence, claim: int) -> int:
    return int(call(verifier.functions.compare, evidence, claim))


def key_of(node: Node, word: int) -> int:
    return reference.extremum_key(node, word)


def sign(x: int) -> int:
    return (x > 0) - (x < 0)


def assert_torch_agrees(prover: Prover) -> None:
    case = prover.case
    torch = make_executor("torch", case.graph, case.constants, case.datasets)
    theirs = list(torch.outputs(torch.load(case.state), case.t))
    assert [a.tobytes() for a in theirs] == [a.tobytes() for a in prover.outputs]


@pytest.mark.parametrize("kind", list(Kind))
def test_node(verifier: Contract, kind: Kind) -> None:
    @given(nodes(kind), st.data())
    def run(case: Case, data: st.DataObject) -> None:
        prover = Prover(case)
        assert_torch_agrees(prover)
        judge(verifier, prover, len(case.graph.nodes) - 1, data)

    run()


@given(graphs(), st.data())
def test_graph(verifier: Contract, case: Case, data: st.DataObject) -> None:
    prover = Prover(case)
    assert_torch_agrees(prover)
    judge(verifier, prover, data.draw(st.integers(0, len(case.graph.nodes) - 1), label="node"), data)


def hashing_program(op: Op, rng: random.Random) -> tuple[Instr, ...]:
    """Applies a primitive to special operands, over and over, and mixes all results into one word."""
    row = TABLE[op]
    floats, ints = ([Instr.const(dtype, w) for w in words] for dtype, words in SPECIAL_WORDS.items())
    code = [*floats, *ints, Instr.const(DType.I32, 31)]
    of = {DType.F32: range(len(floats)), DType.I32: range(len(floats), len(code) - 1)}
    multiplier = mixed = len(code) - 1
    while len(code) < MAX_PROGRAM - 4:
        branch = rng.choice(list(DType))
        operands = [rng.choice(of[dtype or branch]) for dtype in row.operands]
        code.append(Instr(op, *operands))
        if (row.result or branch) is DType.F32:
            code.append(Instr(Op.BITS, len(code) - 1))
        code.append(Instr(Op.IMUL, mixed, multiplier))
        code.append(Instr(Op.IXOR, len(code) - 1, len(code) - 2))
        mixed = len(code) - 1
    return tuple(code)


@pytest.mark.parametrize("op", [op for op in Op if TABLE[op].operands])
def test_every_primitive(verifier: Contract, op: Op) -> None:
    for seed in range(3):
        node = Node(Kind.MAP, DType.I32, (), (), program=hashing_program(op, random.Random(seed)))
        prover = Prover(over_state([node], []))
        check(prover.case.graph)
        assert call(verifier.functions.compute, prover.evidence(0, 0)) == prover.word(0, 0)
