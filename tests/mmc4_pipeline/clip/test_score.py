"""Scoring a shard: the same numbers as plain open_clip computes, one image and one sentence at a time."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.ads import AD_PROMPTS, OTHER_PROMPTS
from mmc4_pipeline.clip.features import read_features
from mmc4_pipeline.clip.heads import NsfwHead
from mmc4_pipeline.clip.score import ClipScorer
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.dataset.cut import cut_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.recipe import load_recipe
from schemas.image import Image
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage
from schemas.score import DocumentScores
from tests.mmc4_pipeline.one_shard import shard_of, tar_of
from tests.pages import new_page


def scored(
    scorer: ClipScorer, pages: Sequence[Page], images: Sequence[Image], tar: io.BytesIO
) -> Sequence[DocumentScores]:
    return scorer.score_shard(shard_of(pages, images, tar)).documents


def page(key: str, sentences: list[str]) -> Page:
    return new_page(key, sentences)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    out = io.BytesIO()
    PillowImage.fromarray(pixels).resize((80, 60), PillowImage.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def scorer(tiny: str) -> ClipScorer:
    return ClipScorer(ScorerSettings(ClipChoice(tiny, "random"), device="cpu", precision="fp32"))


@pytest.fixture(scope="module")
def plain(scorer: ClipScorer, tiny: str) -> Callable[[bytes, str], float]:  # noqa: ARG001 - the scorer registers the config
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("tiny-test-clip")
    tokenize = open_clip.get_tokenizer("tiny-test-clip")
    model.eval()

    def similarity(data: bytes, sentence: str) -> float:
        with torch.inference_mode():
            image = model.encode_image(transform(PillowImage.open(io.BytesIO(data)))[None])[0]
            text = model.encode_text(tokenize([sentence]))[0]
        return float(torch.nn.functional.cosine_similarity(image, text, dim=0))

    return similarity


def test_similarities_are_those_of_plain_open_clip(scorer: ClipScorer, plain: Callable[[bytes, str], float]) -> None:
    files = [jpeg(seed) for seed in range(40)]  # more than one batch
    tar, places = tar_of(files)
    pages = [
        page(f"k{number}", [f"Sentence {number} of {item}." for item in range(4)] + ["Shared."]) for number in range(8)
    ]
    images = [
        Image(f"k{number % 8}", number // 8, "u", offset=places[number][0], length=places[number][1])
        for number in range(40)
    ]
    images.append(Image("k0", 9, "u", offset=places[39][0], length=places[39][1]))  # an image of two documents
    documents = scored(scorer, pages, images, tar)
    assert [document.key for document in documents] == [item.key for item in pages]
    for number, document in enumerate(documents):
        positions = [0, 1, 2, 3, 4] + [9] * (number == 0)
        assert [score.position for score in document.images] == positions
        for score in document.images:
            data = files[39] if score.position == 9 else files[score.position * 8 + number]
            expected = [plain(data, sentence) for sentence in pages[number].sentences]
            assert np.abs(np.array(score.similarity) - expected).max() < 1e-5
            assert (score.number("nsfw"), score.number("face"), score.reason) == (None, None, None)


def test_an_image_that_cannot_be_decoded_again_is_corrupt_and_the_rest_is_scored(scorer: ClipScorer) -> None:
    files = [jpeg(0), b"garbage", jpeg(1)[:300], jpeg(2)]
    tar, places = tar_of(files)
    images = [Image("k", number, "u", offset=start, length=size) for number, (start, size) in enumerate(places)]
    (document,) = scored(scorer, [page("k", ["One.", "Two."])], images, tar)
    assert [score.reason for score in document.images] == [None, Reason.CORRUPT, Reason.CORRUPT, None]
    assert [len(score.similarity) for score in document.images] == [2, 0, 0, 2]


def test_a_truncated_tar_ends_the_run(scorer: ClipScorer) -> None:
    tar, _ = tar_of([jpeg(0)])
    beyond = [Image("k", 0, "u", offset=10**9, length=100)]
    with pytest.raises(UserError, match=r"\b0 of 100 bytes"):
        scored(scorer, [page("k", ["One."])], beyond, tar)


def test_no_damage_to_a_stored_image_stops_the_shard(scorer: ClipScorer) -> None:
    random, files = np.random.default_rng(0), []
    for seed in range(120):
        damaged = bytearray(jpeg(seed % 5))
        for place in random.integers(0, min(len(damaged), 700), 4):
            damaged[place] = int(random.integers(0, 256))
        files.append(bytes(damaged))
    tar, places = tar_of(files)
    images = [Image("k", number, "u", offset=start, length=size) for number, (start, size) in enumerate(places)]
    (document,) = scored(scorer, [page("k", ["One."])], images, tar)
    assert [score.position for score in document.images] == list(range(120))
    assert all((score.reason is Reason.CORRUPT) == (len(score.similarity) == 0) for score in document.images)


def test_dropped_images_and_documents_without_images_are_not_scored(scorer: ClipScorer) -> None:
    tar, ((offset, length),) = tar_of([jpeg(0)])
    images = [
        Image("k1", 0, "u", offset=offset, length=length),
        Image("k1", 1, "u", offset=offset, length=length, reason=Reason.TOO_SMALL),
        Image("k2", 0, "u", reason=Reason.TIMEOUT),
    ]
    pages = [page(key, ["One."]) for key in ("k0", "k1", "k2")]
    (document,) = scored(scorer, pages, images, tar)
    assert (document.key, [score.position for score in document.images]) == ("k1", [0])


def test_an_empty_shard(scorer: ClipScorer) -> None:
    assert scored(scorer, [], [], io.BytesIO()) == []
    assert scored(scorer, [page("k", ["One."])], [], io.BytesIO()) == []


def test_heads_give_probabilities_and_corrupt_images_have_none(tiny: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.save(NsfwHead(16).state_dict(), tmp_path / "nsfw.pt")
    torch.save({"linear.weight": torch.zeros(1, 16), "linear.bias": torch.tensor([2.0])}, tmp_path / "face.pt")
    settings = ScorerSettings(ClipChoice(tiny, "random"), str(tmp_path / "nsfw.pt"), str(tmp_path / "face.pt"), "cpu")
    scorer = ClipScorer(settings)

    def scores(*files: bytes) -> DocumentScores:
        tar, places = tar_of(list(files))
        images = [Image("k", number, "u", offset=start, length=size) for number, (start, size) in enumerate(places)]
        (document,) = scored(scorer, [page("k", ["One."])], images, tar)
        return document

    good, bad = scores(jpeg(0), b"garbage").images
    assert good.number("face") == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)
    assert 0 <= good.values["nsfw"] <= 1
    assert (bad.values, bad.reason) == ({}, Reason.CORRUPT)
    assert [score.reason for score in scores(b"garbage").images] == [Reason.CORRUPT]


def test_a_head_for_another_model_is_refused(tiny: str, tmp_path: Path) -> None:
    torch.save(NsfwHead(768).state_dict(), tmp_path / "nsfw.pt")
    with pytest.raises(UserError, match=r"nsfw\.pt: .*NsfwHead .*16"):
        ClipScorer(ScorerSettings(ClipChoice(tiny, "random"), str(tmp_path / "nsfw.pt"), device="cpu"))


def test_documents_without_sentences_and_sentences_without_end(scorer: ClipScorer) -> None:
    tar, ((offset, length),) = tar_of([jpeg(0)])
    pages = [
        replace(item, links=[ImageLink(0, "https://a.example/u.jpg", "", None, None)])
        for item in (page("k0", []), page("k1", ["One.", "word " * 5000]))
    ]
    images = [Image(key, 0, "u", offset=offset, length=length) for key in ("k0", "k1")]
    none, two = scored(scorer, pages, images, tar)
    assert [score.values["similarity"] for score in none.images] == [[]]
    assert none.images[0].reason is None
    assert none.images[0].values["ad"] == two.images[0].values["ad"]
    assert np.isfinite(two.images[0].similarity).all()
    assert len(two.images[0].similarity) == 2
    recipe = load_recipe("mmc4", ("filters.nsfw=null", "filters.similarity.min=-1", "filters.resolution=null"))
    cut, _ = cut_shard(pages, images, [none, two], recipe)
    assert cut.reason == Reason.DOCUMENT
    assert {at: (stage, drop.reason) for at, (stage, drop) in cut.dropped.items()} == {
        0: (Stage.CUT, Reason.LOW_SIMILARITY)
    }


def test_the_probability_of_an_ad_is_that_of_the_ad_prompts_in_a_softmax(
    scorer: ClipScorer, plain: Callable[[bytes, str], float]
) -> None:
    tar, places = tar_of([jpeg(0), jpeg(1), b"garbage"])
    images = [Image("k", number, "u", offset=start, length=size) for number, (start, size) in enumerate(places)]
    (document,) = scored(scorer, [page("k", ["One."])], images, tar)
    for seed, score in enumerate(document.images[:2]):
        logits = np.array([plain(jpeg(seed), prompt) for prompt in (*AD_PROMPTS, *OTHER_PROMPTS)]) / 0.07
        shares = np.exp(logits) / np.exp(logits).sum()
        assert score.values["ad"] == pytest.approx(shares[: len(AD_PROMPTS)].sum(), abs=1e-4)
    assert document.images[2].number("ad") is None


def test_features_are_saved_and_read_back(tiny: str, tmp_path: Path) -> None:
    tar, places = tar_of([jpeg(0), b"garbage", jpeg(1)])
    images = [Image("k1", number, "u", offset=start, length=size) for number, (start, size) in enumerate(places)]
    images.append(replace(images[0], key="k0", position=7))
    pages = [page("k0", ["One."]), page("k1", ["Two."])]
    scorer = ClipScorer(ScorerSettings(ClipChoice(tiny, "random"), device="cpu", precision="fp32"), save_features=True)
    (file,) = scorer.score_shard(shard_of(pages, images, tar, tmp_path)).files
    assert file.name == "features-00000-of-00001.parquet"
    expected = scorer.engine.features([jpeg(0), jpeg(1)], []).images[[0, 0, 1]]
    found = list(read_features(str(tmp_path / file.name)))
    assert [(item.key, item.position) for item in found] == [("k0", 7), ("k1", 0), ("k1", 2)]
    for item, values in zip(found, expected, strict=True):
        assert item.values.dtype == np.float16
        assert item.values.shape == (16,)
        assert np.abs(item.values - values).max() < 1e-3
    assert np.array_equal(found[0].values, found[1].values)
    with pytest.raises(UserError, match=r"elsewhere\.parquet: .*`mmc4 score` .*--save_features"):
        list(read_features(str(tmp_path / "elsewhere.parquet")))
