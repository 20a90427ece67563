"""Engines of products on CUDA: all are exact, and the fastest is chosen once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from offchain.exec.cuda import engines, tuning
from offchain.exec.cuda.engines import INT8_TERMS, Engine, Float64, Int8, digits_of
from offchain.exec.cuda.tuning import Tuner, trial_operands
from offchain.exec.plan.products import product_of
from offchain.job import DEFAULT_BITS
from tests.offchain.exec.cuda.compared import (
    DEVICE,
    GPU,
    MARKS,
    dot,
)

pytestmark = MARKS


def totals(engine: Engine, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    packed = [packing.pack(q) for packing, q in zip(engine.packings, operands, strict=True)]
    found = torch.empty(len(engine.weights) * engine.part, dtype=engine.total, device=DEVICE)
    engine(found, *packed)
    return engine.whole(found)


@pytest.mark.parametrize("bits", [2, 7, 8, 9, 13, 15, 16, 21, 23, 24, 27])
@pytest.mark.parametrize("down", [False, True])
def test_engines_agree_on_integers_of_all_bits(bits: int, down: bool) -> None:
    made = engines.engines(product_of(dot(5, 33, 2 if bits == 27 else 40, bits, down)), bits)
    assert len(made) == 2 + (bits <= 8)
    for operands in (
        trial_operands(made[0], DEVICE),
        [torch.full_like(q, 1 - 2 ** (bits - 1)) for q in _ones(made[0])],
    ):
        exact = operands[0] @ operands[1].transpose(1, 2) if not GPU else None
        first = totals(made[0], operands)
        assert exact is None or torch.equal(first, exact)
        assert all(torch.equal(totals(engine, operands), first) for engine in made[1:])


def _ones(engine: Engine) -> list[torch.Tensor]:
    return [torch.ones_like(q) for q in trial_operands(engine, DEVICE)]


@pytest.mark.parametrize("bits", [8, 15])
def test_int8_sums_that_are_as_long_as_an_int32_holds(bits: int) -> None:
    """Digits of -128 wherever the bits allow them, which only numbers of more than eight bits have."""
    for extent in (INT8_TERMS // digits_of(bits) // 16 * 16, INT8_TERMS + 1):
        product = product_of(dot(2, 3, extent, bits))
        value = max(-sum(128 * 256**n for n in range(digits_of(bits) - 1)), 1 - (1 << (bits - 1))) if bits > 8 else -127
        operands = [torch.full_like(q, value) for q in _ones(Int8(product, bits))]
        found = totals(Int8(product, bits), operands)
        assert found.unique().tolist() == [value * value * extent]
        assert torch.equal(found, totals(Float64(product, bits), operands))


def test_digits_hold_their_integers() -> None:
    assert [digits_of(bits) for bits in (2, 8, 9, DEFAULT_BITS, 15, 16, 23, 24, 27)] == [1, 1, 2, 2, 2, 3, 3, 4, 4]


def test_a_float32_engine_gives_way_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    product = product_of(dot(4, 4, 64, 8))
    single = engines.engines(product, 8)[1]
    operands = trial_operands(single, DEVICE)
    expected = totals(single, operands)
    torch.set_float32_matmul_precision("high")
    try:
        assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]
        assert torch.equal(totals(single, operands), expected)
    finally:
        torch.set_float32_matmul_precision("highest")
    with monkeypatch.context() as patched:  # torch's newer way, after which it refuses to answer the older
        patched.setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")
        assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]
    assert torch.get_float32_matmul_precision() == "highest"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]


# --- which engine ------------------------------------------------------------------------------------------------


def test_a_product_is_tried_once_and_remembered(empty_cache: Path) -> None:
    tuner = Tuner(DEVICE)
    made = [engines.engines(product_of(dot(8, 8, k, bits)), bits) for k, bits in ((32, 8), (32, 21), (64, 21))]
    chosen = [tuner.choose(choices).name for choices in made]
    assert [tuner.choose(choices).name for choices in made] == chosen
    assert tuner.measured == 3
    again = Tuner(DEVICE)
    assert [again.choose(choices).name for choices in made] == chosen
    assert again.measured == 0
    (entry,) = empty_cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    assert Tuner(DEVICE)._chosen == {}


def test_the_fastest_that_is_right_is_taken(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engines.engines(product_of(dot(8, 8, 32, 8)), 8)
    took = {"float64": 3.0, "float32": 2.0, "int8": 1.0}
    right = tuning.Tuner._try
    wrong: list[str] = []

    def tried(self: Tuner, engine: Engine, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        if engine.name in wrong[:1]:
            return right(self, engine, operands)[0] + 1, took[engine.name]
        if engine.name in wrong:
            raise RuntimeError("the device has no such product")
        return right(self, engine, operands)[0], took[engine.name]

    monkeypatch.setattr(tuning.Tuner, "_try", tried)
    for wrong[:], expected in (([], "int8"), (["int8"], "float32"), (["int8", "float32"], "float64")):
        assert Tuner(DEVICE)._fastest(made).name == expected
