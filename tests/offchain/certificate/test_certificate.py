"""Certificates: what they show of a completed task, and that nothing false gets through."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.certificate import statement
from offchain.certificate.checking import Findings, check
from offchain.certificate.looked import contests
from offchain.certificate.making import certify
from offchain.certificate.record import Audit, Certificate, Contest
from offchain.chain.abi import Event
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.chain.proofs import Header
from offchain.chain.storage import place_of
from offchain.commit.roots import state_tree
from offchain.errors import BadBlob, BadInput, NoResult, OffchainError
from offchain.store.checkpoint import save_model
from offchain.store.tensorfile import opened, write
from tests.offchain.commands.conftest import Counter
from tests.offchain.commands.test_result import completed
from tests.offchain.worker.test_results import Solved
from tests.support import tasks
from tests.support.deployment import PARAMETERS, Funded

GONE = "http://127.0.0.1:1"  # nobody listens there


class Case:
    """A completed task, its certificate and its model's file."""

    def __init__(self, counter: Counter, folder: Path) -> None:
        self.counter = counter
        self.solved = Solved(folder / "solved")
        self.number = completed(counter, self.solved, GONE)
        self.chain: Chain = counter.quick("stranger")
        self.final = self.solved.training.arrays()
        leaves = state_tree(self.final).leaves
        self.made = certify(self.chain, self.number, self.solved.task, leaves, log=self.final[-1])
        self.model = folder / "a.safetensors"
        save_model(self.model, self.solved.task, self.final, {})
        self.file = folder / "a.cert.json"
        statement.write(self.file, self.made)

    def found(self, made: Certificate, chain: bool = False) -> Findings:
        return check(made, self.model, None, self.chain if chain else None)


@pytest.fixture(scope="module")
def founded(ganache: Ganache) -> Funded:
    return Funded.kept(ganache, replace(PARAMETERS, fee_bps=100, standby_bps=200, bidding_time=5, clock=30))


@pytest.fixture(scope="module")
def case(founded: Funded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("certificate")
    with founded.clock.undone():
        yield Case(founded.seen_as(Counter, folder=folder), folder)


def test_a_certificate_shows_what_was_computed(case: Case) -> None:
    made = statement.read(case.file)
    assert made == case.made
    alone = case.found(made)
    assert f"{case.model} holds a part of the final state, bit for bit" in alone.shown
    assert any(line.startswith("block ") for line in alone.stated)  # nobody said that the block exists
    asked = case.found(made, chain=True)
    assert any(line.startswith("0 drawn verifiers replayed 0 of its 2 intervals") for line in asked.shown)
    assert not any(line.startswith("block ") for line in asked.stated)
    assert any(line.startswith("that the market at ") for line in alone.not_shown)
    assert any(line.startswith("the market at ") for line in asked.shown)
    told = check(made, None, made.header.hash, None)
    assert any(line.startswith("block ") for line in told.shown)
    assert "that a model's file holds the final state: name the file" in told.not_shown
    body = json.loads(case.file.read_text())
    assert body["_type"] == "https://in-toto.io/Statement/v1"
    assert body["subject"][0]["digest"] == {"offchainStateRoot": case.solved.training.state_root.hex()}


def test_the_proofs_say_what_the_contracts_say(case: Case) -> None:
    work, task = case.made.work, case.chain.call("market", "task", case.number)
    assert work.solver == bytes.fromhex(task["solver"][2:]) and work.requester == bytes.fromhex(task["requester"][2:])
    assert work.started == task["awardedAt"]
    point = case.chain.call("log", "checkpoint", case.number, work.intervals - 1)
    assert (work.final_root, work.finished) == (bytes(point["root"]), point["committedAt"])


def test_a_task_that_is_not_completed_gets_none(case: Case) -> None:
    with case.counter.clock.undone():
        running = tasks.award(case.counter, case.solved.task)
        with pytest.raises(NoResult, match="is not completed in block"):
            certify(case.chain, running, case.solved.task, state_tree(case.final).leaves)


def test_a_file_of_another_task_gets_none(case: Case) -> None:
    other = replace(case.solved.task, state=tuple(array + 1 for array in case.solved.task.state))
    with pytest.raises(BadBlob, match="state root is"):
        certify(case.chain, case.number, other, state_tree(case.final).leaves)
    with pytest.raises(BadBlob, match="do not make the final state's root"):
        certify(case.chain, case.number, case.solved.task, state_tree(case.solved.task.state).leaves)


Change = Callable[[Certificate], Certificate]


def of_work(**changes: Any) -> Change:
    return lambda made: replace(made, work=replace(made.work, **changes))


def of_binding(**changes: Callable[[Any], Any]) -> Change:
    return lambda made: replace(
        made, binding=replace(made.binding, **{n: change(getattr(made.binding, n)) for n, change in changes.items()})
    )


def flipped(raw: bytes, at: int = -1) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def another(kept: tuple[Any, ...], **changes: Callable[[Any], Any]) -> tuple[Any, ...]:
    """With the first one changed."""
    first = replace(kept[0], **{name: change(getattr(kept[0], name)) for name, change in changes.items()})
    return (first, *kept[1:])


LIES: dict[str, tuple[Change, str]] = {
    "final root": (of_work(final_root=bytes(32)), "final_root is not what its proofs say"),
    "graph": (of_work(graph_root=bytes(32)), "graph_root is not what its proofs say"),
    "first state": (of_work(state_root=bytes(32)), "state_root is not what its proofs say"),
    "steps": (of_work(steps=7), "steps is not what its proofs say"),
    "more steps": (of_work(steps=7_000), "steps is not what its proofs say"),
    "solver": (of_work(solver=bytes(20)), "solver is not what its proofs say"),
    "requester": (of_work(requester=bytes(20)), "requester is not what its proofs say"),
    "time": (of_work(started=1), "started is not what its proofs say"),
    "market": (of_work(market=bytes(20)), "market is not what its proofs say"),
    "another task": (of_work(task_id=9_999), "storage slot 0x[0-9a-f]+ is missing"),
    "another block": (lambda m: replace(m, header=Header(flipped(m.header.raw, 120))), "its proof does not hold"),
    "market's code": (lambda m: replace(m, market=replace(m.market, code=flipped(m.market.code))), "its code is not"),
    "log's code": (lambda m: replace(m, log=replace(m.log, code=b"")), "its code is not"),
    "log": (lambda m: replace(m, log=replace(m.log, address=m.market.address)), "is not the one of this market"),
    "slots": (of_binding(slots=lambda roots: (bytes(32), *roots[1:])), "do not make the final state's root"),
    "fewer slots": (of_binding(slots=lambda roots: roots[:-1]), "do not make the final state's root"),
    "dataset": (of_binding(datasets=lambda kept: another(kept, root=flipped)), "does not lead to the graph's root"),
    "a dataset less": (of_binding(datasets=lambda kept: kept[1:]), "not all of the graph's"),
    "place": (of_binding(entries=lambda kept: another(kept, index=lambda i: i + 1)), "is not what the certified|place"),
    "offset": (of_binding(entries=lambda kept: another(kept, offset=lambda at: at + 1)), "neighbours|same place"),
    "an entry less": (of_binding(entries=lambda kept: kept[1:]), "tensor does not belong here"),
    "no such slot": (of_binding(entries=lambda kept: another(kept, index=lambda i: 99)), "has no root of slot 99"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_certificate_is_refused(case: Case, lie: str, tmp_path: Path) -> None:
    """Also one that its author has made consistent in itself."""
    change, why = LIES[lie]
    file = tmp_path / "false.json"
    statement.write(file, change(case.made))
    false = statement.read(file)
    with pytest.raises(BadBlob, match=why):
        case.found(false)


def test_a_header_that_is_none_is_refused(case: Case, tmp_path: Path) -> None:
    for raw in (b"", b"\xc0", b"\xff" * 9, bytes(5_000)):
        with pytest.raises(BadBlob, match="header: "):
            case.found(replace(case.made, header=Header(raw)))


def test_what_only_events_tell_is_checked_by_a_node(case: Case) -> None:
    audit = Audit(0, 0, case.chain.address, "paid")
    praised = replace(case.made, audits=(audit,))
    assert any(line.startswith("1 drawn verifiers replayed 1") for line in case.found(praised).stated)
    with pytest.raises(BadBlob, match="tells something else of its audits"):
        case.found(praised, chain=True)
    with pytest.raises(BadBlob, match="as you know it"):
        check(case.made, None, bytes(32), None)


def test_another_chain_is_told_apart(case: Case) -> None:
    """The node has the market, and another block of that number."""
    number, header = case.made.header.number, case.made.header.hash
    with pytest.MonkeyPatch.context() as patch:
        blocks = case.chain.blocks(number)
        assert blocks[0] is not None and blocks[0].hash == header
        patch.setattr(case.chain, "blocks", lambda *_: [replace(blocks[0], hash=bytes(32))])
        with pytest.raises(BadBlob, match="is another one on this chain"):
            case.found(case.made, chain=True)


def test_another_model_is_refused(case: Case, tmp_path: Path) -> None:
    with opened(case.model, None) as file:
        tensors = {name: np.array(file.handle.get_tensor(name)) for name in file.names()}
    changed = tmp_path / "b.safetensors"
    for key in ("0.weight", "1.running_mean", "1.num_batches_tracked"):
        worse = dict(tensors)
        worse[key] = worse[key].copy()
        raw = worse[key].reshape(-1).view(np.uint8)
        raw[0] ^= 1
        write(changed, worse, {})
        with pytest.raises(BadBlob, match="is not what the certified state holds"):
            check(case.made, changed, None, None)
    big = {**tensors, "1.num_batches_tracked": np.int64(2**40) + tensors["1.num_batches_tracked"]}
    write(changed, big, {})
    with pytest.raises(BadBlob, match="a number that no state can hold"):
        check(case.made, changed, None, None)
    write(changed, {name: array for name, array in tensors.items() if name != "0.weight"}, {})
    with pytest.raises(BadBlob, match=r"0\.weight: tensor is missing"):
        check(case.made, changed, None, None)
    write(changed, tensors, {"format": "pt"})  # saved by another program
    assert check(case.made, changed, None, None).shown


@settings(deadline=None)
@given(data=st.data())
def test_no_bytes_break_it(case: Case, data: st.DataObject) -> None:
    """A certificate with one field of its JSON replaced is refused in one line, or says the same."""
    body = json.loads(case.file.read_text())
    path: list[Any] = []
    inner: Any = body
    while isinstance(inner, dict | list) and inner:
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        path.append(key)
        inner = inner[key]
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    junk = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2) | st.just("c0" * 40)
    holder[path[-1]] = data.draw(junk)
    file = case.file.with_name("junk.json")
    file.write_text(json.dumps(body))
    refusal = ""
    try:
        read = statement.read(file)
        check(read, case.model, None, None)
    except OffchainError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert refusal or (read.work, read.binding.slots) == (case.made.work, case.made.binding.slots)
    had, has = case.made.binding.figures, None if refusal else read.binding.figures
    assert not had or not has or has.chunks == had.chunks


@pytest.mark.parametrize(
    ("said", "instead", "why"),
    [
        ('"steps": 6', '"steps": 7, "steps": 6', "not a certificate: a field twice"),
        ('"subject":', '"subject": [], "subject":', "not a certificate: a field twice"),
        ('"steps": 6', '"steps": 6.0', "fields contradict each other"),
        ('"steps": 6', '"steps": NaN', "fields contradict each other"),
        ('"steps": 6', '"more": true, "steps": 6', "fields contradict each other"),
        ('"steps": 6', '"steps": ' + "9" * 5_000, "not a certificate: Exceeds the limit"),
    ],
)
def test_json_that_readers_read_differently_is_refused(
    case: Case, said: str, instead: str, why: str, tmp_path: Path
) -> None:
    text = case.file.read_text()
    assert said in text
    file = tmp_path / "false.json"
    file.write_text(text.replace(said, instead, 1))
    with pytest.raises(BadBlob, match=why):
        statement.read(file)


LARGE: dict[str, tuple[bytes, int, str]] = {
    "[],": (b"[],", 10_000_000, "20000000 values are above the limit of 524288"),
    "[": (b"[", 400_000, "not a certificate: nested too deeply"),
    "blanks": (b" ", statement.MAX_FILE + 1, "larger than 33,554,432 bytes"),
    "no text": (b"\xff", 9, "not a certificate: 'utf-8' codec"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_file_takes_no_more_memory_than_a_certificate(kind: str, tmp_path: Path) -> None:
    """Thirty megabytes of empty lists took 600."""
    (part, times, why), file = LARGE[kind], tmp_path / "large.json"
    file.write_bytes(part * times)
    tracemalloc.start()
    try:
        with pytest.raises(BadBlob, match=why):
            statement.read(file)
        assert tracemalloc.get_traced_memory()[1] < statement.MAX_FILE + (1 << 20)
    finally:
        tracemalloc.stop()


def test_no_certificate_is_written_that_nobody_reads(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "MAX_FILE", 50_000)
    with pytest.raises(BadInput, match=r"of 2 intervals takes \d+ bytes, above the limit of 50000; post such a task"):
        statement.write(tmp_path / "a.json", case.made)
    assert not list(tmp_path.iterdir())


def test_disputes_are_told_from_their_events() -> None:
    def event(name: str, **args: Any) -> Event:
        return Event("0x", name, args, 1, 1, b"")

    def opened_by(number: int, task: int) -> Event:
        return event("Opened", id=number, taskId=task, checkpoint=number, attempt=0, challenger="0xC")

    found = contests(
        [
            *(opened_by(number, 5) for number in range(4)),
            opened_by(4, 6),
            event("Resolved", id=0, winner="0xC", loser="0xS"),
            event("Resolved", id=1, winner="0xS", loser="0xC"),
            event("Dismissed", id=2),
            event("Resolved", id=4, winner="0xC", loser="0xS"),
        ],
        5,
    )
    assert found == tuple(
        Contest(n, 0, "0xC", outcome) for n, outcome in enumerate(("convicted", "upheld", "dismissed", "open"))
    )


def test_places_of_packed_members() -> None:
    """Slots of mappings hang on their keys; members share slots."""
    status, attempt = (place_of("TaskMarket", "_tasks", 7, member=name) for name in ("status", "attempt"))
    assert status.slot == attempt.slot and status.offset != attempt.offset
    assert place_of("TaskMarket", "_tasks", 8, member="status").slot != status.slot
    assert status.within(0xAB << 8 * status.offset | 1) == 0xAB
