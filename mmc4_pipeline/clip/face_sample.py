"""Sample images of a run to train a face head: their CLIP features, and whether a detector found a face."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from mmc4_pipeline import storage
from mmc4_pipeline.clip.model import ClipModel, Features
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page

_BATCH = 32
_SHARDS_AT_ONCE = 8  # whose rows are read in parallel, because remote storage is slow


@dataclass(frozen=True)
class Examples:
    """Training examples: the images' features (images, width), whether each has a face, and its site."""

    features: Features
    has_face: npt.NDArray[np.bool_]
    sites: Sequence[str]


@dataclass(frozen=True, slots=True, order=True)
class _Sampled:
    """An image of the sample: the place of its JPEG, its site, and the images stage's detection (None: not run)."""

    shard: int
    offset: int
    length: int
    site: str
    has_face: bool | None


class FaceSample:
    """Distinct images that the images stage kept, chosen by the rank of a hash: the same sample in every run."""

    def __init__(self, pages: StageFolder, images: StageFolder, size: int, seed: int) -> None:
        """Choose at most `size` images. Raises UserError if the images stage is not finished."""
        self._pages, self._images, self._seed = pages, images, seed
        self._shards = images.manifest().plan.shards
        self._chosen = self._choose(size)
        self.shards = sorted({item.shard for item in self._chosen})

    @property
    def has_detections(self) -> bool:
        """Whether the images stage ran a face detector on all of the images."""
        return all(item.has_face is not None for item in self._chosen)

    def _choose(self, size: int) -> list[_Sampled]:
        """Return the images of the lowest ranks, with only a few shards' rows and `size` images in memory."""
        heap: list[tuple[int, str, _Sampled]] = []
        held: set[str] = set()
        for kept in storage.concurrently(lambda shard: list(self._kept(shard)), range(self._shards), _SHARDS_AT_ONCE):
            for sha256, item in kept:
                rank = -stable_hash(f"{self._seed} {sha256}")  # the heap's first element is the one to replace
                if sha256 in held or (len(heap) == size and rank <= heap[0][0]):
                    continue
                held.add(sha256)
                heapq.heappush(heap, (rank, sha256, item))
                if len(heap) > size:
                    held.remove(heapq.heappop(heap)[1])
        return sorted(item for _, _, item in heap)

    def _kept(self, shard: int) -> Iterator[tuple[str, _Sampled]]:
        pages = storage.read_records(self._pages.shard_file("pages", shard, self._shards), Page)
        sites = {page.key: page.site for page in pages}
        for image in storage.read_records(self._images.shard_file("images", shard, self._shards), Image):
            if image.reason is None and image.sha256 and image.offset is not None and image.length is not None:
                has_face = None if image.face_detections is None else bool(image.face_detections)
                yield image.sha256, _Sampled(shard, image.offset, image.length, sites[image.key], has_face)

    def examples(self, model: ClipModel, detector: FaceDetector | None, advance: Callable[[], None]) -> Examples:
        """Return the sample's features and labels; `advance` is called after each shard.

        Images without detections from the images stage are given to the detector. Images that cannot be decoded again
        are left out.
        """
        features = np.zeros((len(self._chosen), model.width), np.float32)
        has_face: list[bool] = []
        sites: list[str] = []
        for shard in self.shards:
            own = [item for item in self._chosen if item.shard == shard]
            for batch in self._opened(shard, own):
                features[len(sites) : len(sites) + len(batch)] = model.image_features([image for _, image in batch])
                has_face += [_has_face(item, image, detector) for item, image in batch]
                sites += [item.site for item, _ in batch]
            advance()
        return Examples(features[: len(sites)], np.array(has_face, dtype=np.bool_), sites)

    def _opened(self, shard: int, own: Sequence[_Sampled]) -> Iterator[list[tuple[_Sampled, PillowImage.Image]]]:
        """Yield batches of a shard's decoded images."""
        with storage.open_read(self._images.shard_file("images", shard, self._shards, "tar")) as tar:
            for start in range(0, len(own), _BATCH):
                opened = [
                    (item, _open(read_image(tar, item.offset, item.length))) for item in own[start : start + _BATCH]
                ]
                if batch := [(item, image) for item, image in opened if image is not None]:
                    yield batch


def _open(data: bytes) -> PillowImage.Image | None:
    try:
        return PillowImage.open(BytesIO(data)).convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None


def _has_face(item: _Sampled, image: PillowImage.Image, detector: FaceDetector | None) -> bool:
    if item.has_face is not None or detector is None:
        return bool(item.has_face)
    return bool(detector.detect(np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), np.uint8)))
