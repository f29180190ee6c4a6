"""Rows in the layouts of published datasets, as their cards and files have them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.published.files import LAYOUTS, layout_of, read_published
from mmc4_pipeline.published.layout import PublishedDocument
from tests.mmc4_pipeline.file_server import INPUTS

URL = "https://a.example/page"
PHOTO, PICTURE = "https://i.example/photo.jpg", "https://i.example/picture.png"
TEXTS = ["First sentence. Second one.", "Third sentence here."]
IMAGES_AND_TEXTS = {"images": [PHOTO, None, PICTURE, None], "texts": [None, TEXTS[0], None, TEXTS[1]]}

MMC4: dict[str, Any] = {
    "text_list": ["One.", "Two.", "Three."],
    "url": URL,
    "image_info": [
        {
            "image_name": "b9040a0dbb22.jpg",
            "raw_url": PHOTO,
            "matched_text_index": 2,
            "matched_sim": 0.27694183588027954,
            "face_detections": None,
        },
        {
            "image_name": "db1c21bc8474.png",
            "raw_url": PICTURE,
            "matched_text_index": 0,
            "matched_sim": 0.3234919607639313,
            "face_detections": None,
        },
    ],
    "similarity_matrix": [[0.24, 0.2, 0.27694183588027954], [0.3234919607639313, 0.1, 0.2]],
    "could_have_url_duplicate": 0,
}
OBELICS = IMAGES_AND_TEXTS | {
    "metadata": json.dumps(
        [
            {
                "document_url": URL,
                "unformatted_src": PHOTO,
                "src": PHOTO,
                "formatted_filename": "photo",
                "alt_text": "A  photo",
                "rendered_width": 320,
                "rendered_height": 240,
                "original_width": 640,
                "original_height": 480,
                "format": "jpeg",
            },
            None,
            {"document_url": URL, "unformatted_src": PICTURE, "src": PICTURE, "formatted_filename": "picture"},
            None,
        ]
    ),
    "general_metadata": json.dumps(
        {
            "url": URL,
            "warc_filename": "crawl-data/CC-MAIN-2020-24/segments/1590347392057.6/warc/"
            "CC-MAIN-20200527013445-20200527043445-00244.warc.gz",
            "warc_record_offset": 100,
            "warc_record_length": 20,
        }
    ),
}
_OF_IMAGE = {
    "aesthetic_prob": 0.5,
    "bytes": 1000,
    "d_hash": "0f",
    "d_hash_dup_count": 1,
    "height": 480,
    "img_url_sha": "ab",
    "p_hash": "f0",
    "p_hash_dup_count": 1,
    "unsafe_prob": 0.1,
    "width": 640,
}
OMNICORPUS = IMAGES_AND_TEXTS | {
    "general_metadata": {
        "domain": ["a", "example"],
        "fluency_prob": 0.9,
        "id": "12345",
        "non_advertisement_prob": 0.9,
        "politics_prob": 0.1,
        "porn_prob": 0.0,
        "toxic_prob": 0.0,
        "url": URL,
    },
    "metadata": [_OF_IMAGE, None, _OF_IMAGE, None],
}
MINT1T = IMAGES_AND_TEXTS | {
    "url": URL,
    "cc_dump": "CC-MAIN-2018-22",
    "image_hashes": ["ab", "cd"],
    "images_metadata": [{"width": 640, "height": 480}],
}


def parquet(path: Path, *rows: dict[str, Any], schema: pa.Schema | None = None) -> Path:
    """Write rows to a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def documents(path: Path, first: int | None = None) -> list[PublishedDocument | str]:
    """Return the documents of a file, or why there is none, by the layout that its fields show."""
    name = layout_of(INPUTS, str(path))
    assert name is not None
    return list(read_published(INPUTS, str(path), LAYOUTS[name], first))


def places(document: PublishedDocument | str) -> list[tuple[str, int | None, int | None]]:
    """Return each image's URL, the sentence that it follows, and the one that it was assigned to."""
    assert isinstance(document, PublishedDocument), document
    return [(image.url, image.after_sentence, image.sentence) for image in document.images]
