"""A stage's folder: what resuming refuses, what counts must do, and what the manifest says in the end."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.report.status import statuses
from mmc4_pipeline.stage_folder import StageFolder, add_up, fingerprint
from schemas.manifest import CutPlan, Manifest, PagesInput, PagesPlan, ShardNote, WrittenFile
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts
from tests.mmc4_pipeline.planted_plans import pages_plan

PLAN = pages_plan(2)


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
    folder.finish_shard(ShardNote(shard=shard, files=[file], counts={"links": made}))


def test_from_begin_to_manifest(folder: StageFolder) -> None:
    assert folder.begin(PLAN, resume=False)
    with pytest.raises(UserError, match="mmc4 pages"):
        folder.manifest()
    finish(folder, 1, counts(5, 3, url_token=2))
    assert folder.done() == {1}
    assert folder.done() == {1}
    with pytest.raises(UserError, match=r"1 of 2 shards .*--resume"):
        folder.finish()
    finish(folder, 0, counts(4, 1, url_token=1, url_extension=2))
    manifest = folder.finish()
    assert manifest.counts == {"links": counts(9, 4, url_extension=2, url_token=3)}
    assert [(file.name, file.bytes) for file in manifest.files] == [("pages-0.bin", 0), ("pages-1.bin", 1)]
    assert storage.json_bytes(manifest.plan) == storage.json_bytes(PLAN)
    assert manifest.versions["apache-beam"]
    assert folder.manifest(PagesPlan) == folder.manifest() == manifest
    assert not folder.begin(PLAN, resume=True)


@given(st.sampled_from(["pages", "ledger/ledger"]), st.integers(1, 10**6), st.data())
def test_a_file_is_where_its_folder_s_manifest_says(stem: str, shards: int, data: st.DataObject) -> None:
    """Folders above 10,000 shards have at most 1,000, with up to three files each."""
    folder, shard = StageFolder("memory://out", Stage.PAGES), data.draw(st.integers(0, shards - 1))
    path = folder.shard_file(stem, shard, shards)
    above, _, name = stem.rpartition("/")
    written = storage.written(path, storage.HashingWriter(io.BytesIO()))  # type: ignore[arg-type]
    assert path == folder.file(f"{above}/{written.name}".lstrip("/"))
    assert written.name.rpartition("/")[2].startswith(f"{name}-")
    inner = written.name.rpartition("/")[0]
    assert bool(inner) == (shards > 10_000)
    assert not inner or (int(inner) == shard // 1000 and len(inner) == len(str((shards - 1) // 1000)))


def test_notes_of_many_shards_are_in_folders(folder: StageFolder) -> None:
    folder.begin(pages_plan(182_500), resume=False)
    for shard in (0, 9_999, 10_000, 182_499):
        finish(folder, shard, counts(1, 1))
        storage.write_json(folder.note_file(shard, "step"), {"a": "note"})
    notes = sorted(str(path.relative_to(folder.path)) for path in Path(folder.path, "done").rglob("*.json"))
    assert notes == ["done/00000.json", "done/09999.json", "done/1/10000.json", "done/18/182499.json"]
    assert folder.done() == folder.done("step") == {0, 9_999, 10_000, 182_499}
    (status,) = statuses(str(Path(folder.path).parent))
    assert (status.done, status.steps, status.counts) == (4, {"step": 4}, {"links": counts(4, 4)})
    Path(folder.note_file(10_000)).write_bytes(b"{")
    Path(folder.note_file(182_499, "step")).write_bytes(b"")
    assert folder.begin(pages_plan(182_500), resume=True)
    assert folder.done() == {0, 9_999}
    assert folder.done("step") == {0, 9_999, 10_000}


def test_an_existing_folder_needs_resume(folder: StageFolder) -> None:
    folder.begin(PLAN, resume=False)
    with pytest.raises(UserError, match=r"pages: .*--resume"):
        folder.begin(PLAN, resume=False)


def test_resuming_keeps_what_is_done_and_removes_what_is_half_done(folder: StageFolder) -> None:
    assert folder.begin(pages_plan(3), resume=True)  # nothing there yet: as good as a first run
    finish(folder, 2, counts(0, 0))
    leftover = Path(folder.file("pages-0.bin.tmp-0123456789ab"))
    leftover.touch()
    assert folder.begin(pages_plan(3), resume=True)
    assert folder.done() == {2}
    assert not leftover.exists()
    assert Path(folder.file("pages-2.bin")).exists()


def test_a_folder_with_brackets_in_its_name_is_one_like_any_other(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path / "out [1]" / "pages"), Stage.PAGES)
    folder.begin(pages_plan(1), resume=False)
    finish(folder, 0, counts(1, 1))
    assert folder.finish().counts["links"].kept == 1


def changed(**changes: Any) -> PagesPlan:
    return msgspec.structs.replace(PLAN, **changes)


WITH_FILTER = load_recipe("mmc4", ("filters.url.forbidden_tokens=[logo]",)).part(Stage.PAGES)
WITHOUT_FILTER = load_recipe("mmc4", ("filters.url=null",)).part(Stage.PAGES)


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (changed(recipe=WITH_FILTER), "recipe.filters.url.forbidden_tokens: was .*widget.*, is .*logo"),
        (changed(recipe=WITHOUT_FILTER), "recipe.filters.url.extensions: was .*png.*, is not set"),
        (
            changed(recipe={**PLAN.recipe, "filters": {**PLAN.recipe["filters"], "new": {}}}),
            "filters.new: was",
        ),
        (changed(options={"page_source": "wat"}), "options.page_source: was warc, is wat"),
        (
            changed(input=PagesInput(warcs={"a.warc": 1})),
            r"input\.locations: was 0, is not set.*input\.warcs\.a\.warc: was not",
        ),
        (pages_plan(3), "shards: was 2, is 3"),
    ],
)
def test_a_resume_with_changes_is_refused_by_name(folder: StageFolder, plan: PagesPlan, named: str) -> None:
    folder.begin(PLAN, resume=False)
    with pytest.raises(UserError, match=f"cannot resume.*{named}"):
        folder.begin(plan, resume=True)


def test_a_resume_with_filters_in_another_order_is_refused(folder: StageFolder) -> None:
    filters = load_recipe("mmc4").part(Stage.IMAGES)["filters"]
    folder.begin(changed(recipe={"filters": filters}), resume=False)
    turned = dict(reversed(filters.items()))
    with pytest.raises(UserError, match=r"recipe\.filters in order: was consent, .*, is corpus_duplicates, "):
        folder.begin(changed(recipe={"filters": turned}), resume=True)


def test_counts_that_do_not_add_up_are_an_error_and_no_note(folder: StageFolder) -> None:
    folder.begin(pages_plan(1), resume=False)
    for wrong in (counts(5, 3, url_token=1), counts(2, 3)):
        with pytest.raises(ArithmeticError, match="links of pages shard 0 do not add up"):
            finish(folder, 0, wrong)
    assert folder.done() == set()


def test_a_damaged_note_is_named(folder: StageFolder) -> None:
    folder.begin(pages_plan(1), resume=False)
    finish(folder, 0, counts(1, 1))
    Path(folder.file("done/00000.json")).write_text("{")
    with pytest.raises(UserError, match=r"done/00000\.json: .*JSON"):
        folder.finish()


@pytest.mark.parametrize("left", [0, 10])
@pytest.mark.parametrize("name", ["done/00001.json", "step/00001.json"])
def test_a_note_that_was_not_written_completely_counts_as_not_written(
    folder: StageFolder, name: str, left: int
) -> None:
    folder.begin(pages_plan(2), resume=False)
    for shard in (0, 1):
        finish(folder, shard, counts(1, 1))
        storage.write_json(folder.note_file(shard, "step"), {"a": "note"})
    note = Path(folder.file(name))
    note.write_bytes(note.read_bytes()[:left])
    assert folder.begin(pages_plan(2), resume=True)
    assert folder.done() == {0}
    assert not note.exists()
    assert Path(folder.note_file(0, "step")).exists()


@pytest.mark.parametrize("left", [b"", b"{\n", bytes(4096)])
def test_a_plan_and_a_manifest_that_were_not_written_completely_count_as_not_written(
    folder: StageFolder, left: bytes
) -> None:
    folder.begin(pages_plan(1), resume=False)
    plan, manifest = Path(folder.file("plan.json")), Path(folder.file("manifest.json"))
    whole = plan.read_bytes()
    plan.write_bytes(left)
    assert folder.begin(pages_plan(1), resume=False)
    assert plan.read_bytes() == whole
    finish(folder, 0, counts(1, 1))
    folder.finish()
    whole = manifest.read_bytes()
    manifest.write_bytes(left)
    with pytest.raises(UserError, match="mmc4 pages"):
        folder.manifest()
    assert folder.begin(pages_plan(1), resume=True)
    folder.finish()
    assert manifest.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"stage": "pages", "recipe": {}, "options": {}, "input": {}}', "shards"),
        ('{"stage": "pages", "shards": "2", "recipe": {}, "options": {}, "input": {}}', r"\$\.shards"),
        ('{"stage": "paint", "shards": 2}', r"\$\.stage"),
        ("[]", "object"),
    ],
)
def test_a_plan_that_is_none_is_refused_in_one_line_by_file_and_field(
    folder: StageFolder, content: str, named: str
) -> None:
    folder.begin(PLAN, resume=False)
    Path(folder.file("plan.json")).write_text(content)
    with pytest.raises(UserError, match=rf"^\S*/pages/plan\.json: .*{named}.*$"):
        folder.plan()


@pytest.mark.parametrize("lost", ["shards", "files", "counts"])
def test_a_manifest_without_a_field_is_refused_by_file_and_field(folder: StageFolder, lost: str) -> None:
    folder.begin(pages_plan(1), resume=False)
    finish(folder, 0, counts(1, 1))
    folder.finish()
    path = folder.file("manifest.json")
    storage.write_json(path, {name: value for name, value in storage.read_json(path).items() if name != lost})
    with pytest.raises(UserError, match=rf"^\S*/pages/manifest\.json: .*{lost}"):
        folder.manifest()


def test_a_manifest_of_another_stage_is_refused(folder: StageFolder) -> None:
    folder.begin(pages_plan(0), resume=False)
    folder.finish()
    with pytest.raises(UserError, match=r"manifest\.json: .*pages.*stage"):
        folder.manifest(CutPlan)


def test_plan_note_and_manifest_are_stored_as_they_always_were(folder: StageFolder) -> None:
    folder.begin(pages_plan(1), resume=False)
    finish(folder, 0, counts(3, 1, url_token=1, url_extension=1))
    folder.finish()
    plan, note, manifest = (
        storage.read_json(folder.file(name)) for name in ("plan.json", "done/00000.json", "manifest.json")
    )
    assert list(plan) == ["stage", "shards", "recipe", "options", "input"]
    assert plan["input"] == {"locations": "0"}
    assert list(note) == ["shard", "files", "counts"]
    assert list(note["files"][0]) == ["name", "bytes", "sha256"]
    assert str(note["counts"]) == "{'links': {'in': 3, 'kept': 1, 'dropped': {'url_extension': 1, 'url_token': 1}}}"
    assert list(manifest) == [*plan, "versions", "counts", "files"]


def test_a_fingerprint_is_of_names_and_contents() -> None:
    def manifest(*files: tuple[str, str], numpy: str = "2") -> Manifest[PagesPlan]:
        written = [WrittenFile(name, 1, digest) for name, digest in files]
        return Manifest(plan=PLAN, versions={"numpy": numpy}, counts={}, files=written)

    one = fingerprint(manifest(("a", "1"), ("b", "2")))
    assert one == fingerprint(manifest(("a", "1"), ("b", "2"), numpy="3"))
    assert one != fingerprint(manifest(("a", "2"), ("b", "1")))
    assert one != fingerprint(manifest(("a", "1")))


drops = st.dictionaries(st.sampled_from(["http_error", "timeout", "corrupt"]), st.integers(0, 9))
shards = st.lists(st.tuples(st.integers(0, 9), drops))


@given(shards)
def test_totals_of_shards_that_add_up_add_up(shards: list[tuple[int, dict[str, int]]]) -> None:
    made = [counts(kept + sum(dropped.values()), kept, **dropped) for kept, dropped in shards]
    total = add_up({"links": count} for count in made).get("links", Counts())
    total.check("links")
    assert total.kept == sum(kept for kept, _ in shards)
    assert total.dropped.total() == sum(sum(dropped.values()) for _, dropped in shards)
