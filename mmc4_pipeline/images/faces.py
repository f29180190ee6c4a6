"""Looks for faces in decoded images: with OpenCV's YuNet where its weights are there, else with OpenCV's cascade."""

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

_OPENCV: Any = cv2  # 4, or 5, which has no cascade any more
_CASCADE = "haarcascade_frontalface_alt2.xml"  # of OpenCV's own, that which took nothing else for a face in our tests
_SCALE = 1.2  # from one size of window to the next
_OVERLAP = 0.3  # of two YuNet boxes that overlap more the better one stays, as in OpenCV's own example
_STRIDE = 32  # YuNet's input has sides of a multiple of this
_MOST = 1000  # boxes that YuNet considers

_loaded = threading.local()  # OpenCV's detectors keep state between calls: each thread has its own


@dataclass(frozen=True)
class FaceDetector:
    """A detector and its thresholds; loaded by each thread that uses it. Finds the same boxes each time."""

    name: Literal["yunet", "cascade"]
    path: str
    sha256: str
    settings: FaceDetectorSettings

    def plan(self) -> dict[str, Any]:
        """Give what boxes depend on, for manifests."""
        settings = self.settings
        own: dict[str, Any] = {"min_confidence": settings.min_confidence}
        if self.name == "cascade":
            own = {"min_neighbors": settings.min_neighbors, "file": _CASCADE}
        common = {"max_side": settings.max_side, "min_share": settings.min_share}
        return {"detector": self.name, "sha256": self.sha256, **common, **own}

    def detect(self, pixels: Pixels) -> Boxes:
        """Give the boxes of the faces in a BGR image of shape (height, width, 3), in its own pixels, from the left.

        Confidence is YuNet's score (0 to 1) or the weight of the cascade's last stage, which has no fixed bounds.
        Raises UserError where the detector's file is not what it was when the run began.
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
        """Give this thread's detector, loading it first."""
        if getattr(_loaded, "detector", None) != self:
            if file_sha256(self.path) != self.sha256:
                message = f"{self.path}: is not the file with which this run began; put that one back"
                raise UserError(message)
            _loaded.find = _yunet(self) if self.name == "yunet" else _cascade(self)
            _loaded.detector = self
        return _loaded.find  # type: ignore[no-any-return]


def find_detector(settings: FaceDetectorSettings, weights: str | None = None) -> FaceDetector:
    """Give the detector that a recipe asks for; `weights` is a file of YuNet's, by default the fetched one.

    Raises UserError where it can't be had.
    """
    weights = weights or fetched(catalogue.FACE_DETECTOR)
    if settings.model == "yunet" and not weights:
        message = "face_detector.model: yunet: its weights are not there; run `mmc4 models fetch`, or choose cascade"
        raise UserError(message)
    if weights and settings.model != "cascade":
        if not Path(weights).is_file():
            message = f"{weights}: no such file"
            raise UserError(message)
        identify(weights)
        detector = FaceDetector("yunet", weights, file_sha256(weights), settings)
    else:
        cascade = _cascade_file()
        detector = FaceDetector("cascade", cascade, file_sha256(cascade), settings)
    detector.detect(np.zeros((_STRIDE, _STRIDE, 3), np.uint8))  # a file that is no detector is refused here
    return detector


def _cascade_file() -> str:
    path = Path(_OPENCV.data.haarcascades, _CASCADE)
    if not hasattr(_OPENCV, "CascadeClassifier") or not path.is_file():
        message = (
            f"OpenCV {cv2.__version__} has no cascade to find faces with: run `mmc4 models fetch --recipe mmc4-ff` to "
            "have YuNet, or install opencv-python-headless<5"
        )
        raise UserError(message)
    return str(path)


def _yunet(detector: FaceDetector) -> Callable[[Pixels, float], Boxes]:
    cv2.setNumThreads(1)  # images are measured side by side, a thread each
    try:
        net = cv2.FaceDetectorYN.create(
            detector.path, "", (_STRIDE, _STRIDE), detector.settings.min_confidence, _OVERLAP, _MOST
        )
        _faces(net, np.zeros((_STRIDE, _STRIDE, 3), np.uint8))
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{detector.path}: no YuNet ({reason}); `mmc4 models fetch --recipe mmc4-ff` gets the published one"
        raise UserError(message) from error
    return lambda pixels, _: _faces(net, pixels)


def _faces(net: Any, pixels: Pixels) -> Boxes:
    """Run YuNet. The image is put into the corner of one with sides that it takes."""
    height, width = (-(-side // _STRIDE) * _STRIDE for side in pixels.shape[:2])
    padded = np.zeros((height, width, 3), np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    net.setInputSize((width, height))
    _, rows = net.detect(padded)
    return [] if rows is None else [[*map(float, row[:4]), float(row[14])] for row in rows]


def _cascade(detector: FaceDetector) -> Callable[[Pixels, float], Boxes]:
    cv2.setNumThreads(1)  # as above; and the order in which threads find windows changes how they are grouped
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
    """Cut a side of a box off at the image's borders: YuNet's may reach beyond."""
    first, last = max(0.0, start), min(float(end), start + length)
    return first, max(0.0, last - first)
