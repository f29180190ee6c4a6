"""Tokenise sentences as open_clip does, several times faster: a GPU takes tens of thousands per second."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

from filters.short_cache import short_cache
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice

_WORDS_KEPT = 1 << 18  # open_clip keeps every word that it has ever seen, and the web's words never end
_WORD_LENGTH = 100  # characters of a word that is kept
_BYTES_PER_TOKEN = 32  # the longest token of CLIP's vocabulary is not longer


def load_tokenizer(choice: ClipChoice) -> "Tokenizer":
    """Return the tokenizer of a CLIP whose model open_clip knows.

    Those of some models, such as SigLIP, are on the Hugging Face Hub. Raises UserError if it can't be loaded.
    """
    text: dict[str, Any] = open_clip.get_model_config(choice.model_name).get("text_cfg", {})
    source = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if source and find_spec("transformers") is None:
        raise UserError(
            f"--clip_model {choice.model}: its tokenizer, {source}, needs transformers: pip install 'mmc4-pipeline[hf]'"
        )
    try:
        return Tokenizer(open_clip.get_tokenizer(choice.model_name))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--clip_model {choice.model}: its tokenizer cannot be loaded from {source} ({reason}). Run this once "
            "with a connection to the Hugging Face Hub. To use it without one, copy the folder that HF_HOME names "
            "(~/.cache/huggingface) from there"
        ) from error


class Tokenizer:
    """Tokenises for CLIP's own vocabulary. Models with another vocabulary are left to open_clip's tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap the result of open_clip.get_tokenizer."""
        self._tokenizer = tokenizer
        self._is_clip_s = (
            type(tokenizer) is SimpleTokenizer
            and tokenizer.clean_fn is get_clean_fn("lower")
            and tokenizer.reduction_fn is None
        )
        self._special = frozenset(tokenizer.cache) if self._is_clip_s else frozenset()
        self._numbers = short_cache(_WORDS_KEPT, _WORD_LENGTH)(self._numbers_of)

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """Return tokens of shape (sentences, the model's context length), truncated or padded with zeros."""
        if not sentences:
            return torch.zeros((0, self._tokenizer.context_length), dtype=torch.int64)
        if not self._is_clip_s:
            return torch.as_tensor(self._tokenizer(list(sentences)))
        tokens = np.zeros((len(sentences), self._tokenizer.context_length), dtype=np.int64)
        for row, sentence in zip(tokens, sentences, strict=True):
            numbers = self._encode(sentence, len(row))
            row[: len(numbers)] = numbers
        return torch.from_numpy(tokens)

    def _encode(self, sentence: str, length: int) -> list[int]:
        numbers = [self._tokenizer.sot_token_id]
        for match in self._tokenizer.pat.finditer(self._cleaned(sentence)):
            numbers += self._numbers(match.group())
            if len(numbers) >= length:
                break
        return [*numbers[: length - 1], self._tokenizer.eot_token_id]

    def _cleaned(self, sentence: str) -> str:
        """Clean a sentence as open_clip does; its slow repair of wrong characters never changes plain ASCII."""
        if sentence.isascii() and sentence.isprintable() and "&" not in sentence:
            return " ".join(sentence.split()).lower()
        return str(self._tokenizer.clean_fn(sentence))

    def _numbers_of(self, word: str) -> tuple[int, ...]:
        """Return a word's tokens. A long word is truncated first: the time grows with the square of its length."""
        tokenizer = self._tokenizer
        data = word.encode()[: tokenizer.context_length * _BYTES_PER_TOKEN]
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in data)
        parts = tokenizer.bpe(symbols)
        if symbols not in self._special:
            tokenizer.cache.pop(symbols, None)
        return tuple(tokenizer.encoder[part] for part in parts.split(" "))
