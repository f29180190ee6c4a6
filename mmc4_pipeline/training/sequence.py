"""Turn a document into a training sequence: its text with `<image>` and `<|endofchunk|>`, and its images."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import orjson
from PIL import Image as PillowImage

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.sequence import place_of

IMAGE, END_OF_CHUNK = "<image>", "<|endofchunk|>"  # OpenFlamingo's special tokens


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How a document becomes a sequence. By default all of its sentences and images are used.

    `image_place`: whether an image goes before or after the sentence that it was assigned to.
    `min_similarity`: smallest cosine similarity (-1 to 1) of an image to its sentence; other images are omitted.
    `min_images`: smallest number of images; a document with fewer has no sequence.
    `max_images`: largest number of images; the first ones in reading order are used.
    `max_tokens`: largest number of tokens, end marks included; it needs a tokenizer.
    """

    image_place: Literal["before", "after"] = "before"
    min_similarity: float | None = None
    min_images: int = 1
    max_images: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sequence:
    """The training sequence of a document.

    `key` and `url`: the document's key in the dataset, and the URL of its page.
    `text`: the sentences, with exactly one `<image>` for each of `images`, in the same order.
    `images`: RGB PIL images, or what the Interleaver's `transform` returned for them.
    `tokens`: the token ids of `text`, or None without a tokenizer.
    `omitted_sentences` and `omitted_images`: how many the token limit left out.
    """

    key: str
    url: str
    text: str
    images: list[Any]
    tokens: list[int] | None
    omitted_sentences: int
    omitted_images: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence and the number of images before it; None for the images after the last sentence."""

    images: int
    sentence: str | None


def _units(sentences: list[str], images: Counter[int]) -> list[_Unit]:
    units = [_Unit(images[number], sentence) for number, sentence in enumerate(sentences)]
    return [*units, _Unit(images[len(sentences)], None)] if images[len(sentences)] else units


class Interleaver:
    """Turns a sample of a shard into a Sequence. It is a callable, so that it also works with `webdataset.map`.

    - `<|endofchunk|>` is inserted before each image except the first, and at the end, followed by the tokenizer's
      `eos_token`, if it has one. If no two images share a sentence, the text is the same as OpenFlamingo's
      (open_flamingo/train/data.py, `preprocess_interleaved`). Images that share a sentence share a chunk, so that
      every chunk has text.
    - The token limit omits whole sentences from the end, with their images: an image always comes with the sentence
      that it was assigned to, and a sequence always ends with its end marks.
    - `<image>`, `<|endofchunk|>` and the `eos_token` in a page's own text are replaced by spaces.

    `tokenizer` returns the token ids of a text: a list of int, or a mapping with `input_ids`, like the tokenizers of
    transformers. `transform` converts an RGB PIL image of any size to the model's input, for example to a tensor of
    shape (3, height, width); without it the sequence has the PIL images.
    Raises UserError if the options limit the tokens and the tokenizer is missing.
    """

    def __init__(
        self,
        options: SequenceOptions | None = None,
        *,
        tokenizer: Callable[[str], Any] | None = None,
        transform: Callable[[PillowImage.Image], Any] | None = None,
    ) -> None:
        self._options = options or SequenceOptions()
        self._tokenizer, self._transform = tokenizer, transform
        self._end = getattr(tokenizer, "eos_token", None) or ""
        if self._options.max_tokens is not None and tokenizer is None:
            raise UserError("max_tokens needs a tokenizer: pass one to Interleaver, or leave max_tokens out")

    def __call__(self, sample: dict[str, Any]) -> Sequence | None:
        """Return the sequence of a sample, or None if the document has too few images.

        A sample is a dict with `__key__` (str) and `json` (the document, parsed or as bytes).
        Raises UserError, with the sample's key, if the document or one of its images is invalid. Errors of the
        tokenizer and the transform are passed on.
        """
        with _named(sample):
            document = sample["json"]
            document = orjson.loads(document) if isinstance(document, bytes) else document
            url, sentences = str(document["url"]), [self._without_marks(item) for item in document["text_list"]]
            images = self._chosen(document["image_info"], len(sentences))
        units = _units(sentences, Counter(place_of(info) for info in images))
        number, text, tokens = self._longest_that_fits(units)
        fitting = images[: sum(unit.images for unit in units[:number])]
        if len(fitting) < self._options.min_images:
            return None
        with _named(sample):
            decoded = [_decode(info["image_base64"]) for info in fitting]
        return Sequence(
            key=sample["__key__"],
            url=url,
            text=text,
            images=[self._transform(image) for image in decoded] if self._transform else decoded,
            tokens=tokens,
            omitted_sentences=sum(unit.sentence is not None for unit in units[number:]),
            omitted_images=len(images) - len(fitting),
        )

    def _without_marks(self, sentence: str) -> str:
        for mark in filter(None, (IMAGE, END_OF_CHUNK, self._end)):
            sentence = sentence.replace(mark, " ")
        return sentence

    def _chosen(self, infos: list[dict[str, Any]], sentences: int) -> list[dict[str, Any]]:
        """Return the images to use, in the dataset's order: MMC4's own shards do not have them in that order."""
        least = self._options.min_similarity
        chosen = [info for info in infos if least is None or info["matched_sim"] >= least]
        for info in chosen:
            if not 0 <= info["matched_text_index"] < sentences:
                raise ValueError(f"image {info['raw_url']} is at sentence {info['matched_text_index']} of {sentences}")
        return sorted(chosen, key=place_of)[: self._options.max_images]

    def _longest_that_fits(self, units: list[_Unit]) -> tuple[int, str, list[int] | None]:
        """Return how many units fit the token limit, their text, and its tokens: each candidate is tokenised."""
        text = self._text(units)
        if self._tokenizer is None:
            return len(units), text, None
        tokens = _ids(self._tokenizer, text)
        limit = self._options.max_tokens
        if limit is None or len(tokens) <= limit:
            return len(units), text, tokens
        best: tuple[int, str, list[int]] = (0, "", [])
        fit, too_many = 0, len(units)
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            text = self._text(units[:middle])
            tokens = _ids(self._tokenizer, text)
            if len(tokens) <= limit:
                fit, best = middle, (middle, text, tokens)
            else:
                too_many = middle
        return best

    def _text(self, units: list[_Unit]) -> str:
        before, text, seen = self._options.image_place == "before", "", False
        for unit in units:
            marks = (END_OF_CHUNK if seen else "") + IMAGE * unit.images if unit.images else ""
            seen = seen or bool(marks)
            gap = "" if not text or unit.sentence is None or text.endswith(IMAGE) else " "
            sentence = unit.sentence or ""
            text += (marks or gap) + sentence if before else gap + sentence + marks
        return text + (END_OF_CHUNK if seen else "") + self._end


@contextmanager
def _named(sample: dict[str, Any]) -> Iterator[None]:
    """Turn any error of the body into a UserError with the sample's name: its data must be the only cause."""
    try:
        yield
    except Exception as error:  # any of a dozen types, half of them Pillow's
        name = f"{sample.get('__url__', 'sample')}: {sample.get('__key__', 'without a key')}"
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: invalid document ({reason}); check the dataset with `mmc4 verify`") from error


def _decode(image_base64: str) -> PillowImage.Image:
    return PillowImage.open(BytesIO(base64.b64decode(image_base64, validate=True)), formats=("JPEG",)).convert("RGB")


def _ids(tokenizer: Callable[[str], Any], text: str) -> list[int]:
    result = tokenizer(text)
    return list(result["input_ids"] if isinstance(result, Mapping) else result)
