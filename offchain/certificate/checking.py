"""What a certificate shows: by itself, beside a model's file, beside the hash of a block, and asked of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from web3 import Web3

from offchain.certificate.binding import check_model, check_roots, missed
from offchain.certificate.figures import Row, check_figures
from offchain.certificate.looked import CONVICTED, UPHELD, looked_at
from offchain.certificate.record import Certificate
from offchain.certificate.settled import proven, roots_of
from offchain.chain.claims import Fate
from offchain.chain.client import Chain
from offchain.chain.code import differing
from offchain.chain.rpc import asking
from offchain.errors import BadBlob, ChainUnavailable

LOOKED: Final = (Fate.VOUCHED, Fate.PAID)
NEVER: Final = (
    "that nobody could have been bribed, or that anybody looked who could",
    "that the data, the first state or the loss is what their names say: the requester chose them",
)


@dataclass
class Findings:
    """What is shown, what is only stated by who made the certificate, and what no certificate shows."""

    shown: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)


def check(certificate: Certificate, model: Path | None, block_hash: bytes | None, chain: Chain | None) -> Findings:
    """Check a certificate.

    Args:
        model: the file that it is said to be of.
        block_hash: of the block by which it is proven, from somebody whom the reader trusts.
        chain: to ask instead.

    Raises:
        BadBlob: something is wrong with it.
        ChainError, ChainUnavailable: the node does not answer, or is on another chain.
    """
    work, found = proven(certificate), Findings()
    check_roots(certificate.binding, work.graph_root, _roots(certificate))
    number, block = certificate.header.number, certificate.header.hash
    if block_hash is not None and block_hash != block:
        raise BadBlob(f"block {number}: its hash is 0x{block.hex()} here, and 0x{block_hash.hex()} as you know it")
    if chain is not None:
        _ask(certificate, chain)
    known = block_hash is not None or chain is not None
    (found.shown if known else found.stated).append(f"block {number} of chain {work.chain_id} is 0x{block.hex()}")
    market = f"the market at {Web3.to_checksum_address(work.market)} is"
    if chain is None:
        found.not_shown.append(f"that {market} one to trust: compare it with the address that you know")
    else:
        found.shown.append(f"{market} the one that --deployment names")
    found.shown += [
        f"by that block its task {work.task_id} was completed, {work.steps} steps, and its last checkpoint is final",
        "graph, data, first and final state are those with the roots that stand there",
    ]
    row = check_figures(certificate.binding, work)
    if row:
        said = ", ".join(f"{name} {np.float32(value)!s}" for name, value in row.items())
        found.shown.append(f"its log says of the last step: {said}")
        found.stated.append("these figures have these names: no root binds names")
    _model(certificate, model, row, found)
    (found.stated if chain is None else found.shown).append(_looked(certificate))
    found.not_shown += NEVER
    return found


def _roots(certificate: Certificate) -> list[bytes]:
    """Of the checkpoints that it speaks of: of all where there are outputs, else of the last one."""
    work = certificate.work
    return roots_of(work, certificate.header, certificate.log) if certificate.binding.outputs else [work.final_root]


def _model(certificate: Certificate, model: Path | None, row: Row, found: Findings) -> None:
    if model is None:
        found.not_shown.append("that a model's file holds the final state: name the file")
        return
    loose, compared = check_model(model, certificate.binding, row, certificate.work.steps)
    binding, missing = certificate.binding, missed(certificate.binding)
    parts = ["a part of the final state" if missing else "the final state"] if binding.entries or not missing else []
    parts += ["what the steps output"] if binding.outputs else []
    if parts:
        found.shown.append(f"{model} holds {' and '.join(parts)}, bit for bit")
    if missing:
        found.not_shown.append(
            f"the rest of the final state: {missing} of its {binding.counts[2]} tensors, which the result does not have"
        )
    found.stated.append("its tensors have these names: no root binds names")
    if compared:
        found.shown.append("the figures of the last step that it names are those of the log")
        found.not_shown.append("the figures of earlier steps that it names: only those of the last step are certified")
    elif not row:
        found.not_shown.append("figures that it names: the certificate has none, for nobody served the log")
    if loose:
        found.not_shown.append(f"{', '.join(loose)}: no step reads them, and no root binds them")


def _looked(certificate: Certificate) -> str:
    """Who looked, in a sentence."""
    work = certificate.work
    mine = [a for a in certificate.audits if a.attempt == work.attempt and a.fate in LOOKED]
    points, names = {audit.checkpoint for audit in mine}, {audit.verifier for audit in mine}
    tried = [c for c in certificate.contests if c.attempt == work.attempt]
    upheld = sum(contest.outcome == UPHELD for contest in tried)
    earlier = sum(contest.outcome == CONVICTED for contest in certificate.contests)
    said = f"{len(names)} drawn verifiers replayed {len(points)} of its {work.intervals - work.first} intervals"
    said += f"; {len(tried)} disputes, {upheld} of which the solver won"
    return said + (f"; {earlier} disputes convicted earlier solvers" if earlier else "")


def _ask(certificate: Certificate, chain: Chain) -> None:
    """Raise BadBlob unless the chain has that block and tells the same of who looked."""
    work, number = certificate.work, certificate.header.number
    if chain.deployment.chain_id != work.chain_id or bytes.fromhex(chain.deployment.market[2:]) != work.market:
        raise BadBlob(f"certificate: is of chain {work.chain_id} and another market than --deployment names")
    (block,) = chain.blocks(number)
    if block is None:
        raise ChainUnavailable(f"the node does not have block {number}")
    if block.hash != certificate.header.hash:
        raise BadBlob(f"block {number}: is another one on this chain (0x{block.hash.hex()})")
    with asking("reading code"):
        if wrong := differing(chain):
            raise BadBlob(f"certificate: the deployment's {wrong[0]} is not this version's contract")
    if looked_at(chain, work.task_id, number) != (certificate.audits, certificate.contests):
        raise BadBlob("certificate: the chain tells something else of its audits and disputes")
