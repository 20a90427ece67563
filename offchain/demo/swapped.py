"""A text is bought, and its solver swaps one word: it is convicted of one operation, and the reader sees which word."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from offchain.continuation import OUTPUT
from offchain.demo import poem
from offchain.demo.audience import Audience
from offchain.demo.named import CHEAT, LOOK, SOLVER, VERIFIER
from offchain.demo.play import conviction
from offchain.demo.stage import PATIENCE, DemoFailed, Stage
from offchain.dispute.falsified import Falsehood
from offchain.generation import Generation
from offchain.lower import compile as lower
from offchain.market.money import tokens
from offchain.market.view import Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.fetch import FetchOptions
from offchain.store.taskfile import save_task
from offchain.task import Task, slot_of
from offchain.training import Run
from offchain.worker.events import Audited, BidSent, RevealSent
from offchain.worker.gathered import Gathered
from offchain.worker.holders import Holders, registered
from offchain.worker.reading import Piece, Reading, Row, Withdrawn

FALSE: Final = "Lamb"  # what the cheat says in place of a word
OFFER: Final = [
    *("--max-price", "100", "--bidding-time", "120", "--reveal-time", "120", "--handover-time", "120"),
    *("--interval-time", "120", "--challenge-window", "300", "--clock", "120"),
]
QUIET: Final = 1.5  # seconds without news until the clock may be put forward


@dataclass(frozen=True)
class Swap:
    """The true texts, and the word of one of them that the cheat swaps."""

    job: Generation
    task: Task
    truth: list[list[int]]  # what follows each prompt
    row: int
    place: int  # among the words that follow
    false: int

    @classmethod
    def of(cls, job: Generation) -> Swap:
        """The last word of the first text, as this machine computes it."""
        run = Run(lower(job), "torch", threads=1)
        run.run()
        truth = job.continued(run.output_arrays[OUTPUT])
        return cls(job, run.task, truth, 0, len(truth[0]) - 1, poem.WORDS.index(FALSE))

    @property
    def true(self) -> int:
        return self.truth[self.row][self.place]

    @property
    def lie(self) -> Falsehood:
        """About the node that hands out the tokens of an interval: the model goes on from the true one."""
        step = len(self.job.prompts[self.row]) - 1 + self.place
        node = next(slot.index for slot in self.task.graph.slots if slot.spec.name == slot_of(OUTPUT))
        element = step % self.job.interval * len(self.truth) + self.row
        return Falsehood(step, node, element, self.true ^ self.false)

    def text(self, tokens: list[int], colour: str) -> Text:
        """A text of that row, in which words that are not the true ones are marked, or those of it where the cheat's
        are not."""
        shown = Text(poem.PROMPTS[self.row], style="dim")
        for place, token in enumerate(tokens):
            word = f" *{poem.WORDS[token]}*" if place == self.place else f" {poem.WORDS[token]}"
            shown.append(word, style=f"bold {colour}" if place == self.place else "not dim")
        return shown


@dataclass
class Reader:
    """Reads the text as anybody does, from the market, and sees where it is not the true one."""

    stage: Stage
    console: Console
    swap: Swap
    reading: Reading = field(init=False)
    claimed: list[int] = field(default_factory=list)  # the swapped text as it was last seen
    withdrawn: int | None = None  # the first checkpoint whose text was taken back
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        chain = self.stage.chains["friend"]  # has no part in the task
        blobs = BlobStore(self.stage.file("reader"), options=FetchOptions(private=True))
        self._gathered = Gathered(self.swap.task, blobs, Holders(registered(chain)))
        self.reading = Reading(self.swap.task, self._gathered)

    def look(self, view: TaskView) -> None:
        for _ in self._gathered.look(view):
            pass
        for news in self.reading.news(view):
            if isinstance(news, Withdrawn):
                self.withdrawn = news.checkpoint
                self.console.print(f"  [bold red]the text from checkpoint {news.checkpoint} on is withdrawn[/]")
            elif news.row == self.swap.row:
                self._take(view, news)
        self.rows = self.reading.rows(view)

    def _take(self, view: TaskView, piece: Piece) -> None:
        told = list(self.reading.rows(view)[self.swap.row].tokens)
        self.console.print(f"  [dim]checkpoint {piece.checkpoint} says:{piece.text}[/]")
        if told[self.swap.place : self.swap.place + 1] == [self.swap.false]:
            self.claimed = told
            self.console.print(Text("  claimed  ").append_text(self.swap.text(told, "red")))
            self.console.print(Text("  true     ").append_text(self.swap.text(self.swap.truth[self.swap.row], "green")))


def play_generation(folder: Path, console: Console) -> dict[str, Any]:
    """Plays it; returns the report. Raises DemoFailed where the cheat is not convicted, or the text is not the true
    one at the end."""
    started = time.monotonic()
    console.rule("[bold red]A text is bought, and its solver swaps one word of it")
    with console.status("a small network learns a poem by heart, and continues it here, to compare"):
        swap = Swap.of(poem.job())
        save_task(swap.task, folder / "poem.task")
    console.print(f"step graph: {len(swap.task.graph.nodes)} nodes; a word a step, a checkpoint every {poem.INTERVAL}")
    console.print(f"the cheat will say {FALSE!r} in place of {poem.WORDS[swap.true]!r}, in step {swap.lie.step}")
    with Stage(folder) as stage:
        gather(stage, swap.lie)
        before, audience = stage.balances(), Audience(stage, console, word=lambda token: repr(poem.WORDS[token]))
        task_id = stage.start_requester(folder / "poem.task", stage.file("poem.safetensors"), OFFER)
        reader = Reader(stage, console, swap)
        view = watched(stage, audience, reader, task_id)
        delivered = stage.wait_for_requester() == 0
        found, after = conviction(stage, audience, swap.task, before), stage.balances()
    gains = {who: after[who] - had for who, had in before.items() if after[who] != had}
    for who, gain in gains.items():
        console.print(f"  {who:10} {'+' if gain > 0 else '-'}{tokens(abs(gain))}")
    texts = [list(row.tokens) for row in reader.rows]
    if not (found["convicted"] and delivered and reader.claimed and texts == swap.truth):
        raise DemoFailed(f"the swapped word was not seen, or not put right; see the logs in {folder}")
    report = told(swap, reader, view, found) | {"gains": {who: str(gain) for who, gain in gains.items()}}
    return report | {"seconds": round(time.monotonic() - started, 1)}


def told(swap: Swap, reader: Reader, view: TaskView, found: dict[str, Any]) -> dict[str, Any]:
    """The report: the texts, and what the contracts say of the swapped word."""
    words = poem.WORDS
    return {
        "prompt": poem.PROMPTS[swap.row],
        "claimed_text": swap.text(reader.claimed, "").plain,
        "true_text": swap.text(swap.truth[swap.row], "").plain,
        "texts": [f"{row.prompt}{row.text}".strip() for row in reader.rows],
        "withdrawn": reader.withdrawn,
        "status": view.status.name.lower(),
        "finished_by": reader.stage.name_of(view.solver),
        **found,
        "claimed": words[found["claimed"]],
        "computed": words[found["computed"]],
    }


def gather(stage: Stage, lie: Falsehood) -> None:
    """A solver, a verifier that looks at everything, and the cheat, who is cheaper, all in the register."""
    stage.start_worker(SOLVER, "solver", ["--hourly", "1000"])
    stage.start_worker(VERIFIER, "verifier", ["--audit-share", "1"])
    stage.start_cheat(CHEAT, lie)
    stage.wait_until_registered([SOLVER, VERIFIER, CHEAT])


def watched(stage: Stage, audience: Audience, reader: Reader, task_id: int) -> TaskView:
    """The task once it has ended. Where it waits only for time to pass, the clock is put forward."""
    moved, last = time.monotonic(), -1
    while True:
        stage.heartbeat()
        view = audience.look(task_id)
        reader.look(view)
        if view.status.ended:
            return view
        if last != (last := len(audience.events) + len(audience.moves)):
            moved = time.monotonic()
        until = next_time(stage, view)
        if until is not None and time.monotonic() - moved > QUIET and until >= stage.now():
            stage.skip(until + 1 - stage.now())
        elif time.monotonic() - moved > PATIENCE:
            raise DemoFailed(f"task {task_id} does not move; see the logs in {stage.folder}")
        time.sleep(LOOK)


def next_time(stage: Stage, view: TaskView) -> int | None:
    """When the task goes on, where nobody has anything to do before: all have bid, or shown it, or all is replayed."""
    if view.status is Status.BIDDING:
        bidding = stage.now() < view.bidding_ends
        step = BidSent if bidding else RevealSent
        ready = all(stage.said(name, step, view.id) for name in (SOLVER, CHEAT))
        return (view.bidding_ends if bidding else view.reveal_ends) if ready else None
    points = view.checkpoints
    right = {entry["claimed"] for entry in stage.said(VERIFIER, Audited, view.id) if entry["right"]}
    done = view.status is Status.TRAINING and len(points) == view.terms.intervals
    replayed = done and all(point.root.hex() in right for point in points[view.paid :])
    return max(point.challengeable_until for point in points) if replayed else None


def summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as a person reads it."""
    return [
        ("claimed", report["claimed_text"]),
        ("true", report["true_text"]),
        ("word", f"step {report['step']}: {report['claimed']!r}, and the contract computes {report['computed']!r}"),
        ("judged by", f"{report['operation']}, of node {report['node']} ({report['node_kind']})"),
        ("dispute", f"{len(report['moves'])} moves, {report['reveals']} reveals, {report['gas_total']:,} gas"),
        ("slashed", f"{report['slashed'] / 1e18:g}, of which {report['burned'] / 1e18:g} burned"),
        ("challenger earned", f"{report['challenger_paid'] / 1e18:g}"),
        ("finished by", report["finished_by"]),
        ("seconds", str(report["seconds"])),
    ]
