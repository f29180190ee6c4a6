"""WebDataset shards with image files: as plain webdataset groups them."""

import io
import json
import tarfile
from collections.abc import Callable

import numpy as np
import orjson
import pytest
import webdataset
from PIL import Image as Picture

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.write_shards import as_json as as_plan
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.mmc4_jsonl import as_json
from mmc4_pipeline.formats.webdataset import WebDataset
from mmc4_pipeline.sequence import images_of, sequence_of, texts_of
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, open_tar, read_files
from tests.mmc4_pipeline.formats.pictures import jpeg


def expected(document: CutDocument) -> dict[str, object]:
    images = {f"{number}.jpg": jpeg(item.image) for number, item in enumerate(document.placed)}
    return {"__key__": document.page.key, "json": with_sequence(document), **images}


def with_sequence(document: CutDocument) -> dict[str, object]:
    parts = sequence_of(document)
    names = [f"{document.page.key}.{number}.jpg" for number in range(len(document.placed))]
    return as_json(document) | {"texts": texts_of(parts), "images": images_of(parts, names)}


def test_what_was_written_comes_back(documents: list[CutDocument], write: Callable, read: Callable) -> None:
    samples = read(WebDataset(), write(WebDataset(), documents))
    assert samples == [expected(document) for document in documents if document.reason is None]
    assert [len(sample) - 2 for sample in samples] == [2, 3, 2]


def test_webdataset_groups_and_decodes_it(documents: list[CutDocument], write: Callable) -> None:
    path = write(WebDataset(), documents)
    kept = [document for document in documents if document.reason is None]
    plain = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in plain] == [document.page.key for document in kept]
    for sample, document in zip(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"), kept, strict=True):
        assert sample["json"] == with_sequence(document)
        for number, item in enumerate(document.placed):
            assert np.array_equal(sample[f"{number}.jpg"], np.asarray(Picture.open(io.BytesIO(jpeg(item.image)))))


@pytest.mark.parametrize("lost", [".json", ".1.jpg"])
def test_a_document_with_a_file_missing_is_refused(
    lost: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    path = write(WebDataset(), documents)
    with tarfile.open(path) as tar:
        files = [(member, tar.extractfile(member).read()) for member in tar if member.name != f"{0:032x}{lost}"]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for member, data in files:
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match=f"{path.name}.*{0:032x}"):
        read(WebDataset(), path)


def test_the_sequence_names_the_files_as_mint_1t_does(in_page_order: list[CutDocument], write: Callable) -> None:
    """The rules of NeMo Curator's reader (nemo_curator/stages/interleaved/io/readers/webdataset.py).

    `texts` and `images` are lists; position i is a text if `texts[i]` is not null, and the file that `images[i]` names
    otherwise; the sample is named by the file name up to its last dot.
    """
    with tarfile.open(write(WebDataset(), in_page_order)) as tar:
        found = {}
        for name in tar.getnames():
            if name.endswith(".json"):
                document = json.load(tar.extractfile(name))  # type: ignore[arg-type]
                texts, images = document["texts"], document["images"]
                assert [text is None for text in texts] == [image is not None for image in images]
                found[name.rpartition(".")[0]] = [
                    tar.extractfile(image).read() if image else text  # type: ignore[union-attr]
                    for image, text in zip(images, texts, strict=True)
                ]
    for document in in_page_order:
        pictures = [jpeg(item.image) for item in document.placed]
        parts = [part if isinstance(part, str) else pictures[part] for part in sequence_of(document)]
        assert found[document.page.key] == parts


def test_a_copy_of_an_earlier_version_s_shard_is_one(documents: list[CutDocument], write: Callable) -> None:
    path = write(WebDataset(), documents)
    earlier, target = io.BytesIO(), io.BytesIO()
    with path.open("rb") as stream, open_tar(earlier) as tar:
        for name, data in read_files(stream, str(path)):
            document = json.loads(data) if name.endswith(".json") else {}
            old = {field: document[field] for field in document if field not in ("texts", "images")}
            add_file(tar, name, orjson.dumps(old) if old else data)
    earlier.seek(0)
    WebDataset().copy_shard(earlier, "a.tar", HashingWriter(target), "a", lambda _, urls: [True] * len(urls))
    assert target.getvalue() == earlier.getvalue()


def test_a_plan_records_the_version() -> None:
    assert as_plan({"webdataset": WebDataset()}) == [{"name": "webdataset", "version": 2}]
