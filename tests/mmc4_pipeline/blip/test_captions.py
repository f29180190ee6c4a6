"""BLIP-2's captions: those of transformers' own model, one image at a time, and their similarity by plain open_clip."""

import io
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage
from transformers import AutoProcessor, Blip2ForConditionalGeneration

from mmc4_pipeline.blip import captions, device
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.scorers.blip2 import Blip2
from mmc4_pipeline.scoring.base import LoadedScorer, Machine
from schemas.score import ImageScore
from tests.mmc4_pipeline.blip.shards import BROKEN, planted, shard
from tests.mmc4_pipeline.blip.small_models import save_blip2

NAMES = ("generated_caption", "generated_caption_similarity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small-blip2")
    save_blip2(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "caption-test-clip.json"
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    return str(path)


@pytest.fixture(scope="module")
def scorer(folder: Path, clip: str) -> Blip2:
    return Blip2(str(folder), 8, clip, "random")


@pytest.fixture(scope="module")
def loaded(scorer: Blip2) -> LoadedScorer:
    scorer.check()
    return scorer.load(Machine("cpu"))


def scores_of(loaded: LoadedScorer, scale: int = 1) -> dict[tuple[str, int], ImageScore]:
    documents = loaded.score_shard(shard(*planted(scale))).documents
    return {(document.key, image.position): image for document in documents for image in document.images}


def test_captions_are_those_of_the_model_itself_and_compared_by_clip(loaded: LoadedScorer, folder: Path) -> None:
    found = scores_of(loaded, 8)
    _, images, files = planted(8)
    of_place = dict(zip(sorted({(image.offset, image.length) for image in images}), files, strict=True))
    processor, model = (item.from_pretrained(folder) for item in (AutoProcessor, Blip2ForConditionalGeneration))
    torch.manual_seed(0)
    plain, _, transform = open_clip.create_model_and_transforms("caption-test-clip")
    plain.eval()
    tokenize = open_clip.get_tokenizer("caption-test-clip")
    seen = set()
    for image in images:
        score, data = found[image.key, image.position], of_place[image.offset, image.length]
        if data is BROKEN:
            assert score.values == {}
            continue
        picture = PillowImage.open(io.BytesIO(data))
        with torch.inference_mode():
            tokens = model.generate(**processor(images=picture, return_tensors="pt"), max_new_tokens=8, do_sample=False)
            caption = processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
            of_image = plain.encode_image(transform(picture)[None], normalize=True)[0]
            of_text = plain.encode_text(tokenize([caption]), normalize=True)[0]
        assert score.values[NAMES[0]] == caption
        assert score.values[NAMES[1]] == pytest.approx(float(of_image @ of_text), abs=1e-4)
        seen.add(caption)
    assert len(seen) > 2  # a model that always says the same would show nothing


def test_batches_of_other_sizes_give_the_same_captions(
    loaded: LoadedScorer, scorer: Blip2, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scores_of(loaded, 8)
    assert first == scores_of(loaded, 8)
    monkeypatch.setattr(device, "GROUP", 7)
    monkeypatch.setattr(captions, "_CPU_IMAGES", 5)
    other = scores_of(scorer.load(Machine("cpu", 100)), 8)
    for place, score in first.items():
        assert score.values.get(NAMES[0]) == other[place].values.get(NAMES[0])
        similarities = [item.values.get(NAMES[1]) for item in (score, other[place])]
        assert similarities[0] == similarities[1] or np.isclose(*similarities, atol=1e-6)


def test_its_plan_and_folder_name_both_models(scorer: Blip2) -> None:
    published = Blip2()
    assert published.folder == "blip2-opt-2.7b_ViT-L-14_openai"
    assert published.published == (catalogue.BLIP2, catalogue.CLIP)
    assert published.plan()["settings"] == {
        "model": catalogue.BLIP2.name,
        "max_new_tokens": 30,
        "clip": {"model": "ViT-L-14", "weights": "openai"},
    }
    assert scorer.published == ()


def test_a_model_that_is_not_there_or_is_another_is_named(
    tmp_path: Path, folder: Path, scorer: Blip2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    place = tmp_path / catalogue.BLIP2.name
    with pytest.raises(UserError, match=rf"{place} .*`mmc4 models fetch --scorer blip2`.*{catalogue.BLIP2.url}"):
        Blip2().check()
    place.parent.mkdir()
    place.symlink_to(folder)
    Blip2(clip_model=scorer.clip_model, clip_pretrained="random").check()
