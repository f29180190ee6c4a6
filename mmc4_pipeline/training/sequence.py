"""Makes a training sequence of a document: its text with `<image>` and `<|endofchunk|>`, and its images."""

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

IMAGE, END_OF_CHUNK = "<image>", "<|endofchunk|>"  # OpenFlamingo's special tokens


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How a document becomes a sequence. By default everything that the dataset holds is used.

    `image_place` is before or after the sentence that an image was assigned to. Of the images that are at least
    `min_similarity` similar to it the first `max_images` in reading order are used. `max_tokens` bounds the sequence,
    end marks included; it needs a tokenizer. Documents left with fewer than `min_images` give no sequence.
    """

    image_place: Literal["before", "after"] = "before"
    min_similarity: float | None = None
    min_images: int = 1
    max_images: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A document as a trainer wants it: `text` has exactly one `<image>` for each of `images`, in the same order.

    `tokens` are the ids of `text`, None without a tokenizer. `cut_sentences` and `cut_images` count what the token
    limit has left out.
    """

    key: str
    url: str
    text: str
    images: list[Any]
    tokens: list[int] | None
    cut_sentences: int
    cut_images: int


class Interleaver:
    """RateLimiter a sample of a shard into a Sequence. A callable, so that it fits `webdataset.map` too.

    - `<|endofchunk|>` stands before each image but the first and at the end, then the tokenizer's `eos_token`, if it
      has one: where no two images share a sentence it is the text that OpenFlamingo makes (open_flamingo/train/data.py,
      `preprocess_interleaved`). Images that share one stand together, so that no chunk is without text.
    - The token limit leaves out whole sentences from the end, each with its images: an image is never without the
      sentence that it was assigned to, nor does a sequence end without its end marks.
    - Where a page's own text has `<image>`, `<|endofchunk|>` or the `eos_token`, a space takes its place.

    `tokenizer` gives ids for a text: a list, or a mapping with `input_ids` as those of transformers do. `transform`
    turns a PIL image (RGB) into what a model takes; without it the PIL image is given.
    Raises UserError for a limit without tokenizer.
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
            message = "max_tokens: a limit in tokens needs a tokenizer; give Interleaver one, or leave max_tokens out"
            raise UserError(message)

    def __call__(self, sample: dict[str, Any]) -> Sequence | None:
        """Give the sequence of a sample with `__key__` and `json` (bytes, or the document), None for too few images.

        Raises UserError, with the sample's name, for one that is broken.
        """
        with _named(sample):
            document = sample["json"]
            document = orjson.loads(document) if isinstance(document, bytes) else document
            url, sentences = str(document["url"]), [self._without_marks(item) for item in document["text_list"]]
            images = self._chosen(document["image_info"], len(sentences))
        images_at = Counter(info["matched_text_index"] for info in images)
        number, text, tokens = self._longest_that_fits(sentences, images_at)
        fitting = [info for info in images if info["matched_text_index"] < number]
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
            cut_sentences=len(sentences) - number,
            cut_images=len(images) - len(fitting),
        )

    def _without_marks(self, sentence: str) -> str:
        for mark in filter(None, (IMAGE, END_OF_CHUNK, self._end)):
            sentence = sentence.replace(mark, " ")
        return sentence

    def _chosen(self, infos: list[dict[str, Any]], sentences: int) -> list[dict[str, Any]]:
        """Give the images to use in reading order: MMC4's own shards have them in that of the page."""
        least = self._options.min_similarity
        chosen = [info for info in infos if least is None or info["matched_sim"] >= least]
        for info in chosen:
            if not 0 <= info["matched_text_index"] < sentences:
                message = f"{info['raw_url']} stands at sentence {info['matched_text_index']} of {sentences}"
                raise ValueError(message)
        return sorted(chosen, key=lambda info: int(info["matched_text_index"]))[: self._options.max_images]

    def _longest_that_fits(self, sentences: list[str], images: Counter[int]) -> tuple[int, str, list[int] | None]:
        """Give how many sentences fit into the token limit, their text and its tokens. Counted on the text itself."""
        text = self._text(sentences, images)
        if self._tokenizer is None:
            return len(sentences), text, None
        tokens = _ids(self._tokenizer, text)
        limit = self._options.max_tokens
        if limit is None or len(tokens) <= limit:
            return len(sentences), text, tokens
        best: tuple[int, str, list[int]] = (0, "", [])
        fit, too_many = 0, len(sentences)
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            text = self._text(sentences[:middle], images)
            tokens = _ids(self._tokenizer, text)
            if len(tokens) <= limit:
                fit, best = middle, (middle, text, tokens)
            else:
                too_many = middle
        return best

    def _text(self, sentences: list[str], images: Counter[int]) -> str:
        before, text, seen = self._options.image_place == "before", "", False
        for number, sentence in enumerate(sentences):
            marks = (END_OF_CHUNK if seen else "") + IMAGE * images[number] if images[number] else ""
            seen = seen or bool(marks)
            gap = "" if not text or text.endswith(IMAGE) else " "
            text += (marks or gap) + sentence if before else gap + sentence + marks
        return text + (END_OF_CHUNK if seen else "") + self._end


@contextmanager
def _named(sample: dict[str, Any]) -> Iterator[None]:
    """Give what goes wrong with a sample's name: the data is at fault here, not the tokenizer or the transform."""
    try:
        yield
    except Exception as error:  # any of a dozen types, half of them Pillow's
        name = f"{sample.get('__url__', 'sample')}: {sample.get('__key__', 'without a key')}"
        why = f"{type(error).__name__}: {error}"
        message = f"{name}: no readable document ({why}); check the dataset with `mmc4 verify`"
        raise UserError(message) from error


def _decode(image_base64: str) -> PillowImage.Image:
    return PillowImage.open(BytesIO(base64.b64decode(image_base64, validate=True)), formats=("JPEG",)).convert("RGB")


def _ids(tokenizer: Callable[[str], Any], text: str) -> list[int]:
    result = tokenizer(text)
    return list(result["input_ids"] if isinstance(result, Mapping) else result)
