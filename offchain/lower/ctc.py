"""F.ctc_loss as its forward recursion over time, in torch's operations (Graves and others, 2006, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.errors import Unsupported

_NEVER: Final = -1e30  # the logarithm of 0, finite so that no gradient is NaN
Lengths = Tensor | Sequence[int]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """`log_probs` (T, N, C), `targets` (N, S); without N for one sequence. T steps of time are that many nodes.

    As torch's, the gradient is that of log_probs made by log_softmax.
    """
    single = log_probs.ndim == 2
    if single:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)
    if targets.ndim != 2:
        raise Unsupported("ctc_loss with targets in one row; give them as a matrix (N, S), padded")
    lasting, letters = (_tensor(lengths) for lengths in (input_lengths, target_lengths))
    words = _spelled(targets, letters, blank)
    emitted = log_probs.gather(2, words.expand(log_probs.shape[0], *words.shape))
    loss = -_total(_alphas(emitted, words, lasting, letters, blank), letters)
    possible = loss < -_NEVER / 2
    shown = (torch.arange(log_probs.shape[0]).unsqueeze(1) < lasting).unsqueeze(2)
    chances = torch.where(shown, log_probs.exp(), 0.0)
    loss = loss + (chances - chances.detach()).sum((0, 2))  # 0, whose gradient torch adds
    loss = torch.where(possible, loss, 0.0) if zero_infinity else loss * torch.where(possible, 1.0, float("inf"))
    if reduction == "mean":
        return (loss / letters.clamp(min=1)).mean()
    return loss.sum() if reduction == "sum" else loss.squeeze(0) if single else loss


def _tensor(lengths: Lengths) -> Tensor:
    return (lengths if isinstance(lengths, Tensor) else torch.tensor(lengths)).reshape(-1).long()


def _spelled(targets: Tensor, letters: Tensor, blank: int) -> Tensor:
    """Targets with blanks around every letter, and in place of padding: (N, 2S + 1)."""
    own = torch.where(torch.arange(targets.shape[1]) < letters.unsqueeze(1), targets.long(), blank)
    pairs = torch.stack([torch.full_like(own, blank), own], 2).flatten(1)
    return F.pad(pairs, (0, 1), value=blank)


def _alphas(emitted: Tensor, words: Tensor, lasting: Tensor, letters: Tensor, blank: int) -> Tensor:
    """The logarithm of the chance of every beginning, at the end of each sequence: (N, 2S + 1)."""
    places = torch.arange(words.shape[1])
    skips = (words != blank) & (words != F.pad(words, (2, 0), value=blank)[:, :-2])
    alpha = torch.where(places < torch.where(letters > 0, 2, 1).unsqueeze(1), emitted[0], _NEVER)
    for t in range(1, emitted.shape[0]):
        one, two = (F.pad(alpha, (by, 0), value=_NEVER)[:, :-by] for by in (1, 2))
        paths = _added(alpha, one, torch.where(skips, two, _NEVER)) + emitted[t]
        alpha = torch.where((t < lasting).unsqueeze(1), paths, alpha)
    return alpha


def _added(*logarithms: Tensor) -> Tensor:
    """The logarithm of the sum of what they are logarithms of."""
    top = logarithms[0].detach()
    for other in logarithms[1:]:
        top = torch.maximum(top, other.detach())
    total = (logarithms[0] - top).exp()
    for other in logarithms[1:]:
        total = total + (other - top).exp()
    return total.log() + top


def _total(alpha: Tensor, letters: Tensor) -> Tensor:
    """Sequences end in the last letter or in the blank after it."""
    last = alpha.gather(1, 2 * letters.unsqueeze(1)).squeeze(1)
    before = alpha.gather(1, (2 * letters - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
    return _added(last, torch.where(letters > 0, before, _NEVER))
