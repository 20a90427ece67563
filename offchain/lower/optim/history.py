"""The updates of an optimizer without a rule of its own, all recorded while a job is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from offchain.errors import Unsupported
from offchain.groups import optimizer_on
from offchain.job import Job
from offchain.lower.host.world import Held, World
from offchain.lower.optim.merge import merged
from offchain.lower.optim.tape import Form, Recorder, Shapes, Tape, storage_of

MOST_CALLS: Final = 1_000_000  # operations that are recorded, over all updates: about a minute
MOST_FORMS: Final = 6  # different sequences of operations
AGAIN: Final = 3  # updates that are recorded twice, and after which a history may end early
_PLAIN: Final = (int, float, bool, str, type(None), torch.dtype, torch.device)
_DTYPES: Final = (torch.float32, torch.int32, torch.int64, torch.bool)
_ASIDE: Final = frozenset({"state", "param_groups", "defaults"})
PARAMETER, GRADIENT, STATE = "parameter:", "gradient:", "state:"  # kinds of inputs and outputs of a tape, before a name
Update = tuple[Form, tuple[float, ...]]


@dataclass(frozen=True)
class History:
    """Recorded updates.

    tapes    one for each form
    phases   the form of each update; where it is shorter than the job, the last update goes on
    numbers  by form, the numbers of each update, in the order of its holes; () for updates of other forms
    slots    tensors of the optimizer's state, with initial values
    """

    tapes: tuple[Tape, ...]
    phases: tuple[int, ...]
    numbers: tuple[tuple[tuple[float, ...], ...], ...]
    slots: Mapping[str, Tensor]


class _Subject:
    """An optimizer of the job's kind over copies of the model's parameters, to be watched."""

    def __init__(self, job: Job) -> None:
        self.job, self.trained = job, [name for group in job.groups[1] for name in group.names]
        weights = dict(job.model.named_parameters())
        self.weights = {n: p.detach().clone().requires_grad_(n in self.trained) for n, p in weights.items()}
        self.optimizer = optimizer_on(job.model, job.optimizer, self.weights)
        self.unknown: frozenset[str] = frozenset()
        self.shapes = Shapes()

    def state(self) -> dict[str, Tensor]:
        """The tensors that the optimizer keeps, by name."""
        return {STATE + name: value for name, value in _kept(self.optimizer, self.weights) if isinstance(value, Tensor)}

    def update(self, count: int, lined: bool) -> Tape:
        """Record the next update, the one after `count` others."""
        if self.job.schedule is not None:
            for group, options in zip(self.optimizer.param_groups, self.job.options_at(count), strict=True):
                group.update(options)
        for name in self.trained:
            self.weights[name].grad = torch.zeros_like(self.weights[name])
        inputs = {PARAMETER + name: self.weights[name] for name in self.trained}
        inputs |= {GRADIENT + name: self.weights[name].grad for name in self.trained}  # type: ignore[misc]
        unknown = {*inputs, *self.unknown}
        inputs |= self.state()
        _refuse_shared(inputs)
        end = _Subject.update.__code__ if lined else None
        with Recorder(inputs, unknown & inputs.keys(), self.shapes, end) as recorder:
            self.optimizer.step()
        tape: Tape = recorder.tape({**{PARAMETER + name: self.weights[name] for name in self.trained}, **self.state()})
        self.unknown = tape.unknown
        return tape

    def host(self, tensors: bool) -> list[Any]:
        """What the next update may depend on, besides parameters and gradients; never equal where that is not known."""
        found: list[Any] = [self.unknown]
        for name, value in _kept(self.optimizer, self.weights):
            if isinstance(value, Tensor):
                seen = value.tolist() if tensors and STATE + name not in self.unknown else ()
                found.append((name, tuple(value.shape), seen))
            else:
                found.append((name, value if isinstance(value, _PLAIN) or callable(value) else object()))
        return found


def history_of(job: Job) -> History:
    """Records the updates of a job's optimizer. Raises Unsupported, and whatever the optimizer raises."""
    subject, again = _Subject(job), _Subject(job)
    tapes: dict[Form, Tape] = {}
    slots = {name: value.clone() for name, value in subject.state().items()}
    done: list[Update] = []
    calls, looked = 0, False
    hosts: list[list[Any]] = []
    for count in range(job.updates):
        hosts = [*hosts[-1:], subject.host(looked)]
        if count >= AGAIN and job.schedule is None and hosts[0] == hosts[1] and done[-1] == done[-2]:
            break  # nothing changes any more but tensors
        outside = World.of(job).held if count == 1 else ()
        tape = subject.update(count, lined=count < AGAIN)
        done.append((tape.form, tape.numbers))
        if count < AGAIN and done[-1] != ((other := again.update(count, False)).form, other.numbers):
            raise Unsupported("its step differs when it runs again: it depends on more than its own state")
        _refuse_changed(outside)
        tapes.setdefault(tape.form, tape)
        calls, looked = calls + len(tape.form.calls), looked or tape.looked
        _add_slots(slots, subject.state())
        _check_size(len(tapes), calls, count)
    _merge(tapes, done, slots, _Subject(job))
    return _history(list(tapes.values()), done, slots)


def _refuse_changed(outside: Iterable[Held]) -> None:
    """Raise Unsupported for what the second update has changed and no copy of the optimizer has for itself."""
    for held in outside:
        name = next(held.changed(), None)
        if name is not None and held.thing is not torch.default_generator:
            raise Unsupported(
                f"{name} changes in every update; let each optimizer have its own, in an attribute that __init__ makes "
                "(self.n = 0), or draw with torch.rand"
            )


def _merge(tapes: dict[Form, Tape], done: list[Update], slots: dict[str, Tensor], fresh: _Subject) -> None:
    """Makes a first update, which makes its state, one of the others, where it is the same from then on."""
    forms = [form for form, _ in done]
    if len(forms) < 2 or forms[0] in forms[1:]:
        return
    known = {PARAMETER + name: fresh.weights[name].detach() for name in fresh.trained} | fresh.state()
    found = merged(tapes[forms[0]], tapes[forms[1]], known)
    if found is not None:
        numbers, initial = found
        done[0] = forms[1], numbers
        slots.update(initial)
        del tapes[forms[0]]


def _history(tapes: list[Tape], done: list[Update], slots: dict[str, Tensor]) -> History:
    place = {tape.form: i for i, tape in enumerate(tapes)}
    phases = tuple(place[form] for form, _ in done)
    numbers = tuple(tuple(found if form == tape.form else () for form, found in done) for tape in tapes)
    return History(tuple(tapes), phases, numbers, {name.removeprefix(STATE): slots[name] for name in slots})


def _add_slots(slots: dict[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Tensors that an update made are zeros before it, where nothing reads them."""
    for name, value in state.items():
        first = slots.setdefault(name, torch.zeros_like(value))
        if value.dtype not in _DTYPES:
            raise Unsupported(f"keeps {value.dtype} in its state ({name.removeprefix(STATE)}); use float32")
        if (first.shape, first.dtype) != (value.shape, value.dtype):
            raise Unsupported(f"changes the shape of its state ({name.removeprefix(STATE)}); keep shapes as they are")


def _check_size(forms: int, calls: int, count: int) -> None:
    remedy = "keep the count in a tensor of its state, and torch.where for `if`"
    if forms > MOST_FORMS:
        raise Unsupported(f"takes more than {MOST_FORMS} different courses in its first {count + 1} updates; {remedy}")
    if calls > MOST_CALLS:
        raise Unsupported(
            f"its numbers change in every update, and its first {count + 1} take more than {MOST_CALLS:,} operations, "
            f"the most that are recorded; {remedy}, or take fewer steps"
        )


def _refuse_shared(inputs: Mapping[str, Tensor]) -> None:
    owners: dict[int, str] = {}
    for name, value in inputs.items():
        other = owners.setdefault(storage_of(value), name)
        if other != name:
            raise Unsupported(
                f"its {name.replace(':', ' ')} shares memory with {other.replace(':', ' ')}; keep a copy (.clone())"
            )


def _kept(optimizer: Optimizer, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    """Everything that an optimizer keeps, but its parameters: `exp_avg.NAME` of a parameter, `group0.lr` of a group."""
    walk = _Walk({id(value): name for name, value in weights.items()})
    for owner, entry in optimizer.state.items():
        name = walk.names.get(id(owner))
        for path, value in walk.over(entry, ""):
            yield (f"{path}.{name}" if name else f"optimizer.{owner}.{path}"), value
    for i, group in enumerate(optimizer.param_groups):
        yield from walk.over({key: value for key, value in group.items() if key != "params"}, f"group{i}")
    for name, entry in vars(optimizer).items():
        if name not in _ASIDE and "hook" not in name:
            yield from walk.over(entry, f"optimizer.{name}")


class _Walk:
    """Goes through containers and objects, each once; `names` are of the parameters, by id, which are left out."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.seen: set[int] = set()

    def over(self, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        inner: Iterable[tuple[Any, Any]]
        if isinstance(value, dict):
            inner = ((self.names.get(id(key), key), found) for key, found in value.items())
        elif isinstance(value, list | tuple):
            inner = enumerate(value)
        elif isinstance(value, Optimizer):  # that another one wraps
            inner = ((key, found) for key, found in vars(value).items() if key != "defaults" and "hook" not in key)
        else:
            if id(value) not in self.names:
                yield path, value
            return
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        for key, found in inner:
            yield from self.over(found, f"{path}.{key}" if path else str(key))
