"""Audits cost what they should: who is drawn replays what it is drawn for, once, and nobody replays anything else."""

from __future__ import annotations

from collections import Counter

from tests.support.audit_cost import STEPS, audited
from tests.support.town import Town

INTERVALS = 16
HALF = 5_000  # fees to expect per checkpoint, in 1/10,000


def test_exactly_what_is_drawn_is_replayed(town: Town) -> None:
    cost = audited(town, INTERVALS, HALF)
    assert cost.trained == Counter(range(INTERVALS * STEPS))
    for name, checkpoints in cost.drawn.items():
        drawn = [t for k in checkpoints for t in range(k * STEPS, (k + 1) * STEPS)]
        assert cost.replayed[name] == Counter(drawn), name
        assert cost.paid[name] == checkpoints
    assert cost.share == sum(map(len, cost.drawn.values())) / INTERVALS
    assert abs(cost.share - cost.expected) < 5 * cost.spread
