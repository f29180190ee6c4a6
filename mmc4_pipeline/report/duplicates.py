"""What the pictures look like that were dropped most often as duplicates: one small copy each."""

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

WANTED = 12  # pictures, and so reads
_MAX_SIDE = 160  # pixels


@dataclass(frozen=True, slots=True)
class Picture:
    """A group of duplicates, and what they look like if that can still be told."""

    group: Duplicates
    thumbnail: Thumbnail


def pictures(folder: StageFolder, groups: Sequence[Duplicates]) -> list[Picture]:
    """Give the first of the groups with their pictures, one read each."""
    groups = groups[:WANTED]
    images = _images_of(folder) if groups else None
    return [Picture(group, _thumbnail(images, group)) for group in groups]


def _images_of(folder: StageFolder) -> StageFolder | None:
    """Give the folder of the images stage that the dataset was made from, if it is still where it was."""
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
    except UserError:  # the manifest is there and the tar is not: no reason to have no report
        return Thumbnail()
