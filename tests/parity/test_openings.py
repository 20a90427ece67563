"""What StepVerifier refuses: each thing that can be wrong with evidence has its typed error."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3.contract import Contract
from web3.exceptions import ContractCustomError, ContractLogicError

from offchain.ir.encoding import encode_node
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import CANONICAL_NAN, DType, Instr, Op
from tests.support.evidence import Evidence, Opening, Prover, call, flat, one_sum, state_input
from tests.support.reverts import reverts, typed_error
from tests.support.strategies import Case, nodes, over_state

F32, I32 = DType.F32, DType.I32
MAP_GAS = 3_000_000  # bound of a map with 16 inputs and 256 instructions
INTEGER_GAS = 700  # bound of one wrapping add, with its calldata: what an instruction costs besides float arithmetic


@pytest.fixture(scope="module")
def verifier(deploy: Any) -> Contract:
    return deploy("StepVerifier")


def doubled(array: Any) -> Prover:
    """Node 0 doubles a tensor, node 1 doubles node 0."""
    program = (Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0))
    first = Node(Kind.MAP, F32, (array.size,), (flat(0, array),), program=program)
    again = Input(Source.NODE, 0, F32, array.size, View.contiguous((array.size,)))
    return Prover(over_state([first, Node(Kind.MAP, F32, (array.size,), (again,), program=program)], [array]))


@pytest.fixture(scope="module")
def prover() -> Prover:
    return doubled(np.arange(20_000, dtype=np.float32))


def flipped(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# --- openings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_opened(verifier: Contract, prover: Prover, number: int) -> None:
    evidence = prover.evidence(number, 17_003)
    assert call(verifier.functions.compute, evidence) == prover.word(number, 17_003)


def changed(opening: Opening) -> dict[str, Opening]:
    return {
        "ref proof": opening._replace(ref_proof=[flipped(opening.ref_proof[0])]),
        "chunk proof": opening._replace(chunk_proof=[flipped(opening.chunk_proof[0]), *opening.chunk_proof[1:]]),
        "chunk": opening._replace(chunk=flipped(opening.chunk, 4095)),
    }


@pytest.mark.parametrize("what", ["ref proof", "chunk proof", "chunk"])
@pytest.mark.parametrize(("number", "tree"), [(0, "state_tree"), (1, "nodes_tree")])
def test_changed_opening_reverts(verifier: Contract, prover: Prover, number: int, tree: str, what: str) -> None:
    evidence = prover.evidence(number, 17_003)
    wrong = evidence._replace(openings=[changed(evidence.openings[0])[what]])
    with reverts(verifier, "OpeningMismatch", 0, getattr(prover.roots, tree)) as values:
        call(verifier.functions.compute, wrong)
    assert values[2] != values[1]


@pytest.mark.parametrize("size", [0, 4095, 4097, 8192])
def test_chunk_of_another_size_reverts(verifier: Contract, prover: Prover, size: int) -> None:
    evidence = prover.evidence(0, 5)
    chunk = (evidence.openings[0].chunk * 2)[:size]
    with reverts(verifier, "ChunkLength", 0, size):
        opening = evidence.openings[0]._replace(chunk=chunk)
        call(verifier.functions.compute, evidence._replace(openings=[opening]))


@pytest.mark.parametrize("proof", ["ref_proof", "chunk_proof"])
@pytest.mark.parametrize("change", [-1, 1])
def test_proof_of_another_length_reverts(verifier: Contract, prover: Prover, proof: str, change: int) -> None:
    evidence = prover.evidence(0, 5)
    right = getattr(evidence.openings[0], proof)
    wrong = right[:-1] if change < 0 else [*right, bytes(32)]
    with reverts(verifier, "ProofLength", len(right), len(right) + change):
        opening = evidence.openings[0]._replace(**{proof: wrong})
        call(verifier.functions.compute, evidence._replace(openings=[opening]))


def test_another_chunk_of_the_tensor_reverts(verifier: Contract, prover: Prover) -> None:
    evidence = prover.evidence(0, 5)
    with reverts(verifier, "OpeningMismatch", 0):
        call(verifier.functions.compute, evidence._replace(element=1029))


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_openings_reverts(verifier: Contract, prover: Prover, count: int) -> None:
    evidence = prover.evidence(0, 5)
    with reverts(verifier, "OpeningCount", 1, count):
        call(verifier.functions.compute, evidence._replace(openings=evidence.openings * count))


def test_element_out_of_range_reverts(verifier: Contract, prover: Prover) -> None:
    evidence = prover.evidence(0, 19_999)
    assert call(verifier.functions.compute, evidence) == prover.word(0, 19_999)
    with reverts(verifier, "ElementOutOfRange", 20_000, 20_000):
        call(verifier.functions.compute, evidence._replace(element=20_000))


@pytest.mark.parametrize("node", [0, 1])
def test_later_node_reverts(verifier: Contract, prover: Prover, node: int) -> None:
    evidence = prover.evidence(1, 5)
    if node == 1:
        assert call(verifier.functions.compute, evidence) == prover.word(1, 5)
    else:
        with reverts(verifier, "InputNotEarlier", 0, 0):
            call(verifier.functions.compute, evidence._replace(node=0))


@pytest.mark.parametrize("source", list(Source))
def test_input_outside_its_source_reverts(verifier: Contract, prover: Prover, source: Source) -> None:
    evidence = prover.evidence(0, 5)
    limit = {Source.STATE: 2, Source.CONST: 0, Source.DATA: 0, Source.NODE: 2}[source]
    item = Input(source, limit, F32, 20_000, View.contiguous((20_000,)))
    node = Node(Kind.MAP, F32, (20_000,), (item,), program=(Instr(Op.INPUT, 0),))
    with reverts(verifier, "IndexOutOfRange", limit, limit):
        call(verifier.functions.compute, evidence._replace(node=9, encoding=encode_node(node)))


@pytest.mark.parametrize("change", [{"length": 19_999}, {"dtype": I32}])
def test_misstated_source_reverts(verifier: Contract, prover: Prover, change: dict[str, Any]) -> None:
    """A record that lies about its source opens nothing: dtype and length are part of a tensor's root."""
    item = prover.node(0).inputs[0]
    fields = {name: getattr(item, name) for name in item.__slots__} | change
    node = Node(Kind.MAP, F32, (20_000,), (Input(**fields),), program=(Instr(Op.INPUT, 0),))
    with reverts(verifier, "OpeningMismatch", 0):
        call(verifier.functions.compute, prover.evidence(0, 5)._replace(encoding=encode_node(node)))


# --- endings, k and totals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
def test_wrong_ending_reverts(verifier: Contract, kind: Kind) -> None:
    @settings(max_examples=3)
    @given(nodes(kind))
    def run(case: Case) -> None:
        prover = Prover(case)
        evidence = prover.evidence(len(case.graph.nodes) - 1, 0, only=())
        actual = call(verifier.functions.describe, evidence.encoding)[0]
        asked = [
            (0, verifier.functions.compute, (evidence,)),
            (1, verifier.functions.compare, (evidence, 0)),
            (2, verifier.functions.compareExponent, (evidence, 0, 0)),
            (2, verifier.functions.rounded, (evidence.encoding, (0, 0), 0)),
            (2, verifier.functions.term, (evidence, (0, 0))),
        ]
        for ending, function, arguments in asked:
            if ending != actual:
                with reverts(verifier, "WrongEnding", ending, actual):
                    call(function, *arguments)

    run()


def test_k_out_of_range_reverts(verifier: Contract) -> None:
    evidence = one_sum(np.ones(5, np.float32)).evidence(0, 0, 4)
    assert call(verifier.functions.term, evidence, (1, 0)) == 1 << 18
    assert call(verifier.functions.compareExponent, evidence, 0, 1) == 0
    with reverts(verifier, "ExtentOutOfRange", 5, 5):
        call(verifier.functions.term, evidence._replace(k=5), (1, 0))
    with reverts(verifier, "ExtentOutOfRange", 5, 5):
        call(verifier.functions.compareExponent, evidence._replace(k=5), 0, 1)


@pytest.mark.parametrize("side", [-1, 1])
def test_total_out_of_range_reverts(verifier: Contract, side: int) -> None:
    encoding = one_sum(np.ones(5, np.float32)).evidence(0, 0).encoding
    largest = call(verifier.functions.rounded, encoding, (1, 0), side * ((1 << 127) - 1))
    assert np.uint32(largest).view(np.float32) == side * 2.0 ** (127 - 18)
    with reverts(verifier, "TotalOutOfRange", side << 127):
        call(verifier.functions.rounded, encoding, (1, 0), side << 127)


# --- words and views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [-(2**31), -1, 0, 3, 4, 2**31 - 1])
def test_gather_outside_opens_no_table(verifier: Contract, row: int) -> None:
    table, index = np.arange(10, 14, dtype=np.int32), np.array([row], np.int32)
    inputs = (flat(0, table), state_input(1, index, View(0, ())))
    prover = Prover(over_state([Node(Kind.GATHER, I32, (), inputs, 4)], [table, index]))
    evidence = prover.evidence(0, 0)
    inside = 0 <= row < 4
    assert len(evidence.openings) == 1 + inside
    assert call(verifier.functions.compute, evidence) == (10 + row if inside else 0)
    spare = [*evidence.openings[:1], *evidence.openings]  # one too many, and the index still last
    with reverts(verifier, "OpeningCount", 1 + inside, 2 + inside):
        call(verifier.functions.compute, evidence._replace(openings=spare))
    with reverts(verifier, "OpeningCount"):
        call(verifier.functions.compute, evidence._replace(openings=[]))


def test_other_nan_is_read_as_the_canonical_one(verifier: Contract) -> None:
    """Executors refuse such a dataset; should one be committed to, the contract still has one answer."""
    array = np.array([0xFFC12345], np.uint32).view(np.float32)
    node = Node(Kind.MAP, F32, (1,), (flat(0, array),), program=(Instr(Op.INPUT, 0),))
    assert call(verifier.functions.compute, Prover(over_state([node], [array])).evidence(0, 0)) == CANONICAL_NAN


@pytest.mark.parametrize("offset", [-1, 1, -(2**63), 2**63 - 1])
def test_address_outside_the_source_reads_zero(verifier: Contract, offset: int) -> None:
    array = np.array([7], np.int32)
    node = Node(Kind.MAP, I32, (), (state_input(0, array, View(offset, ())),), program=(Instr(Op.INPUT, 0),))
    evidence = Evidence(doubled(np.ones(1, np.float32)).roots, 0, 0, 0, 0, encode_node(node), [])
    assert call(verifier.functions.compute, evidence) == 0


# --- encodings ---------------------------------------------------------------------------------------------------


def sample() -> bytes:
    item = Input(Source.STATE, 0, F32, 6, View(0, (Axis(3, 0, 2), Axis(1, 0, 3))))
    return encode_node(Node(Kind.MAP, F32, (2, 3), (item,), program=(Instr(Op.INPUT, 0), Instr(Op.MUL, 0, 0))))


# kind, dtype, bits, rank, shape, extent, inputs, source, dtype of the source, instructions
BAD_BYTES = [
    (0, 0), (0, 8), (1, 0), (1, 3), (2, 8), (3, 9), (3, 1), (7, 0), (15, 1), (16, 17), (17, 0), (17, 5), (22, 0),
    (22, 3), (71, 1), (72, 0), (72, 1),
]  # fmt: skip


def test_sample_decodes(verifier: Contract) -> None:
    assert call(verifier.functions.describe, sample()) == [0, 1, 6, 0, 0]


@pytest.mark.parametrize(("place", "value"), BAD_BYTES)
def test_bad_byte_reverts(verifier: Contract, place: int, value: int) -> None:
    encoding = sample()
    with reverts(verifier, "MalformedNode") as values:
        call(verifier.functions.describe, encoding[:place] + bytes([value]) + encoding[place + 1 :])
    assert values[0] <= len(encoding)


def test_every_other_length_reverts(verifier: Contract) -> None:
    encoding = sample()
    for wrong in [*(encoding[:n] for n in range(len(encoding))), encoding + b"\0"]:
        with reverts(verifier, "MalformedNode") as values:
            call(verifier.functions.describe, wrong)
        assert values[0] <= len(wrong)


@pytest.mark.parametrize(
    "instr",
    [Instr(Op.INPUT, 1), Instr(Op.INDEX, 2), Instr(Op.MUL, 1, 0), Instr(Op.ADD, 0, 1), Instr(Op.SELECT, 0, 0, 1)],
)
def test_bad_instruction_reverts(verifier: Contract, prover: Prover, instr: Instr) -> None:
    inputs = prover.node(0).inputs
    node = Node(Kind.MAP, F32, (20_000,), inputs, program=(Instr(Op.INPUT, 0), instr))
    encoding = encode_node(node)
    with reverts(verifier, "MalformedNode"):
        call(verifier.functions.compute, prover.evidence(0, 5)._replace(encoding=encoding))


@pytest.mark.parametrize("code", [0x05, 0x0F, 0x19, 0x1F, 0x23, 0x2C, 0x3B, 0x41, 0x50, 0x100, 0xFFFF])
def test_unknown_opcode_reverts(verifier: Contract, prover: Prover, code: int) -> None:
    evidence = prover.evidence(0, 5)
    encoding = evidence.encoding[:-8] + code.to_bytes(2, "big") + bytes(6)
    with reverts(verifier, "MalformedNode", len(encoding) - 8):
        call(verifier.functions.compute, evidence._replace(encoding=encoding))


@pytest.mark.parametrize("kind", list(Kind))
def test_damaged_encodings_never_panic(verifier: Contract, kind: Kind) -> None:
    """Whatever the bytes are: a description, or MalformedNode with a position in them."""

    @given(nodes(kind), st.randoms(use_true_random=False))
    def run(case: Case, rng: random.Random) -> None:
        encoding = bytearray(encode_node(case.graph.nodes[-1]))
        for _ in range(rng.randint(1, 3)):
            encoding[rng.randrange(min(len(encoding), 60))] = rng.choice([0, 1, 2, 3, 16, 255, rng.randrange(256)])
        try:
            call(verifier.functions.describe, bytes(encoding))
        except (ContractCustomError, ContractLogicError) as error:
            name, values = typed_error(verifier, str(error.data))
            assert name == "MalformedNode"
            assert values[0] <= len(encoding)

    run()


# --- gas ---------------------------------------------------------------------------------------------------------


def dearest_map(operations: list[Op], instructions: int = 256) -> Evidence:
    """Sixteen inputs out of a tensor of 2^20 elements, one of 257 in the state, then these operations in turn."""
    rng = np.random.default_rng(1)
    array = rng.uniform(0.5, 2, 1 << 20).astype(np.float32)
    others = [np.zeros(1, np.float32) for _ in range(255)]
    inputs = tuple(
        state_input(0, array, View.strided((2,) * 8, (1, 0, 0, 0, 0, 0, 0, 0), 60_000 * i)) for i in range(16)
    )
    code = [Instr(Op.INPUT, i) for i in range(16)]
    while len(code) < instructions:
        n = len(code)
        code.append(Instr(operations[n % len(operations)], n - 1, n % 16))
    node = Node(Kind.MAP, F32, (2,) * 8, inputs, program=tuple(code))
    return Prover(over_state([node], [array, *others])).evidence(0, 200)


def gas_of(verifier: Contract, evidence: Evidence) -> int:
    """Of a transaction, calldata and all."""
    return int(verifier.functions.compute(evidence).estimate_gas({"gas": 30_000_000}))


def test_gas_of_the_dearest_map(verifier: Contract) -> None:
    """Measured: 2.27M, of which 1.94M are for the sixteen openings and their proofs."""
    assert gas_of(verifier, dearest_map([Op.MUL, Op.ADD])) < MAP_GAS


def test_gas_of_an_instruction(verifier: Contract) -> None:
    """Measured: 650."""
    few, many = (gas_of(verifier, dearest_map([Op.IADD], size)) for size in (16, 256))
    assert (many - few) / 240 < INTEGER_GAS
