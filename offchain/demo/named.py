"""One cheat of the catalogue on a stage: honest people beside it, each a process, until its task has ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from offchain.chain.claims import claims_of
from offchain.chain.claims import settle as settle_claim
from offchain.demo import digits
from offchain.demo.audience import Audience
from offchain.demo.cheats.catalogue import CHEATS, Cheat
from offchain.demo.cheats.endings import Ending, ending_of
from offchain.demo.stage import PATIENCE, DemoFailed, Stage
from offchain.lower import compile as lower
from offchain.market.money import tokens
from offchain.market.view import TaskView
from offchain.store.taskfile import save_task

STEPS: Final = 100
OFFER: Final = [
    *("--max-price", "100", "--bidding-time", "30", "--reveal-time", "20", "--handover-time", "20"),
    *("--interval-time", "60", "--challenge-window", "60", "--clock", "60", "--attempts", "2"),
]
DRAWN: Final = ["--audit-rate", "655.35", "--audit-fee", "0.1"]  # of two verifiers each is drawn with 96 %
KEPT: Final = ["--keepers", "5"]
MANY: Final = ["--keepers", "16"]  # so that the honest one has a seat, and is no quorum
STAKE: Final = 10  # tokens, of verifiers, where they are drawn
LOOK: Final = 1.0  # seconds between two looks
CHEAT, FRIEND, SOLVER, VERIFIER = "cheat", "friend", "solver-a", "verifier-a"


def play_cheat(folder: Path, console: Console, name: str) -> dict[str, Any]:
    """Plays it; returns the report. Raises DemoFailed where it ends otherwise than the catalogue says."""
    cheat, started = CHEATS[name], time.monotonic()
    console.rule(f"[bold red]{name}[/]: a {cheat.role} that {cheat.does}")
    console.print(f"it must end so: {cheat.ends.value}")
    file = folder / "digits.task"
    intervals = 5 if cheat.claims else 2  # luck spares nobody five times
    save_task(lower(digits.job(STEPS, STEPS // intervals)), file)
    with Stage(folder) as stage:
        gather(stage, cheat)
        before, audience = stage.balances(), Audience(stage, console)
        task_id = begin(stage, cheat, file)
        view = watched(stage, audience, task_id)
        settle(stage, cheat, view)
        audience.look(task_id)
        ending, after = ending_of(audience.events), stage.balances()
    gains = {who: after[who] - had for who, had in before.items() if after[who] != had}
    for who, gain in gains.items():
        console.print(f"  {who:10} {'+' if gain > 0 else '-'}{tokens(abs(gain))}")
    if ending is not cheat.ends:
        found = ending.value if ending else "it has not ended"
        raise DemoFailed(f"{name}: {found}; the catalogue says: {cheat.ends.value}. See the logs in {folder}")
    seconds = round(time.monotonic() - started, 1)
    return report(cheat, ending, view, audience, gains) | {"seconds": seconds}


def report(cheat: Cheat, ending: Ending, view: TaskView, audience: Audience, gains: dict[str, int]) -> dict[str, Any]:
    return {
        "cheat": cheat.name,
        "role": cheat.role,
        "does": cheat.does,
        "ends": ending.name.lower(),
        "status": view.status.name.lower(),
        "moves": len(audience.moves),
        "gas_total": audience.gas,
        "fined": str(sum(event.args["amount"] for event in audience.events if event.name == "Denounced")),
        "gains": {who: str(gain) for who, gain in gains.items()},
    }


def gather(stage: Stage, cheat: Cheat) -> None:
    """Honest people, and the cheat with its friend, all in the register."""
    stage.start_worker(SOLVER, "solver", ["--hourly", "1000"])
    idle = cheat.keeps and cheat.friend  # who replays everything has every state without being served
    stage.start_worker(VERIFIER, "verifier", ["--audit-share", "0" if idle else "1"])
    names = [SOLVER, VERIFIER]
    if cheat.role != "requester":
        stage.start_named(CHEAT, cheat.name)
        names.append(CHEAT)
    if cheat.friend:
        stage.start_named(FRIEND, cheat.friend)
        names.append(FRIEND)
    stage.wait_until_registered(names)
    if cheat.claims or cheat.keeps:
        stage.enter_draws({VERIFIER: STAKE, FRIEND: 2 * STAKE} if cheat.friend else {VERIFIER: STAKE, CHEAT: STAKE})


def begin(stage: Stage, cheat: Cheat, file: Path) -> int:
    """The requester posts."""
    if cheat.file is not None:
        return stage.posted(stage.start_named("requester", cheat.name, [str(file)]))
    kept = MANY if cheat.friend else KEPT
    more = DRAWN if cheat.claims else kept if cheat.keeps else ()
    return stage.start_requester(file, stage.file("model.safetensors"), [*OFFER, *more])


def watched(stage: Stage, audience: Audience, task_id: int) -> TaskView:
    """The task once it has ended, and every dispute with it."""
    moved, last = time.monotonic(), None
    while True:
        stage.heartbeat()
        view = audience.look(task_id)
        names = [event.name for event in audience.events]
        running = names.count("Opened") - names.count("Resolved") - names.count("Dismissed")
        if view.status.ended and running <= 0:
            return view
        now = len(audience.events)
        moved, last = (moved, last) if now == last else (time.monotonic(), now)
        if time.monotonic() - moved > 2 * PATIENCE:
            raise DemoFailed(f"task {task_id} does not move; see the logs in {stage.folder}")
        time.sleep(LOOK)


def settle(stage: Stage, cheat: Cheat, view: TaskView) -> None:
    """What anybody may end is ended, by the verifier: a bid that was not shown, claims that were not."""
    chain, who = stage.chains[VERIFIER], stage.chains[CHEAT].address
    if any(chain.sealed(view.id, 0, who)):
        chain.settle_bid(view.id, 0, who)
    for claim in claims_of(chain, view.id):
        if claim.fate.is_open and claim.verifier == who:
            settle_claim(chain, view.id, claim.attempt, claim.checkpoint, who)
