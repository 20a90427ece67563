"""Tasks run by several processes over gloo, as torchrun starts them: the same roots, and one line where one fails.

A launch takes seconds for each process before anything is tested, so that one launch answers several questions.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import BadInput
from offchain.exec import Setting, make_executor
from offchain.exec.distributed import Processes, joined
from offchain.exec.plan.shards import share
from offchain.inference import Inference
from offchain.ir.graph import Graph
from offchain.ir.kinds import Kind, traits
from offchain.job import Job
from offchain.lower import compile
from offchain.store.taskfile import load_task, save_task
from offchain.training import Run
from tests.offchain.lower.test_fuse import LENGTH, LETTERS, language_model, next_letter
from tests.offchain.test_evaluated import a_job
from tests.offchain.test_evaluation import an_evaluation
from tests.offchain.test_generation import WIDTH, a_cache, a_generation

ROWS = 6  # of a batch: four processes have one or two each
LIMIT = 240  # seconds until a launch counts as hanging
TRITON = importlib.util.find_spec("triton") is not None


def job(name: str, model: nn.Module, loss: Any, dataset: dict[str, Tensor], **options: Any) -> Job:
    optimizer = options.pop("optimizer", (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}))
    return Job(model=model, loss=loss, dataset=dataset, optimizer=optimizer, batch_size=ROWS, steps=4, interval=2,
               name=name, **options)  # fmt: skip


def jobs() -> list[Job]:
    """A GPT with dropout and clipping; a CNN with batch norm and dropout, at 8 bits; an MLP with accumulation; and what
    little Triton's interpreter does in a few seconds, at 8 bits. The last layers of these two are not trained."""
    torch.manual_seed(0)
    image, label = torch.randn(32, 2, 6, 6), torch.arange(32) % 5
    text = torch.randint(LETTERS, (32, LENGTH + 1))

    def classified(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch["image"]), batch["label"])

    cnn = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(72, 5),
    )  # fmt: skip
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.GELU(), nn.Linear(16, 5))
    adam = (torch.optim.AdamW, {"lr": 1e-2})
    small = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 5, bias=False))
    for frozen in (mlp[3], small[2]):
        frozen.requires_grad_(False)  # each process prepares it once
    images = {"image": image, "label": label}
    return [
        job("gpt", nn.Sequential(language_model(1), nn.Dropout(0.1)), next_letter, {"text": text}, optimizer=adam,
            clip_norm=1.0),
        job("cnn", cnn, classified, images, bits=8),
        job("mlp", mlp, classified, images, accumulate=2),
        job("small", small, classified, {**images, "image": image[:, 0, :2, :2]}, bits=8),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tasks")
    paths = []
    for each in jobs():
        paths.append(folder / f"{each.name}.task")
        save_task(compile(each), paths[-1])
    return paths


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batch prediction with a short last batch, whose rows all processes hold in the end."""
    path = tmp_path_factory.mktemp("inference") / "inference.task"
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    save_task(compile(Inference(model, (torch.randn(4 * ROWS - 1, 8),), ROWS, interval=2)), path)
    return path


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sampled text for prompts of different lengths: no step gathers rows, the data is read whole."""
    path = tmp_path_factory.mktemp("generation") / "generation.task"
    prompts = [[1, 5, 9], [7], [3, 4, 5, 6], [2, 2], [30]]
    own = {"cache": a_cache(prompts), "temperature": 1.0, "top_k": 4, "stop": 8}
    save_task(compile(a_generation(prompts=prompts, **own)), path)
    return path


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums and counts over a dataset whose last batch is short."""
    path = tmp_path_factory.mktemp("evaluation") / "evaluation.task"
    save_task(compile(an_evaluation()), path)
    return path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that ends with an evaluation in batches of another size: half of its nodes are unread in each step."""
    path = tmp_path_factory.mktemp("ended") / "ended.task"
    save_task(compile(a_job()), path)
    return path


def products(graph: Graph) -> int:
    """Multiplications of all products."""
    return sum(node.length * node.extent for node in graph.nodes if node.kind is Kind.DOT)


@pytest.mark.parametrize("processes", [2, 4, 5])
def test_layers_are_shared_out_whole(processes: int, files: list[Path]) -> None:
    """No product is made twice, and nothing but reductions over the batch is joined."""
    for file in files:
        graph = load_task(file).graph
        parts = [share(graph, processes, rank) for rank in range(processes)]
        assert sum(products(part.graph) for part in parts) == products(graph)
        for part in parts:
            joined = [node for node, how in zip(part.graph.nodes, part.joined, strict=True) if how]
            assert joined
            assert all(traits(node.kind).reduces for node in joined)


def torchrun(processes: int, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*launch, *map(str, args)], env=environment, capture_output=True, text=True, timeout=LIMIT)


def roots_alone(file: Path) -> list[str]:
    alone = Run(load_task(file), threads=1)
    alone.run()
    return [root.hex() for root in alone.state_roots]


@pytest.mark.parametrize("processes", [2, 4])
def test_a_prediction_is_shared_out_whole_and_only_its_outputs_are_joined(processes: int, inference: Path) -> None:
    graph = load_task(inference).graph
    parts = [share(graph, processes, rank) for rank in range(processes)]
    assert sum(products(part.graph) for part in parts) == products(graph)
    for part in parts:
        joined = [node.shape for node, how in zip(part.graph.nodes, part.joined, strict=True) if how]
        assert sorted(joined) == [(), (1, ROWS, 4)]  # the mean, and what the step outputs


@pytest.mark.parametrize("processes", [2, 4, 5])
def test_a_generation_is_shared_out_whole_and_only_what_is_new_is_joined(processes: int, generation: Path) -> None:
    graph = load_task(generation).graph
    parts = [share(graph, processes, rank) for rank in range(processes)]
    assert sum(products(part.graph) for part in parts) == products(graph)
    positions = next(slot.spec.shape[1] for slot in graph.slots if slot.spec.name == "cache.k")
    for part in parts:
        joined = [node.length for node, how in zip(part.graph.nodes, part.joined, strict=True) if how]
        assert joined and max(joined) < 5 * WIDTH * positions  # never a cache


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_roots_are_those_of_one_process_and_graphs_equal_the_reference(
    processes: int, files: list[Path], inference: Path, generation: Path, evaluation: Path, ended: Path
) -> None:
    """Of graphs with fewer rows than processes nothing is asked. Kernels for CUDA run in Triton's interpreter."""
    files = [inference, generation, evaluation, ended, *files]
    runs = [f"{executor}={file}" for file in files for executor in ("fused", "torch")]
    cases = [f"fused={40 // processes}", f"torch={40 // processes}"] if processes > 1 else []
    if TRITON and processes == 2:
        runs.append(f"cuda={files[-1]}")
        cases.append("cuda=4")
    done = torchrun(processes, "tests.support.processes", *runs, "--cases", *cases, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    alone = {str(file): roots_alone(file) for file in files}
    assert found["roots"] == {run: alone[run.partition("=")[2]] for run in runs}
    assert found["cases"] == {each: int(each.partition("=")[2]) for each in cases}


@pytest.mark.slow
def test_the_command_speaks_once_and_writes_the_model(files: list[Path], tmp_path: Path) -> None:
    task = next(file for file in files if file.stem == "mlp")
    models = [tmp_path / name for name in ("alone.safetensors", "together.safetensors")]
    together = torchrun(2, "offchain", "run", task, "--json", "-o", models[1])
    assert together.returncode == 0, together.stderr
    told = json.loads(together.stdout)
    alone = Run(load_task(task), threads=1)
    alone.run()
    assert told["state_roots"] == [root.hex() for root in alone.state_roots]
    assert told["loss"] == alone.losses
    wanted = alone.task.parameter_arrays(alone.arrays())
    model = load_file(models[1])
    assert {name: model[name].tobytes() for name in wanted} == {name: value.tobytes() for name, value in wanted.items()}


@pytest.mark.slow
def test_what_all_refuse_is_said_once() -> None:
    done = torchrun(2, "offchain", "run", "nowhere.task")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told == ["error: nowhere.task: cannot be read: No such file or directory"]
    assert done.stdout == ""


def test_the_reference_and_more_processes_than_rows_are_refused(files: list[Path]) -> None:
    task = load_task(files[0])
    with pytest.raises(BadInput, match="executor reference runs in one process: take fused or torch"):
        make_executor("reference", task.graph, task.constants, task.datasets, Setting(processes=Processes(0, 2)))
    line = f"{ROWS + 1} processes need as many rows of a dataset in each step, and a step reads {ROWS}"
    for executor in ("fused", "torch"):
        with pytest.raises(BadInput, match=line):
            make_executor(
                executor, task.graph, task.constants, task.datasets, Setting(processes=Processes(0, ROWS + 1))
            )


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any other process is asked."""
    count = torch.cuda.device_count()
    monkeypatch.setenv("WORLD_SIZE", str(count + 2))
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, str(count))
    line = f"process {count} of {count + 2}: no device 'cuda:{count}' here, torch finds {count} GPUs"
    with pytest.raises(BadInput, match=line), joined("cuda"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--leave", "--stop"])
def test_a_process_that_is_gone_is_an_error_and_no_hang(how: str, files: list[Path]) -> None:
    began = time.monotonic()
    done = torchrun(2, "tests.support.processes", f"fused={files[-1]}", how, 1)
    assert done.returncode != 0
    assert time.monotonic() - began < LIMIT / 2
    if how == "--stop":  # torchrun ends the other where one is killed, maybe before it can say so
        assert "ProcessGone: process 0 of 2: another is gone" in done.stderr
