"""BLIP's scorers in the score stage, with small models: resumed, used by a recipe, published."""

import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.running import MINIWEB, WEIGHTS, contents, mmc4, succeeded
from tests.end_to_end.test_scores import documents
from tests.mmc4_pipeline.blip.small_models import save_blip2, save_itm


@pytest.mark.engines
def test_matches_assign_images_and_captions_are_published(built: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for stage in ("locations", "pages", "images"):
        shutil.copytree(built / stage, output / stage)
    for name, save in (("small-itm", save_itm), ("small-blip2", save_blip2)):
        save(tmp_path / name)
    clip = f"clip_model={WEIGHTS}/clip.json,clip_pretrained={WEIGHTS}/clip.pt"
    scorers = (
        f"clip:model={WEIGHTS}/clip.json,pretrained={WEIGHTS}/clip.pt,save_features=true",
        f"blip_itm:model={tmp_path}/small-itm,k=2",
        f"blip2:model={tmp_path}/small-blip2,max_new_tokens=6,{clip}",
        "image_sequence",
    )
    recipe = tmp_path / "miniweb.yaml"
    recipe.write_text(
        f"extends: {MINIWEB}/miniweb.yaml\nscores: [clip, blip_itm, blip2, image_sequence]\n"
        "assignment: {method: max, by: itm}\n"
        "filters: {nsfw: null, alike: {filter: at_most, column: in_sample_similarity, max: 0.999}}\n"
    )
    score = ("score", "--output", str(output), "--recipe", str(recipe), "--scorer", *scorers)
    succeeded(mmc4(*score))
    made = contents(output, "scores/*/*.parquet")
    assert {name.split("/")[1] for name in made} == {
        "clip_clip",
        "small-itm_2",
        "small-blip2_clip_clip",
        "image_sequence",
    }
    for name in ("small-itm_2", "small-blip2_clip_clip"):
        (output / "scores" / name / "manifest.json").unlink()
        (output / "scores" / name / "done/00001.json").unlink()
        (output / "scores" / name / "scores-00001-of-00002.parquet").unlink()
    succeeded(mmc4(*score, "--resume"))
    assert contents(output, "scores/*/*.parquet") == made

    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(recipe)))
    kept = [row for row in pq.read_table(output / "dataset/miniweb/ledger").to_pylist() if row["shard"]]
    assert len(kept) > 20
    assert all(row["matched_itm"] == row["best_itm"] for row in kept)
    assert all(row["in_sample_similarity"] <= 0.999 for row in kept)
    published = documents(output)
    written = {
        (key, info["raw_url"], info.get("caption"))
        for key, document in published.items()
        for info in document["image_info"]
    }
    assert written == {(row["key"], row["image_url"], row["generated_caption"]) for row in kept}
    assert any(caption for _, _, caption in written)
    manifest = orjson.loads((output / "dataset/miniweb/manifest.json").read_bytes())
    assert len(manifest["input"]["more_scores"]) == 3
    succeeded(mmc4("verify", str(output / "dataset/miniweb")))
