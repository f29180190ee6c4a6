"""The sample that a face head is trained on: distinct kept pictures, the same ones in every run."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from mmc4_pipeline import storage
from mmc4_pipeline.clip.face_sample import Examples, FaceSample
from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.images.faces import FaceDetector, find_detector
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.recipe import FaceDetectorSettings
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.manifest import ShardNote
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage
from tests.mmc4_pipeline.planted_plans import images_plan
from tests.pages import new_page

SHARDS, SITES, PICTURES = 2, 3, 4  # of each shard, of each site
PORTRAIT = cv2.imencode(".jpg", cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR))[1].tobytes()


def jpeg(number: int) -> bytes:
    coarse = np.random.default_rng(number).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (50, 40)))[1].tobytes()


def write_run(output: Path, faces: list[list[float]] | None) -> tuple[StageFolder, StageFolder]:
    """Write the stages of a run: 24 pictures, the first of each site dropped, and a portrait that is on every page."""
    pages, images = StageFolder(str(output / "pages"), Stage.PAGES), StageFolder(str(output / "images"), Stage.IMAGES)
    images.begin(images_plan(SHARDS), resume=False)
    for shard in range(SHARDS):
        rows: list[Image] = []
        of_shard: list[Page] = []
        with (
            storage.write_atomically(images.shard_file("images", shard, SHARDS, "tar")) as writer,
            open_tar(writer) as tar,
        ):
            for site in (f"{shard}{number}.example" for number in range(SITES)):
                files = [jpeg(len(rows) + 100 * shard + at) for at in range(PICTURES)] + [PORTRAIT]
                links = [ImageLink(at, f"https://{site}/{at}.jpg", "", None, None) for at in range(len(files))]
                of_shard.append(new_page(f"key of {site}", links=links, site=site))
                for link, data in zip(links, files, strict=True):
                    place = {"offset": add_file(tar, "a.jpg", data), "length": len(data)}
                    reason = Reason.DOCUMENT_DUPLICATE if link.position == 0 else None
                    sha256 = hashlib.sha256(data).hexdigest()
                    found = {"sha256": sha256, "face_detections": faces, "reason": reason}
                    rows.append(Image(f"key of {site}", link.position, link.url, **place, **found))
        storage.write_records(pages.shard_file("pages", shard, SHARDS), of_shard, Page)
        file = storage.write_records(images.shard_file("images", shard, SHARDS), rows, Image)
        images.finish_shard(ShardNote(shard=shard, files=[file], counts={}))
    images.finish()
    return pages, images


def examples(sample: FaceSample, tiny: str, detector: FaceDetector | None = None) -> Examples:
    return sample.examples(ClipModel(ClipChoice(tiny, "random"), "cpu"), detector, lambda: None)


def test_each_kept_picture_is_in_the_sample_once(tmp_path: Path, tiny: str) -> None:
    found = examples(FaceSample(*write_run(tmp_path, []), size=1000, seed=0), tiny)
    assert len(found.features) == len(found.has_face) == len(found.sites) == SHARDS * SITES * (PICTURES - 1) + 1
    assert len(np.unique(found.features, axis=0)) == len(found.features)
    assert {found.sites.count(f"{shard}{site}.example") for shard in range(SHARDS) for site in range(SITES)} == {3, 4}


def test_the_sample_has_the_requested_size_and_is_reproducible(tmp_path: Path, tiny: str) -> None:
    folders = write_run(tmp_path, [])
    small, again, other = (examples(FaceSample(*folders, size=8, seed=seed), tiny).features for seed in (0, 0, 1))
    assert small.shape == (8, 16)
    assert np.array_equal(small, again)
    assert not np.array_equal(small, other)
    every = examples(FaceSample(*folders, size=1000, seed=0), tiny).features
    assert all((np.abs(every - row).max(axis=1) < 1e-5).any() for row in small)


@pytest.mark.parametrize(("faces", "expected"), [([], False), ([[1.0, 2.0, 3.0, 4.0, 0.9]], True)])
def test_the_detections_of_the_images_stage_are_used(
    tmp_path: Path, tiny: str, faces: list[list[float]], *, expected: bool
) -> None:
    sample = FaceSample(*write_run(tmp_path, faces), size=1000, seed=0)
    assert sample.has_detections
    assert set(examples(sample, tiny).has_face.tolist()) == {expected}


def test_without_them_the_detector_is_run(tmp_path: Path, tiny: str) -> None:
    sample = FaceSample(*write_run(tmp_path, None), size=1000, seed=0)
    assert not sample.has_detections
    found = examples(sample, tiny, find_detector(FaceDetectorSettings(model="cascade")))
    assert found.has_face.sum() == 1  # the portrait


def test_images_that_cannot_be_decoded_again_are_left_out(tmp_path: Path, tiny: str) -> None:
    folders = write_run(tmp_path, [])
    whole = examples(FaceSample(*folders, size=1000, seed=0), tiny)
    rows = list(storage.read_records(folders[1].shard_file("images", 0, SHARDS), Image))
    with Path(folders[1].shard_file("images", 0, SHARDS, "tar")).open("r+b") as tar:
        tar.seek(rows[1].offset or 0)
        tar.write(b"<html>")
    left = examples(FaceSample(*folders, size=1000, seed=0), tiny)
    assert len(left.features) == len(left.sites) == len(left.has_face) == len(whole.features) - 1
