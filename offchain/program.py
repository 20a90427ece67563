"""Any step, not only that of a training: a Python file with `job = Program(...)`.

    def step(state, batch, t):
        def loss(weights):
            return F.mse_loss(torch.func.functional_call(model, weights, (batch["x"],)), batch["y"])

        gradients, value = torch.func.grad_and_value(loss)(state["model"])
        moved = {name: weight - 0.1 * gradients[name] for name, weight in state["model"].items()}
        mean = {name: 0.99 * state["mean"][name] + 0.01 * weight for name, weight in moved.items()}
        return {"model": moved, "mean": mean}, {"loss": value}

    weights = dict(model.named_parameters())
    job = Program(step, {"model": weights, "mean": weights}, {"x": x, "y": y}, steps=400, interval=50, batch_size=64)

Only the requester runs this file. Workers get the step graph that `offchain.lower.compile` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

from torch import Tensor, nn

from offchain.columns import Unnamed, columns_of
from offchain.errors import BadInput
from offchain.fields import RESERVED, check_name, check_number, check_tensor, shown
from offchain.job import DEFAULT_BITS, Job, Order, bits_of, rows_of
from offchain.lines import at, line_of_argument, line_of_caller
from offchain.task import slot_of

Step = Callable[[Any, Any, Tensor], Any]


@dataclass(frozen=True)
class Program:
    """A step in plain torch: `state[t+1] = step(state[t], batch, t)`.

    step        `step(state, batch, t)`: the next state and the metrics, or these and the outputs. `t` is an int32
                scalar. It may take gradients (torch.func.grad, torch.autograd.grad) and draw numbers (torch.rand)
    state       tensors by name, in dicts, lists and tuples within a dict; float32, integers that fit int32, or bool. A
                step returns the same structure, each tensor with its shape and dtype. What no step changes becomes a
                constant of the graph, as do tensors that the step reads from outside
    data        as a Job's dataset; None: the step gets {}
    steps       steps in all, a multiple of `interval`
    interval    steps between two checkpoints
    outputs     names of what each step outputs: a dict of tensors, whose rows (first axis) of all steps are joined. Or
                a dict of names, with how many of these rows are kept
    batch_size  rows a step; without it the step gets whole columns
    order       `order(t)`: int32 rows of the batch of step t; default: uniform, by Philox
    seed        for the default order and for random operations
    bits        precision of matrix products, as a Job's; `precision` is the same by the name of a class
    name        shown to people

    Metrics are a dict of numbers (tensors of one element), at least one.
    """

    step: Step
    state: Mapping[str, Any]
    data: Any
    steps: int
    interval: int
    outputs: Any = ()
    batch_size: int | None = None
    order: Order | None = None
    seed: int = 0
    bits: int = DEFAULT_BITS
    name: str = "program"
    precision: InitVar[str | None] = None
    _line: str = field(init=False, repr=False, compare=False, default="")  # of the requester's call

    def __post_init__(self, precision: str | None) -> None:
        object.__setattr__(self, "_line", line_of_caller())
        try:
            if precision is not None:
                object.__setattr__(self, "bits", bits_of(precision, self.bits))
            check_name(f"the {self.kind}", self.name)
            self._check_step()
            self._check_state()
            object.__setattr__(self, "data", {} if self.data is None else columns_of(self.data, "data"))
            object.__setattr__(self, "outputs", _kept(self.outputs))
            self._check_outputs()
            self._check_numbers()
        except BadInput as error:
            raise BadInput(f"{self.kind}{at(self._line)}: {error}") from error

    @property
    def kind(self) -> str:
        """What errors call it."""
        return type(self).__name__.lower()

    @property
    def theirs(self) -> tuple[str, Callable[..., Any]]:
        """The requester's function that a step calls, after what errors call it."""
        return "step", self.step

    @property
    def dataset(self) -> dict[str, Tensor]:
        """The columns by name."""
        columns: dict[str, Tensor] = self.data
        return columns

    @property
    def columns(self) -> dict[str, Tensor]:
        """All that the task's steps read."""
        return dict(self.dataset)

    @property
    def task_steps(self) -> int:
        """Steps of the task."""
        return self.steps

    @property
    def rows(self) -> int:
        """Rows of the data; 0 without data."""
        return rows_of(self.dataset) if self.data else 0

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The initial state: each tensor by its path, joined by dots."""
        return {name: tensor.detach() for name, tensor in leaves(self.state)}

    @property
    def results(self) -> frozenset[str]:
        """The tensors of the state that the result holds, where steps change them. Roots bind the others as well."""
        return frozenset(self.tensors)

    @property
    def hosts(self) -> list[tuple[str, Any]]:
        """What of the requester's code runs in a step, by name."""
        return [("the step", self.step), ("order", self.order)]

    @property
    def model(self) -> nn.Module | None:
        """The module whose parts errors name; a program has none."""
        return None

    def given(self, batch: Mapping[str, Tensor]) -> Any:
        """The columns of a batch as the step gets them."""
        return tuple(batch.values()) if isinstance(self.data, Unnamed) else dict(batch)

    def line_of(self, name: str) -> str:
        """`FILE:LINE` where a field was given, or where the program was; "" if unknown."""
        return line_of_argument(self._line, name) if self._line else ""

    def _check_step(self) -> None:
        for what, value in (("step", self.step), ("order", self.order)):
            if not callable(value) and not (what == "order" and value is None):
                raise BadInput(f"{what} is {shown(value)}, must be a function")

    def _check_state(self) -> None:
        if not isinstance(self.state, Mapping):
            raise BadInput(f"state is a {type(self.state).__name__}, must be a dict of named tensors")
        seen: set[str] = set()
        for name, value in leaves(self.state):
            check_name("a tensor of the state", name)
            if name == RESERVED:
                raise BadInput(f"state {name!r} is reserved for the metrics; rename it")
            if name in seen:
                raise BadInput(f"two tensors of the state are named {name!r}; rename one of them")
            seen.add(name)
            if not isinstance(value, Tensor):
                raise BadInput(
                    f"state {name!r} is {shown(value)}, which no graph can hold; use a tensor (torch.tensor), for a "
                    "module dict(module.named_parameters()), and leave out what is None"
                )
            check_tensor(f"state {name!r}", value.detach())

    def _check_outputs(self) -> None:
        for name in self.outputs:
            if name in self.tensors or slot_of(name) in self.tensors:
                raise BadInput(
                    f"output {name!r} has the name of a tensor of the state, beside which it lies; rename it"
                )

    def _check_numbers(self) -> None:
        sizes = ("steps", "interval", *(() if self.batch_size is None else ("batch_size",)))
        for what in sizes:
            value = getattr(self, what)
            if type(value) is not int or value < 1:
                raise BadInput(f"{what} is {shown(value)}, must be a positive integer")
        if self.steps % self.interval:
            raise BadInput(f"steps {self.steps} is not a multiple of interval {self.interval}")
        if self.batch_size is None and self.order is not None:
            raise BadInput("order chooses the rows of a batch; give batch_size too")
        if self.batch_size is not None and not self.data:
            raise BadInput("batch_size is given, but no data; leave it out")
        if self.batch_size is not None and self.batch_size > self.rows:
            raise BadInput(f"batch_size {self.batch_size} is larger than the {self.rows} rows of the data")
        check_number("steps", self.steps, 1, (1 << 31) - 1)
        check_number("seed", self.seed, -(1 << 63), (1 << 64) - 1)
        check_number("bits", self.bits, 2, 27)


Asked = Job | Program  # what a requester asks for


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What the dicts, lists and tuples of a state hold, by its path, joined by dots."""
    if not isinstance(tree, Mapping | list | tuple):
        yield path, tree
        return
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def filled(tree: Any, values: Iterator[Any]) -> Any:
    """The same structure with other values, in the order of `leaves`."""
    if isinstance(tree, Mapping):
        return {key: filled(value, values) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [filled(value, values) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(values)


def _kept(outputs: Any) -> dict[str, int | None]:
    """Each output's name, with the rows that are kept of it; None: all."""
    names = {outputs: None} if isinstance(outputs, str) else outputs
    if not isinstance(names, Mapping):
        if not isinstance(names, list | tuple):
            raise BadInput(f'outputs is {shown(outputs)}, must be names, as ("scores",), or a dict of names and rows')
        names = dict.fromkeys(names)
    for name, rows in names.items():
        check_name("an output", name)
        if rows is not None:
            check_number(f"rows of output {name!r}", rows, 1, (1 << 31) - 1)
    return dict(names)
