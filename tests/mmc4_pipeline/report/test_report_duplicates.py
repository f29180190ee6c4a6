import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.report.duplicates import WANTED, pictures
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.tar import add_file, open_tar
from schemas.manifest import ShardNote
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts
from schemas.tables import Duplicates
from tests.mmc4_pipeline.planted_plans import cut_plan, images_plan


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[StageFolder, Duplicates]:
    """Return a dataset whose images stage is still there, and a group with the place of one image in it."""
    images = StageFolder(str(tmp_path / "out" / "images"), Stage.IMAGES)
    images.begin(images_plan(2), resume=False)
    jpeg = bytes(cv2.imencode(".jpg", np.full((300, 600, 3), (0, 0, 255), dtype=np.uint8))[1])
    for shard in range(2):
        path = images.shard_file("images", shard, 2, "tar")
        with storage.write_atomically(path) as writer, open_tar(writer) as tar:
            add_file(tar, "other.jpg", b"no picture")
            offset = add_file(tar, "red.jpg", jpeg)
        images.finish_shard(ShardNote(shard=shard, files=[storage.written(path, writer)], counts={"links": Counts()}))
    folder = StageFolder(str(tmp_path / "out" / "dataset" / "planted"), Stage.CUT)
    folder.begin(cut_plan(0, images=fingerprint(images.finish())), resume=False)
    folder.finish()
    return folder, Duplicates(Reason.CORPUS_DUPLICATE, 7, 3, "https://a.example/red.jpg", 1, offset, len(jpeg))


def test_a_group_s_picture_is_read_from_the_images_stage(dataset: tuple[StageFolder, Duplicates]) -> None:
    folder, group = dataset
    (picture,) = pictures(folder, [group])
    assert picture.group == group
    assert (picture.thumbnail.width, picture.thumbnail.height) == (160, 80)
    assert picture.thumbnail.data
    assert len(pictures(folder, [group] * 100)) == WANTED


@pytest.mark.parametrize("lost", ["everything", "the tar", "the run it was made from", "the place"])
def test_a_picture_that_is_no_longer_there_is_no_error(dataset: tuple[StageFolder, Duplicates], lost: str) -> None:
    folder, group = dataset
    images = Path(folder.path).parents[1] / "images"
    match lost:
        case "everything":
            shutil.rmtree(images)
        case "the tar":
            (images / "images-00001-of-00002.tar").unlink()
        case "the run it was made from":
            shutil.rmtree(images)
            other = StageFolder(str(images), Stage.IMAGES)
            other.begin(images_plan(0), resume=False)
            other.finish()
        case "the place":
            group.offset = 10**9
    (picture,) = pictures(folder, [group])
    assert (picture.group.count, picture.thumbnail.data) == (3, "")


def test_folder_above_is_found_from_relative_paths_and_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out/dataset/mmc4").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out/dataset/mmc4")
    for name in (".", "../mmc4/", str(tmp_path / "out/dataset/mmc4")):
        assert Path(storage.above(name, 2)) == tmp_path / "out"
    assert storage.above("memory://bucket/out/dataset/mmc4/", 2) == "memory://bucket/out"
