"""A kind that the table of kinds has and a dispatch does not is refused there, in Python and in Solidity.

Each known kind gets a twin: a made-up kind with the same row. A dispatch that took an unknown kind for another would
compute something for one of the twins.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from web3 import Web3
from web3.contract import Contract

from offchain.dispute import challenger
from offchain.dispute.replay import Record
from offchain.errors import IllegalGraph, MalformedGraph
from offchain.exec import reference
from offchain.exec.make import EXECUTORS, make_executor
from offchain.ir.axes import cut
from offchain.ir.encoding import decode_node, encode_node
from offchain.ir.graph import Graph, Node, work_units
from offchain.ir.kinds import KINDS, Ending, Kind, chosen, has_k, traits, unknown
from offchain.ir.legality import check, exact, most_bits, result_dtype
from offchain.ir.primitives import DType
from tests.conftest import ROOT
from tests.support.evidence import Prover, call
from tests.support.reverts import reverts
from tests.support.scripts import load_script
from tests.support.strategies import Case, nodes


def twin(kind: Kind) -> Kind:
    """A member of Kind that is not in the enumeration."""
    made = int.__new__(Kind, max(Kind) + kind)
    made._name_, made._value_ = f"TWIN_OF_{kind.name}", max(Kind) + kind
    return made


TWINS: Final = {kind: twin(kind) for kind in Kind}


def refused(kind: Kind) -> Any:
    return pytest.raises(IllegalGraph, match=rf"node kind twin_of_{kind.name.lower()} \({TWINS[kind]}\) is not known")


def disguised(case: Case) -> Case:
    """The last node is of the twin of its kind."""
    *others, last = case.graph.nodes
    return replace(case, graph=replace(case.graph, nodes=(*others, replace(last, kind=TWINS[last.kind]))))


def each_case(kind: Kind, run: Callable[[Case], None]) -> None:
    """A few graphs whose last node is of that kind."""
    settings(max_examples=3)(given(nodes(kind))(run))()


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has the twins."""
    for kind, other in TWINS.items():
        monkeypatch.setitem(KINDS, other, replace(KINDS[kind], kind=other))


@pytest.mark.parametrize("kind", list(Kind))
def test_what_reads_the_table_refuses_a_kind_without_a_row(kind: Kind) -> None:
    node = Node(TWINS[kind], DType.F32, (4,), (), 3, 20)
    asked: list[Callable[[], Any]] = [
        lambda: traits(node.kind),
        lambda: has_k(node.kind, 0),
        lambda: chosen({Kind.MAP: 1}, node.kind),
        lambda: exact(node.kind, 8, 3),
        lambda: most_bits(node.kind, 3),
        lambda: result_dtype(node),
        lambda: work_units(Graph((node,), (), (), (), (), (), ())),
        lambda: cut(node, 2),
        lambda: reference.evaluate(node, [], 0),
    ]
    for ask in asked:
        with refused(kind):
            ask()


def test_a_number_is_refused_like_a_member() -> None:
    with pytest.raises(IllegalGraph, match=r"node kind \(99\) is not known"):
        raise unknown(99)


@pytest.mark.parametrize("kind", list(Kind))
def test_legality_and_decoding_refuse_it(kind: Kind) -> None:
    def run(case: Case) -> None:
        graph = disguised(case).graph
        with pytest.raises(IllegalGraph, match=f"node {len(graph.nodes) - 1}: node kind twin"):
            check(graph)
        with pytest.raises(MalformedGraph, match="not a valid Kind"):
            decode_node(bytes([TWINS[kind], *encode_node(case.graph.nodes[-1])[1:]]))

    each_case(kind, run)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", EXECUTORS)
def test_executors_refuse_it(admitted: None, name: str, kind: Kind) -> None:
    def run(case: Case) -> None:
        case = disguised(case)
        with refused(kind):
            executor = make_executor(name, case.graph, case.constants, case.datasets)
            list(executor.outputs(executor.load(case.state), case.t))

    each_case(kind, run)


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if row.ending is Ending.SUM])
def test_terms_refuse_it(admitted: None, kind: Kind) -> None:
    def run(case: Case) -> None:
        number, prover = len(case.graph.nodes) - 1, Prover(case)
        with refused(kind):
            reference.terms(disguised(case).graph.nodes[-1], prover.sources(number), 0)

    each_case(kind, run)


def test_players_refuse_it(admitted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    looked_up = Node(TWINS[Kind.GATHER], DType.F32, (4,), (nothing, nothing), 3)
    with refused(Kind.GATHER):
        Record._address(nothing, looked_up, 0, 0, 0)
    unjudged: Any = 9
    monkeypatch.setitem(KINDS, TWINS[Kind.MAX], replace(KINDS[Kind.MAX], ending=unjudged))
    with refused(Kind.MAX):
        challenger._case(nothing, nothing, Node(TWINS[Kind.MAX], DType.F32, (4,), (nothing,), 3), 0, 0)


@pytest.fixture(scope="module")
def widened(compiler: ModuleType, w3: Web3) -> Contract:
    """StepVerifier with constants that are generated from a table with the twins."""
    generator = load_script("generate_opcodes")
    folders = [ROOT / "contracts" / name for name in ("interfaces", "lib", "step")]
    sources = compiler.read_sources([path for folder in folders for path in folder.glob("*.sol")])
    with pytest.MonkeyPatch.context() as patch:
        for kind, other in TWINS.items():
            patch.setitem(KINDS, other, replace(KINDS[kind], kind=other))
        sources["contracts/step/Kinds.sol"] = {"content": generator.kinds()}
    [made] = (json.loads(one.text) for one in compiler.compile_all(sources).artifacts if one.name == "StepVerifier")
    factory = w3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
    receipt = w3.eth.wait_for_transaction_receipt(factory.constructor().transact())
    return w3.eth.contract(address=receipt["contractAddress"], abi=made["abi"])


@pytest.mark.parametrize("kind", list(Kind))
def test_the_contract_refuses_it(widened: Contract, kind: Kind) -> None:
    def run(case: Case) -> None:
        evidence = Prover(case).evidence(len(case.graph.nodes) - 1, 0)
        hidden = evidence._replace(encoding=bytes([TWINS[kind], *evidence.encoding[1:]]))
        if kind is Kind.MAP:  # decoding knows one kind that has a program
            with reverts(widened, "MalformedNode"):
                call(widened.functions.describe, hidden.encoding)
            return
        assert call(widened.functions.describe, hidden.encoding)[0] == traits(kind).ending
        judges = {
            Ending.COMPUTE: lambda shown: call(widened.functions.compute, shown),
            Ending.EXTREMUM: lambda shown: call(widened.functions.compare, shown, 0),
            Ending.SUM: lambda shown: call(widened.functions.term, shown, (0, 0)),
        }
        judge = judges[traits(kind).ending]
        judge(evidence)
        with reverts(widened, "UnknownKind", TWINS[kind]):
            judge(hidden)

    each_case(kind, run)
