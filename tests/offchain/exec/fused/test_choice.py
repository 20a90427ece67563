"""Which of several ways to compute the same bits is taken, told by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from offchain.exec.fused import choice
from offchain.exec.fused.choice import ROUNDS, SERIES, Choices, faster
from offchain.exec.fused.engines import TRIAL, Engines, engines, known_good, lanes, trial
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.plan.products import product_of
from offchain.ir.graph import Graph
from tests.offchain.exec.fused.test_products import dot, operands, words

Way = Callable[[], Callable[[], object]]


class Clock:
    """Seconds that pass only when a way is run. `runs` counts those."""

    def __init__(self) -> None:
        self.now, self.runs = 0.0, 0

    def way(self, *seconds: float) -> Callable[[], object]:
        """Takes these times in turn."""
        times: Iterator[float] = cycle(seconds)

        def run() -> None:
            self.now, self.runs = self.now + next(times), self.runs + 1

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    made = Clock()
    monkeypatch.setattr(choice.time, "perf_counter", lambda: made.now)
    monkeypatch.setenv("OFFCHAIN_KERNELS", str(tmp_path / "kernels"))
    return made


def test_the_known_way_stays_where_another_is_hardly_faster(clock: Clock) -> None:
    assert faster("known", {"known": clock.way(1.0), "other": clock.way(0.95)}) == "known"


def test_a_clear_win_is_taken(clock: Clock) -> None:
    ways = {"known": clock.way(1.0), "good": clock.way(0.7), "best": clock.way(0.6), "slow": clock.way(3.0)}
    assert faster("known", ways) == "best"


def test_luck_is_no_win(clock: Clock) -> None:
    """A way is twice as slow, but for a few rounds in which something else takes the processor from the known one."""
    assert faster("known", {"known": clock.way(1.0, 1.0, 9.0), "other": clock.way(2.0)}) == "known"


def test_one_series_is_not_enough(clock: Clock) -> None:
    """Faster while the known way is disturbed for a whole series, and not after that."""
    known = clock.way(*[3.0] * (1 + ROUNDS), *[1.0] * (ROUNDS * (SERIES - 1)))
    assert faster("known", {"known": known, "other": clock.way(2.0)}) == "known"


def test_what_was_chosen_is_kept(clock: Clock) -> None:
    ways: dict[str, Way] = {"known": lambda: clock.way(1.0), "other": lambda: clock.way(0.5)}
    assert Choices("here").choose("product", "known", ways) == "other"
    runs = clock.runs
    assert Choices("here").choose("product", "known", ways) == "other"
    assert clock.runs == runs
    assert Choices("elsewhere").choose("product", "known", {"known": ways["known"]}) == "known"


def test_a_kept_choice_that_is_damaged_or_unknown_is_made_again(clock: Clock) -> None:
    ways: dict[str, Way] = {"known": lambda: clock.way(1.0), "other": lambda: clock.way(0.5)}
    choice.keep("ways to compute: here", b'{"product": "gone"}')
    assert Choices("here").choose("product", "known", ways) == "other"
    choice.keep("ways to compute: here", b"[1")
    assert Choices("here").choose("product", "known", ways) == "other"


@pytest.mark.parametrize("bits", [13, 21])
@pytest.mark.parametrize("down", [(False, False), (True, False), (False, True)])
def test_a_trial_is_such_a_product_and_small_enough(bits: int, down: tuple[bool, bool]) -> None:
    (node,) = dot((900,), 700, 5_000, bits, down, batch=3).nodes
    graph, name = trial(product_of(node), bits)
    made = graph.nodes[0]
    assert made.length * made.extent <= TRIAL
    assert made.bits == bits
    assert name.endswith("".join("NT"[side.down] for side in (product_of(made).first, product_of(made).second)))
    small = trial(product_of(dot((8,), 16, 4, bits, down).nodes[0]), bits)[0]
    state = operands(small)
    bits_of = [
        [words(array) for array in made.dump(made.step(made.load(state), 0))]
        for made in (FusedExecutor(small, [], [], engines=Engines(n, n)) for n in (*lanes(), 0))
    ]
    assert any(bits_of[0][2]) and all(other == bits_of[0] for other in bits_of)


def test_only_large_products_are_tried() -> None:
    tried: list[tuple[Graph, Engines]] = []

    def make(graph: Graph, engines: Engines) -> Callable[[], object]:
        tried.append((graph, engines))
        return lambda: None

    assert engines(dot((8,), 16, 4, 21).nodes, make) == known_good()
    assert tried == []
