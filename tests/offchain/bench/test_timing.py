"""Pairs of ours and a peer: how they are timed, and what a row makes of them."""

from __future__ import annotations

import time

import pytest
import torch

from offchain.bench.timing import Row, Settings

QUICK = Settings(quick=True, threads=1)


def test_pairs_alternate_after_a_warm_up() -> None:
    calls: list[str] = []
    pairs = QUICK.measure(lambda: calls.append("o"), lambda: calls.append("p"), 3, lambda *_: None, "")
    assert len(pairs) == 3
    assert "".join(calls) == "opop" + "op" + "po" + "op"


def test_ratio_is_the_median_of_the_pairs_own() -> None:
    """The machine is ten times slower during one pair: that changes no ratio."""
    row = Row.of("x", 21, [(2.0, 1.0), (20.0, 10.0), (3.0, 1.0)])
    assert (row.ours, row.peer, row.ratio, row.n) == (3.0, 1.0, 2.0, 3)


def test_seconds_are_those_of_the_calls() -> None:
    [pair] = QUICK.measure(lambda: time.sleep(0.03), lambda: None, 1, lambda *_: None, "")
    assert 0.03 <= pair[0] < 1 and pair[1] < 0.03


def test_threads_are_set_only_while_measuring() -> None:
    before, seen = torch.get_num_threads(), []
    with pytest.raises(ZeroDivisionError):
        Settings(threads=before + 1).measure(
            lambda: seen.append(torch.get_num_threads()), lambda: 1 // 0, 1, lambda *_: None, ""
        )
    assert (seen, torch.get_num_threads()) == ([before + 1], before)
