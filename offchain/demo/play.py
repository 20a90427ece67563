"""The demo: an honest run that settles, then a run whose solver falsifies one float of one node in one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import TimeElapsedColumn
from safetensors.numpy import load_file

from offchain.chain.disputes import VERDICTS
from offchain.demo import digits
from offchain.demo.audience import Audience
from offchain.demo.audits import ALL, DRAWN, HONEST, LAZY, STAKES, Audits
from offchain.demo.stage import PATIENCE, PEOPLE, DemoFailed, Stage
from offchain.dispute.falsified import Falsehood
from offchain.ir.arrays import numpy_dtype
from offchain.ir.graph import Node
from offchain.ir.kinds import Kind
from offchain.jobfile import load
from offchain.lower import compile as lower
from offchain.market.view import Status, TaskView
from offchain.progress import bars
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.events import BidSent, RevealSent

PRICE: Final = 100  # tokens
OFFER: Final = [
    *("--max-price", str(PRICE), "--stake", "160", "--urgency", "9"),
    *("--bidding-time", "120", "--reveal-time", "120", "--handover-time", "120"),
    *("--interval-time", "120", "--challenge-window", "300", "--clock", "120", "--keepers", "5"),
]
LIE: Final = Falsehood(step=130, node=0, element=7, xor=0x00400000)  # a mantissa's top bit, in the third interval
LOOK: Final = 1.0  # seconds between two looks
CHEAT: Final = "cheat"
QUIET: Final = 1.5  # seconds without news until the clock may be put forward: what was found wrong is disputed by then
SOLVERS: Final = {  # what an hour of each machine costs, in tokens; the last one is slow to see and to send
    "solver-a": ("--hourly", "1000"),
    "solver-b": ("--hourly", "3000"),
    "solver-c": ("--hourly", "500", "--poll", "3"),
}


def play(folder: Path, console: Console) -> dict[str, Any]:
    """Both runs, on a stage whose files are in `folder`; returns the report."""
    started = time.monotonic()
    console.rule("[bold]offchain: a market for training that anybody can check")
    task, file = build(folder, console)
    with Stage(folder) as stage:
        contracts = len(stage.deployment.addresses)
        console.print(f"chain at {stage.ganache.url}, {contracts} contracts deployed, {len(PEOPLE)} people with money")
        start_workers(stage, console)
        lie = replace(LIE, node=next(n for n, item in enumerate(task.graph.nodes) if item.kind is Kind.DOT))
        honest = honest_run(stage, file, console, lie)
        cheat = cheat_run(stage, task, file, console, lie)
    return {"honest": honest, "cheat": cheat, "seconds": round(time.monotonic() - started, 1)}


def build(folder: Path, console: Console) -> tuple[Task, Path]:
    """The digits job as a task file."""
    with console.status("tracing a training step of a 64-64-10 network, lowering it to a step graph"):
        task = lower(load(digits.__file__))
        file = folder / "digits.task"
        save_task(task, file)
    console.print(
        f"step graph: {len(task.graph.nodes)} nodes, {len(task.graph.slots)} slots; {task.steps} steps, ", end=""
    )
    console.print(f"a checkpoint every {task.interval}; {file.stat().st_size:,} bytes with its data")
    return task, file


def start_workers(stage: Stage, console: Console) -> None:
    """Three solvers; a verifier that replays what it is drawn for, one that replays all, one that replays nothing."""
    with console.status("starting three solvers and three verifiers, each a process of its own"):
        for name, options in SOLVERS.items():
            stage.start_worker(name, "solver", options)
        for name in HONEST:
            stage.start_worker(name, "verifier", ["--audit-share", "1" if name == ALL else "0"])
        stage.start_named(LAZY, "lazy-verifier")
        stage.wait_until_registered([*SOLVERS, *STAKES])
        stage.enter_draws(STAKES)


def honest_run(stage: Stage, file: Path, console: Console, lie: Falsehood) -> dict[str, Any]:
    """Run 1: bids, training, audits, pay, a model. The cheat comes up meanwhile, too late to bid for it."""
    console.rule("[bold green]Run 1: everybody is honest")
    before, audience = stage.balances(), Audience(stage, console)
    result = stage.file("honest.safetensors")
    audits = Audits(stage, audience, stage.start_requester(file, result, [*OFFER, *DRAWN]))
    view = follow(audits, console, awarded=lambda: stage.start_cheat(CHEAT, lie))
    delivered = stage.wait_for_requester() == 0
    found = audits.report(view, console)
    after = stage.balances()
    accuracy = digits.accuracy(load_file(result)) if delivered else 0.0
    paid = after[stage.name_of(view.solver)] - before[stage.name_of(view.solver)]
    bids = audience.bids()
    console.print(f"[green]settled[/]: {stage.name_of(view.solver)} earned {paid / 1e18:g};", end=" ")
    console.print(f"the model gets {accuracy:.1%} of the test digits right")
    return {
        "settled": view.status is Status.COMPLETED and delivered,
        "test_accuracy": accuracy,
        "state_roots": [point.root.hex() for point in view.checkpoints],
        "bids": bids,
        "paid_price": view.price,
        "second_score": sorted(bid["score"] for bid in bids)[1],
        "paid": paid,
        "balances_before": before,
        "balances_after": after,
        "gas_total": audience.gas,
        **found,
    }


def cheat_run(stage: Stage, task: Task, file: Path, console: Console, lie: Falsehood) -> dict[str, Any]:
    """Run 2: the cheapest solver falsifies one float, is convicted, and the runner-up finishes the task."""
    console.rule("[bold red]Run 2: one solver falsifies one float")
    console.print(
        f"it flips one bit of element {lie.element} of node {lie.node} (dot) in step {lie.step}, once", end=""
    )
    console.print(f" in {task.steps} steps of {len(task.graph.nodes)} nodes")
    stage.wait_until_registered([CHEAT])
    before, audience = stage.balances(), Audience(stage, console)
    started = time.monotonic()
    result = stage.file("cheat.safetensors")
    audits = Audits(stage, audience, stage.start_requester(file, result, [*OFFER, *DRAWN]))
    view = follow(audits, console, awarded=lambda: leave(stage, console))
    delivered = come_back(stage, view, result, console)
    report = audits.report(view, console) | conviction(stage, audience, task, before)
    report["settled"] = view.status is Status.COMPLETED and delivered
    report["rescued_by"] = stage.name_of(view.solver)
    report["test_accuracy"] = digits.accuracy(load_file(result)) if delivered else 0.0
    report["final_root"] = view.checkpoints[-1].root.hex() if view.checkpoints else None
    console.print(f"[green]settled[/]: {report['rescued_by']} finished it;", end=" ")
    console.print(f"the model gets {report['test_accuracy']:.1%} of the test digits right")
    report["seconds"] = round(time.monotonic() - started, 1)
    return report


def leave(stage: Stage, console: Console) -> None:
    """The requester has posted; it need not stay."""
    stage.stop("requester")
    console.print("  [dim]the requester leaves, and with it the address of its task's file[/]")


def come_back(stage: Stage, view: TaskView, result: Path, console: Console) -> bool:
    """The requester fetches its model when the solver is gone, too. Returns whether it got it."""
    solver = stage.name_of(view.solver)
    stage.stop(solver)
    console.print(f"the requester is back, and {solver} is gone: a keeper has the model")
    stage.follow_again(view.id, result)
    return stage.wait_for_requester() == 0


def follow(audits: Audits, console: Console, awarded: Callable[[], None] | None = None) -> TaskView:
    """Watch the task until it has ended, with bars of what is trained and paid; call `awarded` once it is."""
    stage, audience, task_id = audits.stage, audits.audience, audits.task_id
    with bars(console, clock=TimeElapsedColumn()) as progress:
        trained = progress.add_task("trained", total=1)
        final = progress.add_task("paid", total=1)
        moved, last = time.monotonic(), None
        while True:
            stage.heartbeat()
            view = audience.look(task_id)
            steps = view.terms.steps
            progress.update(trained, total=steps, completed=min(len(view.checkpoints) * view.terms.interval, steps))
            progress.update(final, total=view.terms.intervals, completed=view.paid)
            if view.status.ended:
                return view
            if awarded and view.status is Status.TRAINING:
                awarded()
                awarded = None
            now = (view.status, view.attempt, view.leader, len(view.checkpoints), view.paid, len(audience.moves))
            if now != last:
                moved, last = time.monotonic(), now
            if at_rest(view, time.monotonic() - moved) and nothing_to_wait_for(audits, view):
                skip_time(audits, view, console)
            elif time.monotonic() - moved > PATIENCE:
                raise DemoFailed(f"task {task_id} does not move; see the logs in {stage.folder}")
            time.sleep(LOOK)


def at_rest(view: TaskView, quiet: float) -> bool:
    """Whether there was no news for long enough; who has bid or revealed has nothing else to do meanwhile."""
    return view.status is Status.BIDDING or quiet > QUIET


def nothing_to_wait_for(audits: Audits, view: TaskView) -> bool:
    """Whether the task waits only for time to pass: all have bid and revealed, or all is audited, nothing disputed."""
    stage = audits.stage
    if view.status is Status.BIDDING:
        eager = [name for name in (*SOLVERS, CHEAT) if name in stage.processes]
        step = BidSent if stage.now() < view.bidding_ends else RevealSent
        return all(stage.said(name, step, view.id) for name in eager)
    done = view.status is Status.TRAINING and len(view.checkpoints) == view.terms.intervals
    kept = done and view.available(len(view.checkpoints) - 1)
    return kept and not any(point.holds for point in view.checkpoints) and audits.done(view)


def skip_time(audits: Audits, view: TaskView, console: Console) -> None:
    """Put the clock forward to the end of the bidding, of revealing, of claiming, or of the last challenge window."""
    stage, now = audits.stage, audits.stage.now()
    if view.status is Status.BIDDING:
        until = 1 + (view.bidding_ends if now < view.bidding_ends else view.reveal_ends)
    else:
        until = audits.next_time(view)
    if (wait := until - now) > 0:
        console.print(f"  [dim]nobody has anything left to do: the clock is put forward {wait} s[/]")
        stage.skip(wait)


def conviction(stage: Stage, audience: Audience, task: Task, before: dict[str, int]) -> dict[str, Any]:
    """The report about the cheat, from the contracts' events."""
    slashed, verdict, resolved = (audience.event(*names) for names in (("Slashed",), VERDICTS, ("Resolved",)))
    if slashed is None or verdict is None or resolved is None:
        raise DemoFailed(f"the cheat was not convicted; see the logs in {stage.folder}")
    args = verdict.args
    node = task.graph.nodes[args["node"]]
    after, challenger = stage.balances(), stage.name_of(resolved.args["winner"])
    moves = [m for m in audience.moves if m.dispute == args["id"] or (m.what == "open" and m.who == challenger)]
    return {
        "convicted": stage.name_of(slashed.args["solver"]) == CHEAT,
        "step": args["step"],
        "node": args["node"],
        "node_kind": node.kind.name.lower(),
        "element": args["element"],
        "operation": operation(verdict.name, args, node.extent, node.bits),
        "claimed": shown(verdict.name, args["claimed"], node),
        "computed": shown(verdict.name, args["computed"], node) if "computed" in args else None,
        "reveals": sum(move.what.startswith("reveal") for move in moves),
        "moves": [{"who": m.who, "what": m.what, "gas": m.gas} for m in moves],
        "gas_total": sum(move.gas for move in moves),
        "max_tx_gas": audience.max_gas,
        "slashed": slashed.args["slashed"],
        "challenger": challenger,
        "challenger_paid": after[challenger] - before[challenger],
        "requester_balance_change": after["requester"] - before["requester"],
        "burned": slashed.args["slashed"] - slashed.args["rewards"],
    }


def operation(verdict: str, args: Any, extent: int, bits: int) -> str:
    """The operation that the contract executed, in words."""
    return {
        "TermJudged": f"multiply-accumulate: term {args.get('k')} of {extent}, at {bits} bits",
        "ElementJudged": "the element's program",
        "ExtremumJudged": f"comparison with the input at k = {args.get('k')}",
        "ExponentJudged": f"comparison of an exponent with the input's at k = {args.get('k')}",
        "SlotJudged": "comparison of two tensor roots",
    }[verdict]


def shown(verdict: str, value: Any, node: Node) -> Any:
    """A judged word as the number that it is; a judged term is an integer already."""
    if verdict != "ElementJudged":
        return value
    return np.array([value], np.uint32).view(numpy_dtype(node.dtype))[0].item()


def summary(report: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The report as a person reads it."""
    honest, cheat = report["honest"], report["cheat"]
    paid, kept = sum(audit["paid"] > 0 for audit in honest["audits"]), honest["attestations"][-1]
    return [
        ("honest run", f"settled, {honest['test_accuracy']:.1%} test accuracy, {honest['gas_total']:,} gas"),
        (
            "winner paid",
            f"{honest['paid_price'] / 1e18:.4g}, with {honest['second_score'] / 1e18:.4g} the second score",
        ),
        ("kept", f"by {len(kept['signers'])} keepers, {len(honest['attestations'])} attestations"),
        ("audits", f"{paid} paid; they replayed {honest['audit_cost_share']:.0%} of the training's steps"),
        ("cheat", f"step {cheat['step']}, node {cheat['node']} ({cheat['node_kind']}), element {cheat['element']}"),
        ("judged by", cheat["operation"]),
        ("claimed", str(cheat["claimed"])),
        ("computed", str(cheat["computed"])),
        ("dispute", f"{len(cheat['moves'])} moves, {cheat['reveals']} reveals, {cheat['gas_total']:,} gas"),
        ("largest transaction", f"{cheat['max_tx_gas']:,} gas"),
        ("slashed", f"{cheat['slashed'] / 1e18:g}, of which {cheat['burned'] / 1e18:g} burned"),
        ("challenger earned", f"{cheat['challenger_paid'] / 1e18:g}"),
        ("finished by", f"{cheat['rescued_by']}, {cheat['test_accuracy']:.1%} test accuracy"),
        ("seconds", str(report["seconds"])),
    ]
