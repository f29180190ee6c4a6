"""Reads small copies of the pictures that were dropped most often as duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.report.thumbnails import Thumbnail, thumbnail
from mmc4_pipeline.run_folders import output_of, stage_folder
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.manifest import CutPlan
from schemas.reasons import Stage
from schemas.tables import Duplicates

WANTED = 12  # pictures; each takes one read
_MAX_SIDE = 160  # pixels


@dataclass(frozen=True, slots=True)
class Picture:
    """A group of duplicates with a small copy of the picture, empty if it is not stored any more."""

    group: Duplicates
    thumbnail: Thumbnail


def pictures(folder: StageFolder, groups: Sequence[Duplicates]) -> list[Picture]:
    """Return the first groups with their pictures."""
    groups = groups[:WANTED]
    images = _images_of(folder) if groups else None
    return [Picture(group, _thumbnail(images, group)) for group in groups]


def _images_of(folder: StageFolder) -> StageFolder | None:
    """Return the folder of the images stage that the dataset was made from, if it is still there."""
    images = stage_folder(output_of(folder), Stage.IMAGES)
    wanted = folder.manifest(CutPlan).plan.input.images
    if wanted and storage.exists(images.file("manifest.json")) and fingerprint(images.manifest()) == wanted:
        return images
    return None


def _thumbnail(images: StageFolder | None, group: Duplicates) -> Thumbnail:
    if images is None:
        return Thumbnail()
    path = images.shard_file("images", group.shard, images.plan().shards, "tar")
    try:
        return thumbnail(storage.read_range(path, group.offset, group.length), _MAX_SIDE)
    except UserError:  # the tar was removed, which must not prevent the report
        return Thumbnail()
