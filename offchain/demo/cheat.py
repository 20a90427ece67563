"""A solver that lies about one float: the worker's own command, with one false part.

python -m offchain.demo.cheat STEP NODE ELEMENT XOR [options of `offchain worker`]
"""

from __future__ import annotations

import sys
from typing import Any

from offchain.commands.worker import worker
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.worker.materials import ExecutorFactory
from offchain.worker.runner import Worker


def cheating(falsehood: Falsehood) -> type[Worker]:
    """Workers whose executor and replay hold that falsehood."""

    class Cheat(Worker):
        def __init__(self, chain: Any, roles: Any, options: Any, honest: ExecutorFactory, on_event: Any = None) -> None:
            def executors(ledger: Ledger, limits: Limits) -> Executor[Any]:
                return FalsifiedExecutor(honest(ledger, limits), ledger, falsehood)

            super().__init__(chain, roles, options, executors, on_event, FalsifiedReplay)

    return Cheat


def main() -> None:
    """Run the worker's command as a cheat."""
    step, node, element, xor = (int(value, 0) for value in sys.argv[1:5])
    worker.main(args=sys.argv[5:], prog_name="cheat", obj=cheating(Falsehood(step, node, element, xor)))


if __name__ == "__main__":
    main()
