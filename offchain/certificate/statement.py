"""A certificate's file: an in-toto statement (https://in-toto.io/Statement/v1) whose predicate is SLSA provenance
(https://slsa.dev/provenance/v1). What those have no field for begins with `offchain_`, as SLSA asks of extensions.

Everything that SLSA's own fields say follows from those: a file in which they differ is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from web3 import Web3

from offchain.certificate.looked import OUTCOMES
from offchain.certificate.record import Audit, Binding, Certificate, Contest, Entry, Figures, Leaf, Rows, Work
from offchain.chain.claims import Fate
from offchain.chain.proofs import Header, Stored
from offchain.errors import BadBlob, BadInput
from offchain.ir.graph import CHUNK
from offchain.plainfile import read_plain
from offchain.store.bounded import parsed
from offchain.store.tensorfile import is_plain
from offchain.task import DTYPES
from offchain.text import printable

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD: Final = "urn:offchain:step-graph:1"
MAX_FILE: Final = (
    32 << 20
)  # bytes; an interval of a program with outputs has some 10,000, a task without 100,000 in all
PLACES: Final = ("slot", "constant", "own")

Json = dict[str, Any]


def to_json(certificate: Certificate) -> Json:
    """The statement."""
    work, binding = certificate.work, certificate.binding
    materials = [
        ("graph", "offchainGraphRoot", work.graph_root),
        ("initial state", "offchainStateRoot", work.state_root),
    ]
    materials += [(f"dataset {leaf.index}", "offchainTensorRoot", leaf.root) for leaf in binding.datasets]
    return {
        "_type": STATEMENT,
        "subject": [{"name": certificate.name, "digest": {"offchainStateRoot": work.final_root.hex()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"steps": work.steps, "interval": work.interval},
                "resolvedDependencies": [{"name": n, "digest": {kind: r.hex()}} for n, kind, r in materials],
            },
            "runDetails": _run(work),
            "offchain_work": _plain({name: getattr(work, name) for name in Work.__dataclass_fields__}),
            "offchain_binding": _bound(binding),
            "offchain_audits": [[a.checkpoint, a.attempt, a.verifier, a.fate] for a in certificate.audits],
            "offchain_disputes": [[c.checkpoint, c.attempt, c.challenger, c.outcome] for c in certificate.contests],
            "offchain_proofs": {
                "blockHash": certificate.header.hash.hex(),
                "header": certificate.header.raw.hex(),
                "market": _stored(certificate.market),
                "log": _stored(certificate.log),
            },
        },
    }


def _run(work: Work) -> Json:
    chain, market = f"eip155:{work.chain_id}", Web3.to_checksum_address(work.market)
    return {
        "builder": {"id": f"{chain}:{Web3.to_checksum_address(work.solver)}"},
        "metadata": {
            "invocationId": f"{chain}:{market}/{work.task_id}",
            "startedOn": _moment(work.started),
            "finishedOn": _moment(work.finished),
        },
    }


def _bound(binding: Binding) -> Json:
    return {
        "counts": list(binding.counts),
        "constants": [_leaf(leaf) for leaf in binding.constants],
        "datasets": [_leaf(leaf) for leaf in binding.datasets],
        "slots": [root.hex() for root in binding.slots],
        "entries": [_entry(entry) for entry in binding.entries],
        "outputs": [[o.name, o.dtype, list(o.shape), o.slot, o.tail.hex()] for o in binding.outputs],
        "parts": [[_leaf(leaf) for leaf in part] for part in binding.parts],
        "figures": binding.figures and _said(binding.figures),
    }


def _said(figures: Figures) -> Json:
    return {
        "names": list(figures.names),
        "chunks": [[raw.hex(), [node.hex() for node in proof]] for raw, proof in figures.chunks],
        "matrices": [_entry(entry) for entry in figures.matrices],
    }


def _entry(entry: Entry) -> list[Any]:
    return [entry.key, entry.dtype, list(entry.shape), entry.place, entry.index, entry.offset]


def _moment(timestamp: int) -> str:
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise BadBlob(f"certificate: {timestamp} is no time") from error


def _plain(values: Mapping[str, Any]) -> Json:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _leaf(leaf: Leaf) -> list[Any]:
    return [leaf.index, leaf.root.hex(), [node.hex() for node in leaf.proof]]


def _stored(stored: Stored) -> Json:
    return {
        "address": stored.address.hex(),
        "code": stored.code.hex(),
        "account": [node.hex() for node in stored.account],
        "slots": [[f"{slot:064x}", [node.hex() for node in path]] for slot, path in sorted(stored.slots.items())],
    }


def write(path: Path, certificate: Certificate) -> None:
    """Write a certificate in one go: one that was there is not lost. Raises BadInput where it cannot be written, or
    `read` would refuse it."""
    text, part = json.dumps(to_json(certificate), indent=1) + "\n", path.with_name(f".{path.name}.{os.getpid()}.part")
    if len(text) > MAX_FILE:
        raise BadInput(
            f"{path}: a certificate of {certificate.work.intervals} intervals takes {len(text)} bytes, above the limit "
            f"of {MAX_FILE}; post such a task with a longer interval"
        )
    try:
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> Certificate:
    """A certificate that a stranger may have written. Its shape is checked, and none of its proofs.

    Raises BadBlob.
    """
    try:
        raw = read_plain(path, MAX_FILE)
    except OSError as error:
        raise BadBlob(f"{path}: cannot be read: {error.strerror}") from error
    try:
        body = parsed(raw, _once)
    except ValueError as error:
        raise BadBlob(f"{path}: not a certificate: {printable(str(error))}") from error
    try:
        found = _certificate(body)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise BadBlob(f"{path}: not a certificate ({type(error).__name__})") from error
    if _exactly(to_json(found)) != _exactly(body):
        raise BadBlob(f"{path}: a certificate whose fields contradict each other")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> Json:
    """An object of JSON that names nothing twice: of two values each reader would choose its own."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field twice")
    return found


def _exactly(body: Json) -> str:
    """Text that tells 1, 1.0 and true apart, as Python's == does not."""
    return json.dumps(body, sort_keys=True)


def _certificate(body: Any) -> Certificate:
    predicate = body["predicate"]
    proofs, binding = predicate["offchain_proofs"], predicate["offchain_binding"]
    return Certificate(
        _text(body["subject"][0]["name"]),
        _work(predicate["offchain_work"]),
        Binding(
            _counts(binding["counts"]),
            tuple(_to_leaf(*row) for row in binding["constants"]),
            tuple(_to_leaf(*row) for row in binding["datasets"]),
            tuple(_bytes(root, 32) for root in binding["slots"]),
            tuple(_to_entry(*row) for row in binding["entries"]),
            tuple(_to_rows(*row) for row in binding["outputs"]),
            tuple(tuple(_to_leaf(*row) for row in part) for part in binding["parts"]),
            None if binding["figures"] is None else _to_figures(binding["figures"]),
        ),
        tuple(_to_audit(*row) for row in predicate["offchain_audits"]),
        tuple(_to_contest(*row) for row in predicate["offchain_disputes"]),
        Header(_bytes(proofs["header"])),
        _to_stored(proofs["market"]),
        _to_stored(proofs["log"]),
    )


def _work(body: Any) -> Work:
    sizes = {"market": 20, "requester": 20, "solver": 20, "graph_root": 32, "state_root": 32, "final_root": 32}
    values: dict[str, Any] = {
        name: _bytes(body[name], sizes[name]) if name in sizes else _number(body[name])
        for name in Work.__dataclass_fields__
    }
    work = Work(**values)
    if not (work.steps and work.interval):
        raise ValueError("no steps")
    return work


def _counts(row: Any) -> tuple[int, int, int, int]:
    nodes, constants, slots, datasets = map(_number, row)
    return nodes, constants, slots, datasets


def _to_leaf(index: Any, root: Any, proof: Any) -> Leaf:
    return Leaf(_number(index), _bytes(root, 32), tuple(_bytes(node, 32) for node in proof))


def _to_entry(key: Any, dtype: Any, shape: Any, place: Any, index: Any, offset: Any) -> Entry:
    if dtype not in DTYPES or place not in PLACES:
        raise ValueError("an entry of no known kind")
    return Entry(_text(key), dtype, tuple(map(_number, shape)), place, _number(index), _number(offset))


def _to_rows(name: Any, dtype: Any, shape: Any, slot: Any, tail: Any) -> Rows:
    if dtype not in DTYPES or dtype == "complex64":
        raise ValueError("an output of no known kind")
    return Rows(_text(name), dtype, tuple(map(_number, shape)), _number(slot), _bytes(tail))


def _to_figures(body: Any) -> Figures:
    chunks = tuple((_bytes(raw, 4 * CHUNK), tuple(_bytes(node, 32) for node in proof)) for raw, proof in body["chunks"])
    matrices = tuple(_to_entry(*row) for row in body["matrices"])
    if not body["names"] or any(len(entry.shape) != 2 for entry in matrices):
        raise ValueError("figures of no known kind")
    return Figures(tuple(map(_text, body["names"])), chunks, matrices)


def _to_audit(checkpoint: Any, attempt: Any, verifier: Any, fate: Any) -> Audit:
    return Audit(_number(checkpoint), _number(attempt), Web3.to_checksum_address(verifier), Fate(fate).value)


def _to_contest(checkpoint: Any, attempt: Any, challenger: Any, outcome: Any) -> Contest:
    if outcome not in OUTCOMES:
        raise ValueError("an outcome of no known kind")
    return Contest(_number(checkpoint), _number(attempt), Web3.to_checksum_address(challenger), outcome)


def _to_stored(body: Any) -> Stored:
    slots = {int.from_bytes(_bytes(slot, 32)): tuple(map(_bytes, path)) for slot, path in body["slots"]}
    return Stored(_bytes(body["address"], 20), _bytes(body["code"]), tuple(map(_bytes, body["account"])), slots)


def _bytes(text: Any, size: int | None = None) -> bytes:
    found = bytes.fromhex(text)
    if size is not None and len(found) != size:
        raise ValueError("bytes of another length")
    return found


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError("not a number of a certificate")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_plain(value):
        raise ValueError("not a name")
    return value
