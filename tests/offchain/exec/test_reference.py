"""The reference against exact arithmetic, and its primitives on the words where hardware differs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.exec import reference
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Node
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, DType, Instr, Op
from tests.support.strategies import SPECIAL_FLOATS, Case, float_words, graphs

F32 = DType.F32


def words(array: Array) -> list[int]:
    return array.view(np.uint32).tolist()


def value(x: np.float32) -> Fraction:
    return Fraction(float(x))


def nearest_float(x: Fraction) -> np.float32:
    """The float32 nearest to x, ties to even, from its definition."""
    if x == 0:
        return np.float32(0)
    size = abs(x)
    top = size.numerator.bit_length() - size.denominator.bit_length()
    unit = Fraction(2) ** max(top - (size < Fraction(2) ** top) - 23, -149)
    magnitude = round(size / unit) * unit
    found = np.float32(np.inf) if magnitude >= 2**128 else np.float32(float(magnitude))
    return found if x > 0 else -found


def finite_specials() -> Array:
    rng = np.random.default_rng(1)
    special = np.array(SPECIAL_FLOATS, np.uint32).view(np.float32)
    made = np.concatenate([special, float_words(rng, 200, "any"), float_words(rng, 40, "subnormal")])
    return made[np.isfinite(made)]


def test_exponent_is_the_least_power_above() -> None:
    x = finite_specials()
    for item, e in zip(x, reference.exponent_of(x).tolist(), strict=True):
        if item == 0:
            assert e == -149
        else:
            assert Fraction(2) ** (e - 1) <= abs(value(item)) < Fraction(2) ** e
    others = np.array([np.inf, -np.inf, np.nan], np.float32)
    assert reference.exponent_of(others).tolist() == [129, 129, 129]


@pytest.mark.parametrize("bits", [2, 8, 21, 27, 31])
def test_quant_is_rounded_and_clamped(bits: int) -> None:
    x, limit = finite_specials(), 2 ** (bits - 1) - 1
    for e in (-(2**31), -1000, -149, -126, -3, 0, 1, 30, 128, 129, 1000, 2**31 - 1):
        got = reference.quant(x, np.full(len(x), e, np.int32), bits).tolist()
        near = min(max(bits - 1 - e, -600), 900)
        exact = [round(value(item) * Fraction(2) ** near) for item in x]
        assert got == [min(max(q, -limit), limit) for q in exact]
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert reference.quant(odd, np.zeros(3, np.int32), bits).tolist() == [0, limit, -limit]


def test_scaled_rounds_once() -> None:
    rng = np.random.default_rng(2)
    totals = [
        0,
        1,
        -1,
        3,
        2**53,
        -(2**53),
        2**53 - 1,
        2**24 + 1,
        2**25 + 3,
        -(2**25) - 1,
        *rng.integers(-(2**53), 2**53, 60),
    ]
    for k in (-2000, -350, -202, -201, -175, -174, -173, -151, -150, -149, -126, -30, 0, 75, 103, 104, 128, 254, 2000):
        got = reference.scaled(np.array(totals, np.int64), np.full(len(totals), k, np.int64))
        near = max(k, -1000)
        want = np.array([nearest_float(Fraction(int(s)) * Fraction(2) ** min(near, 1000)) for s in totals], np.float32)
        assert words(got) == words(want)


def test_key_orders_zeros_infinities_and_nan() -> None:
    ordered = [-np.inf, -3.4e38, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, np.inf, np.nan]
    keys = reference.key(np.array(ordered, np.float32)).tolist()
    assert keys == sorted(set(keys))


def evaluate(op: Op, *args: int) -> int:
    """A primitive on words, by the reference."""
    types = [dtype or F32 for dtype in TABLE[op].operands]
    program = (*(Instr.const(t, a) for t, a in zip(types, args, strict=True)), Instr(op, *range(len(args))))
    node = Node(Kind.MAP, TABLE[op].result or F32, (1,), (), program=program)
    return reference.element_value(node, [], 0)


@pytest.mark.parametrize(
    ("op", "args", "result"),
    [
        (Op.IADD, (0x7FFFFFFF, 1), 0x80000000),
        (Op.IMUL, (0x10001, 0x10001), 0x00020001),
        (Op.ISUB, (0x80000000, 1), 0x7FFFFFFF),
        (Op.SHL, (1, 33), 2),
        (Op.SHR, (0x80000000, 31), 1),
        (Op.SHR, (0x80000000, 32), 0x80000000),
        (Op.SAR, (0x80000000, 0xFFFFFFFF), 0xFFFFFFFF),
        (Op.DIV, (0x3F800000, 0), 0x7F800000),
        (Op.DIV, (0x3F800000, 0x80000000), 0xFF800000),
        (Op.DIV, (0, 0), 0x7FC00000),
        (Op.MUL, (0x80000000, 0x7F800000), 0x7FC00000),
        (Op.MUL, (0x00800000, 0x3F000000), 0x00400000),
        (Op.SUB, (0x7F800000, 0x7F800000), 0x7FC00000),
        (Op.NEG, (0x7FC00000,), 0x7FC00000),
        (Op.SQRT, (0x80000000,), 0x80000000),
        (Op.SQRT, (0xBF800000,), 0x7FC00000),
        (Op.RINT, (0xBF000000,), 0x80000000),
        (Op.LDEXP, (0x00000003, 0xFFFFFFFF), 0x00000002),
        (Op.LDEXP, (0x00000001, 0x7FFFFFFF), 0x7F800000),
        (Op.TO_INT, (0x4F000000,), 0x7FFFFFFF),
        (Op.TO_INT, (0xFF800000,), 0x80000000),
        (Op.TO_INT, (0x7FC00000,), 0),
        (Op.TO_FLOAT, (0x7FFFFFFF,), 0x4F000000),
        (Op.FROM_BITS, (0xFFFFFFFF,), 0x7FC00000),
        (Op.EQ, (0x80000000, 0), 1),
        (Op.LE, (0x7FC00000, 0x7FC00000), 0),
        (Op.SELECT, (2, 0x3F800000, 0), 0x3F800000),
    ],
)
def test_primitive_gives(op: Op, args: tuple[int, ...], result: int) -> None:
    assert evaluate(op, *args) == result


@given(graphs(most=3), st.data())
def test_single_elements_are_those_of_the_trace(case: Case, data: st.DataObject) -> None:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    outputs = list(truth.outputs(case.state, case.t))
    n = data.draw(st.integers(0, len(outputs) - 1))
    node, sources = case.graph.nodes[n], truth.sources(case.graph.nodes[n], case.state, outputs)
    element = data.draw(st.integers(0, node.length - 1))
    claimed = int(outputs[n].view(np.uint32)[element])
    assert reference.element_value(node, sources, element, case.t) == claimed
    if node.bits:
        total = int(reference.terms(node, sources, element).sum())
        scales = reference.exponents(node, sources, element)
        assert reference.rounded_word(node, scales, total) == claimed
        for operand, e in enumerate(scales):
            assert reference.exponent_keys(node, sources, element, operand).max() == e
    if node.kind is Kind.MAX:
        keys = reference.extremum_keys(node, sources, element)
        assert keys.max() == reference.key(outputs[n][element : element + 1])[0]
