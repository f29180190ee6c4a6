"""Detects faces in decoded images: with OpenCV's YuNet if its weights are available, else with OpenCV's cascade."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.models.folder import fetched, identify
from mmc4_pipeline.recipe import FaceDetectorSettings

Pixels = npt.NDArray[np.uint8]
Boxes = list[list[float]]  # left, top, width, height in pixels; confidence

_OPENCV: Any = cv2  # version 4, or 5, which no longer has cascades
_CASCADE = "haarcascade_frontalface_alt2.xml"  # the only one of OpenCV's without false positives in our tests
_SCALE = 1.2  # ratio of the window's sizes in successive passes
_OVERLAP = 0.3  # if two YuNet boxes overlap more, the better one is kept, as in OpenCV's example
_STRIDE = 32  # the sides of YuNet's input are multiples of this
_MAX_BOXES = 1000  # candidates that YuNet considers

_loaded = threading.local()  # OpenCV's detectors have state between calls, so each thread has its own


@dataclass(frozen=True)
class FaceDetector:
    """A detector and its thresholds; loaded by each thread that uses it. It always finds the same boxes."""

    name: Literal["yunet", "cascade"]
    path: str
    sha256: str
    settings: FaceDetectorSettings

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return everything that the boxes depend on, for manifests."""
        settings = self.settings
        own: dict[str, Any] = {"min_confidence": settings.min_confidence}
        if self.name == "cascade":
            own = {"min_neighbors": settings.min_neighbors, "file": _CASCADE}
        common = {"max_side": settings.max_side, "min_share": settings.min_share}
        return {"detector": self.name, "sha256": self.sha256, **common, **own}

    def detect(self, pixels: Pixels) -> Boxes:
        """Return the boxes of the faces in a BGR image of shape (height, width, 3), in its own pixels, from the left.

        Confidence is YuNet's score (0 to 1) or the weight of the cascade's last stage, which has no fixed bounds.
        Raises UserError if the detector's file has changed since the run began.
        """
        height, width = pixels.shape[:2]
        scale = min(1.0, self.settings.max_side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else pixels
        smallest = self.settings.min_share * max(size)
        found = self._find()(small, smallest)
        across, down = width / size[0], height / size[1]
        boxes = [
            [*_inside(x * across, w * across, width), *_inside(y * down, h * down, height), confidence]
            for x, y, w, h, confidence in found
            if max(w, h) >= smallest
        ]
        return sorted([round(x, 1), round(y, 1), round(w, 1), round(h, 1), round(c, 4)] for x, w, y, h, c in boxes)

    def _find(self) -> Callable[[Pixels, float], Boxes]:
        """Return this thread's detector; load it if necessary."""
        if getattr(_loaded, "detector", None) != self:
            if file_sha256(self.path) != self.sha256:
                raise UserError(f"{self.path}: changed since this run began; restore the original file")
            _loaded.find = _yunet(self) if self.name == "yunet" else _cascade(self)
            _loaded.detector = self
        return _loaded.find  # type: ignore[no-any-return]


def find_detector(settings: FaceDetectorSettings, weights: str | None = None) -> FaceDetector:
    """Return the detector of a recipe; `weights` is a file with YuNet's weights, by default the fetched one.

    Raises UserError if the detector is not available.
    """
    weights = weights or fetched(catalogue.FACE_DETECTOR)
    if settings.model == "yunet" and not weights:
        raise UserError("face_detector.model: yunet: no weights found; run `mmc4 models fetch`, or choose cascade")
    if weights and settings.model != "cascade":
        if not Path(weights).is_file():
            raise UserError(f"{weights}: no such file")
        identify(weights)
        detector = FaceDetector("yunet", weights, file_sha256(weights), settings)
    else:
        cascade = _cascade_file()
        detector = FaceDetector("cascade", cascade, file_sha256(cascade), settings)
    detector.detect(np.zeros((_STRIDE, _STRIDE, 3), np.uint8))  # fails here if the file is not a detector
    return detector


def _cascade_file() -> str:
    path = Path(_OPENCV.data.haarcascades, _CASCADE)
    if not hasattr(_OPENCV, "CascadeClassifier") or not path.is_file():
        raise UserError(
            f"OpenCV {cv2.__version__} has no cascade for face detection: to use YuNet, run "
            "`mmc4 models fetch --recipe mmc4-ff`; or install opencv-python-headless<5"
        )
    return str(path)


def _yunet(detector: FaceDetector) -> Callable[[Pixels, float], Boxes]:
    cv2.setNumThreads(1)  # several images are measured concurrently, each in its own thread
    try:
        net = cv2.FaceDetectorYN.create(
            detector.path, "", (_STRIDE, _STRIDE), detector.settings.min_confidence, _OVERLAP, _MAX_BOXES
        )
        _faces(net, np.zeros((_STRIDE, _STRIDE, 3), np.uint8))
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{detector.path}: not a YuNet model ({reason}); `mmc4 models fetch --recipe mmc4-ff` downloads one"
        ) from error
    return lambda pixels, _: _faces(net, pixels)


def _faces(net: Any, pixels: Pixels) -> Boxes:
    """Run YuNet on the image, padded to sides that YuNet accepts."""
    height, width = (-(-side // _STRIDE) * _STRIDE for side in pixels.shape[:2])
    padded = np.zeros((height, width, 3), np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    net.setInputSize((width, height))
    _, rows = net.detect(padded)
    return [] if rows is None else [[*map(float, row[:4]), float(row[14])] for row in rows]


def _cascade(detector: FaceDetector) -> Callable[[Pixels, float], Boxes]:
    cv2.setNumThreads(1)  # as above; also, the order in which threads find windows would change how they are grouped
    cascade = _OPENCV.CascadeClassifier(detector.path)

    def find(pixels: Pixels, smallest: float) -> Boxes:
        least = max(1, int(smallest))
        boxes, _, weights = cascade.detectMultiScale3(
            cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY),
            scaleFactor=_SCALE,
            minNeighbors=detector.settings.min_neighbors,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        return [[*map(float, box), float(weight)] for box, weight in zip(boxes, np.ravel(weights), strict=True)]

    return find


def _inside(start: float, length: float, end: int) -> tuple[float, float]:
    """Clip a side of a box to the image: YuNet's boxes may reach beyond it."""
    first, last = max(0.0, start), min(float(end), start + length)
    return first, max(0.0, last - first)
