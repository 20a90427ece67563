"""Task and checkpoint files: what was saved loads, and every altered field is named."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from offchain.commit.roots import state_root, state_tree
from offchain.errors import BadBlob, BadInput, IllegalGraph, MalformedGraph
from offchain.exec.make import make_executor
from offchain.ir.encoding import encode_graph
from offchain.job import Job
from offchain.lower import compile
from offchain.store.checkpoint import load_state, read_state, save_state
from offchain.store.graphfile import MAX_GRAPH_BYTES
from offchain.store.taskfile import load_task, save_task
from offchain.store.tensorfile import MAX_HEADER
from offchain.task import Task


@pytest.fixture(scope="module")
def task() -> Task:
    """Two steps an interval; a frozen weight makes a constant."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    return compile(
        Job(
            model=model,
            loss=lambda m, b: F.mse_loss(m(b["x"]), b["y"]),
            optimizer=(torch.optim.SGD, {"lr": 0.1, "momentum": 0.5}),
            dataset={"x": torch.randn(6, 3), "y": torch.randn(6, 2)},
            batch_size=2,
            steps=4,
            interval=2,
            name="small",
        )
    )


@pytest.fixture
def path(task: Task, tmp_path: Path) -> Path:
    file = tmp_path / "small.task"
    save_task(task, file)
    return file


def header(path: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def rewrite(path: Path, change: Callable[[dict[str, dict[str, object]], bytearray], None]) -> None:
    """Alter header or content of a safetensors file."""
    head, body = header(path)
    content = bytearray(body)
    change(head, content)
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def at(head: dict[str, dict[str, object]], field: str) -> int:
    """Offset of a tensor's content."""
    offsets = head[field]["data_offsets"]
    assert isinstance(offsets, list)
    return int(offsets[0])


def test_save_and_load(task: Task, path: Path) -> None:
    loaded = load_task(path)
    assert loaded.graph == task.graph
    for name in ("constants", "datasets", "state"):
        for have, want in zip(getattr(loaded, name), getattr(task, name), strict=True):
            assert have.tobytes() == want.tobytes()
    assert (loaded.steps, loaded.name, loaded.intervals) == (4, "small", 2)
    assert loaded.parameters == ("0.bias", "1.weight", "1.bias")
    loaded.verify(task.graph_root, task.state_root)


def test_verify_refuses_other_roots(task: Task) -> None:
    with pytest.raises(BadBlob, match="graph root"):
        task.verify(bytes(32), task.state_root)
    with pytest.raises(BadBlob, match="state root"):
        task.verify(task.graph_root, bytes(32))


def test_parameter_arrays_are_shaped(task: Task) -> None:
    arrays = task.parameter_arrays(task.state)
    assert {name: array.shape for name, array in arrays.items()} == {
        "0.bias": (4,),
        "1.weight": (2, 4),
        "1.bias": (2,),
    }


@pytest.mark.parametrize("field", ["const.0", "data.x", "data.y"])
def test_altered_content_is_named(path: Path, field: str) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        body[at(head, field)] ^= 1

    rewrite(path, change)
    with pytest.raises(BadBlob, match=rf"{field}: content does not match"):
        load_task(path)


def test_an_altered_state_breaks_the_seal(path: Path) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        body[at(head, "state.pack.0")] ^= 1

    rewrite(path, change)
    with pytest.raises(BadBlob, match="seal: does not match"):
        load_task(path)


@pytest.mark.parametrize(
    ("word", "reason"),
    [(0x7F800000, "not finite"), (0x7FC00001, "NaN")],
)
def test_initial_values_that_are_no_numbers_are_refused(path: Path, word: int, reason: str) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        struct.pack_into("<I", body, at(head, "state.pack.0"), word)

    rewrite(path, change)
    with pytest.raises(BadBlob, match=rf"state\.pack\.0: .*{reason}"):
        load_task(path)


def test_log_must_start_empty(path: Path) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        struct.pack_into("<f", body, at(head, "state.log"), 1.0)

    rewrite(path, change)
    with pytest.raises(BadBlob, match=r"state\.log"):
        load_task(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "offchain-task-0"),
        ("name", "\x1b[2J"),
        ("steps", "5"),
        ("steps", "0"),
        ("steps", "-2"),
        ("steps", "9" * 5000),
        ("steps", "²"),
        ("parameters", "[[]]"),
        ("parameters", "[" * 100_000),
        ("parameters", '["nobody"]'),
        ("seal", "0" * 64),
        ("parts", "{}"),
        ("parts", "[" * 100_000),
        ("parts", '[["a", "nowhere", 0, [1]]]'),
        ("parts", '[["a", "log", 0, [1000000]]]'),
        ("parts", '[["a", "log", -1, [1]]]'),
        ("parts", '[["a", "log", true, [1]]]'),
        ("parts", '[["a", "log", 0, [1]], ["a", "log", 0, [1]]]'),
        ("parts", '[["\x1b", "log", 0, [1]]]'),
    ],
)
def test_altered_metadata_is_named(path: Path, key: str, value: str) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        head["__metadata__"][key] = value

    rewrite(path, change)
    with pytest.raises(BadBlob, match=key) as caught:
        load_task(path)
    assert len(str(caught.value)) < 400


def test_missing_metadata_is_named(path: Path) -> None:
    rewrite(path, lambda head, body: head["__metadata__"].pop("steps") and None)
    with pytest.raises(BadBlob, match="steps: missing"):
        load_task(path)


def test_missing_and_foreign_tensors_are_named(path: Path) -> None:
    def rename(head: dict[str, dict[str, object]], body: bytearray) -> None:
        head["data.q"] = head.pop("data.x")

    rewrite(path, rename)
    with pytest.raises(BadBlob, match=r"data\.x: tensor is missing"):
        load_task(path)


def test_wrong_dtype_and_shape_are_named(path: Path) -> None:
    def retype(head: dict[str, dict[str, object]], body: bytearray) -> None:
        head["data.x"]["dtype"] = "I32"

    rewrite(path, retype)
    with pytest.raises(BadBlob, match=r"data\.x: is I32 of shape \(6, 3\), must be F32"):
        load_task(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_files_are_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadBlob, match="not a whole safetensors file"):
        load_task(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBlob, match="cannot be read"):
        load_task(tmp_path / "none")


def test_altered_graph_is_refused(path: Path) -> None:
    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        body[at(head, "graph")] ^= 1

    rewrite(path, change)
    with pytest.raises(MalformedGraph, match="magic"):
        load_task(path)


def test_any_altered_byte_of_the_graph_is_refused_or_changes_its_root(task: Task, path: Path) -> None:
    raw = path.read_bytes()
    head, body = header(path)
    start = len(raw) - len(body) + at(head, "graph")
    size = len(encode_graph(task.graph))
    for offset in np.random.default_rng(0).integers(0, size, 60):
        broken = bytearray(raw)
        broken[start + offset] ^= 1 << int(offset) % 8
        path.write_bytes(broken)
        with pytest.raises(BadInput):
            load_task(path).verify(task.graph_root, task.state_root)


def test_names_that_could_drive_a_terminal_are_refused(task: Task, tmp_path: Path) -> None:
    save_task(replace(task, graph=replace(task.graph, metrics=("\x1b[2J",))), tmp_path / "escape")
    with pytest.raises(BadBlob, match="not printable") as caught:
        load_task(tmp_path / "escape")
    assert str(caught.value).isprintable()


def test_illegal_graph_is_refused(task: Task, tmp_path: Path) -> None:
    first = replace(task.graph.nodes[-1], bits=3)
    broken = replace(task, graph=replace(task.graph, nodes=(*task.graph.nodes[:-1], first)))
    save_task(broken, tmp_path / "illegal")
    with pytest.raises(IllegalGraph, match="node"):
        load_task(tmp_path / "illegal")


def after(task: Task, steps: int) -> list[np.ndarray]:
    run = make_executor("torch", task.graph, task.constants, task.datasets)
    state = run.load(task.state)
    for t in range(steps):
        state = run.step(state, t)
    return run.dump(state)


@pytest.mark.parametrize("log", [True, False])
def test_checkpoint(task: Task, tmp_path: Path, log: bool) -> None:
    state = after(task, 2)
    save_state(tmp_path / "c", task.graph, state, log=log)
    loaded = load_state(tmp_path / "c", task.graph, state_root(state))
    for have, want in zip(loaded[:-1], state[:-1], strict=True):
        assert have.tobytes() == want.tobytes()
    assert loaded[-1].tobytes() == (state[-1] if log else np.zeros_like(state[-1])).tobytes()


def test_checkpoint_without_its_log_continues_alike(task: Task, tmp_path: Path) -> None:
    state = after(task, 2)
    save_state(tmp_path / "c", task.graph, state, log=False)
    run = make_executor("torch", task.graph, task.constants, task.datasets)
    resumed = run.load(load_state(tmp_path / "c", task.graph, state_root(state)))
    for t in (2, 3):
        resumed = run.step(resumed, t)
    assert state_root(run.dump(resumed)) == state_root(after(task, 4))


def test_checkpoint_of_another_state_is_refused(task: Task, tmp_path: Path) -> None:
    save_state(tmp_path / "c", task.graph, after(task, 2))
    with pytest.raises(BadBlob, match="roots"):
        load_state(tmp_path / "c", task.graph, task.state_root)


@pytest.mark.parametrize("field", ["state.pack.0", "state.log"])
def test_altered_checkpoint_is_named(task: Task, tmp_path: Path, field: str) -> None:
    state = after(task, 2)
    save_state(tmp_path / "c", task.graph, state)

    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        body[at(head, field)] ^= 1

    rewrite(tmp_path / "c", change)
    with pytest.raises(BadBlob, match=rf"{field}: content does not match"):
        load_state(tmp_path / "c", task.graph, state_root(state))


def test_checkpoint_cut_anywhere_is_refused_in_one_line(task: Task, tmp_path: Path) -> None:
    state, path = after(task, 2), tmp_path / "c"
    save_state(path, task.graph, state)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadBlob, match="not a whole safetensors file") as caught:
            load_state(path, task.graph, state_root(state))
        assert len(str(caught.value).splitlines()) == 1


def test_checkpoint_with_any_bit_flipped_is_refused(task: Task, tmp_path: Path) -> None:
    """A changed byte is refused unless it changes nothing, such as a space within JSON."""
    state, path = after(task, 2), tmp_path / "c"
    save_state(path, task.graph, state)
    whole = path.read_bytes()
    for at in np.random.default_rng(1).integers(8, len(whole), 80):
        broken = bytearray(whole)
        broken[at] ^= 1 << int(at) % 8
        path.write_bytes(broken)
        read, said = state, [""]
        try:
            read = load_state(path, task.graph, state_root(state))
        except BadBlob as error:
            said = str(error).splitlines()
        assert len(said) == 1
        assert [array.tobytes() for array in read] == [array.tobytes() for array in state]


def test_checkpoint_is_read_with_its_tree(task: Task, tmp_path: Path) -> None:
    state = after(task, 2)
    tree = state_tree(state)
    for name, given in (("a", None), ("b", tree)):
        save_state(tmp_path / name, task.graph, state, tree=given, log=False)
        assert read_state(tmp_path / name, task.graph, state_root(state))[1].leaves == tree.leaves


@pytest.mark.parametrize("value", ["00", "zz", ""])
def test_checkpoint_with_a_malformed_root_is_refused(task: Task, tmp_path: Path, value: str) -> None:
    save_state(tmp_path / "c", task.graph, task.state)
    rewrite(tmp_path / "c", lambda head, body: head["__metadata__"].update({"root.pack.0": value}))
    with pytest.raises(BadBlob, match=r"root\.pack\.0"):
        load_state(tmp_path / "c", task.graph, task.state_root)


def test_checkpoint_lacking_a_slot_is_refused(task: Task, tmp_path: Path) -> None:
    save_state(tmp_path / "c", task.graph, task.state)

    def change(head: dict[str, dict[str, object]], body: bytearray) -> None:
        head["state.odd"] = head.pop("state.pack.0")

    rewrite(tmp_path / "c", change)
    with pytest.raises(BadBlob, match=r"state\.pack\.0: tensor is missing"):
        load_state(tmp_path / "c", task.graph, task.state_root)


def test_a_graph_that_takes_minutes_to_read_is_refused_by_its_size(path: Path) -> None:
    def grow(head: dict[str, dict[str, object]], content: bytearray) -> None:
        start, size = len(content), MAX_GRAPH_BYTES + 8
        head["graph"] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
        content += bytes(size)
        cut = at_of_old.pop()
        del content[cut[0] : cut[1]]
        for field in head.values():
            offsets = field.get("data_offsets")
            if isinstance(offsets, list) and offsets[0] >= cut[1]:
                field["data_offsets"] = [offset - (cut[1] - cut[0]) for offset in offsets]

    offsets = header(path)[0]["graph"]["data_offsets"]
    assert isinstance(offsets, list)
    at_of_old = [tuple(offsets)]
    rewrite(path, grow)
    with pytest.raises(BadBlob, match=rf"graph: {MAX_GRAPH_BYTES + 8} bytes are above the limit"):
        load_task(path)


def test_a_header_that_would_fill_the_memory_is_not_read(path: Path) -> None:
    size = MAX_HEADER + 1
    path.write_bytes(struct.pack("<Q", size) + b" " * size + b"x")
    with pytest.raises(BadBlob, match=f"header of {size} bytes is above the limit"):
        load_task(path)


def test_what_a_stranger_calls_a_tensor_moves_no_cursor(path: Path) -> None:
    rewrite(path, lambda head, content: head.update({"\x1b[2J\nforged": head.pop("graph")}))
    with pytest.raises(BadBlob) as refused:
        load_task(path)
    assert str(refused.value).isprintable()
