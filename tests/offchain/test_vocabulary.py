"""Tokens as text, and what the task's file says of them: for people, bound by the seal and by no root."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from offchain.continuation import Continuation
from offchain.errors import BadBlob, BadInput
from offchain.lower import compile as lower
from offchain.store import tensorfile
from offchain.store.taskfile import load_task, save_task, seal
from offchain.task import Task
from offchain.text import one_line
from offchain.vocabulary import LONGEST, Vocabulary, words_of
from tests.offchain.test_generation import NEW, PROMPTS, VOCABULARY, a_generation, done
from tests.offchain.test_program import a_program

WORDS = [chr(ord("a") + number) for number in range(VOCABULARY)]


@pytest.fixture(scope="module")
def task() -> Task:
    return lower(a_generation(vocabulary=WORDS, stop=4))


def test_tokens_are_text_by_their_bytes() -> None:
    held = Vocabulary((b"a", b"\xc3", b"\xa4", b"\xff"))
    assert held.text([0, 1, 2]) == "aä" and held.text([0, 3]) == "a\ufffd"
    assert held.text([0, 1]) == "a\ufffd" and held.text([0, 1], whole=False) == "a"
    assert held.text([7, -1]) == "<7><-1>"  # a model may have more rows than its tokenizer has words
    assert Vocabulary().text([3, 5]) == " 3 5"


def test_a_generation_gives_texts() -> None:
    program = a_generation(vocabulary=WORDS)
    tokens = done(program, "torch").outputs["token"]
    wanted = ["".join(WORDS[t] for t in (*p, *new)) for p, new in zip(PROMPTS, program.continued(tokens), strict=True)]
    assert program.texts(tokens) == wanted


def test_a_task_s_file_keeps_it_and_no_root_binds_it(task: Task, tmp_path: Path) -> None:
    bare = lower(a_generation())
    assert (bare.graph_root, bare.state_root) != (task.graph_root, task.state_root)  # it stops nowhere
    same = replace(task, vocabulary=Vocabulary())
    assert (same.graph_root, same.state_root) == (task.graph_root, task.state_root) and seal(same) != seal(task)
    save_task(task, tmp_path / "a.task")
    found = load_task(tmp_path / "a.task")
    assert found.vocabulary == Vocabulary(tuple(word.encode() for word in WORDS), (4,))
    form = Continuation.of_task(found)
    assert (form.prompts, form.new, form.stop) == (tuple(map(tuple, PROMPTS)), NEW, (4,))


def changed(file: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    with safe_open(file, "numpy") as held:
        kept = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        texts = held.metadata()
    tensorfile.write(file, kept | tensors, texts | metadata)


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        ({"vocabulary": np.array([3, 97], np.uint8)}, {}, "ends within a token"),
        ({"vocabulary": np.array([1, 97], np.uint8)}, {}, "seal: does not match"),
        ({"vocabulary": np.zeros((1, 2), np.uint8)}, {}, "one row of bytes"),
        ({"vocabulary": np.zeros((1 << 20) + 1, np.uint8)}, {}, "above the limit"),
        ({}, {"vocabulary": "["}, "not a JSON list"),
        ({}, {"vocabulary": "[" * 100_000}, "not a JSON list"),
        ({}, {"vocabulary": "[" + "[]," * 300_000 + "1]"}, "not a JSON list"),  # as values twenty times as large
        ({}, {"vocabulary": '["", [-1]]'}, "not a digest and a list of tokens"),
        ({}, {"vocabulary": '["", [true]]'}, "not a digest and a list of tokens"),
        ({}, {"vocabulary": json.dumps(["", [1] * 1025])}, "above the limit"),
        ({}, {"vocabulary": '["", [5]]'}, "seal: does not match"),
    ],
)
def test_what_a_stranger_wrote_there_is_refused(
    task: Task, tmp_path: Path, tensors: dict[str, Any], metadata: dict[str, str], said: str
) -> None:
    save_task(task, tmp_path / "a.task")
    changed(tmp_path / "a.task", tensors, metadata)
    with pytest.raises(BadBlob, match=said):
        load_task(tmp_path / "a.task")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "vocabulary is a int, must be a tokenizer"),
        ("abc", "vocabulary is a str, must be a tokenizer"),
        (["a", 3], "vocabulary: token 1 is a int, must be text or bytes"),
        ([b"a" * (LONGEST + 1)], "vocabulary: token 0 has 256 bytes, more than 255"),
        ([b""] * ((1 << 20) + 1), "vocabulary has 1,048,577 tokens, more than 1,048,576"),
    ],
)
def test_what_is_no_vocabulary_is_refused_with_the_user_s_line(given: Any, said: str) -> None:
    with pytest.raises(BadInput, match=rf"generation at .*test_generation\.py:\d+: {said}"):
        a_generation(vocabulary=given)


def a_tokenizer(model: Any, decoder: Any, before: Any) -> Any:
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    made = tokenizers.Tokenizer(model(tokenizers))
    made.decoder, made.pre_tokenizer = decoder(tokenizers), before(tokenizers)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?")


def test_the_words_of_a_tokenizer_of_bytes() -> None:
    """`Ġ` is a space, and `Ã`, `¤` are two bytes of one character; special tokens are no text."""
    words = ["?", "a", "Ġ", "Ã", "¤", "ĠaÃ¤", "Ċ"]
    tokenizer = a_tokenizer(
        lambda t: t.models.BPE({word: i for i, word in enumerate(words)}, []),
        lambda t: t.decoders.ByteLevel(),
        lambda t: t.pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    assert words_of(tokenizer) == (b"", b"a", b" ", b"\xc3", b"\xa4", " aä".encode(), b"\n")


def test_the_words_of_a_tokenizer_of_pieces() -> None:
    words = ["?", "▁", "a", "b", "▁b"]
    tokenizer = a_tokenizer(
        lambda t: t.models.BPE({word: i for i, word in enumerate(words)}, []),
        lambda t: t.decoders.Metaspace(),
        lambda t: t.pre_tokenizers.Metaspace(),
    )
    assert words_of(tokenizer) == (b"", b" ", b"a", b"b", b" b")


OTHERS: dict[str, Callable[[Task], Task]] = {
    "no dataset of prompts": lambda task: replace(
        task, graph=replace(task.graph, datasets=(), dataset_roots=()), datasets=()
    ),
    "a length of 0": lambda task: replace(task, datasets=(task.datasets[0], np.zeros_like(task.datasets[1]))),
    "a length beyond the prompts": lambda task: replace(task, datasets=(task.datasets[0], task.datasets[1] + 9)),
    "fewer rows than the prompts": lambda task: replace(task, outputs=(replace(task.outputs[0], rows=1),)),
    "no outputs": lambda task: replace(task, outputs=()),
    "another step": lambda task: lower(a_program()),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_task_is_no_generation(task: Task, what: str) -> None:
    with pytest.raises(BadInput, match="is no generation"):
        Continuation.of_task(OTHERS[what](task))


def test_text_is_one_line_whatever_it_holds() -> None:
    assert one_line("a\nb\tc") == "a\\nb\\tc"
    assert one_line("\x1b[2Jred\r\u202e" + "x" * 500) == "?[2Jred??" + "x" * 500
