"""A worker opens tasks within its limits, no refused task again, and without holding up its loop."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from offchain.commit.roots import state_root_of, state_tree
from offchain.dispute.replay import Ledger, Replay
from offchain.errors import NoRoom
from offchain.exec.base import Executor, Limits
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.lower import compile as lower
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_outputs, save_state
from offchain.store.fetch import FetchOptions
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.fit import NotNow, Unfit
from offchain.worker.making import ExecutorFactory, executor_factory
from offchain.worker.materials import Materials, Opened
from offchain.worker.names import log_name, outputs_name, state_name, task_name
from offchain.worker.options import WorkerOptions
from tests.offchain.test_program import a_program
from tests.support.strategies import over_state
from tests.support.tasks import BARE, unposted
from tests.support.works import every_kind

F32 = DType.F32
FILES = FetchOptions(schemes=frozenset({"file"}), private=True)


def small() -> Task:
    return every_kind(6, 3)


def spreading(rows: int = 1 << 9, extent: int = 1 << 18) -> Task:
    """A product that reads an operand of half a gigabyte, or a quarter, from four elements."""
    left = View(0, (Axis(1, 0, 2), Axis(0, 0, 4), Axis(0, 0, extent)))
    right = View(0, (Axis(0, 0, rows), Axis(1, 0, 2), Axis(0, 0, extent)))
    reads = tuple(Input(Source.STATE, 0, F32, 4, view) for view in (left, right))
    case = over_state([Node(Kind.DOT, F32, (rows, 4), reads, extent, 2)], [np.ones(4, np.float32)])
    return Task(case.graph, (), (), tuple(case.state), 1, "spreading")


class Post:
    """Tasks as the chain shows them, from files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, task: Task) -> TaskView:
        self.count += 1
        path = self.folder / f"{self.count}.task"
        save_task(task, path)
        own = {name: getattr(task, name) for name in BARE}
        terms = unposted(**own, uri=f"file://{path}")
        return TaskView(self.count, terms, "0xRequester", "0xSolver", Status.BIDDING, 0, 0, 1, 0, ())


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


def build(folder: Path, executors: ExecutorFactory, **options: Any) -> Materials:
    made = WorkerOptions(folder, **({"trials": "inline"} | options))
    return Materials("me", BlobStore(folder / "blobs", None, FILES), executors, Replay, made)


def opened(materials: Materials, view: TaskView) -> Opened:
    limit = time.monotonic() + 60
    while (found := materials.open(view)) is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return found


class Counting:
    """The fused executor's factory, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, ledger: Ledger, limits: Limits) -> Executor[object]:
        self.asked += 1
        return executor_factory("fused")(ledger, limits)


def test_a_task_is_opened_within_its_limits(post: Post, tmp_path: Path) -> None:
    materials = build(tmp_path, executor_factory("fused"))
    assert opened(materials, post(small())).task.name == small().name


def test_what_the_executor_has_beside_the_tensors_counts(post: Post, tmp_path: Path) -> None:
    """The task's tensors have 8 kB; an operand has hundreds of megabytes while it is computed."""
    materials, view = build(tmp_path, executor_factory("fused"), max_memory=100_000_000), post(spreading())
    with pytest.raises(NotNow, match=r"^node 0 \(dot\) needs .* MB for operands .*: a step may take 100 MB$"):
        opened(materials, view)


def test_kernels_count(post: Post, tmp_path: Path) -> None:
    factory, view = Counting(), post(small())
    materials = build(tmp_path, factory, max_kernels=2)
    for _ in range(2):
        with pytest.raises(Unfit, match=r"^the graph needs \d+ kernels, of which 2 may be compiled$"):
            opened(materials, view)
    assert factory.asked == 1  # it is not tried again with every look


def test_compiling_does_not_hold_up_the_loop(post: Post, tmp_path: Path) -> None:
    ready = Event()

    def slow(ledger: Ledger, limits: Limits) -> Executor[object]:
        assert ready.wait(60)
        return executor_factory("reference")(ledger, limits)

    materials, view = build(tmp_path, slow), post(small())
    for _ in range(20):
        assert materials.open(view) is None
        time.sleep(0.01)
    ready.set()
    assert opened(materials, view).executor.graph == small().graph


def test_a_state_is_its_own_task_s_even_where_another_task_commits_to_the_same_root(post: Post, tmp_path: Path) -> None:
    """The graph's root binds no shapes of slots: a stranger's task that differs in them must not cost us a file."""
    work = small()
    first, *rest = work.graph.slots
    slots = (replace(first, spec=replace(first.spec, shape=(2, 9))), *rest)
    sham = Task(replace(work.graph, slots=slots), work.constants, work.datasets, work.state, 60)
    assert (sham.graph_root, sham.state_root) == (work.graph_root, work.state_root)
    materials = build(tmp_path, executor_factory("reference"))
    views = [committed(post(task), work.state_root) for task in (work, sham)]
    ours, theirs = (opened(materials, view) for view in views)
    materials.store(views[0].terms, ours.task.graph, work.state, state_tree(work.state))
    start = materials.start(views[1], theirs, 1, {})
    assert start is not None and start.checkpoint == 0  # theirs is not here
    start = materials.start(views[0], ours, 1, {})
    assert start is not None and start.checkpoint == 1
    materials.forget_states(views[1].terms, [work.state_root])
    assert materials.start(views[0], ours, 1, {}).checkpoint == 1  # type: ignore[union-attr]


def test_a_solver_serves_outputs_at_once_and_keeps_the_log_back(tmp_path: Path) -> None:
    task = lower(a_program())
    materials = build(tmp_path, executor_factory("reference"))
    terms, tree = unposted(**{name: getattr(task, name) for name in BARE}), state_tree(task.state)
    named = outputs_name(terms, task.state_root), log_name(terms, task.state_root)
    materials.store(terms, task.graph, task.state, tree)  # of a verifier
    assert not any(name in materials.blobs for name in named)
    materials.store(terms, task.graph, task.state, tree, task)
    assert [name in materials.blobs for name in named] == [True, False]
    held = load_outputs(materials.blobs.path(named[0]), task, task.state_root)
    assert {name: rows.shape for name, rows in held.items()} == {"prediction": (20, 1), "row": (8,)}


def test_a_state_is_its_own_attempt_s(post: Post, tmp_path: Path) -> None:
    """An attempt failed while its state was fetched. A replay of the next one from it would dispute what is right."""
    work = small()
    materials, view = build(tmp_path, executor_factory("reference")), post(work)
    ours, ready = opened(materials, view), Event()
    roots = [serve(tmp_path, work, first) for first in (7.0, 8.0)]
    attempts = [replace(committed(view, root, uri), attempt=n) for n, (root, uri) in enumerate(roots)]
    fetch = materials.blobs.fetch

    def slow(uri: str, *rest: Any) -> Path:
        assert ready.wait(60)
        return fetch(uri, *rest)

    materials.blobs.fetch = slow  # type: ignore[method-assign]
    assert materials.start(attempts[0], ours, 1, {}) is None
    ready.set()
    while materials.busy:
        time.sleep(0.01)
    while (start := materials.start(attempts[1], ours, 1, {})) is None:
        time.sleep(0.01)
    assert start.root == roots[1][0]


def serve(folder: Path, work: Task, first: float) -> tuple[bytes, str]:
    """A state that begins with this number: its root, and where it is."""
    state = [array.copy() for array in work.state]
    state[0].flat[0] = first
    tree = state_tree(state)
    path = folder / f"{first}.state"
    save_state(path, work.graph, state, tree=tree)
    return state_root_of(len(state), tree.root), f"file://{path}"


def committed(view: TaskView, root: bytes, uri: str = "") -> TaskView:
    """The task in training, with a first checkpoint that nobody serves."""
    return replace(view, status=Status.TRAINING, checkpoints=(CheckpointView(root, 0, 0, 0, uri=uri),))


def test_on_a_full_disk_own_states_go_before_strangers_files(post: Post, tmp_path: Path) -> None:
    """What was only audited is not stored, or the states of tasks that cost their author nothing would fill the disk,
    and the next own checkpoint could not be written in time."""
    materials, task, mine, other = build(tmp_path, executor_factory("fused")), small(), post(small()), post(spreading())
    names = [task_name(view.terms) for view in (mine, other)]
    for name in names:
        materials.blobs.publish(name, lambda path: path.write_bytes(b"task"))
    materials.blobs.options = replace(FILES, reserve=1 << 60)
    materials.need([mine.terms])
    materials.store(mine.terms, task.graph, task.state, state_tree(task.state))
    assert list(materials.blobs.names()) == names[:1]
    materials.store(mine.terms, task.graph, task.state, state_tree(task.state), task)
    assert len(list(materials.blobs.names())) == 2


def test_strangers_files_make_room_for_a_state_that_is_kept_for_others(post: Post, tmp_path: Path) -> None:
    materials, task, other = build(tmp_path, executor_factory("fused")), small(), post(spreading())
    root = state_root_of(len(task.state), state_tree(task.state).root)
    served = tmp_path / state_name(post(task).terms, root)
    save_state(served, task.graph, task.state)
    point = CheckpointView(root, 0, 1_000, 0, f"file://{served}")
    view = replace(post(task), status=Status.TRAINING, checkpoints=(point,))
    opened(materials, view)
    materials.blobs.publish(task_name(other.terms), lambda path: path.write_bytes(b"task"))
    materials.blobs.options = replace(FILES, reserve=1 << 60)
    materials.need([view.terms])
    assert materials.mirror(view, 0) is False  # it is being fetched
    while materials.busy:
        time.sleep(0.01)
    with pytest.raises(NoRoom):
        materials.mirror(view, 0)
    assert list(materials.blobs.names()) == [task_name(view.terms)]
    materials.blobs.options = FILES
    while not materials.mirror(view, 0):
        time.sleep(0.01)
