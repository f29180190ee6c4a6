"""The whole pipeline on the miniature web: every count adds up, and the dataset is what was planted."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from mmc4_pipeline.miniweb.check import compare
from tests.end_to_end.running import RECIPE, Web, contents, mmc4, refusal, succeeded

STAGES = ["locations", "pages", "images", "scores/clip_clip", "dataset/miniweb"]


def manifest(output: Path, stage: str) -> dict[str, Any]:
    return json.loads((output / stage / "manifest.json").read_text())


def ledger(output: Path, recipe: str = "miniweb") -> list[dict[str, Any]]:
    return pq.read_table(output / "dataset" / recipe / "ledger").to_pylist()


def test_the_dataset_is_what_was_planted(web: Web, built: Path) -> None:
    truth = compare(web.folder / "truth.json", built / "dataset/miniweb")
    assert truth.kept > 50
    assert truth.on_own_sentence >= 0.95
    assert truth.exact_duplicates_dropped == 1
    assert truth.reencoded_duplicates_dropped >= 0.95
    assert truth.distinct_dropped_as_duplicates <= 0.01
    assert truth.opted_out_kept == 0
    assert truth.right_reason >= 0.98
    assert truth.wrongly_dropped <= 0.02
    assert truth.right_places == 1


def test_the_places_are_those_that_were_planted(web: Web, built: Path) -> None:
    planted = json.loads((web.folder / "truth.json").read_text())["links"]
    links = {(page["url"], link["position"]): link for page in pages_of(built, ()) for link in page["links"]}
    for layout in ("before", "after", "gallery", "sidebar"):
        wanted = [link for link in planted if link["layout"] == layout]
        assert len(wanted) > 20
        assert len({link["after_sentence"] for link in wanted}) > 2
        for link in wanted:
            found = links[link["page_url"], link["position"]]
            assert {name: found[name] for name in PLACES} == {name: link[name] for name in PLACES}
    assert {link["inside_text"] for link in planted} == {True, False}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_keeps_its_input_or_drops_it_for_a_reason(built: Path, stage: str) -> None:
    counts = manifest(built, stage)["counts"]
    assert counts
    for thing in counts.values():
        assert thing["in"] == thing["kept"] + sum(thing["dropped"].values())
        assert thing["in"] > 0


def test_each_stage_takes_what_the_one_before_kept(built: Path) -> None:
    locations, pages, images, scores, dataset = (manifest(built, stage)["counts"] for stage in STAGES)
    assert locations["documents"]["kept"] == pages["documents"]["in"]
    assert pages["documents"]["kept"] == dataset["documents"]["in"]
    assert pages["links"]["kept"] == images["links"]["in"]
    assert images["links"]["kept"] == scores["links"]["in"]
    assert scores["links"]["kept"] == dataset["links"]["in"]


def test_the_ledger_has_each_link_once_and_agrees_with_the_statistics(web: Web, built: Path) -> None:
    rows = ledger(built)
    planted = json.loads((web.folder / "truth.json").read_text())["links"]
    assert Counter((row["page_url"], row["position"], row["image_url"]) for row in rows) == Counter(
        (link["page_url"], link["position"], link["image_url"]) for link in planted
    )
    dropped = Counter((row["stage"], row["reason"]) for row in rows if row["reason"])
    for name, stage in zip(STAGES[1:], ("pages", "images", "score", "cut"), strict=True):
        counts = manifest(built, name)["counts"]["links"]["dropped"]
        assert counts == {reason: number for (where, reason), number in dropped.items() if where == stage}
    kept = [row for row in rows if row["reason"] is None]
    assert len(kept) == manifest(built, "dataset/miniweb")["counts"]["links"]["kept"]
    assert all(row["stage"] is None and row["shard"] and row["key"] and row["sha256"] for row in kept)
    assert all(row["shard"] is None and row["key"] is None for row in rows if row["reason"])


def test_documents_that_are_not_in_the_index_are_rejected(web: Web, built: Path) -> None:
    rejects = pq.read_table(built / "locations/rejects-00000-of-00001.parquet").to_pylist()
    missing = [reject for reject in rejects if reject["reason"] == "not_located"]
    assert len(missing) == manifest(built, "locations")["counts"]["documents"]["dropped"]["not_located"] > 0
    located = json.loads((web.folder / "truth.json").read_text())["pages"]
    assert not {reject["url"] for reject in missing} & {url for url, page in located.items() if page["located"]}


def test_webdataset_reads_the_shards_and_the_ledger_finds_each_image_in_them(built: Path) -> None:
    shards = sorted(str(path) for path in (built / "dataset/miniweb").glob("shard-*.tar"))
    samples = list(wds.WebDataset(shards, shardshuffle=False).decode())
    places = {
        (info["raw_url"], sample["__key__"], Path(sample["__url__"]).name)
        for sample in samples
        for info in sample["json"]["image_info"]
    }
    assert places == {(row["image_url"], row["key"], row["shard"]) for row in ledger(built) if row["reason"] is None}
    assert len(samples) == manifest(built, "dataset/miniweb")["counts"]["documents"]["kept"]
    published = json.loads((files("schemas") / "mmc4_document.schema.json").read_text())
    for sample in samples:
        document = sample["json"]
        jsonschema.validate(document, published)
        for info, row in zip(document["image_info"], document["similarity_matrix"], strict=True):
            assert row[info["matched_text_index"]] == info["matched_sim"]
            assert len(row) == len(document["text_list"])


@pytest.mark.parametrize("source", ["wat", "warc_scan"])
def test_every_page_source_yields_the_same_pages(web: Web, built: Path, tmp_path: Path, source: str) -> None:
    output = tmp_path / "out"
    shutil.copytree(built / "locations", output / "locations")
    succeeded(mmc4(*web.stage("pages", output, page_source=source)))
    links = [link for page in pages_of(output, without=()) for link in page["links"]]
    assert {link["after_sentence"] is None for link in links} == {source == "wat"}
    without = PLACES if source == "wat" else ()
    assert pages_of(output, without) == pages_of(built, without)


PLACES = ("after_sentence", "inside_text", "caption")


def pages_of(output: Path, without: Collection[str]) -> list[dict[str, Any]]:
    pages: list[dict[str, Any]] = []
    for path in sorted((output / "pages").glob("pages-*.parquet")):
        pages += pq.read_table(path).to_pylist()
    for page in pages:
        for link in page["links"]:
            for name in ("declared_width", "declared_height", *without):  # WAT records don't have them
                del link[name]
    return pages


NEEDING_PLACES = (
    *("--set", "filters.inside_text={}", "--set", "filters.images_in_a_row={max: 3}"),
    *("--set", "assignment.window=3"),
)


def test_a_recipe_that_needs_places_is_refused_before_wat_files_are_read(web: Web, tmp_path: Path) -> None:
    said = refusal(mmc4("build", *web.build_arguments(tmp_path / "out", page_source="wat"), *NEEDING_PLACES))
    assert re.search("--page_source wat: .*filters.inside_text, filters.images_in_a_row, assignment.*warc_scan", said)
    assert not (tmp_path / "out").exists()


def test_a_cut_that_needs_places_is_refused_if_the_pages_have_none(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    file = output / "pages/manifest.json"
    read = json.loads(file.read_text())
    assert read.pop("places") is True  # as with WAT files, or after an earlier version
    file.write_text(json.dumps(read))
    said = refusal(mmc4("cut", "--output", str(output), "--recipe", "mmc4", *NEEDING_PLACES))
    assert re.search("filters.inside_text: .*filters.images_in_a_row: .*assignment: .*--page_source warc", said)


def test_filters_of_places_can_be_added_when_cutting(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    recipe = tmp_path / "placed.yaml"
    recipe.write_text(f"extends: {RECIPE}\nfilters: {{inside_text: {{}}, images_in_a_row: {{max: 2}}}}\n")
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(recipe)))
    before, after = ledger(output), ledger(output, "placed")
    inside = [row for row in before if row["reason"] is None and row["inside_text"]]
    galleries = {
        document
        for (document, _), count in Counter((row["document"], row["after_sentence"]) for row in inside).items()
        if count > 2
    }
    assert galleries
    kept = {(row["document"], row["position"]) for row in after if row["reason"] is None}
    assert kept == {(row["document"], row["position"]) for row in inside if row["document"] not in galleries}
    reasons = Counter(row["reason"] for row in after)
    assert reasons["images_in_a_row"] == len(inside) - len(kept)
    assert reasons["outside_text"] >= sum(row["reason"] is None for row in before) - len(inside)  # it comes early


def test_another_recipe_cuts_a_subset_of_the_same_scores(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    succeeded(mmc4("cut", "--output", str(output), "--recipe", "mmc4-core"))
    full, core = ledger(output), ledger(output, "mmc4-core")

    def kept(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
        return {(row["document"], row["position"]) for row in rows if row["reason"] is None}

    assert kept(core) < kept(full)
    assert len(core) == len(full)


def test_a_recipe_that_needs_more_than_was_scored_is_refused(built: Path) -> None:
    run = mmc4("cut", "--output", str(built), "--recipe", "mmc4", "--set", "filters.resolution.min_side=10")
    assert re.search(r"filters\.resolution\.min_side\b.*\b10\b.*\b150\b", refusal(run))


def test_the_stages_one_by_one_write_the_same_bytes_as_a_build(web: Web, built: Path, tmp_path: Path) -> None:
    for stage in ("locate", "pages", "images", "score", "cut"):
        succeeded(mmc4(*web.stage(stage, tmp_path / "out")))
    assert contents(tmp_path / "out", "**/*.tar") == contents(built, "**/*.tar")
    assert contents(tmp_path / "out", "**/*.parquet") == contents(built, "**/*.parquet")


def test_help_runs_no_stage() -> None:
    assert "locate" in succeeded(mmc4("--help")).stdout
    assert "--image_routes" in succeeded(mmc4("build", "--help")).stdout
