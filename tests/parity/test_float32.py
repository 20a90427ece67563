"""Float32.sol against the hardware's binary32 (NumPy) and against exact arithmetic (Fraction).

`GAS` states what each operation costs. A thorough run (HYPOTHESIS_PROFILE=thorough) takes forty times as
many random cases.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.binary32 import (
    FLOATS,
    INFINITY,
    INT32_MAX,
    INT32_MIN,
    MAGNITUDES,
    NAN,
    OPERATIONS,
    SIGN,
    Case,
    bits_of,
    crossed,
    float_of,
    fraction_of,
    hardware,
    is_finite,
    near_pair,
    nearest,
    random_case,
)
from tests.support.draws import examples

# Gas of one call of each operation, for the dearest of the cases below (compiled as for deployment).
GAS = {
    "add": 836,
    "sub": 839,
    "mul": 778,
    "div": 919,
    "sqrt": 1160,
    "neg": 71,
    "abs": 56,
    "rint": 632,
    "ldexp": 629,
    "canonical": 72,
    "eq": 188,
    "lt": 188,
    "le": 191,
    "orderKey": 100,
    "toInt": 270,
    "fromInt": 460,
    "fromScaled": 475,
    "exponent": 294,
    "quant": 510,
}
DEAREST: dict[str, list[Case]] = {
    "f": [(0x00000001,), (0x00800001,), (0xBF800001,), (0xC0200000,), (0x4B800000,), (0x7F800001,)],
    "ff": [(0x00000000, 0x80000001), (0x00000000, 0x00000001), (0x00000001, 0x3F000000)],
    "fi": [(0x807FFFFF, -3), (0xBF800001, 5), (0xBF800001, -140)],
    "i": [(1,), (-0x1FFFFFF,)],
    "sk": [(-0x1FFFFFF, -3), (1, -150)],
    "fep": [(0xBF800001, 1, 21), (0xBF800001, 1, 31), (0x807FFFFF, 129, 8), (0xBF800001, -30, 21)],
}

# ------------------------------------------------------------------ asking it


Ask = Callable[[str | None, Sequence[Case]], tuple[list[int], int]]


@pytest.fixture(scope="module")
def ask(w3, deploy) -> Ask:
    """Has the contract apply an operation (None: nothing) to all cases: results, gas of the dearest."""
    harness = deploy("Float32Harness")
    selector = bytes.fromhex(harness.encode_abi("batch", [0, []])[2:10])

    def run(name: str | None, cases: Sequence[Case]) -> tuple[list[int], int]:
        # By hand, because general ABI coding would take as long as the contract.
        operation = OPERATIONS[name].index if name else 0
        words = [operation, 64, len(cases), *(word for case in cases for word in (*case, 0, 0)[:3])]
        data = selector + b"".join((word % 2**256).to_bytes(32, "big") for word in words)
        answer = w3.eth.call({"to": harness.address, "data": data, "gas": 30_000_000})
        values = [int.from_bytes(answer[at : at + 32], "big") for at in range(0, len(answer), 32)]
        _, dearest, _, *results = values
        return [value - 2**256 if value >> 255 else value for value in results], dearest

    return run


def check(name: str, cases: Sequence[Case], ask: Ask) -> None:
    for start in range(0, len(cases), 4_000):
        part = cases[start : start + 4_000]
        for case, result in zip(part, ask(name, part)[0], strict=True):
            expected = OPERATIONS[name].reference(*case)
            assert result == expected, f"{name}({', '.join(map(hex, case))}): {result:#x}, not {expected:#x}"


by_operation = pytest.mark.parametrize("name", OPERATIONS)

# ------------------------------------------------------------------ the tests


def test_hardware_keeps_subnormals():
    """Otherwise the comparisons below would prove nothing."""
    assert bits_of(float_of(0x00800000) * np.float32(0.5)) == 0x00400000
    assert bits_of(float_of(0x00000001) + float_of(0x00000001)) == 0x00000002


def test_definition_of_nearest_agrees_with_hardware():
    """The Fraction reference itself: halves, doubles and binary64 products against the hardware."""
    rng = random.Random(1)
    for _ in range(5_000):
        a, b = near_pair("mul", rng)
        if is_finite(a) and is_finite(b):
            exact = fraction_of(a) * fraction_of(b)
            assert nearest(exact, bool((a ^ b) & SIGN)) == hardware(np.multiply)(a, b)


@by_operation
def test_special_values_crossed(name: str, ask: Ask):
    check(name, crossed(OPERATIONS[name].operands), ask)


@by_operation
def test_random_values(name: str, ask: Ask):
    rng = random.Random(name)
    check(name, [random_case(name, rng) for _ in range(25 * settings().max_examples)], ask)


@by_operation
def test_any_values(name: str, ask: Ask):
    strategies = {
        "f": st.sampled_from(FLOATS) | st.integers(0, 2**32 - 1),
        "i": st.integers(INT32_MIN, INT32_MAX),
        "s": st.integers(-(2**62) + 1, 2**62 - 1),
        "k": st.integers(-250, 150) | st.integers(-(2**33), 2**33),
        "e": st.integers(-200, 200) | st.integers(INT32_MIN, INT32_MAX),
        "p": st.integers(2, 31),
    }
    cases = st.tuples(*(strategies[kind] for kind in OPERATIONS[name].operands))

    @settings(max_examples=examples(10))
    @given(st.lists(cases, min_size=1, max_size=100))
    def run(batch: list[Case]) -> None:
        check(name, batch, ask)

    run()


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.operands == "f"])
def test_every_exponent(name: str, ask: Ask):
    """With either sign, two leading bits of the mantissa, and a low end that is not zero."""
    check(name, [(top << 21 | 0x15555,) for top in range(2**11)], ask)


def test_a_subnormal_product_is_rounded_once(ask: Ask):
    """(1 + 2^-23)^2 * 2^-128 is just over a tie of subnormals, and on it if rounded to 24 bits first."""
    a, b = 0x3F800001, 0x3F800001 - (127 << 23) + (1 << 23)
    cases = [(a, b + (shift << 23)) for shift in range(-1, 40)]
    check("mul", [case for case in cases if case[1] > 0], ask)
    traps = [(0x3F800001 - (63 << 23), 0x3F800001 - (e << 23)) for e in range(58, 90)]
    check("mul", traps, ask)
    tie = (1 << 40) | (1 << 16)
    check("fromScaled", [(tie + d, -149 - 17) for d in (-1, 0, 1)], ask)


def test_order_key_is_total(ask: Ask):
    """Keys ascend strictly along -infinity ... -0, +0 ... +infinity, NaN."""
    ascending = [SIGN | m for m in reversed(MAGNITUDES) if m <= INFINITY] + [m for m in MAGNITUDES if m <= INFINITY]
    keys, _ = ask("orderKey", [(a,) for a in [*ascending, NAN]])
    assert all(a < b for a, b in pairwise(keys))


@by_operation
def test_gas_stays_at_the_snapshot(name: str, ask: Ask):
    """Dearer is a regression; cheaper asks for a new snapshot."""
    _, measuring = ask(None, [(0,)])
    _, dearest = ask(name, DEAREST[OPERATIONS[name].operands])
    assert dearest - measuring == GAS[name]
