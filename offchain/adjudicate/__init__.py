"""Checks that the deployed contracts judge the nodes of a step as the executors compute them.

A dispute ends in StepVerifier. Here StepVerifier is called directly, with the evidence that a dispute would bring:
true claims must stand, and falsified ones must fall.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, Final

from offchain.adjudicate.case import Case, Judge, falsify
from offchain.adjudicate.report import Fault, Tally
from offchain.adjudicate.report import Report as Report
from offchain.chain.client import Chain
from offchain.chain.deploying import deploy
from offchain.chain.deployment import PRESETS
from offchain.chain.ganache import Ganache
from offchain.chain.reverts import Reverted
from offchain.chain.rpc import asking, connect
from offchain.commit.trace import Trace
from offchain.dispute.points import Point, Slots
from offchain.dispute.replay import Ledger
from offchain.errors import BadInput, ChainError
from offchain.exec.base import Executor, state_after
from offchain.exec.make import make_executor
from offchain.ir.graph import Graph
from offchain.ir.kinds import Kind
from offchain.progress import Watch, unwatched
from offchain.task import Task

REFUSAL: Final = "OpeningMismatch"  # how a forged opening is refused


@contextmanager
def court(url: str | None = None) -> Iterator[Chain]:
    """Deploys the contracts to a new local chain, or to the node at `url` from the first account that it holds."""
    if url is None:
        with Ganache() as ganache, court(ganache.url) as chain:
            yield chain
        return
    w3 = connect(url)
    with asking("deploying the contracts"):
        if not w3.eth.accounts:
            raise ChainError("the node holds no account to deploy from; leave out its address for a chain of your own")
        deployment = deploy(w3, w3.eth.accounts[0], PRESETS["local"])
    yield Chain(url, deployment, None)


def adjudicate(
    task: Task,
    step: int,
    samples: int,
    seed: int,
    chain: Chain,
    executor: Executor[Any] | None = None,
    watch: Watch = unwatched,
) -> Report:
    """Have the contracts on `chain` judge `samples` elements of step `step`, each once as it is and once falsified.

    Args:
        step: 0 to `task.steps` - 1; the steps before it are computed.
        seed: chooses nodes, elements and falsehoods.
        executor: computes the steps; by default torch's.

    Raises BadInput for a step that the task does not have, ChainUnavailable.
    """
    require_step(task, step)
    started, rng = time.monotonic(), Random(seed)
    ledger = Ledger(task.graph, task.constants, task.datasets)
    judge = judge_of(
        task, ledger, step, executor or make_executor("torch", task.graph, task.constants, task.datasets), watch
    )
    report, done = Report(step, samples, seed), 0
    drawn = draw(task.graph, samples, rng)
    heavy = heaviest(task.graph, [node for node, _ in drawn])
    for node, elements in drawn:
        judge.forget()  # trees of one node's inputs at a time: a step may have hundreds of large tensors
        cases = [Case(chain, judge, node, element, rng) for element in elements]
        for case in cases:
            watch("judged", done, samples)
            _judge(case, report)
            done += 1
        _forge(cases, report)
        if node in heavy:
            _weigh(cases[0], report)
    watch("judged", done, samples)
    report.seconds = time.monotonic() - started
    return report


def require_step(task: Task, step: int) -> None:
    """Raises BadInput for a step that the task does not have."""
    if not 0 <= step < task.steps:
        raise BadInput(f"there is no step {step}: task {task.name!r} has steps 0 to {task.steps - 1}")


def judge_of(task: Task, ledger: Ledger, step: int, executor: Executor[Any], watch: Watch = unwatched) -> Judge:
    """Computes the task up to that step, and traces the step: what the contracts are asked about."""
    held = executor.load(task.state)
    for t in range(step):
        watch("trained", t, step)
        held = executor.step(held, t)
    watch("traced", 0, 1)
    before = Point.at(executor, step, held)
    state, outputs = Slots(before), list(executor.outputs(held, step))
    return Judge(ledger, step, state, before.tree(), Trace(outputs, state_after(task.graph, state, outputs)))


def draw(graph: Graph, samples: int, rng: Random) -> list[tuple[int, list[int]]]:
    """Random elements, by node. No node is drawn twice before each has been drawn once."""
    order = list(range(len(graph.nodes)))
    rng.shuffle(order)
    chosen: dict[int, list[int]] = {}
    for i in range(samples):
        node = order[i % len(order)]
        chosen.setdefault(node, []).append(rng.randrange(graph.nodes[node].length))
    return sorted(chosen.items())


def heaviest(graph: Graph, nodes: list[int]) -> set[int]:
    """The node of each kind that takes about the most gas to judge; an opening costs as much as 40 instructions."""
    of_kind: dict[Kind, int] = {}
    for n in sorted(nodes, key=lambda n: 40 * len(graph.nodes[n].inputs) + len(graph.nodes[n].program)):
        of_kind[graph.nodes[n].kind] = n
    return set(of_kind.values())


def _judge(case: Case, report: Report) -> None:
    """Judges the true claim and a falsified one. A claim whose evidence the contract refuses counts as misjudged."""
    tally = report.by_kind.setdefault(case.node.kind, Tally())
    tally.claims += 1
    tally.falsified += 1
    name, false = falsify(case.word, case.rng)
    try:
        against = case.contradiction(case.word)
    except Reverted as refusal:
        against = str(refusal)
    if against is None:
        tally.upheld += 1
    else:
        _fault(case, report, f"the true claim {case.word:#010x} fell: {against}")
    try:
        against, why = case.conviction(false), "nothing contradicts it"
    except Reverted as refusal:
        against, why = None, str(refusal)
    if against is not None:
        tally.convicted += 1
    else:
        _fault(case, report, f"the false claim {false:#010x} ({name}) stood: {why}")


def _forge(cases: list[Case], report: Report) -> None:
    """Shows the contract one false input word of the node, at the first element that reads an input."""
    for case in cases:
        refusal = case.forgery()
        if refusal == "":
            continue
        tally = report.by_kind[case.node.kind]
        tally.forged += 1
        if refusal == REFUSAL:
            tally.refused += 1
        else:
            _fault(case, report, f"a forged input met {refusal or 'no refusal'}, not {REFUSAL}")
        return


def _weigh(case: Case, report: Report) -> None:
    """Estimates the gas of judging the node. Refused evidence was already reported as a fault."""
    with suppress(ChainError):
        report.gas[case.node.kind] = case.gas()


def _fault(case: Case, report: Report, what: str) -> None:
    report.faults.append(Fault(case.index, case.node.kind, case.element, what))
