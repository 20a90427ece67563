"""What is measured by name, a job or a program, and a step of its peer."""

from __future__ import annotations

from collections.abc import Callable

from offchain.bench.jobs import job
from offchain.bench.plain import ordinary_step
from offchain.bench.programs import PROGRAMS, PlainSteps, program
from offchain.bench.timing import Settings
from offchain.errors import BadInput
from offchain.program import Asked, Program


def asked_for(name: str, bits: int, settings: Settings) -> Asked:
    """A job or a program by name. Raises BadInput for a program on another device, where its peer does not run."""
    if name not in PROGRAMS:
        return job(name, bits, settings.quick)
    if settings.device != "cpu":
        raise BadInput(f"job {name!r}: its peer steps on the CPU alone; leave --device out")
    return program(name, bits, settings.quick)


def peer_of(asked: Asked, device: str) -> Callable[[], None]:
    """A step of plain torch."""
    return PlainSteps(asked) if isinstance(asked, Program) else ordinary_step(asked, device, fused=True)
