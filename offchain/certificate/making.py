"""A certificate is made from a completed task, its file and its final state's tensor roots."""

from __future__ import annotations

from collections.abc import Sequence

from offchain.certificate.binding import bind, check_roots
from offchain.certificate.figures import check_figures
from offchain.certificate.looked import looked_at
from offchain.certificate.outputs import Part
from offchain.certificate.record import Certificate
from offchain.certificate.settled import log_places, market_places, root_places, roots_of, settled, slots_of
from offchain.chain.client import Chain
from offchain.chain.proofs import prove
from offchain.ir.arrays import Array
from offchain.task import Task


def certify(
    chain: Chain,
    task_id: int,
    task: Task,
    slots: Sequence[bytes],
    parts: Sequence[Part] = (),
    log: Array | None = None,
) -> Certificate:
    """The certificate of a completed task.

    Args:
        task: from its file.
        slots: tensor roots of its final state, in slot order.
        parts: what each interval output, where steps output anything.
        log: of the final state, flat; None where nobody has it any more.

    Raises:
        NoResult: it was not completed.
        BadBlob: the file or the roots are of another task.
        ChainError: the node proves nothing.
    """
    number = task.intervals if task.outputs else 0
    points = log_places(task_id, task.intervals - 1) | root_places(task_id, number)
    wanted = {"market": slots_of(market_places(task_id)), "log": slots_of(points)}
    header, stored = prove(chain, wanted)
    work = settled(chain.deployment.chain_id, task_id, header, stored["market"], stored["log"])
    task.verify(work.graph_root, work.state_root)
    binding = bind(task, slots, parts, log)
    check_roots(binding, work.graph_root, roots_of(work, header, stored["log"]) if number else [work.final_root])
    check_figures(binding, work)
    audits, contests = looked_at(chain, task_id, header.number)
    return Certificate(task.name, work, binding, audits, contests, header, stored["market"], stored["log"])
