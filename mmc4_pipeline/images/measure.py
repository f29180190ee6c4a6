"""Measures a downloaded image once: its size, hashes and faces, and the JPEG to store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from filters.base import ContentFilter, ImageFilter
from mmc4_pipeline.apply_filters import Candidate, apply_filters, first_drop
from mmc4_pipeline.images.content_hashes import content_hashes
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.images.decoding.header import Undecodable
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.recipe import Recipe
from schemas.image import Image
from schemas.reasons import Drop


@dataclass(frozen=True)
class Measurer:
    """Everything needed to measure the images of a shard."""

    recipe: Recipe
    detector: FaceDetector | None
    denies: Callable[[str], bool]
    content_filters: Mapping[str, ContentFilter] = field(default_factory=dict)

    def decide(self, image: Image) -> Drop | None:
        """Return the decision of the filters that look at one image alone."""
        return apply_filters([Candidate(image)], self.recipe.of_kind(ImageFilter), {})[0]

    def measure(self, result: FetchResult) -> tuple[Image, bytes | None]:
        """Decode a body once; return its row and, if the image is worth keeping, the JPEG to store."""
        decoded = decode(result.body, self.recipe.images)
        hashes = content_hashes(result, decoded, self.content_filters)
        denied = first_drop((key, item.decide(hashes)) for key, item in self.content_filters.items())
        if denied is not None:
            return Image(key="", position=0, url=result.url, reason=denied.reason, filter=denied.filter), None
        received = replace(unmeasured(result), sha256=f"{hashes.sha256:064x}", byte_size=len(result.body))
        if isinstance(decoded, Undecodable):
            return replace(received, reason=decoded.reason, error=decoded.error), None
        width, height = decoded.width, decoded.height
        if result.size is not None and set(result.size) != {width, height}:  # otherwise the same, or turned upright
            width, height = result.size
        image = replace(received, format=decoded.format, width=width, height=height, phash=decoded.phash)
        if self.decide(image) is not None:
            return image, None
        faces = self.detector.detect(decoded.pixels) if self.detector else None
        return replace(image, face_detections=faces), decoded.jpeg


def unmeasured(result: FetchResult) -> Image:
    """Return the row of an image before it is measured, without key and position."""
    return Image(
        key="",
        position=0,
        url=result.url,
        route=result.route or None,
        http_status=result.status,
        error=result.error,
        robots_tag=result.robots_tag,
        declarations=result.declarations,
        reason=result.reason,
        filter=result.filter,
    )
