"""The engine: results in order, bounded queues, and no hang when a thread raises."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip import model as clip_model
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.model import ClipModel, find_device
from mmc4_pipeline.clip.precision import find_precision
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice
from tests.end_to_end.running import WEIGHTS

MINIWEB = ClipChoice(str(WEIGHTS / "clip.json"), str(WEIGHTS / "clip.pt"))
SENTENCES = ["A red bus.", "", "Two dogs run over a meadow, and a third one sleeps.", "word " * 5000, "A red bus."]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    file = io.BytesIO()
    size = (90 + seed % 50, 120)
    PillowImage.fromarray(pixels).resize(size, PillowImage.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


FILES = [jpeg(seed) for seed in range(37)]  # more than a batch
FILES[5] = FILES[35] = b"garbage"
GOOD = [data for data in FILES if data != b"garbage"]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return ClipModel(MINIWEB, "cpu")


def plain_similarities(choice: ClipChoice, files: list[bytes], sentences: list[str]) -> np.ndarray:
    """Compute in the plain way: float32 on the CPU, one by one, each sentence padded to the full context."""
    torch.manual_seed(0)
    weights = None if choice.pretrained == "random" else choice.pretrained
    if choice.model.endswith(".json"):
        open_clip.add_model_config(Path(choice.model))
    model, _, transform = open_clip.create_model_and_transforms(choice.model_name, weights)
    tokenize = open_clip.get_tokenizer(choice.model_name)
    model.eval()
    with torch.inference_mode():
        opened = [PillowImage.open(io.BytesIO(data)) for data in files]
        images = [model.encode_image(transform(image)[None], normalize=True) for image in opened]
        texts = [model.encode_text(tokenize([sentence]), normalize=True) for sentence in sentences]
    return (torch.cat(images) @ torch.cat(texts).T).numpy()


def similarities(engine: Engine, files: list[bytes], sentences: list[str]) -> np.ndarray:
    found = engine.features(files, sentences)
    return found.images @ found.sentences.T


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return plain_similarities(MINIWEB, GOOD, SENTENCES)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 5e-3), ("fp16", 5e-3)])
def test_similarities_are_plain_open_clip_s(precision: Precision, tolerance: float, expected: np.ndarray) -> None:
    model = ClipModel(MINIWEB, find_device("auto"), precision)
    assert model.precision == precision
    found = Engine(model, 2).features(FILES, SENTENCES)
    assert found.decoded == [data != b"garbage" for data in FILES]
    assert np.abs(found.images @ found.sentences.T - expected).max() < tolerance


def test_similarities_of_vit_l_14_are_plain_open_clip_s() -> None:
    choice, files, sentences = ClipChoice("ViT-L-14", "random"), FILES[:2], SENTENCES[:4]
    expected = plain_similarities(choice, files, sentences)
    device = find_device("auto")
    tolerances: dict[Precision, float] = {"fp32": 1e-5, "bf16": 5e-3} | ({"fp16": 5e-3} if device == "cuda" else {})
    for precision, tolerance in tolerances.items():  # on a CPU fp16 takes minutes
        engine = Engine(ClipModel(choice, device, precision), 2)
        assert np.abs(similarities(engine, files, sentences) - expected).max() < tolerance


@pytest.mark.parametrize("choice", [MINIWEB, ClipChoice("ViT-B-32", "random")], ids=["miniweb", "ViT-B-32"])
def test_any_number_of_cores_gives_the_same_bytes(choice: ClipChoice) -> None:
    """PyTorch's own threads fail this with a larger model, which is why each core has its own batch."""
    one, several = (Engine(ClipModel(choice, "cpu", cores=cores), cores) for cores in (1, 5))
    for first, second in zip(one.features(FILES, SENTENCES), several.features(FILES, SENTENCES), strict=True):
        assert np.array_equal(first, second)


def test_an_empty_shard(model: ClipModel) -> None:
    found = Engine(model, 2).features([], [])
    assert (found.decoded, found.images.shape, found.sentences.shape) == (
        [],
        (0, model.width),
        (0, model.width),
    )
    assert Engine(model, 2).features([b"garbage"] * 3, ["One."]).images.shape == (0, model.width)


def test_reading_ahead_is_bounded() -> None:
    read, computed, ahead = 0, 0, []

    def files() -> Iterator[bytes]:
        nonlocal read
        for _ in range(200):
            read += 1
            ahead.append(read - computed)
            yield FILES[0]

    class Counting(ClipModel):
        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            nonlocal computed
            computed += len(pixels)
            return super().encode(pixels)

    counting = Counting(MINIWEB, "cpu")
    Engine(counting, 4).features(files(), [])
    assert (read, computed) == (200, 200)
    assert max(ahead) <= 4 * counting.batch_size


def test_an_error_in_reading_ends_it(model: ClipModel) -> None:
    def files() -> Iterator[bytes]:
        yield from FILES
        raise UserError("the tar is truncated")

    with pytest.raises(UserError, match="truncated"):
        Engine(model, 2).features(files(), SENTENCES)


def test_an_error_in_a_thread_ends_it_and_the_engine_goes_on_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ClipModel(MINIWEB, "cpu")
    engine, before = Engine(model, 2), model.pixels.of_file

    def of_file(data: bytes) -> torch.Tensor | None:
        if data == b"":
            raise MemoryError
        return before(data)

    monkeypatch.setattr(model.pixels, "of_file", of_file)
    with pytest.raises(MemoryError):
        engine.features([*FILES, b"", *FILES], SENTENCES)
    assert engine.features(FILES[:2], []).decoded == [True, True]


class Small(ClipModel):
    """A model on a device with memory for a few images, or for a few tokens, at a time."""

    images, tokens, failed = 100, 10**6, 0

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        self._refuse(len(pixels) > self.images)
        return super()._encode_pixels(pixels)

    def _encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        self._refuse(tokens.numel() > self.tokens)
        return super()._encode_tokens(tokens)

    def _refuse(self, full: bool) -> None:
        if full:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")


def test_out_of_memory_in_the_middle_of_a_shard_changes_no_score(model: ClipModel) -> None:
    sentences = [f"Sentence {number} {'and on ' * (number % 9)}." for number in range(50)]
    expected = similarities(Engine(model, 2), FILES, sentences)
    small = Small(MINIWEB, "cpu")
    engine = Engine(small, 2)
    assert np.array_equal(similarities(engine, FILES, sentences), expected)
    small.images, small.tokens = 5, 99  # another process has allocated the rest
    assert np.abs(similarities(engine, FILES, sentences) - expected).max() < 1e-6
    assert small.failed > 1
    assert small.batch_size <= 5 * cores_for(1)


def test_features_that_overflow_in_half_precision_are_refused(tiny: str, tmp_path: Path) -> None:
    ClipModel(ClipChoice(tiny, "random"), "cpu")  # registers the config with open_clip
    large = open_clip.create_model("tiny-test-clip")
    large.visual.proj.data *= 1e6
    torch.save(large.state_dict(), tmp_path / "large.pt")
    choice, image = ClipChoice(tiny, str(tmp_path / "large.pt")), PillowImage.new("RGB", (40, 40), "red")
    for precision in ("fp32", "bf16"):
        assert np.isfinite(ClipModel(choice, "cpu", precision).image_features([image])).all()
    with pytest.raises(UserError, match=r"--precision fp16: .* bf16 or fp32"):
        ClipModel(choice, "cpu", "fp16").image_features([image])


def test_the_precision_follows_from_the_device() -> None:
    assert find_precision("auto", "cuda:1") is torch.float16
    assert find_precision("auto", "cpu") in (torch.float32, torch.bfloat16)
    assert find_precision("bf16", "cpu") is torch.bfloat16
    with pytest.raises(UserError, match=r"--precision int8: .*auto, fp32"):
        find_precision("int8", "cpu")  # type: ignore[arg-type]


def test_cores_are_shared_by_processes() -> None:
    assert cores_for(1) >= cores_for(2) >= cores_for(10**6) == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler here")
def test_compiled_models_return_the_same_and_are_compiled_once(model: ClipModel) -> None:
    expected = Engine(model, 2).features(FILES, SENTENCES)
    engine = Engine(ClipModel(MINIWEB, "cpu", compiled=True), 2)
    engine.features(GOOD[: clip_model.CPU_IMAGES], [])
    with torch.compiler.set_stance("fail_on_recompile"):  # batches that are not full
        found = engine.features(FILES, SENTENCES)
    assert np.abs(found.images - expected.images).max() < 1e-6
    assert np.array_equal(found.sentences, expected.sentences)
