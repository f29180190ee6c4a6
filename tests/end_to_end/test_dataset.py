"""Datasets cut from the miniature web: in every format, in shards of a size, and subsets of one another."""

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard
from mmc4_pipeline.dataset.subsets import missing_from
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.naming import site_of
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.scoring.files import read_scores
from schemas.columns import CLIP_COLUMNS
from schemas.image import Image
from schemas.ledger import ledger_record
from schemas.page import Page
from tests.end_to_end.running import Web, contents, mmc4, refusal, succeeded
from tests.sequences import assert_all_formats_hold_the_same

SHARD_BYTES = 60_000
FORMATS = ("--formats", *sorted(known_formats(), reverse=True))  # webdataset is the first: the ledger names its files


def cut(output: Path, recipe: str, *arguments: str) -> Path:
    succeeded(mmc4("cut", "--output", str(output), "--recipe", recipe, *arguments))
    return output / "dataset" / Path(recipe).stem


def manifest(dataset: Path) -> dict[str, Any]:
    return json.loads((dataset / "manifest.json").read_text())


def ledger(dataset: Path) -> list[dict[str, Any]]:
    return pq.read_table(dataset / "ledger").to_pylist()


@pytest.fixture(scope="module")
def output(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of the stages up to the scores for the miniature web."""
    folder = tmp_path_factory.mktemp("datasets") / "out"
    return shutil.copytree(built, folder, ignore=lambda _, names: {"dataset"} & set(names))


@pytest.fixture(scope="module")
def full(output: Path) -> Path:
    """Return the full dataset in every format, in small shards."""
    return cut(output, "mmc4", *FORMATS, "--shard_bytes", str(SHARD_BYTES))


def shards(dataset: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the documents of each shard of a format, by the shard's name, as the format stores them."""
    item = known_formats()[name]()
    folder = dataset / item.folder
    found = {}
    for path in sorted(folder.glob(f"shard-*.{item.extension}")):
        with path.open("rb") as stream:
            found[path.name.partition(".")[0]] = list(item.read_shard(stream, str(path)))
    return found


def test_every_format_has_the_same_documents_texts_images_and_order(full: Path) -> None:
    assert_all_formats_hold_the_same(full)
    assert sum(map(len, shards(full, "webdataset").values())) == manifest(full)["counts"]["documents"]["kept"] > 20


def test_shards_are_numbered_without_a_gap_and_as_large_as_asked(full: Path) -> None:
    paths = sorted(full.glob("shard-*.tar"))
    assert [path.name for path in paths] == [f"shard-{number:05d}.tar" for number in range(len(paths))]
    assert len(paths) > manifest(full)["shards"]  # of the images
    sizes = json.loads((full / "sizes.json").read_text())
    for path in paths:  # each is full with the last of its documents, and not before
        with tarfile.open(path) as tar:
            assert tar.getmembers()[-1].offset <= SHARD_BYTES
    braces = f"{full}/shard-{{00000..{len(paths) - 1:05d}}}.tar"  # as OpenFlamingo's --mmc4_shards
    samples = Counter(Path(sample["__url__"]).name for sample in wds.WebDataset(braces, shardshuffle=False))
    assert samples == sizes


def test_a_shard_is_filled_from_several_image_shards(output: Path, full: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "one.yaml"
    recipe.write_text("extends: mmc4")
    one = cut(output, str(recipe), *FORMATS)
    notes = [json.loads(path.read_text()) for path in sorted((one / "done").iterdir())]
    assert len(notes) > 1
    assert all(list(note["documents_in_shard"]) == ["0"] for note in notes)
    for name in known_formats():
        documents = [row for rows in shards(full, name).values() for row in rows]
        assert list(shards(one, name).values()) == [documents]
    succeeded(mmc4("verify", str(one)))


@pytest.mark.parametrize("name", known_formats())
def test_sizes_say_how_many_documents_each_file_has(full: Path, name: str) -> None:
    sizes = json.loads((full / known_formats()[name].folder / "sizes.json").read_text())
    extension = known_formats()[name]().extension
    assert sizes == {f"{stem}.{extension}": len(rows) for stem, rows in shards(full, name).items()}


def test_the_manifest_lists_every_file_with_its_hash(full: Path) -> None:
    said = {file["name"]: file["sha256"] for file in manifest(full)["files"]}
    found = contents(full, "**/*shard-*") | contents(full, "ledger/*")
    follow_from_tars = (".tar.idx", ".tar.samples")
    assert said == {name: sha256 for name, sha256 in found.items() if not name.endswith(follow_from_tars)}
    assert manifest(full)["name"] == "mmc4"
    assert [item["name"] for item in manifest(full)["options"]["formats"]] == list(FORMATS[1:])


def test_the_ledger_names_the_first_format_s_file_and_key(full: Path) -> None:
    places = {(row["shard"], row["key"], row["image_url"]) for row in ledger(full) if row["reason"] is None}
    samples = wds.WebDataset(sorted(map(str, (full / "webdataset").glob("*.tar"))), shardshuffle=False).decode()
    assert places == {
        (f"webdataset/{Path(sample['__url__']).name}", sample["__key__"], info["raw_url"])
        for sample in samples
        for info in sample["json"]["image_info"]
    }


def documents_in_order(output: Path) -> Iterator[Page]:
    for path in sorted((output / "pages").glob("pages-*.parquet")):
        yield from storage.read_records(str(path), Page)


def test_documents_come_in_the_order_of_the_images_shards_where_a_site_s_pages_do_not_follow_one_another(
    output: Path, full: Path
) -> None:
    pages = {page.url: page for page in documents_in_order(output)}
    order = {url: at for at, url in enumerate(pages)}
    urls = [row["url"] for rows in shards(full, "mmc4_jsonl").values() for row in rows]
    assert [order[url] for url in urls] == sorted(order[url] for url in urls)
    keys = [[page.key for page in storage.read_records(str(path), Page)] for path in output.glob("pages/pages-*")]
    assert all(shard == sorted(shard) for shard in keys)  # of hashes, that is: by chance
    # With n pages of a site among N, chance puts about n (n - 1) / N of them next to another one of theirs.
    sites = Counter(site_of(url) for url in urls)
    by_chance = sum(count * (count - 1) for count in sites.values()) / len(urls)
    one_site_after_the_other = len(urls) - len(sites)
    neighbours = sum(site_of(one) == site_of(next_one) for one, next_one in pairwise(urls))
    assert neighbours < (by_chance + one_site_after_the_other) / 2


def test_images_lie_in_the_tar_in_the_order_in_which_shards_need_them(output: Path) -> None:
    for path in sorted((output / "images").glob("images-*.parquet")):
        offsets = [image.offset for image in storage.read_records(str(path), Image) if image.offset is not None]
        first_reads = list(dict.fromkeys(offsets))
        assert first_reads == sorted(first_reads)
        assert len(first_reads) > 5


def test_a_resume_ends_with_the_same_bytes_and_does_not_number_anew(output: Path, full: Path, tmp_path: Path) -> None:
    again = tmp_path / "out"
    shutil.copytree(output, again)
    dataset = again / "dataset/mmc4"
    for name in ("manifest.json", "sizes.json", "done/00000.json", "kept/00000.json", "kept/00001.json"):
        (dataset / name).unlink()
    for path in dataset.glob("**/shard-00000*"):
        path.write_bytes(b"half of i")
    cut(again, "mmc4", *FORMATS, "--shard_bytes", str(SHARD_BYTES), "--resume")
    assert contents(dataset, "**/*") == contents(full, "**/*")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--formats", "openflamingo"), "options.formats: was "),
        ((*FORMATS, "--shard_bytes", "1000"), "options.shard_bytes: was 60000, is 1000"),
        (
            (*FORMATS, "--shard_bytes", str(SHARD_BYTES), "--assignment", "max"),
            "recipe.assignment: was hungarian, is max",
        ),
    ],
)
def test_a_resume_into_other_shards_is_refused(output: Path, full: Path, changed: tuple[str, ...], named: str) -> None:
    run = mmc4("cut", "--output", str(output), "--recipe", full.name, *changed, "--resume")
    assert named in refusal(run)


def test_a_cut_that_an_earlier_version_began_is_refused(output: Path, full: Path, tmp_path: Path) -> None:
    """It filled each shard from one image shard only, and its plan did not say so."""
    again = tmp_path / "out"
    shutil.copytree(output, again)
    plan = again / "dataset/mmc4/plan.json"
    content = json.loads(plan.read_text())
    del content["options"]["filling"]
    plan.write_text(json.dumps(content))
    (again / "dataset/mmc4/manifest.json").unlink()
    before = contents(again, "**/*")
    arguments = (*FORMATS, "--shard_bytes", str(SHARD_BYTES), "--resume")
    run = mmc4("cut", "--output", str(again), "--recipe", full.name, *arguments)
    assert "options.filling: was not set, is " in refusal(run)
    assert contents(again, "**/*") == before


def test_where_nothing_is_kept_there_is_no_shard_and_the_counts_add_up(output: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "nothing.yaml"
    recipe.write_text("extends: mmc4\nfilters: {similarity: {min: 1.0}}")
    dataset = cut(output, str(recipe), "--formats", "openflamingo", "webdataset")
    assert not list(dataset.glob("**/shard-*"))
    assert json.loads((dataset / "sizes.json").read_text()) == {}
    links = manifest(dataset)["counts"]["links"]
    assert (links["kept"], links["in"]) == (0, sum(links["dropped"].values()))
    assert len(ledger(dataset)) > links["in"] > 0


def test_the_paper_s_other_assignment_keeps_the_same_images(output: Path, full: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "most-similar.yaml"
    recipe.write_text("extends: mmc4")
    dataset = cut(output, str(recipe), "--assignment", "max")
    assert manifest(dataset)["recipe"]["assignment"] == "max"
    both = list(zip(ledger(full), ledger(dataset), strict=True))
    assert all(one["reason"] == other["reason"] for one, other in both)
    kept = [(one, other) for one, other in both if one["reason"] is None]
    assert all(
        other["matched_similarity"] == other["best_similarity"] >= one["matched_similarity"] for one, other in kept
    )


@pytest.fixture(scope="module")
def subsets(output: Path, full: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a dataset for each published recipe and for a recipe of a user."""
    own = tmp_path_factory.mktemp("recipes") / "own.yaml"
    own.write_text("extends: mmc4-ff\nfilters: {similarity: {min: 0.2}, document: {max_sentences: 12}}")
    recipes = ("mmc4-ff", "mmc4-core", "mmc4-core-ff", str(own))
    return {"mmc4": full} | {Path(recipe).stem: cut(output, recipe) for recipe in recipes}


@pytest.mark.parametrize(
    ("larger", "smaller"),
    [
        ("mmc4", "mmc4-ff"),
        ("mmc4", "mmc4-core"),
        ("mmc4", "mmc4-core-ff"),
        ("mmc4-ff", "mmc4-core-ff"),
        ("mmc4-core", "mmc4-core-ff"),
        ("mmc4-ff", "own"),
    ],
)
def test_subsets_are_subsets_and_proper_ones(subsets: dict[str, Path], larger: str, smaller: str) -> None:
    counts = [manifest(subsets[name])["counts"] for name in (larger, smaller)]
    assert counts[0]["links"]["kept"] > counts[1]["links"]["kept"] > 0
    assert counts[0]["documents"]["in"] == counts[1]["documents"]["in"]
    assert list(missing_from(str(subsets[larger]), str(subsets[smaller]))) == []
    too_many = list(missing_from(str(subsets[smaller]), str(subsets[larger])))
    assert len(too_many) == counts[0]["links"]["kept"] - counts[1]["links"]["kept"]
    assert manifest(subsets[smaller])["input"] == manifest(subsets[larger])["input"]


def test_a_document_in_core_that_the_full_dataset_lacks_is_found(subsets: dict[str, Path], tmp_path: Path) -> None:
    core = shutil.copytree(subsets["mmc4-core"], tmp_path / "core")
    path = next((core / "ledger").glob("*.parquet"))
    rows = list(storage.read_records(str(path), ledger_record(CLIP_COLUMNS)))
    at = next(at for at, row in enumerate(rows) if row.stage == "images" and row.sha256)
    rows[at] = replace(rows[at], stage=None, reason=None, shard="shard-00000.tar", key=rows[at].document)
    storage.write_records(str(path), rows, ledger_record(CLIP_COLUMNS))
    (missing,) = missing_from(str(subsets["mmc4"]), str(core))
    assert (missing.document, missing.position, missing.ledger) == (rows[at].document, rows[at].position, str(path))


Planted = dict[str, dict[str, Any]]  # by the URL of a page: its sentences, and the gap of each link by position


@pytest.fixture(scope="module")
def planted(web: Web) -> Planted:
    truth = json.loads((web.folder / "truth.json").read_text())
    pages: Planted = {url: {"sentences": page["sentences"], "gaps": {}} for url, page in truth["pages"].items()}
    for link in truth["links"]:
        pages[link["page_url"]]["gaps"][link["position"]] = link["after_sentence"] + 1
    return pages


def in_order(page: dict[str, Any], images: dict[int, str]) -> list[tuple[str, str]]:
    """Return a planted page as text and images, by position: an image goes into its gap, and text becomes one part."""
    sequence: list[tuple[str, str]] = []
    for number in range(len(page["sentences"]) + 1):
        sequence += [("image", url) for at, url in sorted(images.items()) if page["gaps"][at] == number]
        for sentence in page["sentences"][number : number + 1]:
            joined = sequence.pop()[1] + " " if sequence and sequence[-1][0] == "text" else ""
            sequence.append(("text", joined + sentence))
    return sequence


def test_page_order_is_the_planted_order_as_hugging_face_reads_it(
    output: Path, planted: Planted, tmp_path: Path
) -> None:
    dataset = cut(output, "mmc4-page", "--formats", "obelics")
    images: dict[str, dict[int, str]] = {}
    for row in ledger(dataset):
        if row["reason"] is None:
            images.setdefault(row["page_url"], {})[row["position"]] = row["image_url"]
    files = str(dataset / "obelics/*.parquet")
    read = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(read) > 20
    for row in read:
        url = json.loads(row["general_metadata"])["url"]
        parts = [
            ("image", image) if image else ("text", text)
            for image, text in zip(row["images"], row["texts"], strict=True)
        ]
        assert parts == in_order(planted[url], images[url])
    assert any(one and other for row in read for one, other in pairwise(row["images"]))  # several in a row
    assert {row["images"][-1] is None for row in read} == {row["images"][0] is None for row in read} == {True, False}


def cut_by(output: Path, recipe: Recipe) -> Iterator[CutDocument]:
    """Cut what the stages wrote, in this process."""
    names = ("pages/pages", "images/images", "scores/clip_clip/scores")
    for pages, images, scores in zip(*(sorted(output.glob(f"{name}-*.parquet")) for name in names), strict=True):
        read = [list(storage.read_records(str(path), kind)) for path, kind in ((pages, Page), (images, Image))]
        yield from cut_shard(*read, list(read_scores(str(scores), CLIP_COLUMNS)), recipe)


@pytest.mark.parametrize("window", [0, 2])
def test_a_window_keeps_images_near_their_planted_places(output: Path, planted: Planted, window: int) -> None:
    recipe = load_recipe("mmc4", ("assignment=max", f"assignment.window={window}"))
    distances: Counter[int] = Counter()
    for document in cut_by(output, recipe):
        page = planted[document.page.url]
        for item in document.placed:
            gap = page["gaps"][item.image.position]
            follows = min(gap, len(page["sentences"]) - 1)
            assert item.before == (gap if item.sentence == follows else item.sentence)
            distances[abs(item.sentence - follows)] += 1
    assert sorted(distances) == list(range(window + 1))
