"""The deployed contracts judge what the executors compute: every node, true and falsified."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from offchain.adjudicate import Report, adjudicate, court, draw, judge_of
from offchain.adjudicate.case import FALSEHOODS, Case, Judge, falsify
from offchain.adjudicate.trial import Arena, Interval
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.commands import adjudicate as command
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.errors import BadInput
from offchain.exec import make_executor
from offchain.exec.base import Executor
from offchain.ir.kinds import Kind
from offchain.ir.primitives import CANONICAL_NAN
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.store.taskfile import save_task
from offchain.task import Task
from tests.support import terminal
from tests.support.everything import STEPS, Work, everything

STEP = 5
ONE_OF_A_KIND = ("new_w", "x", "y", "long", "back", "top")  # a node of each kind in `everything`


@pytest.fixture(scope="module")
def chain(ganache: Ganache, module_snapshot: None) -> Iterator[Chain]:
    """The contracts on the tests' own node."""
    with court(ganache.url) as chain:
        yield chain


@pytest.fixture(scope="module")
def work() -> Work:
    torch.set_num_threads(1)
    return everything()


@pytest.fixture(scope="module")
def task(work: Work) -> Task:
    return work


@pytest.fixture(scope="module")
def judge(work: Work, task: Task) -> Judge:
    return judge_of(task, work.ledger, STEP, work.executor)


@pytest.fixture(scope="module")
def line() -> Task:
    """A linear regression: hardly any work, but for `scatter_add` and `max` all node kinds."""
    x = torch.linspace(-1, 1, 96).reshape(32, 3)
    torch.manual_seed(0)
    return lower(
        Job(
            model=torch.nn.Linear(3, 2),
            loss=lambda model, batch: torch.nn.functional.mse_loss(model(batch["x"]), batch["y"]),
            optimizer=(torch.optim.SGD, {"lr": 0.1}),
            dataset={"x": x, "y": x[:, :2] * 2},
            batch_size=4,
            steps=8,
            interval=4,
            name="line",
        )
    )


def assert_all_right(report: Report, task: Task, samples: int) -> None:
    """Every node was judged, and every judgement was right."""
    assert report.wrong == []
    total = report.total
    assert (total.claims, total.upheld, total.falsified, total.convicted) == (samples,) * 4
    nodes = Counter(node.kind for node in task.graph.nodes)
    assert {kind: tally.claims >= nodes[kind] for kind, tally in report.by_kind.items()} == dict.fromkeys(nodes, True)
    reading = [node for node in task.graph.nodes if node.inputs]
    assert 0 < total.forged == total.refused <= len(reading)
    assert report.right


# --- whole steps -------------------------------------------------------------------------------------------------


def test_every_node_of_every_kind(chain: Chain, work: Work, task: Task) -> None:
    samples = len(task.graph.nodes) + 7
    report = adjudicate(task, STEP, samples, 1, chain, work.executor)
    assert set(report.by_kind) == set(Kind)
    assert_all_right(report, task, samples)
    assert all(21_000 < gas < 3_000_000 for gas in report.gas.values())


def test_every_node_of_the_digits_job(chain: Chain) -> None:
    digits = pytest.importorskip("offchain.demo.digits")
    task = lower(digits.job(steps=4, interval=2))
    samples = len(task.graph.nodes)
    assert_all_right(adjudicate(task, 3, samples, 2, chain), task, samples)


def test_both_executors_are_judged_alike(chain: Chain, line: Task) -> None:
    reference = make_executor("reference", line.graph, line.constants, line.datasets)
    reports = [adjudicate(line, 2, 5, 3, chain, executor).facts() for executor in (None, reference)]
    assert [report.pop("seconds") > 0 for report in reports] == [True, True]
    assert reports[0] == reports[1]
    assert reports[0]["upheld"] == 5


# --- what must be reported ---------------------------------------------------------------------------------------


def aimed(task: Task, node: int) -> tuple[int, int]:
    """A seed whose only sample is of that node, and its element."""
    for seed in count():
        [(chosen, [element])] = draw(task.graph, 1, Random(seed))
        if chosen == node:
            return seed, element
    raise AssertionError


def cheat(work: Work, node: int, element: int, xor: int = 1) -> Executor[Any]:
    """The executor with one output word altered, and what follows from it."""
    return FalsifiedExecutor(work.executor, work.ledger, Falsehood(STEP, node, element, xor))


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_an_altered_word_is_reported(chain: Chain, work: Work, task: Task, name: str) -> None:
    node = work.names[name]
    seed, element = aimed(task, node)
    assert adjudicate(task, STEP, 1, seed, chain, work.executor).right
    report = adjudicate(task, STEP, 1, seed, chain, cheat(work, node, element))
    assert not report.right
    assert (report.total.claims, report.total.upheld) == (1, 0)
    assert {(fault.node, fault.element) for fault in report.faults} == {(node, element)}
    assert f"node {node} ({task.graph.nodes[node].kind.name.lower()}), element {element}: the true" in report.wrong[0]


@pytest.mark.parametrize("name", ["new_w", "one", "y", "top"])
def test_what_the_contract_computes_itself_is_no_conviction(
    chain: Chain, work: Work, task: Task, judge: Judge, name: str
) -> None:
    """Where the executor is wrong, the right word passes for a falsified one: it stands."""
    node = work.names[name]
    altered = judge_of(task, work.ledger, STEP, cheat(work, node, 2))
    right = Case(chain, judge, node, 2, Random(0)).word
    case = Case(chain, altered, node, 2, Random(0))
    assert case.word == right ^ 1
    assert case.conviction(right) is None
    assert case.contradiction(case.word) is not None


# --- one case ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_each_falsehood_falls(chain: Chain, work: Work, judge: Judge, name: str) -> None:
    case = Case(chain, judge, work.names[name], 0, Random(4))
    assert case.contradiction(case.word) is None
    made = {make(case.word, case.rng) for make in FALSEHOODS.values()} - {case.word}
    assert len(made) >= 4
    assert [word for word in made if case.conviction(word) is None] == []


@pytest.mark.parametrize("name", ["y", "long", "sum65", "one", "back"])
def test_a_false_total_falls_at_one_term(chain: Chain, work: Work, judge: Judge, name: str) -> None:
    case = Case(chain, judge, work.names[name], 1 if name != "long" else 0, Random(5))
    against = case.conviction(case.word ^ 0x00800000)  # twice or half the sum
    assert against is not None
    assert against.startswith("term ")


@pytest.mark.parametrize("xor", [1, 1 << 22])
def test_an_extremum_falls_on_its_own_side(chain: Chain, work: Work, judge: Judge, xor: int) -> None:
    case = Case(chain, judge, work.names["top"], 1, Random(6))
    claimed, true = (np.uint32(word).view(np.float32) for word in (case.word ^ xor, case.word))
    against = case.conviction(case.word ^ xor)
    assert against is not None
    assert ("no witness" if claimed > true else "is above") in against


@pytest.mark.parametrize("name", ["y", "long", "one", "back"])
def test_exponents_stand_alone(chain: Chain, work: Work, judge: Judge, name: str) -> None:
    """The true ones do, and no others."""
    case = Case(chain, judge, work.names[name], 0, Random(6))
    true = judge.exponents(case.index, 0)
    assert case.contested(true) is None
    for operand in range(len(true)):
        for by, what in ((-1, "is above"), (1, "no witness"), (-400, "is above"), (400, "no witness")):
            false = tuple(e + by * (n == operand) for n, e in enumerate(true))
            against = case.contested(false)
            assert against is not None
            assert what in against
            assert f"exponent {false[operand]} of operand {operand}" in against


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_forged_input_is_refused(chain: Chain, work: Work, judge: Judge, name: str) -> None:
    assert Case(chain, judge, work.names[name], 0, Random(7)).forgery() == "OpeningMismatch"


def test_nothing_to_forge_where_nothing_is_read(chain: Chain, work: Work, judge: Judge) -> None:
    assert Case(chain, judge, work.names["rows"], 0, Random(8)).forgery() == ""


# --- samples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 14, 15, 16, 60])
def test_nodes_take_turns(task: Task, samples: int) -> None:
    nodes = task.graph.nodes
    drawn = draw(task.graph, samples, Random(9))
    taken = [len(elements) for _, elements in drawn]
    assert sum(taken) == samples
    assert len(drawn) == min(samples, len(nodes))
    assert max(taken) - min(taken) <= 1
    assert all(0 <= element < nodes[n].length for n, elements in drawn for element in elements)
    assert drawn == draw(task.graph, samples, Random(9)) != draw(task.graph, samples, Random(10))


@pytest.mark.parametrize("word", [0, 1, 0x80000000, CANONICAL_NAN, 0xFFFFFFFF])
def test_a_falsehood_is_another_word(word: int) -> None:
    made = {falsify(word, Random(seed)) for seed in range(200)}
    assert word not in {false for _, false in made}
    assert all(0 <= false <= 0xFFFFFFFF for _, false in made)
    assert len({name for name, _ in made}) >= len(FALSEHOODS) - 1


# --- whole disputes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_whole_disputes_convict(chain: Chain, line: Task, snapshot: None) -> None:
    """The first three kinds."""
    torch.set_num_threads(1)
    executor = make_executor("torch", line.graph, line.constants, line.datasets)
    arena = Arena(chain, Interval.around(line, STEP, executor))
    trials = list(islice(arena.trials(Random(11)), 3))
    assert [trial.kind for trial in trials] == [Kind.MAP, Kind.DOT, Kind.SUM]
    for trial in trials:
        assert trial.convicted
        assert trial.ending.endswith(("Judged", "Differs"))
        assert 5 <= trial.moves <= 24
        assert 0 < trial.largest < min(trial.gas, 3_000_000)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def file(task: Task, tmp_path: Path) -> str:
    save_task(task, tmp_path / "everything.task")
    return str(tmp_path / "everything.task")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    return terminal.run(capsys, monkeypatch, "adjudicate", *args)


def test_the_command_judges_on_a_chain_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    code, out, _ = run(capsys, monkeypatch, file, "--step", "5", "--samples", "4", "--seed", "1", "--json")
    facts = json.loads(out)
    assert (code, facts["claims"], facts["upheld"], facts["falsified"], facts["convicted"]) == (0, 4, 4, 4, 4)
    kinds = facts["by_node_kind"].values()
    assert sum(tally["convicted"] for tally in kinds) == 4
    assert all(tally.keys() >= {"claims", "upheld", "falsified", "convicted"} for tally in kinds)


def test_the_command_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ganache: Ganache,
    work: Work,
    task: Task,
    file: str,
) -> None:
    node = work.names["new_w"]
    seed, element = aimed(task, node)
    monkeypatch.setattr(command, "make_executor", lambda *_: cheat(work, node, element))
    args = (file, "--step", str(STEP), "--samples", "1", "--seed", str(seed), "--rpc-url", ganache.url)
    code, out, err = run(capsys, monkeypatch, *args)
    assert code == 1
    assert f"node {node} (map), element {element}: the true claim" in err
    assert "map" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--step", "8"], "steps 0 to 7"),
        (["--step", "-1"], "steps 0 to 7"),
        (["--step", "1", "--dispute", "--rpc-url", "http://127.0.0.1:1"], "--dispute"),
        (["--step", "1", "--rpc-url", "nowhere"], "http"),
    ],
)
def test_bad_options_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str, args: list[str], said: str
) -> None:
    code, out, err = run(capsys, monkeypatch, file, *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_what_is_no_task_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "no.task").write_text("no task")
    code, _, err = run(capsys, monkeypatch, str(tmp_path / "no.task"), "--step", "0")
    assert (code, err.count("\n")) == (2, 1)


def test_a_step_that_is_not_there_is_refused(chain: Chain, task: Task) -> None:
    with pytest.raises(BadInput, match="steps 0 to 7"):
        adjudicate(task, STEPS, 1, 0, chain)


def test_the_help_says_how_samples_are_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, _ = run(capsys, monkeypatch, "--help")
    assert code == 0
    assert "with as many samples as nodes, every node is judged" in " ".join(text.split())
    assert "Example:" in text
