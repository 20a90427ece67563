"""Refuses a job whose steps differ by more than their tensors: a graph would repeat what was so while it was traced.

The loss and its gradient run twice in eager torch, on the same tensors. The second run finds Python's objects as the
first left them, and new ones elsewhere in memory and on the stack. What both change, or what makes the second run call
other operations, is named. Code that may depend on the order of new objects runs some more times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.host.asks import DISK, STACK, TRACER
from offchain.lower.host.kinds import GENERATORS
from offchain.lower.host.record import CONSTANT, LEFT, Call, Recording, record
from offchain.lower.host.stepped import STEPPED, reads_of_stepped
from offchain.lower.host.watch import SEEDED, line_that_changes, other_addresses, other_memory, sights
from offchain.lower.host.world import Held, Sight, World
from offchain.lower.origin import Origins
from offchain.lower.refusals import refusal
from offchain.program import Asked
from offchain.schedules import factor, options_by_update

_FROZEN: Final = "every step would use what was so while it was traced"
_DRAW: Final = "draw with torch.rand, randn or randint, or put the numbers into a column of the dataset"
_COUNT: Final = (
    'keep it in a buffer of the model: self.register_buffer("n", torch.zeros(())), then self.n += 1; what is only '
    "looked at can be a metric of the job"
)
_KEEP: Final = "keep it in a buffer of the model (self.register_buffer), and write that with .copy_()"
_ROWS: Final = "put what it gives into the dataset, whose rows Job.order chooses; the build has moved it on"
_BY_NUMBER: Final = "let it follow from t alone"
_ASKED: Final = 4096  # updates for which a schedule is asked again
_SEED: Final = (
    "leave it out: numbers come from the job's seed; those that are the same in every step are drawn once, before the "
    "job is built"
)
_REMEDIES: Final = {
    "what comes from outside": "put what it gives into the dataset, whose rows Job.order chooses",
    "the clock": f"leave it out; to count steps, {_COUNT}",
    "the file ": _COUNT,
    STACK: "leave it out: what a step computes must not depend on who calls it",
    STEPPED: "leave it out; what follows from the number of steps can follow from a buffer that counts them: "
    'self.register_buffer("n", torch.zeros(())), then self.n += 1',
    DISK: "ask for it before the job is built, and let the loss use what it gave",
}
_RUNS: Final = 12  # of code that may depend on the order of new objects
_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Run:
    """What the requester's code computes in a step, as a function of tensors in eager torch, and a step's tensors."""

    function: Callable[..., Sequence[Tensor]]
    inputs: tuple[Tensor, ...]

    def __call__(self) -> Sequence[Tensor]:
        return self.function(*self.inputs)


def check_host(job: Asked, before: World, run: Run) -> None:
    """Raise Unsupported, with the requester's line, if a second run need not be like the first.

    `before` is all that a run may change, as it is now. In the end everything is as it was.
    """
    try:
        with sights() as seen, reads_of_stepped(before.held) as stepped:
            first = record(run, run.inputs)
        between = World.of(job)
        second = _elsewhere(run, between, first, 0)
    except Exception as error:  # of the requester's code, which did not raise it before
        raise refusal(error, Origins(), job.model) from error
    ours, theirs = second.live(), first.live()
    for call in ours:
        _refuse_kept(call, between)
    for held in before.held:
        if held.thing is torch.default_generator and next(held.changed(), None):
            held.put_back()
            line = line_that_changes(held, run)
            raise Unsupported(f"{held.name}{at(line)}: set in a step; {_SEED}")
    for held in between.held:
        for name in held.changed():
            _refuse_changing(name, held, run)
    for sight in (*seen, *stepped, *before.clocks):
        _refuse_sight(sight)
    _refuse_different(theirs, ours)
    _refuse_moved([*ours, *second.asked], between, job)
    if between.ordering:
        _again(run, between, first)
    before.put_back()  # a module that has two names keeps tensors of the tracer until then
    if isinstance(job, Job):
        _refuse_views(before.held, job)


def _elsewhere(run: Run, world: World, first: Recording, number: int) -> Recording:
    """A further run, whose new objects have other addresses, and which lies deeper in the stack."""

    def deeper(levels: int) -> Sequence[Tensor]:
        return deeper(levels - 1) if levels else run()

    with other_addresses(world.known), other_memory(number):
        return record(partial(deeper, 3 + number), run.inputs, first)


def _again(run: Run, world: World, first: Recording) -> None:
    """Raise Unsupported if one of some more runs differs. They end when they have taken some time."""
    began, theirs = perf_counter(), first.live()
    for number in range(1, _RUNS):
        if perf_counter() - began > _SECONDS:
            return
        try:
            further = _elsewhere(run, world, first, number)
        except Exception as error:  # of code that the order of objects leads elsewhere
            raise refusal(error, Origins(), None) from error
        _refuse_different(theirs, further.live())


def _refuse_sight(sight: Sight) -> NoReturn:
    if sight.what.startswith(TRACER):
        raise Unsupported(
            f"{sight.what}{at(sight.line)}: in plain torch it says something else; leave it out, as a step is run by a "
            "tracer while a job is built"
        )
    if sight.what.startswith(SEEDED):
        raise Unsupported(f"{sight.what}{at(sight.line)}: set in a step; {_SEED}")
    remedy = next((remedy for kind, remedy in _REMEDIES.items() if sight.what.startswith(kind)), _DRAW)
    raise Unsupported(f"{sight.what}{at(sight.line)}: differs from step to step, and {_FROZEN}; {remedy}")


def check_schedule(job: Job) -> None:
    """Raise Unsupported, with the requester's line, if the schedule need not give the same numbers again.

    The table of a graph holds what it gave while the job was built.
    """
    if job.schedule is None:
        return
    count = min(job.updates, _ASKED)
    with sights() as seen:
        first = _scheduled(job, count)
    functions: Any = getattr(job.schedule, "lr_lambdas", [job.schedule])
    line = at(line_of(functions[0]))
    if seen:
        raise Unsupported(f"schedule{line}: {seen[0].what} differs from step to step, and {_FROZEN}; {_BY_NUMBER}")
    if any(_scheduled(job, count) != first for _ in range(2)):
        raise Unsupported(f"schedule{line}: gives other numbers when it is asked again, and {_FROZEN}; {_BY_NUMBER}")


def _scheduled(job: Job, count: int) -> str:
    """The options of the first updates, or the factors on their rates, as they are now."""
    if isinstance(job.schedule, LRScheduler):
        return repr(options_by_update(job.schedule, count))
    assert job.schedule is not None
    return repr([factor(job.schedule, n) for n in range(count)])


def _refuse_views(all_held: Sequence[Held], job: Job) -> None:
    """Raise Unsupported for an array of NumPy in the memory of a parameter, which each step changes in plain torch."""
    trained = {name for group in job.groups[1] for name in group.names}
    storages = [(n, p.untyped_storage()) for n, p in job.model.named_parameters() if n in trained]
    for held in all_held:
        if not isinstance(held.thing, np.ndarray | memoryview):
            continue
        place = np.asarray(held.thing).__array_interface__["data"][0]
        for name, storage in storages:
            if 0 <= place - storage.data_ptr() < storage.nbytes():
                raise Unsupported(
                    f"{held.name} is in the memory of {name!r}, and {_FROZEN}; compute it by torch's functions from "
                    "the model that the loss is given"
                )


def _refuse_kept(call: Call, between: World) -> None:
    for reference in call.inputs:
        if reference[0] == LEFT:
            holder = between.holder(reference[1]) or "something outside of the model"
            raise Unsupported(
                f"{call.name}{call.origin.place}: reads a tensor that {holder} keeps from the step before; {_KEEP}"
            )


def _refuse_moved(calls: Sequence[Call], between: World, job: Asked) -> None:
    """Raise Unsupported for a call that reads what lay where the step leaves another tensor: in some step it will read
    that one. So does a queue that is full of zeros at first."""
    places = between.places()
    known = {id(tensor) for tensor in places.values()}
    if not any(id(root) in known for call in calls for root in call.roots):
        return
    after = World.of(job).places()
    moved = {id(tensor): name for (name, i), tensor in places.items() if after.get((name, i)) is not tensor}
    for call in calls:
        for root in call.roots:
            if id(root) in moved:
                raise Unsupported(
                    f"{call.name}{call.origin.place}: reads a tensor of {moved[id(root)]}, where each step leaves "
                    f"another; {_KEEP}"
                )


def _refuse_changing(name: str, held: Held, run: Run) -> NoReturn:
    line = line_that_changes(held, run)
    how, remedy = ("drawn from", _DRAW) if isinstance(held.thing, GENERATORS) else ("changes", _COUNT)
    if hasattr(type(held.thing), "__next__"):
        remedy = _ROWS
    raise Unsupported(f"{name}{at(line)}: {how} in every step, and {_FROZEN}; {remedy}")


def _refuse_different(first: Sequence[Call], second: Sequence[Call]) -> None:
    """Raise Unsupported at the first call of the second run that is not in the first."""
    for one, other in zip(first, second, strict=False):
        if (one.name, one.numbers, one.inputs) != (other.name, other.numbers, other.inputs):
            _different(other, f":{_difference(one, other)}")
    if len(first) != len(second):
        _different((first if len(first) > len(second) else second)[min(len(first), len(second))], "")


def _different(call: Call, how: str) -> NoReturn:
    raise Unsupported(
        f"{call.name}{call.origin.place}: differs when the step is traced again{how}; let it depend on tensors only: "
        "the batch, torch.rand, or buffers of the model"
    )


def _difference(one: Call, other: Call) -> str:
    if one.name != other.name:
        return f" {one.name}, then {other.name}"
    if one.numbers != other.numbers:
        return f" {one.numbers}, then {other.numbers}"
    for a, b in zip(one.inputs, other.inputs, strict=False):
        if a != b and a[0] == b[0] == CONSTANT:
            return f" {a[1][-1]}, then {b[1][-1]}"
    return " other inputs"
