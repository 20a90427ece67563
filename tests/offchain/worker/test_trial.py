"""A stranger's task may crash, hang or fill its trial: the worker hears of it in one line, and goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.store.checkpoint import output_slots
from offchain.store.taskfile import save_task
from offchain.worker import trial
from offchain.worker.fit import Figures, NotNow, Unfit
from offchain.worker.making import executor_factory
from offchain.worker.options import WorkerOptions
from offchain.worker.trial import Trials
from tests.support.tasks import unposted
from tests.support.works import every_kind

MIB = 1 << 20


def crashing(ledger: Ledger, limits: Limits) -> Executor[Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hanging(ledger: Ledger, limits: Limits) -> Executor[Any]:
    time.sleep(600)
    raise AssertionError


def growing(ledger: Ledger, limits: Limits) -> Executor[Any]:
    held = []
    while True:
        held.append(np.ones(64 * MIB, np.uint8))


def tried(folder: Path, executors: Any, **options: Any) -> Figures:
    task = every_kind(6, 3)
    path = folder / "task"
    save_task(task, path)
    trials = Trials(executors, WorkerOptions(folder, **options))
    return trials.run(path, unposted(clock=1_000, interval_time=1_000), 10_000)


def test_figures_of_a_task(tmp_path: Path) -> None:
    figures = tried(tmp_path, executor_factory("fused"))
    assert 0 < figures.cost.plain < figures.cost.traced
    assert figures.memory >= 10_000


def test_whole_steps_are_measured(tmp_path: Path) -> None:
    """Also what no slot reads in the steps that are tried: a requester could let later steps read it."""
    seen, honest = list[Limits](), executor_factory("fused")

    def noted(ledger: Ledger, limits: Limits) -> Executor[Any]:
        seen.append(limits)
        return honest(ledger, limits)

    tried(tmp_path, noted, trials="inline")
    assert seen[0].whole and not Limits().whole


def test_a_file_is_tried_again_only_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made, honest = tmp_path / "task", list[Ledger](), executor_factory("fused")
    save_task(every_kind(6, 3), path)

    def counted(ledger: Ledger, limits: Limits) -> Executor[Any]:
        made.append(ledger)
        return honest(ledger, limits)

    trials, terms = Trials(counted, WorkerOptions(tmp_path, trials="inline")), unposted(interval_time=1_000)
    figures, once = trials.run(path, terms, 10_000), len(made)
    assert trials.run(path, unposted(interval_time=999), 10_000) == figures
    assert len(made) == once
    monkeypatch.setattr("offchain.worker.trial.LASTS", 0.0)
    trials.run(path, terms, 10_000)
    assert len(made) > once


@pytest.mark.parametrize(
    ("executors", "kind", "words"),
    [
        (crashing, Unfit, "its trial crashed: it died of SIGSEGV"),
        (growing, NotNow, "MemoryError"),
        (hanging, NotNow, "its kernels not compiled, within 1.0 s"),
    ],
    ids=["crash", "memory", "time"],
)
def test_what_harms_its_process_is_refused(tmp_path: Path, executors: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        tried(tmp_path, executors, max_memory=500 * MIB, making_time=1.0 if executors is hanging else 100.0)


def test_what_an_audit_compiles_is_compiled_in_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's own process compiles nothing for the first time."""

    def count(state: Any, data: Any, t: Any) -> Any:
        last = state["last"] + 1
        return {"last": last}, {"loss": last.sum()}, {"row": last.reshape(1, 1)}

    task = lower(Program(count, {"last": torch.zeros(1)}, {"x": torch.zeros(4)}, 4, interval=2, outputs={"row": 4}))
    path, asked = tmp_path / "task", list[Any]()
    save_task(task, path)
    monkeypatch.setattr(trial, "ahead_of", lambda executor, outputs: asked.append(outputs))
    trials = Trials(executor_factory("fused"), WorkerOptions(tmp_path, trials="inline"))
    trials.run(path, unposted(clock=1_000, interval_time=1_000), 10_000)
    assert asked == [output_slots(task)]


@pytest.mark.parametrize("crowded", [True, False])
def test_a_trial_makes_place_for_another_requester_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    """Trials run one at a time, each for half an hour at most: whoever posts strange tasks before an auction that it
    wants for itself would keep everybody else from bidding there."""
    monkeypatch.setattr(trial, "FAIR", 0.5)
    path = tmp_path / "task"
    save_task(every_kind(6, 3), path)
    trials = Trials(hanging, WorkerOptions(tmp_path, making_time=3.0))
    with pytest.raises(NotNow, match="others' tasks wait to be tried" if crowded else "within 3.0 s"):
        trials.run(path, unposted(clock=1_000, interval_time=1_000), 10_000, lambda: crowded)
