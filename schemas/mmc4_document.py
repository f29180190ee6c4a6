"""MMC4's published document: one line of its JSON Lines files, one JSON file in OpenFlamingo's shards.

`schemas/mmc4_document.schema.json`, which users read, is `json_schema()`; a test compares them.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

Similarity = Annotated[float, Meta(ge=-1, le=1)]
Box = Annotated[
    list[float],
    Meta(
        min_length=5,
        max_length=5,
        description="left, top, width and height in pixels of the stored image; the detector's confidence",
    ),
]


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image of a document."""

    image_name: Annotated[str, Meta(description="hash of the image's URL, with an extension")]
    raw_url: Annotated[str, Meta(description="URL of the image")]
    matched_text_index: Annotated[
        int, Meta(ge=0, description="index in text_list of the sentence that the image was assigned to")
    ]
    matched_sim: Annotated[Similarity, Meta(description="similarity of the image and that sentence")]
    follows_sentence: Annotated[
        bool | UnsetType,
        Meta(
            description="true if the image stands after that sentence, which is the last; left out if it stands before "
            "it. Only datasets in the order of the page have such images"
        ),
    ] = UNSET
    face_detections: Annotated[
        Annotated[list[Box], Meta(min_length=1)] | None,
        Meta(
            description="one box per face; null if none was found, or if images were not searched for faces, in which "
            "case manifest.json has no face_detector"
        ),
    ] = None
    caption: Annotated[
        str | UnsetType,
        Meta(
            description="caption that a model wrote for the image, not one from the page; left out unless the recipe "
            "uses such scores"
        ),
    ] = UNSET
    image_base64: Annotated[
        str | UnsetType,
        Meta(
            description="the JPEG, in OpenFlamingo's shards only",
            extra_json_schema={"contentEncoding": "base64", "contentMediaType": "image/jpeg"},
        ),
    ] = UNSET


class EmbeddedImage(ImageInfo, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image of a document in OpenFlamingo's shards."""

    image_base64: str


Info = TypeVar("Info", bound=ImageInfo, covariant=True)  # noqa: PLC0105 - of one class, where the short name reads better


class Mmc4Document(msgspec.Struct, Generic[Info], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document: the sentences of a page and its images."""

    url: Annotated[str, Meta(description="URL of the page")]
    text_list: Annotated[list[str], Meta(min_length=1, description="the page's sentences, in order")]
    image_info: Annotated[list[Info], Meta(description="the page's images, in reading order")]
    similarity_matrix: Annotated[
        list[list[Similarity]],
        Meta(description="CLIP's cosine similarities: one row per image of image_info, one column per sentence"),
    ]
    could_have_url_duplicate: Annotated[
        Literal[0, 1], Meta(description="1 if the crawl has more than one capture of the page's URL")
    ]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a published document."""
    schema = msgspec.json.schema(Mmc4Document[ImageInfo])
    parts = schema["$defs"]
    document, image = parts["Mmc4Document_ImageInfo_"], parts["ImageInfo"]
    document["properties"]["image_info"]["items"] = image
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "MMC4 document"}


def fields_of(record: type[msgspec.Struct]) -> dict[str, str]:
    """Return the description of each field of a document, or of an image."""
    properties = json_schema()["properties"]
    if issubclass(record, ImageInfo):
        properties = properties["image_info"]["items"]["properties"]
    return {name: field["description"] for name, field in properties.items()}
