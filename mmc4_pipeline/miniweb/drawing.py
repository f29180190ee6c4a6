"""Draw the pictures of the miniature web: textured shapes on a soft background, and all other kinds of pictures.

Every public function returns an RGB array of shape (height, width, 3) and dtype uint8, the same one for the same
arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 25, 30),
    "orange": (250, 135, 20),
    "yellow": (245, 225, 40),
    "green": (30, 145, 55),
    "blue": (30, 70, 205),
    "purple": (120, 40, 160),
    "pink": (250, 130, 185),
    "brown": (105, 62, 28),
    "black": (18, 18, 18),
    "white": (246, 246, 246),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
FACE_COLOURS = ("yellow", "orange", "pink", "green", "blue", "white")
OFF_TOPIC = ("maze", "static", "scribble")

# The second colour of a texture is a pale tone of the first. Black and white have no pale tone, so theirs is grey;
# otherwise black-and-white checks would be both "black" and "white".
_SECOND = {"black": (140, 140, 140), "white": (125, 125, 125)}


@dataclass(frozen=True)
class Scene:
    """The content of a described picture; `seed` determines everything that its sentence does not mention."""

    colour: str
    shape: str
    texture: str
    seed: int

    @property
    def attributes(self) -> tuple[str, str, str]:
        """The attributes that a sentence can mention."""
        return self.colour, self.shape, self.texture


def _regular(corners: int, inner: float = 1.0) -> NDArray[np.float64]:
    """Return a polygon of points on the unit circle, the first one up, every second one at the radius `inner`."""
    angle = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radius = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1)


def _heart() -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 16


# Outlines in units of the shape's radius, y down.
_ROUND = _regular(64)
OUTLINES: dict[str, NDArray[np.float64]] = {
    "circle": _ROUND,
    "square": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.88,
    "triangle": np.array([[0, -1], [1.0, 0.8], [-1.0, 0.8]]),
    "star": _regular(10, 0.42),
    "cross": np.array(
        [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]],
    ) / 3,
    "heart": _heart(),
    "ring": _ROUND,
    "arrow": np.array([[-1, -0.38], [0.1, -0.38], [0.1, -0.9], [1, 0], [0.1, 0.9], [0.1, 0.38], [-1, 0.38]]),
    "face": _ROUND,
}  # fmt: skip
SHAPES = tuple(name for name in OUTLINES if name != "face")


def _field(rng: np.random.Generator, cells: int, width: int, height: int) -> Field:
    """Return soft noise of shape (height, width), about -1 to 1, with `cells` blobs per side."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _background(rng: np.random.Generator, width: int, height: int) -> Field:
    """Return tinted blobs, of shape (height, width, 3).

    Eight blobs per side fill exactly the frequencies that a 64-bit perceptual hash uses: the hashes of two pictures
    with the same shape differ as much as two random ones, and re-encoding a picture changes its hash very little.
    """
    light = np.float32(rng.uniform(110, 150)) + 52 * _field(rng, 8, width, height) + 22 * _field(rng, 2, width, height)
    tints = [np.float32(rng.uniform(-16, 16)) + 14 * _field(rng, 3, width, height) for _ in range(3)]
    return np.asarray(cv2.merge([light + tint for tint in tints]), np.float32)


def _finish(picture: Field, rng: np.random.Generator) -> Image:
    """Add a fine grain like that of a photograph, and round to uint8."""
    grain = rng.standard_normal(picture.shape[:2], dtype=np.float32) * 5
    return np.asarray(cv2.convertScaleAbs(np.maximum(cv2.add(picture, cv2.merge([grain] * 3)), 0)), np.uint8)


def _fill(mask: Image, outline: NDArray[np.float64]) -> None:
    """Paint a polygon (points, 2), in pixels, white into `mask`, with soft edges."""
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _texture(name: str, u: Field, v: Field, period: float) -> Field:
    """Return the share of the second colour, 0 to 1, at coordinates `u` and `v` in units of the radius."""
    if name == "striped":
        return np.asarray((u / period) % 1 > 0.55, np.float32)
    if name == "checked":
        return np.asarray(((u / period) % 1 > 0.5) ^ ((v / period) % 1 > 0.5), np.float32)
    if name == "dotted":
        spacing = period * 0.95
        distance = np.hypot((u / spacing) % 1 - 0.5, (v / spacing) % 1 - 0.5)
        return np.asarray(distance < 0.31, np.float32)
    return np.zeros(np.broadcast(u, v).shape, np.float32)


def _paint(picture: Field, mask: Image, colour: Field | tuple[int, int, int]) -> Field:
    alpha = mask[..., None] * np.float32(1 / 255)
    return np.asarray(picture + (np.asarray(colour, np.float32) - picture) * alpha, np.float32)


def _features(picture: Field, centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> Field:
    """Paint two eyes and a smile on a face."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    dx, dy, eye = rng.uniform(0.32, 0.42), rng.uniform(0.22, 0.34), rng.uniform(0.11, 0.16)
    for side in (-1, 1):
        _fill(mask, centre + radius * (_ROUND * [eye, eye * 1.4] + [side * dx, -dy]))
    t = np.linspace(0.12 * np.pi, 0.88 * np.pi, 20)
    low, high = rng.uniform(0.58, 0.7), rng.uniform(0.3, 0.42)
    lower, upper = (np.stack([np.cos(t) * 0.62, np.sin(t) * depth + 0.05], axis=1) for depth in (low, high))
    _fill(mask, centre + radius * np.concatenate([lower, upper[::-1]]))
    return _paint(picture, mask, (25, 20, 20))


def _surface(scene: Scene, rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Return the colours of a shape before masking, (h, w, 3), at `x` (1, w) and `y` (h, 1) in units of the radius."""
    first = np.array(COLOURS[scene.colour], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
    second = np.array(_SECOND.get(scene.colour, 0.25 * first + 0.75 * 255), np.float32)
    lean = _turn(rng.uniform(0, np.pi)).astype(np.float32)
    u, v = (lean[i, 0] * x + lean[i, 1] * y + np.float32(rng.uniform()) for i in (0, 1))
    where = _texture(scene.texture, u, v, rng.uniform(0.42, 0.55))
    shade = 1 + 0.08 * _field(rng, 2, where.shape[1], where.shape[0])
    channels = [(first[i] + (second[i] - first[i]) * where) * shade for i in range(3)]
    return np.asarray(cv2.merge(channels), np.float32)


def draw(scene: Scene, width: int, height: int) -> Image:
    """Draw the scene's shape at a random place in the picture's central square. Width and height are in pixels."""
    rng = np.random.default_rng([1, scene.seed])
    picture = _background(rng, width, height)
    side = min(width, height)
    radius = side * rng.uniform(0.27, 0.4)
    room = (side / 2 - radius) * 0.9
    centre = np.array([width, height]) / 2 + rng.uniform(-room, room, 2)
    turn = _turn(rng.uniform(-0.3, 0.3))
    mask = np.zeros((height, width), np.uint8)
    _fill(mask, OUTLINES[scene.shape] @ turn * radius + centre)
    if scene.shape == "ring":
        hole = np.zeros_like(mask)
        _fill(hole, _ROUND * radius * rng.uniform(0.42, 0.52) + centre)
        mask = np.minimum(mask, 255 - hole)

    left, top, wide, high = cv2.boundingRect(mask)
    box = np.s_[top : top + high, left : left + wide]
    y, x = np.ogrid[top : top + high, left : left + wide]
    x, y = ((x - centre[0]) / radius).astype(np.float32), ((y - centre[1]) / radius).astype(np.float32)
    picture[box] = _paint(picture[box], mask[box], _surface(scene, rng, x, y))
    if scene.shape == "face":
        picture = _features(picture, centre, radius, rng)
    return _finish(picture, rng)


def draw_hazard(seed: int, width: int, height: int) -> Image:
    """Draw yellow and black stripes with a warning triangle: the class that stands in for unsafe pictures."""
    rng = np.random.default_rng([2, seed])
    side = min(width, height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.choice([-1, 1]) * rng.uniform(0.6, 1.0)
    stripes = ((x * np.cos(angle) + y * np.sin(angle)) / (side * rng.uniform(0.16, 0.26)) + rng.uniform()) % 1 > 0.5
    yellow = np.array([245, 205, 20], np.float32)
    # The stripes are lit unevenly: otherwise all these pictures would be near duplicates of one another.
    light = np.clip(0.78 + 0.42 * _field(rng, 8, width, height) + 0.12 * _field(rng, 2, width, height), 0.25, 1.15)
    picture = (np.where(stripes[..., None], yellow, np.float32(30)) * light[..., None]).astype(np.float32)
    radius = side * rng.uniform(0.26, 0.36)
    room = (side / 2 - radius) * 0.8
    centre = np.array([width, height]) / 2 + rng.uniform(-room, room, 2)
    parts = [
        (OUTLINES["triangle"] * 1.12, (20, 20, 20)),
        (OUTLINES["triangle"] * 0.9, (250, 215, 30)),
        (np.array([[-0.12, -0.4], [0.12, -0.4], [0.07, 0.25], [-0.07, 0.25]]), (20, 20, 20)),
        (_ROUND * 0.1 + [0, 0.45], (20, 20, 20)),
    ]
    for outline, colour in parts:
        mask = np.zeros((height, width), np.uint8)
        _fill(mask, outline * radius + centre)
        picture = _paint(picture, mask, colour)
    return _finish(picture, rng)


def _maze(rng: np.random.Generator, width: int, height: int) -> Field:
    """Return diagonal walls that lean left or right at random."""
    picture = np.full((height, width, 3), rng.uniform(150, 235, 3), np.float32)
    cell = max(10, min(width, height) // int(rng.integers(8, 14)))
    ink = tuple(rng.uniform(10, 130, 3).tolist())
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            x0, x1 = (left, left + cell) if rng.random() < 0.5 else (left + cell, left)
            cv2.line(picture, (x0, top), (x1, top + cell), ink, max(2, cell // 6), cv2.LINE_AA)
    return np.asarray(picture * (1 + 0.25 * _field(rng, 8, width, height))[..., None], np.float32)


def _static(rng: np.random.Generator, width: int, height: int) -> Field:
    """Return coarse coloured noise, like a screen without a signal."""
    cells = int(rng.integers(12, 36))
    grid = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)


def _scribble(rng: np.random.Generator, width: int, height: int) -> Field:
    """Return thin crooked lines over blobs."""
    picture = _background(rng, width, height)
    for _ in range(int(rng.integers(5, 10))):
        steps = rng.normal(0, min(width, height) / 9, (40, 2))
        points = np.cumsum(steps, axis=0) + rng.uniform(0, 1, 2) * [width, height]
        ink = tuple(rng.uniform(0, 255, 3).tolist())
        pen = max(1, min(width, height) // 110)
        line = np.round(points).astype(np.int32)
        cv2.polylines(picture, [line], isClosed=False, color=ink, thickness=pen, lineType=cv2.LINE_AA)
    return picture


def draw_off_topic(seed: int, width: int, height: int) -> Image:
    """Draw a maze, static or a scribble: pictures that no sentence of a page describes."""
    rng = np.random.default_rng([3, seed])
    painters: tuple[Callable[[np.random.Generator, int, int], Field], ...] = (_maze, _static, _scribble)
    return _finish(painters[seed % len(OFF_TOPIC)](rng, width, height), rng)


def _lettered(rng: np.random.Generator, width: int, height: int, words: str, paper: Field) -> Image:
    """Return `paper` with `words` in its middle, as large as possible."""
    (text_width, text_height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    scale = min(0.8 * width / text_width, 0.5 * height / text_height)
    origin = (int((width - text_width * scale) / 2), int((height + text_height * scale) / 2))
    mask = np.zeros((height, width), np.uint8)
    cv2.putText(mask, words, origin, cv2.FONT_HERSHEY_DUPLEX, scale, 255, max(1, round(scale)), cv2.LINE_AA)
    return _finish(_paint(paper, mask, (20, 20, 20) if paper.mean() > 127 else (245, 245, 245)), rng)


def _flat(rng: np.random.Generator, width: int, height: int) -> Field:
    return np.full((height, width, 3), rng.uniform(20, 235, 3), np.float32)


def draw_ad(seed: int, width: int, height: int) -> Image:
    """Draw an advertising banner."""
    rng = np.random.default_rng([4, seed])
    words = str(rng.choice(["SALE 50%", "BUY NOW", "FREE TRIAL", "CLICK HERE", "WIN A TRIP"]))
    paper = _flat(rng, width, height) + 30 * _field(rng, 3, width, height)[..., None]
    return _lettered(rng, width, height, words, np.asarray(paper, np.float32))


def draw_button(seed: int, width: int, height: int) -> Image:
    """Draw a button with a word on it, which also serves as a logo."""
    rng = np.random.default_rng([5, seed])
    words = str(rng.choice(["Next", "Back", "Search", "Share", "Home"]))
    paper = _flat(rng, width, height)
    cv2.rectangle(paper, (0, 0), (width - 1, height - 1), (60, 60, 60), 2)
    return _lettered(rng, width, height, words, paper)


def draw_icon(seed: int, width: int, height: int) -> Image:
    """Draw a small flat symbol."""
    rng = np.random.default_rng([6, seed])
    mask = np.zeros((height, width), np.uint8)
    outline = OUTLINES[str(rng.choice(["arrow", "cross", "star"]))]
    _fill(mask, outline * min(width, height) * 0.4 + [width / 2, height / 2])
    return _finish(_paint(_flat(rng, width, height), mask, (245, 245, 245)), rng)


PAINTERS: dict[str, Callable[[int, int, int], Image]] = {
    "hazard": draw_hazard,
    "off_topic": draw_off_topic,
    "ad": draw_ad,
    "button": draw_button,
    "icon": draw_icon,
}
