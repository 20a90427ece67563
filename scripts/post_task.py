"""`brownie run post_task --network offchain-local main FILE URI MAX_PRICE [ACCOUNT]`: offer a task for training.

FILE is a task file (`offchain task build`), URI where workers fetch it, MAX_PRICE in tokens; ACCOUNT counts Brownie's
accounts. The contracts are those of build/deployment.json, which `brownie run deploy` writes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from brownie import Contract, accounts, chain, network, project, web3

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # Brownie may run from an environment of its own

from offchain.chain.decoding import terms_tuple  # noqa: E402
from offchain.chain.deployment import COIN, CONTRACTS, Deployment, load_artifact  # noqa: E402
from offchain.market.view import Terms  # noqa: E402
from offchain.store.taskfile import load_task  # noqa: E402
from offchain.task import Task  # noqa: E402

TIMES = {"bidding_time": 60, "reveal_time": 60, "handover_time": 300}  # seconds
RATE_BPS = 2_500  # fees to expect per checkpoint, in 1/10,000; one is a hundredth of the highest price
WAITS = {"interval_time": 600, "challenge_window": 600, "clock": 600}


def part(name: str, file: str = "build/deployment.json") -> Any:
    """The contract that plays a part ("market", "vault", ...), on whatever network Brownie is connected to.

    `project.CONTRACT.at(…)` knows only contracts of a development network; `Contract.from_abi` knows all.
    """
    deployment = Deployment.read(ROOT / file)
    contract = CONTRACTS[name]
    if deployment.chain_id != chain.id or not web3.eth.get_code(deployment.addresses[name]):
        sys.exit(
            f"{file}: there is no {contract} at {deployment.addresses[name]} on this chain. "
            "Brownie's own Ganache ends with each command: start one first (offchain chain up --port 8555), then deploy"
        )
    return Contract.from_abi(contract, deployment.addresses[name], load_artifact(contract)["abi"])


def terms_for(limits: Any, task: Task, uri: str, max_price: int, **changes: int) -> Terms:
    """Terms for a task with the least stake and bond; `changes` are fields of Terms."""
    stake = limits.requiredStake(max_price, task.steps, task.interval, RATE_BPS)
    bond = limits.requiredBond(stake, max_price, task.steps, task.interval)
    fields: dict[str, Any] = {
        "graph_root": task.graph_root, "state_root": task.state_root, "steps": task.steps, "interval": task.interval,
        "max_price": max_price, "stake": stake, "bond": bond,
        "urgency": 0, "risk_bps": 500, "attempts": 3,
        "audit_fee": max_price // 100, "audit_rate_bps": RATE_BPS, "keepers": 0, "keeper_bps": 0, "uri": uri,
    }  # fmt: skip
    return Terms(**(fields | TIMES | WAITS | changes))


def deposit(parts: dict[str, Any], amount: int, person: Any) -> None:
    """Put tokens into the vault. On a development network the deployer makes those that a person lacks."""
    lacks = amount - parts["token"].balanceOf(person)
    if lacks > 0 and network.show_active() in ("development", "offchain-local"):
        parts["token"].mint(person, lacks, {"from": accounts[0]})
    parts["token"].approve(parts["vault"], amount, {"from": person})
    parts["vault"].deposit(amount, {"from": person})


def post(parts: dict[str, Any], terms: Terms, requester: Any) -> int:
    """Deposit the whole bill, and post; returns the task's id."""
    audits = parts["auditor"].bill(terms.intervals, terms.audit_fee, terms.audit_rate_bps)
    deposit(parts, sum(parts["limits"].bill(terms.max_price, terms.keeper_bps)) + audits, requester)
    return int(parts["market"].post(terms_tuple(terms), {"from": requester}).events["Posted"]["taskId"])


def main(file: str, uri: str, max_price: str, account: str = "1") -> int:
    """Post, and say what happens next."""
    assert project.get_loaded_projects(), "run it with `brownie run`, in the project's folder"
    parts = {name: part(name) for name in ("token", "vault", "limits", "market", "auditor")}
    terms = terms_for(parts["limits"], load_task(Path(file)), uri, int(float(max_price) * COIN))
    task_id = post(parts, terms, accounts[int(account)])
    print(f"task {task_id}: bids for {terms.bidding_time} s, then {terms.reveal_time} s to show them, then `award`")
    return task_id
