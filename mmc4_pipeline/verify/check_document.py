"""Checks one document against MMC4's published schema, and what a schema can't say: its parts must fit each other.

`schemas/mmc4_document.schema.json` is the published form; here it is code, because a validator would take longer than
reading the shard. The tests hold the two against each other.
"""

from typing import Any

_DOCUMENT = {"url", "text_list", "image_info", "similarity_matrix", "could_have_url_duplicate"}
_IMAGE = {"image_name", "raw_url", "matched_text_index", "matched_sim", "image_base64"}
_BOX = 5  # left, top, width, height, confidence


def problem_of(document: Any) -> str | None:
    """Say what is wrong with a document of an OpenFlamingo shard, None where nothing is."""
    if not isinstance(document, dict):
        return "it is no JSON object"
    if document.keys() != _DOCUMENT:
        return f"it lacks or adds the fields {sorted(document.keys() ^ _DOCUMENT)}"
    if problem := _problem_of_fields(document):
        return problem
    infos, matrix = document["image_info"], document["similarity_matrix"]
    if problem := _problem_of_matrix(matrix, len(infos), len(document["text_list"])):
        return problem
    problems = (
        _problem_of_image(info, row) or _problem_of_faces(info.get("face_detections"))
        for info, row in zip(infos, matrix, strict=True)
    )
    return next((f"image {number} {problem}" for number, problem in enumerate(problems) if problem), None)


def _problem_of_fields(document: dict[str, Any]) -> str | None:
    texts, duplicate = document["text_list"], document["could_have_url_duplicate"]
    if not isinstance(document["url"], str):
        return "its url is no text"
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return "its text_list is no list of sentences"
    if type(duplicate) is not int or duplicate not in (0, 1):
        return "its could_have_url_duplicate is neither 0 nor 1"
    return None if isinstance(document["image_info"], list) else "its image_info is no list"


def _problem_of_matrix(matrix: Any, images: int, sentences: int) -> str | None:
    if not isinstance(matrix, list) or not all(isinstance(row, list) for row in matrix):
        return "its similarity_matrix is no list of rows"
    if len(matrix) != images or any(len(row) != sentences for row in matrix):
        return f"its similarity_matrix is not of {images} images x {sentences} sentences"
    if not all(_is_similarity(value) for row in matrix for value in row):
        return "its similarity_matrix holds something else than numbers from -1 to 1"
    return None


def _problem_of_image(info: Any, row: list[float]) -> str | None:
    if not isinstance(info, dict):
        return "is no JSON object"
    if info.keys() - {"face_detections"} != _IMAGE:
        return f"lacks or adds the fields {sorted((info.keys() - {'face_detections'}) ^ _IMAGE)}"
    if not all(isinstance(info[name], str) for name in ("image_name", "raw_url", "image_base64")):
        return "has a name, URL or image that is no text"
    place = info["matched_text_index"]
    if type(place) is not int or not 0 <= place < len(row):
        return f"is matched to sentence {place!r} of {len(row)}"
    if not _is_similarity(info["matched_sim"]) or info["matched_sim"] != row[place]:
        return f"has the matched_sim {info['matched_sim']!r}, but {row[place]} in the similarity_matrix"
    return None


def _problem_of_faces(boxes: Any) -> str | None:
    if boxes is None:
        return None
    fits = isinstance(boxes, list) and all(isinstance(box, list) and len(box) == _BOX for box in boxes)
    if not fits or not boxes or not all(type(value) in (int, float) for box in boxes for value in box):
        return "has face_detections that are neither null nor boxes of five numbers"
    return None


def _is_similarity(value: Any) -> bool:
    return type(value) in (int, float) and -1 <= value <= 1
