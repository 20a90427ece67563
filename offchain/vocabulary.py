"""What the tokens of a generation are as text, for people: no root binds it, and no step reads it."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from offchain.errors import BadInput

LONGEST: Final = 255  # bytes of a token: its length is one byte of a file
MOST: Final = 1 << 20  # tokens
_NEAR: Final = "a"  # a token's text is what it adds to this


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of each token in UTF-8, by its number, which may be none; and after which tokens a text ends."""

    words: tuple[bytes, ...] = ()
    stop: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.stop)

    def text(self, tokens: Sequence[int], whole: bool = True) -> str:
        """Tokens as text; without words their numbers. What is no UTF-8 becomes U+FFFD. Unless the text is `whole`,
        half a character at its end is left out, so that a longer text begins with a shorter one.

        Text of strangers: whoever shows it makes it fit for that (`offchain.text`).
        """
        if not self.words:
            return "".join(f" {token}" for token in tokens)
        decoder = getincrementaldecoder("utf-8")("replace")
        return decoder.decode(b"".join(map(self._word, tokens)), final=whole)

    def _word(self, token: int) -> bytes:
        return self.words[token] if 0 <= token < len(self.words) else b"<%d>" % token


def words_of(given: Any) -> tuple[bytes, ...]:
    """The words of a vocabulary: of a tokenizer of `transformers`, or as texts or bytes in the order of their numbers.

    Raises BadInput.
    """
    if hasattr(given, "convert_ids_to_tokens"):
        return _of_tokenizer(given)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise BadInput(
            f"vocabulary is a {type(given).__name__}, must be a tokenizer of transformers, or a list of texts or bytes"
        )
    return _checked([word.encode() if isinstance(word, str) else word for word in given])


def _checked(words: Sequence[Any]) -> tuple[bytes, ...]:
    if len(words) > MOST:
        raise BadInput(f"vocabulary has {len(words):,} tokens, more than {MOST:,}")
    for number, word in enumerate(words):
        if not isinstance(word, bytes):
            raise BadInput(f"vocabulary: token {number} is a {type(word).__name__}, must be text or bytes")
        if len(word) > LONGEST:
            raise BadInput(f"vocabulary: token {number} has {len(word)} bytes, more than {LONGEST}")
    return tuple(words)


def _of_tokenizer(tokenizer: Any) -> tuple[bytes, ...]:
    """Special tokens are no text. Those that hold bytes hold parts of characters too; of others decoding tells it."""
    count, special = len(tokenizer), set(tokenizer.all_special_ids)
    if _holds_bytes(tokenizer):
        letters = _letters()
        names = tokenizer.convert_ids_to_tokens(range(count))
        words = [bytes(letters[c] for c in n) if set(n) <= letters.keys() else n.encode() for n in names]
    else:
        near = tokenizer.convert_tokens_to_ids(_NEAR)
        start = len(tokenizer.decode([near]))
        words = [tokenizer.decode([near, number])[start:].encode() for number in range(count)]
    return _checked([b"" if number in special else word for number, word in enumerate(words)])


def _holds_bytes(tokenizer: Any) -> bool:
    """Whether its tokens are bytes, each written as a letter."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    decoder = json.loads(backend.to_str())["decoder"]
    return decoder is not None and decoder["type"] == "ByteLevel"


def _letters() -> dict[str, int]:
    """The byte of each letter: as GPT-2's tokenizer has them, bytes that print nothing become letters above 255."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}
