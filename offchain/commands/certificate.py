"""`offchain certificate make` and `verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from offchain.certificate import statement
from offchain.certificate.checking import Findings, check
from offchain.certificate.making import certify
from offchain.commands.common import TASK, Connection, answer, check_output, connection_options, json_option
from offchain.commands.fetching import fetching, private_option
from offchain.commands.result import FILE, load_posted, task_file_option
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import read_state
from offchain.text import printable
from offchain.worker.gathered import Gathered
from offchain.worker.holders import Holders, registered
from offchain.worker.posting import completed, state_file
from offchain.worker.results import log_of

TITLES = {
    "shown": "shown",
    "stated": "only said, by whoever made it",
    "not_shown": "not shown",
}


class Hash(click.ParamType[bytes]):
    """32 bytes in hexadecimal."""

    name = "hash"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            found = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            found = b""
        if len(found) != 32:
            self.fail(f"{printable(value)!r} is not a hash of 32 bytes in hexadecimal", param, ctx)
        return found


@click.group()
def certificate() -> None:
    """Make and check certificates: what a model was computed from, and where that was settled.

    \b
    Example:  offchain certificate make 0 -o model.cert.json
              offchain certificate verify model.cert.json model.safetensors
    """


@certificate.command()
@click.argument("task_id", type=TASK)
@click.option("-o", "--output", required=True, type=FILE)
@task_file_option
@private_option
@connection_options
@json_option
def make(
    task_id: int, output: Path, task_file: Path | None, allow_private: bool, connection: Connection, as_json: bool
) -> None:
    """Write the certificate of a completed task, with what proves it to who has no node.

    The file is an in-toto statement with SLSA provenance: graph, data, first and final state by their roots, who
    trained, who audited and disputed, and the paths from a block's hash to what the contracts stored of it. The node
    must answer eth_getProof.

    \b
    Example:  offchain certificate make 0 -o model.cert.json
    """
    check_output(output, *([task_file] if task_file else []))
    chain = connection.chain(signing=False)
    view, holders = chain.task(task_id, chain.terms(task_id)), Holders(registered(chain))
    with TemporaryDirectory(prefix="offchain-") as folder:
        blobs = BlobStore(Path(folder), options=fetching(connection, allow_private))
        task = load_posted(view, task_file, blobs, holders)
        view = completed(chain, task_id)
        point, gathered = view.checkpoints[-1], Gathered(task, blobs, holders)
        log = log_of(view, point, task, (blobs, holders))
        for _ in gathered.look(view):
            pass
        if parts := gathered.parts(view):  # files of outputs have the roots of all tensors of their states
            tree = parts[-1][1]
        else:
            _, tree = read_state(state_file(view, point, task, blobs, holders), task.graph, point.root)
        made = certify(chain, task_id, task, tree.leaves, parts, log)
    statement.write(output, made)
    block = f"block {made.header.number}", f"0x{made.header.hash.hex()}"
    said = [f"certificate in {output}", f"it is proven by {block[0]}, whose hash is {block[1]}"]
    if made.binding.figures is None:
        said.append("it does not say what the log says of the last step: nobody serves that log any more")
    answer(said, as_json, file=str(output), block=made.header.number, block_hash=block[1])


@certificate.command()
@click.argument("file", type=FILE)
@click.argument("model", type=FILE, required=False)
@click.option("--block-hash", type=Hash(), help="Of the block by which it is proven, from somebody whom you trust.")
@click.option("--with-node", is_flag=True, help="Ask the node that --rpc names, of the market that --deployment names.")
@connection_options
@json_option
def verify(
    file: Path, model: Path | None, block_hash: bytes | None, with_node: bool, connection: Connection, as_json: bool
) -> None:
    """Check a certificate, and a model's file against it, and say what that shows and what it does not.

    Without a node it shows what follows from the hash of one block: look that up where you trust the answer, and name
    it with --block-hash. With --with-node the node is asked for the block, and for audits and disputes too.

    \b
    Example:  offchain certificate verify model.cert.json model.safetensors
    """
    made = statement.read(file)
    chain = connection.chain(signing=False) if with_node else None
    found = check(made, model, block_hash, chain)
    answer(_lines(found), as_json, **asdict(found))


def _lines(found: Findings) -> list[str]:
    rows: dict[str, list[str]] = asdict(found)
    lines = []
    for name, title in TITLES.items():
        lines += [title, *(f"  {printable(line, 1_000)}" for line in rows[name])]
    return lines
