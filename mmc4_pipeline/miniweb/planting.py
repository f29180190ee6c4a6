"""Define what is planted in the miniature web, and make the picture and the response of one planted image link.

A `Plant` is one way an image link can turn out: the kind of picture, the variant (its format, its size or the behaviour
of the server), and the reason for which the pipeline should drop it, or None if it should keep it.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.fftpack import dct

from mmc4_pipeline.miniweb import drawing, text
from mmc4_pipeline.miniweb.drawing import COLOURS, FACE_COLOURS, PAINTERS, SHAPES, TEXTURES, Image, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Hash = NDArray[np.bool_]


@dataclass(frozen=True)
class Plant:
    """One way a link can turn out; 200 pages have `count` of them."""

    kind: str
    variant: str
    reason: str | None
    count: int


PLANTS = (
    Plant("icon", "gif", "url_extension", 12),
    Plant("icon", "svg", "url_extension", 12),
    Plant("off_topic", "webp", "url_extension", 12),
    Plant("button", "logo", "url_token", 24),
    Plant("button", "button", "url_token", 14),
    Plant("button", "plugin", "url_token", 6),
    Plant("icon", "icon", "url_token", 12),
    Plant("icon", "widget", "url_token", 6),
    Plant("scene", "404", "http_error", 18),
    Plant("scene", "410", "http_error", 6),
    Plant("scene", "403", "http_error", 4),
    Plant("scene", "500", "http_error", 12),
    Plant("scene", "slow", "timeout", 4),
    Plant("scene", "dead_host", "host_unavailable", 24),
    Plant("scene", "noai", "opted_out", 10),
    Plant("scene", "noimageai", "opted_out", 8),
    Plant("scene", "noindex", "opted_out", 8),
    Plant("scene", "noimageindex", "opted_out", 6),
    Plant("scene", "robots_txt", "robots", 14),
    Plant("scene", "html", "not_an_image", 16),
    Plant("scene", "html_as_jpeg", "not_an_image", 12),
    Plant("scene", "truncated_jpeg", "corrupt", 16),
    Plant("scene", "truncated_png", "corrupt", 12),
    Plant("ad", "728x90", "too_small", 14),
    Plant("ad", "468x60", "too_small", 10),
    Plant("ad", "300x50", "too_small", 8),
    Plant("icon", "64x64", "too_small", 14),
    Plant("thumbnail", "149x149", "too_small", 8),
    Plant("thumbnail", "200x140", "too_small", 6),
    Plant("ad", "160x600", "aspect_ratio", 14),
    Plant("panorama", "640x200", "aspect_ratio", 10),
    Plant("panorama", "200x410", "aspect_ratio", 8),
    Plant("scene", "same_url", "document_duplicate", 18),
    Plant("scene", "same_bytes", "document_duplicate", 14),
    Plant("scene", "reencoded", "document_duplicate", 16),
    Plant("hazard", "jpeg", "nsfw", 32),
    Plant("hazard", "png", "nsfw", 8),
    Plant("off_topic", "jpeg", "low_similarity", 38),
    Plant("off_topic", "png", "low_similarity", 12),
    Plant("scene", "jpeg", None, 310),
    Plant("scene", "png", None, 70),
    Plant("scene", "redirect", None, 16),
    Plant("scene", "png_as_jpeg", None, 12),
    Plant("scene", "busy", None, 6),
    Plant("scene", "other_agent", None, 8),
    Plant("scene", "all", None, 8),
    Plant("scene", "gray_jpeg", None, 6),
    Plant("scene", "gray_png", None, 4),
    Plant("scene", "palette_png", None, 8),
    Plant("scene", "rgba_png", None, 8),
    Plant("scene", "upper_case", None, 4),
    Plant("scene", "query", None, 12),
    Plant("scene", "1200x900", None, 8),
    Plant("scene", "150x200", None, 6),
    Plant("scene", "320x160", None, 6),
    Plant("face", "jpeg", None, 40),
)
DUPLICATES = {"same_url": "exact", "same_bytes": "exact", "reencoded": "reencoded"}
TOKENS = ("logo", "button", "plugin", "icon", "widget")

_ROBOTS = {
    "noai": "noai",
    "noimageai": "noarchive, noimageai",
    "noindex": "noindex, nofollow",
    "noimageindex": "noimageindex",
    "other_agent": "othername: noindex",
    "all": "all",
}
_FORMATS = {
    "png": "png",
    "truncated_png": "png",
    "gray_png": "gray_png",
    "palette_png": "palette_png",
    "rgba_png": "rgba_png",
    "png_as_jpeg": "png",
    "gray_jpeg": "gray_jpeg",
    "gif": "gif",
    "svg": "svg",
    "webp": "webp",
}
_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "svg": "image/svg+xml", "webp": "image/webp"}
_HTML = b"<!DOCTYPE html><html><head><title>Moved</title></head><body><p>This picture has moved.</p></body></html>"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64"/></svg>'

# For the pipeline, hashes within 5 bits are duplicates. The planted pictures stay away from that threshold on both
# sides, so that another implementation of the hash, which differs by a few bits, finds the same duplicates.
DISTINCT_BITS = 16
MIN_SIDE = 150
SAME_BITS = 3


@dataclass(frozen=True)
class Response:
    """The response of the server for a URL.

    `behaviour` is "normal", "slow" (no response for a long time), "close" (the connection is closed without a response)
    or "busy" (503 with Retry-After at first).
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    behaviour: str = "normal"


@dataclass
class Shown:
    """The pictures that a page already has, from which new ones must differ."""

    hashes: list[Hash] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its size in pixels."""

    data: bytes
    width: int
    height: int


def phash(data: bytes) -> Hash:
    """Return the 64 bits of an encoded picture's perceptual hash, the same as those of the package imagehash."""
    pixels = np.asarray(Pillow.open(io.BytesIO(data)).convert("L").resize((32, 32), Pillow.Resampling.LANCZOS))
    low = dct(dct(pixels.astype(np.float64), axis=0), axis=1)[:8, :8]
    return np.asarray(low > np.median(low), np.bool_).ravel()


def distance(one: Hash, other: Hash) -> int:
    """Return the number of bits in which two hashes differ."""
    return int(np.count_nonzero(one != other))


def size_of(variant: str, rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height in pixels: those that the variant names, else random ones that pass every filter."""
    if re.fullmatch(r"\d+x\d+", variant):
        width, height = variant.split("x")
        return int(width), int(height)
    short, ratio = rng.uniform(165, 260), rng.uniform(1, 1.75)
    long = int(short * ratio)
    return (long, int(short)) if rng.random() < 0.6 else (int(short), long)


def encode(picture: Image, form: str, quality: int) -> bytes:
    """Encode an RGB picture as "jpeg", "png", "gif", "webp" or one of the unusual forms of PNG and JPEG."""
    if form in ("jpeg", "png", "webp"):
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if form == "jpeg" else []
        _, data = cv2.imencode(f".{form}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
        return data.tobytes()
    pillow = Pillow.fromarray(picture)
    if form.startswith("gray"):
        pillow = pillow.convert("L")
    elif form == "rgba_png":
        alpha = np.full(picture.shape[:2], 255, np.uint8)
        alpha[:3], alpha[-3:] = 0, 0
        pillow.putalpha(Pillow.fromarray(alpha))
    else:
        pillow = pillow.quantize(128)
    out = io.BytesIO()
    pillow.save(out, form.rpartition("_")[2], **({"quality": quality} if form == "gray_jpeg" else {}))
    return out.getvalue()


def new_scene(plant: Plant, shown: Shown, rng: np.random.Generator) -> Scene:
    """Return a random scene that differs from every other scene of the page in at least two attributes."""
    colours: Iterable[str] = FACE_COLOURS if plant.kind == "face" else COLOURS
    if plant.variant.startswith("gray"):  # in grey only these two can be recognised
        colours = ("black", "white")
    shapes, textures = (("face",), ("plain",)) if plant.kind == "face" else (SHAPES, TEXTURES)
    while True:
        colour, shape, texture = (str(rng.choice(list(names))) for names in (colours, shapes, textures))
        scene = Scene(colour, shape, texture, int(rng.integers(1_000_000_000)))
        shared = (len(set(scene.attributes) & set(other.attributes)) for other in shown.scenes)
        if all(number <= 1 for number in shared):
            return scene


def _draw(plant: Plant, scene: Scene | None, seed: int, width: int, height: int) -> Image:
    if scene is not None:
        return drawing.draw(Scene(*scene.attributes, seed), width, height)
    if plant.kind in ("thumbnail", "panorama"):
        return drawing.draw(Scene("green", "circle", "plain", seed), width, height)
    return PAINTERS[plant.kind](seed, width, height)


def new_picture(plant: Plant, scene: Scene | None, shown: Shown, rng: np.random.Generator) -> Picture:
    """Draw and encode a picture whose hash is far from the hashes of the page's other pictures."""
    width, height = size_of(plant.variant, rng)
    if plant.variant == "svg":
        return Picture(_SVG, 64, 64)
    if plant.kind in ("icon", "button") and plant.variant != "64x64":
        width, height = 120, 40
    form = _FORMATS.get(plant.variant, "jpeg")
    while True:
        picture = _draw(plant, scene, int(rng.integers(1_000_000_000)), width, height)
        data = encode(picture, form, int(rng.integers(72, 93)))
        code = phash(data)
        if all(distance(code, other) >= DISTINCT_BITS for other in shown.hashes):
            shown.hashes.append(code)
            return Picture(data, width, height)


def reencoded(original: Picture, rng: np.random.Generator) -> tuple[Picture, str]:
    """Resize the picture slightly and encode it again. Return it with its form, "jpeg" or "png"."""
    decoded = np.asarray(cv2.imdecode(np.frombuffer(original.data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    code = phash(original.data)
    while True:
        scale = rng.uniform(0.93, 1.15)
        width, height = round(original.width * scale), round(original.height * scale)
        form = "png" if rng.random() < 0.3 else "jpeg"
        resized = cv2.cvtColor(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        data = encode(np.asarray(resized, np.uint8), form, int(rng.integers(50, 96)))
        passes = min(width, height) >= MIN_SIDE and max(width, height) <= 2 * min(width, height)
        if passes and distance(phash(data), code) <= SAME_BITS:
            return Picture(data, width, height), form


def file_ending(variant: str) -> str:
    """Return the ending of the image's URL, with its dot."""
    if variant == "upper_case":
        return ".JPG"
    form = "jpeg" if variant == "png_as_jpeg" else _FORMATS.get(variant, "jpeg").rpartition("_")[2]
    return {"jpeg": ".jpg"}.get(form, f".{form}")


def response(variant: str, picture: Picture | None) -> Response:
    """Return the response for the URL of a planted link; `picture` is None if the response is not an image."""
    if variant.isdigit():
        return Response(int(variant), (("Content-Type", "text/plain"),), b"no such picture here")
    if variant == "dead_host":
        return Response(behaviour="close")
    if variant in ("html", "html_as_jpeg") or picture is None:
        return Response(200, (("Content-Type", "text/html" if variant == "html" else "image/jpeg"),), _HTML)
    form = "jpeg" if variant == "png_as_jpeg" else _FORMATS.get(variant, "jpeg").rpartition("_")[2]
    headers = [("Content-Type", _TYPES[form])]
    if variant in _ROBOTS:
        headers.append(("X-Robots-Tag", _ROBOTS[variant]))
    body = picture.data[: len(picture.data) * 2 // 5] if variant.startswith("truncated") else picture.data
    return Response(200, tuple(headers), body, variant if variant in ("slow", "busy") else "normal")


def robots_txt(site: str) -> Response:
    """Return the robots.txt of a site's image host, which forbids its private folder to all agents, or to ours."""
    agent = "*" if len(site) % 2 else "mmc4-pipeline"
    rules = f"User-agent: {agent}\nDisallow: /private/\n\nUser-agent: othername\nDisallow: /\n"
    return Response(200, (("Content-Type", "text/plain"),), rules.encode())


def shows_picture(variant: str) -> bool:
    """Return whether the response of the variant's URL has a picture."""
    return not (variant.isdigit() or variant in ("dead_host", "html", "html_as_jpeg"))


def sentence_for(scene: Scene, taken: Sequence[str], rng: np.random.Generator) -> str:
    """Return a sentence about the scene that the page does not have yet."""
    while True:
        sentence = text.describe(scene, rng)
        if sentence not in taken:
            return sentence
