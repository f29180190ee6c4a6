"""BLIP's image-text matching: the numbers of transformers' own model, one image and one sentence at a time."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from transformers import AutoProcessor, BlipForImageTextRetrieval

from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.blip import device, itm
from mmc4_pipeline.dataset.weighing import weighted
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.scorers.blip_itm import BlipItm
from mmc4_pipeline.scoring.base import LoadedScorer, Machine
from schemas.score import DocumentScores, ImageScore
from tests.mmc4_pipeline.blip.shards import BROKEN, planted, shard, similar
from tests.mmc4_pipeline.blip.small_models import save_itm

K = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small-itm")
    save_itm(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedScorer:
    scorer = BlipItm(str(folder), K)
    scorer.check()
    return scorer.load(Machine("cpu"))


def by_place(documents: list[DocumentScores]) -> dict[tuple[str, int], ImageScore]:
    return {(document.key, image.position): image for document in documents for image in document.images}


def test_scores_are_those_of_the_model_itself_for_the_k_most_similar_sentences(
    loaded: LoadedScorer, folder: Path
) -> None:
    pages, images, files = planted()
    scores = loaded.score_shard(shard(pages, images, files))
    found, clip = by_place(list(scores.documents)), by_place(similar(pages, images))
    assert scores.computed_in == "fp32 on cpu"
    processor, model = (item.from_pretrained(folder) for item in (AutoProcessor, BlipForImageTextRetrieval))
    of_place = dict(zip(sorted({(image.offset, image.length) for image in images}), files, strict=True))
    texts = {page.key: page.sentences for page in pages}
    probabilities, long = [], 0
    for image in images:
        score, data = found[image.key, image.position], of_place[image.offset, image.length]
        if data is BROKEN:
            assert score.values == {}
            continue
        similarity = clip[image.key, image.position].similarity
        chosen = sorted(range(len(similarity)), key=lambda number: (-similarity[number], number))[:K]
        for number, text in enumerate(texts[image.key]):
            if number not in chosen:
                assert (score.at("itm", number), score.at("itm_similarity", number)) == (None, None)
                continue
            picture, shortened = PillowImage.open(io.BytesIO(data)), {"truncation": True, "max_length": 35}
            given = processor(images=picture, text=text, return_tensors="pt", **shortened)
            with torch.inference_mode():
                expected = model(**given).itm_score.softmax(dim=1)[0, 1].item()
                cosine = model(**given, use_itm_head=False).itm_score[0, 0].item()
            assert score.at("itm", number) == pytest.approx(expected, abs=1e-4)
            assert score.at("itm_similarity", number) == pytest.approx(cosine, abs=1e-4)
            probabilities.append(expected)
            long += len(text.split()) > 35
    assert np.std(probabilities) > 0.05  # equal scores would show nothing
    assert long


def test_batches_of_other_sizes_give_the_same_scores(
    loaded: LoadedScorer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = planted(6)
    first = loaded.score_shard(shard(*given)).documents
    assert first == loaded.score_shard(shard(*given)).documents
    monkeypatch.setattr(device, "GROUP", 5)
    monkeypatch.setattr(itm, "_CPU_IMAGES", 2)
    monkeypatch.setattr(itm, "_CPU_PAIRS", 3)
    single = BlipItm(str(folder), K).load(Machine("cpu", 100)).score_shard(shard(*given)).documents
    for key, score in by_place(list(first)).items():
        other = by_place(list(single))[key]
        for name, row in score.values.items():
            for one, two in zip(row, other.values[name], strict=True):
                assert one == two or one == pytest.approx(two, abs=1e-5)


def test_the_number_of_cores_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "GROUP", 4)
    given = planted(9)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(device, "cores_for", lambda _, cores=cores: cores)
        found.append(BlipItm(str(folder), K).load(Machine("cpu")).score_shard(shard(*given)).documents)
    assert found[0] == found[1]


def test_an_assignment_by_itm_uses_the_matrix(loaded: LoadedScorer) -> None:
    pages, images, files = planted()
    document = next(iter(loaded.score_shard(shard(pages, images, files)).documents))
    good = [image for image in document.images if image.number("itm") is not None]
    matrix = weighted(good, Assignment(by={"itm": 1.0}), BlipItm.columns)
    assert matrix.shape == (3, 7)
    assert [(row > 0).sum() for row in matrix] == [K] * 3  # pairs without a score count as the lowest value
    assert matrix.max(axis=1).tolist() == [image.number("itm") for image in good]


def test_its_plan_and_folder_name_the_model_k_and_the_clip(folder: Path) -> None:
    published, own = BlipItm(), BlipItm(str(folder), 2, "ViT-B-32_openai")
    assert (published.folder, published.reads) == ("blip-itm-base-flickr_5", ("clip",))
    assert published.plan()["settings"] == {"model": catalogue.BLIP_ITM.name, "k": 5, "clip": "clip"}
    assert (own.folder, own.published) == (f"{folder.name}_2_ViT-B-32_openai", ())
    assert own.plan()["settings"]["model"] == [file_sha256(str(folder / "model.safetensors"))]


def test_a_model_that_is_not_there_or_is_another_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = tmp_path / catalogue.BLIP_ITM.name
    with pytest.raises(UserError, match=rf"{place} .*`mmc4 models fetch --scorer blip_itm`.*{catalogue.BLIP_ITM.url}"):
        BlipItm().check()
    with pytest.raises(UserError, match=r"model=nowhere: "):
        BlipItm("nowhere").check()
    place.parent.mkdir()
    place.symlink_to(folder)
    BlipItm().check()
    assert BlipItm().load(Machine("cpu"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=rf"{tmp_path}/other: "):
        BlipItm(str(tmp_path / "other")).load(Machine("cpu"))
