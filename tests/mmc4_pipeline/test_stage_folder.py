"""A stage's folder: what resuming refuses, what counts must do, and what the manifest says in the end."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.stage_folder import StageFolder, add_up, fingerprint
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

PLAN: dict[str, Any] = {"recipe": load_recipe("mmc4").part(Stage.PAGES), "options": {"page_source": "warc"}}


def counts(seen: int, kept: int, **dropped: int) -> Counts:
    made = Counts(seen)
    made.decide([None] * kept)
    for reason, number in dropped.items():
        made.decide([Reason(reason)] * number)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return StageFolder(str(tmp_path / "pages"), Stage.PAGES)


def finish(folder: StageFolder, shard: int, made: Counts) -> None:
    file = storage.write_bytes(folder.file(f"pages-{shard}.bin"), b"x" * shard)
    folder.finish_shard(shard, [file], {"links": made})


def test_from_begin_to_manifest(folder: StageFolder) -> None:
    assert folder.begin(PLAN, 2, resume=False)
    with pytest.raises(UserError, match="the pages stage is not finished here; run `mmc4 pages` first"):
        folder.manifest()
    finish(folder, 1, counts(5, 3, url_token=2))
    assert folder.done() == {1}
    assert folder.done() == {1}
    with pytest.raises(UserError, match=r"1 of 2 shards are not finished; run again with --resume"):
        folder.finish()
    finish(folder, 0, counts(4, 1, url_token=1, url_extension=2))
    manifest = folder.finish()
    assert manifest["counts"] == {"links": {"in": 9, "kept": 4, "dropped": {"url_extension": 2, "url_token": 3}}}
    assert [(file["name"], file["bytes"]) for file in manifest["files"]] == [("pages-0.bin", 0), ("pages-1.bin", 1)]
    assert (manifest["stage"], manifest["shards"]) == ("pages", 2)
    assert manifest["versions"]["apache-beam"]
    assert folder.manifest() == json.loads(json.dumps(manifest))
    assert not folder.begin(PLAN, 2, resume=True)


def test_an_existing_folder_needs_resume(folder: StageFolder) -> None:
    folder.begin(PLAN, 2, resume=False)
    with pytest.raises(UserError, match=r"pages: already holds this stage; continue it with --resume"):
        folder.begin(PLAN, 2, resume=False)


def test_resuming_keeps_what_is_done_and_removes_what_is_half_done(folder: StageFolder) -> None:
    assert folder.begin(PLAN, 3, resume=True)  # nothing there yet: as good as a first run
    finish(folder, 2, counts(0, 0))
    leftover = Path(folder.file("pages-0.bin.tmp-0123456789ab"))
    leftover.touch()
    assert folder.begin(PLAN, 3, resume=True)
    assert folder.done() == {2}
    assert not leftover.exists()
    assert Path(folder.file("pages-2.bin")).exists()


def test_a_folder_with_brackets_in_its_name_is_one_like_any_other(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path / "out [1]" / "pages"), Stage.PAGES)
    folder.begin(PLAN, 1, resume=False)
    finish(folder, 0, counts(1, 1))
    assert folder.finish()["counts"]["links"]["kept"] == 1


def changed(**changes: Any) -> dict[str, Any]:
    return {**PLAN, **changes}


WITH_FILTER = load_recipe("mmc4", ("filters.url.forbidden_tokens=[logo]",)).part(Stage.PAGES)
WITHOUT_FILTER = load_recipe("mmc4", ("filters.url=null",)).part(Stage.PAGES)


@pytest.mark.parametrize(
    ("plan", "shards", "named"),
    [
        (changed(recipe=WITH_FILTER), 2, "recipe.filters.url.forbidden_tokens: was .*widget.*, is .*logo"),
        (changed(recipe=WITHOUT_FILTER), 2, "recipe.filters.url.extensions: was .*png.*, is not set"),
        (
            changed(recipe={**PLAN["recipe"], "filters": {**PLAN["recipe"]["filters"], "new": {}}}),
            2,
            "filters.new: was",
        ),
        (changed(options={"page_source": "wat"}), 2, "options.page_source: was warc, is wat"),
        (changed(input={"pages": "abc"}), 2, "input.pages: was not set, is abc"),
        (PLAN, 3, "shards: was 2, is 3"),
    ],
)
def test_a_resume_with_changes_is_refused_by_name(
    folder: StageFolder, plan: dict[str, Any], shards: int, named: str
) -> None:
    folder.begin(PLAN, 2, resume=False)
    with pytest.raises(UserError, match=f"cannot resume, what it was made from has changed: .*{named}"):
        folder.begin(plan, shards, resume=True)


def test_a_resume_with_filters_in_another_order_is_refused(folder: StageFolder) -> None:
    filters = load_recipe("mmc4").part(Stage.IMAGES)["filters"]
    folder.begin({"recipe": {"filters": filters}}, 1, resume=False)
    turned = dict(reversed(filters.items()))
    with pytest.raises(UserError, match=r"recipe\.filters in order: was consent, .*, is corpus_duplicates, "):
        folder.begin({"recipe": {"filters": turned}}, 1, resume=True)


def test_counts_that_do_not_add_up_are_an_error_and_no_note(folder: StageFolder) -> None:
    folder.begin(PLAN, 1, resume=False)
    for wrong in (counts(5, 3, url_token=1), counts(2, 3)):
        with pytest.raises(ArithmeticError, match="links of pages shard 0 do not add up"):
            finish(folder, 0, wrong)
    assert folder.done() == set()


def test_a_damaged_note_is_named(folder: StageFolder) -> None:
    folder.begin(PLAN, 1, resume=False)
    finish(folder, 0, counts(1, 1))
    Path(folder.file("done/00000.json")).write_text("{")
    with pytest.raises(UserError, match=r"done/00000\.json: .*JSON"):
        folder.finish()


def test_a_fingerprint_is_of_names_and_contents() -> None:
    def manifest(*files: tuple[str, str]) -> dict[str, Any]:
        return {"files": [{"name": name, "sha256": digest} for name, digest in files], "versions": {"numpy": "2"}}

    one = fingerprint(manifest(("a", "1"), ("b", "2")))
    assert one == fingerprint({**manifest(("a", "1"), ("b", "2")), "versions": {}})
    assert one != fingerprint(manifest(("a", "2"), ("b", "1")))
    assert one != fingerprint(manifest(("a", "1")))


drops = st.dictionaries(st.sampled_from(["http_error", "timeout", "corrupt"]), st.integers(0, 9))
shards = st.lists(st.tuples(st.integers(0, 9), drops))


@given(shards)
def test_totals_of_shards_that_add_up_add_up(shards: list[tuple[int, dict[str, int]]]) -> None:
    made = [counts(kept + sum(dropped.values()), kept, **dropped) for kept, dropped in shards]
    total = add_up({"links": count.to_json()} for count in made).get("links", Counts())
    total.check("links")
    assert total.kept == sum(kept for kept, _ in shards)
    assert total.dropped.total() == sum(sum(dropped.values()) for _, dropped in shards)
