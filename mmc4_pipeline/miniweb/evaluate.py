"""Measure the small models on a generated miniature web.

    python -m mmc4_pipeline.miniweb.evaluate FOLDER

Like the pipeline, it preprocesses the pictures with open_clip, computes the similarities of each page's pictures and
sentences, and solves the assignment. Then it compares the results with the truth.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Pillow
from scipy.optimize import linear_sum_assignment

from mmc4_pipeline.miniweb import models
from mmc4_pipeline.miniweb.serve import load_responses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmc4_pipeline.miniweb.planting import Response

FLOOR = 0.15


@dataclass
class Measured:
    """The results for one web; similarities and probabilities are plain floats, one per picture."""

    right: list[bool] = field(default_factory=list)  # described pictures: assigned to their own sentence
    own: list[float] = field(default_factory=list)  # described pictures: similarity to their own sentence
    off_topic: list[float] = field(default_factory=list)  # best similarity to any sentence of the page
    hazard: list[float] = field(default_factory=list)  # nsfw probability of the hazard pictures
    harmless: list[float] = field(default_factory=list)  # and of all others
    face: list[float] = field(default_factory=list)  # face probability of the faces
    faceless: list[float] = field(default_factory=list)  # and of all others


def _body(responses: dict[str, Response], url: str) -> bytes:
    """Return the bytes at the end of any redirects."""
    response = responses[url]
    while headers := {key: value for key, value in response.headers if key == "Location"}:
        response = responses[headers["Location"]]
    return response.body


def measure(folder: Path) -> Measured:
    """Run the models on every picture of the web in `folder` that a pipeline would score."""
    truth = json.loads((folder / "truth.json").read_text())
    responses = load_responses(folder)
    clip, preprocess, tokenise = models.load_clip()
    by_page: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for link in truth["links"]:
        if link["reason"] in (None, "nsfw", "low_similarity"):
            by_page[link["page_url"]].append(link)
    measured = Measured()
    with torch.inference_mode():
        for page_url, links in by_page.items():
            pictures = [Pillow.open(io.BytesIO(_body(responses, link["image_url"]))) for link in links]
            features = clip.encode_image(torch.stack([preprocess(picture) for picture in pictures]), normalize=True)
            sentences = truth["pages"][page_url]["sentences"]
            similarity = (features @ clip.encode_text(tokenise(sentences), normalize=True).T).numpy()
            _compare(measured, links, sentences, similarity)
            _probabilities(measured, links, features)
    return measured


def _compare(
    measured: Measured, links: list[dict[str, Any]], sentences: list[str], similarity: NDArray[np.float32]
) -> None:
    """Add one page; `similarity` has shape (pictures, sentences). Only pictures that should be kept are assigned."""
    kept = [number for number, link in enumerate(links) if link["reason"] is None]
    for row, column in zip(*linear_sum_assignment(similarity[kept], maximize=True), strict=True):
        measured.right.append(links[kept[row]]["sentence"] == sentences[column])
    for number in kept:
        measured.own.append(float(similarity[number, sentences.index(links[number]["sentence"])]))
    off_topic = [number for number, link in enumerate(links) if link["kind"] == "off_topic"]
    measured.off_topic += similarity[off_topic].max(axis=1).tolist()


def _probabilities(measured: Measured, links: list[dict[str, Any]], features: torch.Tensor) -> None:
    """Add the heads' probabilities for one page's features (pictures, width)."""
    nsfw, faces = models.load_heads(features.shape[1])
    for link, unsafe, face in zip(links, nsfw(features).tolist(), faces(features).tolist(), strict=True):
        (measured.hazard if link["kind"] == "hazard" else measured.harmless).append(unsafe)
        (measured.face if link["kind"] == "face" else measured.faceless).append(face)


def summary(measured: Measured, floor: float = FLOOR) -> dict[str, float]:
    """Return shares and extreme values."""
    own, off_topic = np.array(measured.own), np.array(measured.off_topic)
    return {
        "described pictures": len(own),
        "assigned to their own sentence": float(np.mean(measured.right)),
        "own similarity, lowest": float(own.min()),
        "own similarity, lowest 0.5%": float(np.quantile(own, 0.005)),
        "own similarity, median": float(np.median(own)),
        "own similarity above the floor": float(np.mean(own >= floor)),
        "off-topic best similarity, highest": float(off_topic.max()),
        "off-topic best similarity, highest 2%": float(np.quantile(off_topic, 0.98)),
        "off-topic below the floor": float(np.mean(off_topic < floor)),
        "hazard above 0.5": float(np.mean(np.array(measured.hazard) > 0.5)),
        "hazard, lowest": min(measured.hazard),
        "others above 0.05": float(np.mean(np.array(measured.harmless) > 0.05)),
        "others, highest": max(measured.harmless),
        "faces found at 0.5": float(np.mean(np.array(measured.face) >= 0.5)),
        "others found at 0.5": float(np.mean(np.array(measured.faceless) >= 0.5)),
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for name, value in summary(measure(args.folder)).items():
        sys.stdout.write(f"{name:40} {value:.4f}\n")


if __name__ == "__main__":
    main()
