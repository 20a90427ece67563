"""A solver that lies about one float: the worker's own command, with one false part.

python -m offchain.demo.cheat STEP NODE ELEMENT XOR [options of `offchain worker`]
"""

from __future__ import annotations

import sys
from typing import Any

from offchain.commands import worker as command
from offchain.exec.base import Executor
from offchain.roles.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.roles.replay import Ledger
from offchain.roles.runner import Worker, executor_factory


def cheating(falsehood: Falsehood) -> type[Worker]:
    """Workers whose executor and replay hold that falsehood."""
    honest = executor_factory("torch")

    def executors(ledger: Ledger) -> Executor[Any]:
        return FalsifiedExecutor(honest(ledger), ledger, falsehood)

    class Cheat(Worker):
        def __init__(self, chain: Any, roles: Any, options: Any, _: Any, on_event: Any = None) -> None:
            super().__init__(chain, roles, options, executors, on_event, FalsifiedReplay)

    return Cheat


def main() -> None:
    """Run the worker's command as a cheat."""
    falsehood = Falsehood(*(int(value, 0) for value in sys.argv[1:5]))
    vars(command)["Worker"] = cheating(falsehood)
    command.worker.main(args=sys.argv[5:], prog_name="cheat")


if __name__ == "__main__":
    main()
