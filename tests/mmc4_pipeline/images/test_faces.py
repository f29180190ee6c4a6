"""Face detection: what is a face, in which pixels its box is, the same in every thread; wrong files are refused."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.faces import Pixels, find_detector
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.recipe import load_recipe
from tests.mmc4_pipeline.images.yunet import write_yunet

SETTINGS = load_recipe("mmc4").face_detector
CASCADE = replace(SETTINGS, model="cascade")
YUNET = replace(SETTINGS, model="yunet")
PORTRAITS = {"astronaut": (222, 114), "grace_hopper": (265, 215)}  # the middle of the face, in pixels


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for fetched weights, whatever this machine has."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("MMC4_MODELS", str(folder))
    return folder


def picture(name: str) -> Pixels:
    if name == "grace_hopper":
        return np.asarray(cv2.imread(str(Path(mpl.get_data_path(), "sample_data", f"{name}.jpg"))), np.uint8)
    image: npt.NDArray[np.uint8] = getattr(skimage.data, name)()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR), np.uint8)


def white_squares(width: int, height: int, *squares: tuple[int, int, int]) -> Pixels:
    pixels = np.zeros((height, width, 3), np.uint8)
    for left, top, side in squares:
        pixels[top : top + side, left : left + side] = 255
    return pixels


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("size", [0.5, 1.0, 1.5])
def test_a_portrait_has_one_face_in_the_right_place(name: str, size: float) -> None:
    pixels = np.asarray(cv2.resize(picture(name), None, fx=size, fy=size, interpolation=cv2.INTER_AREA), np.uint8)
    ((left, top, width, height, confidence),) = find_detector(CASCADE).detect(pixels)
    x, y = PORTRAITS[name]
    assert abs(left + width / 2 - size * x) < 25 * size
    assert abs(top + height / 2 - size * y) < 25 * size
    assert 0.15 * pixels.shape[1] < width < 0.5 * pixels.shape[1]
    assert confidence > 0


@pytest.mark.parametrize("name", ["coffee", "coins", "rocket", "chelsea", "brick", "grass", "moon", "page", "clock"])
def test_other_pictures_have_no_face(name: str) -> None:
    assert find_detector(CASCADE).detect(picture(name)) == []


def test_a_face_too_small_for_the_recipe_is_not_detected() -> None:
    wide = np.zeros((600, 2400, 3), np.uint8)
    wide[:512, :512] = picture("astronaut")  # the face is 95 pixels wide
    assert find_detector(replace(CASCADE, max_side=1600)).detect(wide) == []
    assert len(find_detector(replace(CASCADE, max_side=1600, min_share=0.03)).detect(wide)) == 1


def test_many_threads_find_the_same_faces_as_one(tmp_path: Path) -> None:
    yunet = find_detector(YUNET, write_yunet(tmp_path / "yunet.onnx"))
    pictures = [picture(name) for name in ("astronaut", "coffee", "grace_hopper", "coins")]
    pictures += [white_squares(320, 320, (64, 96, 32), (192, 32, 32)), white_squares(64, 64)]
    for detector in (find_detector(CASCADE), yunet):
        alone = [detector.detect(pixels) for pixels in pictures]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(detector.detect, pictures * 4)) == alone * 4


def test_a_thread_that_has_loaded_one_detector_can_use_another(tmp_path: Path) -> None:
    yunet, cascade = find_detector(YUNET, write_yunet(tmp_path / "yunet.onnx")), find_detector(CASCADE)
    portrait = picture("astronaut")
    boxes = cascade.detect(portrait)
    assert yunet.detect(portrait) != boxes
    assert cascade.detect(portrait) == boxes


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (19, 21), (33, 31)])
def test_pictures_of_any_shape_are_accepted(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 100, np.uint8)
    for detector in (find_detector(CASCADE), find_detector(YUNET, write_yunet(tmp_path / "yunet.onnx"))):
        assert detector.detect(pixels) == []


def test_yunets_boxes_are_in_the_pixels_of_the_picture_and_inside_it(tmp_path: Path) -> None:
    detector = find_detector(YUNET, write_yunet(tmp_path / "yunet.onnx"))
    # YuNet sees 320 pixels with cells of 32, which are 64 wide in a picture of 640.
    assert detector.detect(white_squares(640, 500, (448, 320, 64), (128, 64, 64))) == [
        [128.0, 64.0, 64.0, 64.0, 1.0],
        [448.0, 320.0, 64.0, 64.0, 1.0],
    ]
    assert detector.detect(white_squares(100, 90, (96, 0, 4))) == []  # smaller than 8% of the picture
    large = find_detector(replace(YUNET, min_share=0.4), detector.path)
    ((left, top, width, height, _),) = large.detect(white_squares(60, 70, (32, 32, 40)))
    assert (left, top, left + width, top + height) == (32, 32, 60, 64)  # a cell that reaches beyond the border


def test_confidence_is_a_threshold_of_the_recipe(tmp_path: Path) -> None:
    path, pixels = write_yunet(tmp_path / "yunet.onnx"), white_squares(320, 320, (64, 64, 32))
    pixels[64:96, 64:96] = 204  # four fifths of white
    ((*_, confidence),) = find_detector(replace(YUNET, min_confidence=0.79), path).detect(pixels)
    assert confidence == pytest.approx(0.8, abs=1e-3)
    assert find_detector(replace(YUNET, min_confidence=0.81), path).detect(pixels) == []


def test_yunet_is_used_if_it_was_fetched_else_the_cascade(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_detector(SETTINGS).fingerprint_fields()["detector"] == "cascade"
    with pytest.raises(UserError, match=r"face_detector\.model: yunet.*`mmc4 models fetch`"):
        find_detector(YUNET)
    path = write_yunet(models / catalogue.FACE_DETECTOR.name)
    with pytest.raises(UserError, match="sha256"):
        find_detector(SETTINGS)
    sha256 = find_detector(YUNET, shutil.copy(path, models / "own.onnx")).sha256
    monkeypatch.setattr(catalogue, "FACE_DETECTOR", replace(catalogue.FACE_DETECTOR, sha256=sha256))
    assert find_detector(SETTINGS).fingerprint_fields() == {
        "detector": "yunet",
        "sha256": sha256,
        "max_side": SETTINGS.max_side,
        "min_share": SETTINGS.min_share,
        "min_confidence": SETTINGS.min_confidence,
    }
    assert find_detector(CASCADE).fingerprint_fields()["detector"] == "cascade"


def test_a_file_that_is_not_yunet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.onnx: "):
        find_detector(YUNET, str(tmp_path / "missing.onnx"))
    whole = Path(write_yunet(tmp_path / "yunet.onnx")).read_bytes()
    other = Path(write_yunet(tmp_path / "other.onnx", ("cls", "obj", "bbox"))).read_bytes()
    for content in (b"", b"<html>not here</html>", whole[: len(whole) // 2], other):
        (tmp_path / "file.onnx").write_bytes(content)
        with pytest.raises(UserError, match=r"file\.onnx: .*`mmc4 models fetch"):
            find_detector(YUNET, str(tmp_path / "file.onnx"))


def test_a_file_that_changes_during_a_run_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    detector = find_detector(YUNET, write_yunet(path))
    path.write_bytes(path.read_bytes() + b"\0")
    with ThreadPoolExecutor(1) as fresh, pytest.raises(UserError, match=r"yunet\.onnx: "):
        fresh.submit(detector.detect, white_squares(64, 64)).result()


def test_an_opencv_without_cascades_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match=r"`mmc4 models fetch --recipe mmc4-ff`.*opencv-python-headless<5"):
        find_detector(SETTINGS)
