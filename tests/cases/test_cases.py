"""Models as people describe them in public: each trains like plain torch, or is refused with a line and a remedy."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from offchain.errors import BadInput, Unsupported
from offchain.lower import compile
from offchain.plain import PlainTraining
from offchain.training import Training
from tests.cases import generative, gradients, habits, layers, losses, sequences, vision  # noqa: F401  register cases
from tests.cases.common import CASES
from tests.cases.verdicts import LOOSE, NOT_A_NUMBER, REFUSED, SLOW, TOLERANCE


def marked(name: str) -> Any:
    marks = [pytest.mark.slow] if name in SLOW else []
    return pytest.param(name, marks=marks)


def apart(training: Training, plain: PlainTraining, first: dict[str, torch.Tensor]) -> float:
    """Distance of all float tensors from plain torch's, in units of how far those moved from `first`."""
    have, want = training.state_dict(), plain.parameters
    names = [name for name in want if name in have and want[name].is_floating_point()]
    ours, theirs, start = (
        torch.cat([tensors[name].double().reshape(-1) for name in names]) for tensors in (have, want, first)
    )
    return float((ours - theirs).norm() / (theirs - start).norm())


@pytest.mark.parametrize("name", [marked(name) for name in CASES if name not in REFUSED])
def test_trains_like_plain_torch(name: str) -> None:
    training = Training(CASES[name].job(), executor="torch", threads=1)
    plain, first = training.plain(), training.state_dict()
    for run in (training, plain):
        run.run()
    if name in NOT_A_NUMBER:
        for key, want in plain.parameters.items():
            assert torch.equal(training.state_dict()[key].isnan(), want.isnan())
        return
    assert apart(training, plain, first) <= LOOSE.get(name, TOLERANCE)
    assert training.losses == pytest.approx(plain.losses, rel=TOLERANCE, abs=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_line_and_remedy(name: str) -> None:
    beginning, file, remedy = REFUSED[name]
    with pytest.raises((Unsupported, BadInput)) as caught:
        compile(CASES[name].job())
    text = str(caught.value)
    assert "\n" not in text
    assert re.match(beginning, text), text
    assert re.search(rf" at \S+/tests/cases/{file}:\d+: .*{remedy}", text), text


def test_every_verdict_is_of_a_case() -> None:
    for verdicts in (LOOSE, SLOW, NOT_A_NUMBER, REFUSED):
        assert set(verdicts) <= set(CASES)
    assert len(CASES) == 73 and all(case.source for case in CASES.values())
