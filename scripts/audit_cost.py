#!/usr/bin/env python
"""What audits cost: real workers on a chain of their own train and audit one task of many short intervals.

scripts/audit_cost.py --intervals 200 --rate 10
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import structlog

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.chain.ganache import Ganache  # noqa: E402
from tests.support.audit_cost import audited  # noqa: E402
from tests.support.deployment import Funded  # noqa: E402
from tests.support.town import Town  # noqa: E402

SURE = 1.96  # standard deviations: 95 % of all runs are nearer to what is expected
PERCENT = 100  # of 1/10,000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10, help="fees to expect per checkpoint, in percent")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder, Ganache() as ganache:
        town = Funded.build(ganache).seen_as(Town, folder=Path(folder))
        try:
            cost = audited(town, options.intervals, round(options.rate * PERCENT))
        finally:
            town.close()
    far = SURE * cost.spread
    found = {
        "intervals": cost.intervals,
        "steps trained": cost.trained.total(),
        "steps replayed": sum(steps.total() for steps in cost.replayed.values()),
        "audits drawn": sum(map(len, cost.drawn.values())),
        "audits paid": sum(map(len, cost.paid.values())),
        "fees paid": sum(sum(fees.values()) for fees in cost.paid.values()),
        "share": cost.share,
        "expected share": cost.expected,
        "95 % of all runs": [max(0.0, cost.expected - far), cost.expected + far],
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
