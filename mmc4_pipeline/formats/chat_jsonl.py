"""Conversations for fine-tuning, with image files: a tar that unpacks to JSON lines and a folder of images.

`chat_jsonl/shard-00003.tar` has `shard-00003.jsonl` and `images/0/0003/0/<key>-0.jpg`, …: no folder has more than
10,000 images. Unpack all tars into one folder; the paths in the lines start there. A line is a document, or a part of
one if `max_tokens` splits it. examples/trainers/conversations.md shows how to train. `template` says for whom:

- `qwen_vl`: Qwen-VL (QwenLM/Qwen3-VL, qwen-vl-finetune/qwenvl/data/data_processor.py): `conversations` and `image`.
  Images are read in `human` turns only, and there is one `<image>` for each of them.
- `llava`: LLaVA-NeXT (LLaVA-VL/LLaVA-NeXT, llava/train/train.py): the same, with a line break after each `<image>`. The
  loader moves an image to the beginning of its turn, so no turn has text before an image.
- `ms_swift`: ms-swift (docs/source_en/Customization/Custom-dataset.md, "Pre-training" of multimodal data): `messages`
  with one message of the assistant, and `images`.

A `human` turn has the images that stand in a row, the `gpt` turn the text that follows; either is empty if the document
begins with text or ends with an image. Words that the loaders would take for a place of media (`<image>`) are made
harmless in texts (see `inert_text.py`), and a sentence without characters is a space.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, BinaryIO, Literal

import orjson
from annotated_types import Ge

from mmc4_pipeline.formats.base import Json
from mmc4_pipeline.formats.sequence import Row, SequenceFormat
from mmc4_pipeline.inert_text import inert
from mmc4_pipeline.naming import PER_FOLDER
from mmc4_pipeline.sequence import Part, joined, split, texts_of
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, members_of, open_tar, read_image, unreadable

_IMAGE = "<image>"
_BYTES_PER_TOKEN = 3  # of UTF-8: English has over four, so that lines are rather too short than too long


@dataclass(frozen=True)
class ChatJsonl(SequenceFormat):
    """Lines of a template, with image files.

    `max_tokens` splits documents, in whole sentences, into lines of about that many tokens: three bytes of text count
    as one, and an image as `image_tokens`. An image stays with the sentence that follows it. A single sentence is never
    split, however long it is.
    """

    template: Literal["qwen_vl", "llava", "ms_swift"] = "qwen_vl"
    max_tokens: Annotated[int, Ge(1)] | None = None
    image_tokens: Annotated[int, Ge(1)] = 1024

    folder = "chat_jsonl"
    extension = "tar"
    media_type = "application/x-tar"

    @contextmanager
    def writing(self, writer: HashingWriter, stem: str) -> Iterator[Callable[[Row], None]]:
        """Open a new shard. The lines are in memory until its end; they come last in the tar."""
        lines: list[bytes] = []
        written = 0
        digits = stem.rpartition("-")[2]
        with open_tar(writer) as tar:

            def write(row: Row) -> None:
                nonlocal written
                paths = []
                for number, jpeg in enumerate(row["images"]):
                    folder = f"images/{digits[:-4]}/{digits[-4:]}/{written // PER_FOLDER}"
                    paths.append(f"{folder}/{row['key']}-{number}.jpg")
                    add_file(tar, paths[-1], jpeg)
                    written += 1
                lines.extend(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in self._lines(row, paths))

            yield write
            add_file(tar, f"{stem}.jsonl", b"".join(lines))

    def rows(self, stream: BinaryIO, path: str) -> Iterator[Row]:
        """Yield the rows; the images of one are in memory."""
        members = {member.name: member for member in members_of(stream, path)}
        last = next(reversed(members.values()), None)
        if last is None or not last.name.endswith(".jsonl"):
            raise unreadable(path, "it has no lines")
        try:
            lines = [orjson.loads(line) for line in read_image(stream, last.offset, last.size).splitlines()]
            for key, group in groupby(lines, key=lambda line: line["id"].rpartition("-")[0]):
                of_document = list(group)
                paths = [name for line in of_document for name in self._paths(line)]
                images = [read_image(stream, members[name].offset, members[name].size) for name in paths]
                yield self._row(key, of_document, images)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(path, f"it has a line that is not of this format: {error!r}") from error

    def _lines(self, row: Row, paths: list[str]) -> Iterator[Json]:
        """Yield the lines of a row, whose images have these paths."""
        sentences = split(row["texts"], row["sentence_lengths"])
        parts = [inert(part) or " " if isinstance(part, str) else part for part in sentences]
        for number, piece in enumerate(self._pieces(parts)):
            images = [part for part in piece if isinstance(part, int)]
            yield {
                "id": f"{row['key']}-{number}",
                "url": row["url"],
                "image_urls": [row["image_urls"][image] for image in images],
                "sentence_lengths": [len(part) for part in piece if isinstance(part, str)],
                **self._conversation(texts_of(joined(piece)), [paths[image] for image in images]),
            }

    def _pieces(self, parts: list[Part]) -> Iterator[list[Part]]:
        """Yield the sequence in pieces that fit the limit. A piece ends with a sentence, the last one perhaps not."""
        piece: list[Part] = []
        tokens = 0
        for unit in _units(parts):
            size = sum(self._tokens(part) for part in unit)
            if piece and self.max_tokens is not None and tokens + size > self.max_tokens:
                yield piece
                piece, tokens = [], 0
            piece = piece + unit
            tokens += size
        yield piece

    def _tokens(self, part: Part) -> int:
        return self.image_tokens if isinstance(part, int) else -(-len(part.encode()) // _BYTES_PER_TOKEN)

    def _conversation(self, texts: list[str | None], paths: list[str]) -> Json:
        if self.template == "ms_swift":
            content = "".join(_IMAGE if text is None else text for text in texts)
            return {"messages": [{"role": "assistant", "content": content}], "images": paths}
        end = "\n" if self.template == "llava" else ""
        turns: list[Json] = []
        for is_image, run in groupby(texts, key=lambda text: text is None):
            if is_image or not turns:
                marks = f"{_IMAGE}{end}" * sum(1 for _ in run) if is_image else ""
                turns.append({"from": "human", "value": marks})
            if not is_image:
                turns.append({"from": "gpt", "value": "".join(text or "" for text in run)})
        if len(turns) % 2:
            turns.append({"from": "gpt", "value": ""})
        return {"conversations": turns} | ({"image": paths} if paths else {})

    def _paths(self, line: Json) -> list[str]:
        return line.get("images" if self.template == "ms_swift" else "image") or []

    def _row(self, key: str, lines: list[Json], images: list[bytes]) -> Row:
        """Return the row of a document's lines; raises ValueError or KeyError if they are not of this template."""
        parts: list[Part] = []
        for line in lines:
            texts = self._texts(line)
            if len(self._paths(line)) != len(line["image_urls"]) or texts.count(None) != len(line["image_urls"]):
                raise ValueError(f"{line['id']} does not have one {_IMAGE} for each image")
            parts += [part if isinstance(part, str) else 0 for part in split(texts, line["sentence_lengths"])]
        return Row(
            key=key,
            url=lines[0]["url"],
            sentence_lengths=[length for line in lines for length in line["sentence_lengths"]],
            texts=texts_of(joined(parts)),
            images=images,
            image_urls=[url for line in lines for url in line["image_urls"]],
        )

    def _texts(self, line: Json) -> list[str | None]:
        """Return a line's texts, with None in place of each image."""
        if self.template == "ms_swift":
            first, *others = line["messages"][0]["content"].split(_IMAGE)
            texts = [first]
            for text in others:
                texts += [None, text]
            return [text for text in texts if text != ""]
        texts = []
        for turn in line["conversations"]:
            value = turn["value"]
            texts += [None] * value.count(_IMAGE) if turn["from"] == "human" else [value] * bool(value)
        return texts


def _units(parts: list[Part]) -> Iterator[list[Part]]:
    """Yield each sentence with the images before it, and the images after the last sentence with that one."""
    units: list[list[Part]] = []
    images: list[Part] = []
    for part in parts:
        images.append(part)
        if isinstance(part, str):
            units.append(images)
            images = []
    if images:
        units[-1:] = [[*(units[-1] if units else []), *images]]
    yield from units
