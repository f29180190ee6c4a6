"""From WARC files, without C4, to a dataset: documents with the pages' own texts."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.pages.sentences import sentences_of
from tests.end_to_end.running import Web, contents, mmc4, refusal, succeeded

REALWEB = Path(__file__).parents[3] / "shared" / "realweb"
CLIP = "clip_clip"


def arguments(web: Web, output: Path, warcs: str | None = None) -> list[str]:
    recipe = output.parent / "own.yaml"
    recipe.write_text("extends: page-text")
    files = warcs or str(web.folder / "commoncrawl/crawl-data/*/segments/*/warc/*.warc.gz")
    return web.build_arguments(output, recipe=str(recipe), documents_per_shard="1", c4=None, cc_root=None, warcs=files)


@pytest.fixture(scope="module")
def own(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a build from the miniature web's WARC files."""
    output = tmp_path_factory.mktemp("warcs") / "out"
    succeeded(mmc4("build", *arguments(web, output)))
    return output


def counts(output: Path, stage: str) -> dict[str, Any]:
    return json.loads((output / stage / "manifest.json").read_text())["counts"]


def rows(output: Path, pattern: str) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def test_the_pages_texts_are_those_that_c4_would_have(web: Web, own: Path) -> None:
    planted = json.loads((web.folder / "truth.json").read_text())["pages"]
    found: dict[str, list[list[str]]] = {}
    for page in rows(own, "pages/pages-*.parquet"):
        found.setdefault(page["url"], []).append(page["sentences"])
    located = {url: page["sentences"] for url, page in planted.items() if page["located"]}
    assert len(located) == 60
    assert all(sentences in found[url] for url, sentences in located.items())


def test_captures_of_a_page_at_several_times_are_marked(own: Path) -> None:
    pages = rows(own, "pages/pages-*.parquet")
    urls = [page["url"] for page in pages]
    assert any(page["could_have_url_duplicate"] for page in pages)
    assert all(page["could_have_url_duplicate"] == (urls.count(page["url"]) > 1) for page in pages)


def test_every_count_adds_up_from_records_to_images(own: Path) -> None:
    pages, images, scores, dataset = (
        counts(own, stage) for stage in ("pages", "images", f"scores/{CLIP}", "dataset/own")
    )
    for stage in (pages, images, scores, dataset):
        for thing in stage.values():
            assert thing["in"] == thing["kept"] + sum(thing["dropped"].values())
    assert pages["records"]["kept"] == pages["documents"]["in"] > 60
    assert pages["lines"]["dropped"]["no_end_mark"] > 0  # each page has a heading
    assert pages["documents"]["kept"] == dataset["documents"]["in"]
    assert pages["links"]["kept"] == images["links"]["in"]
    assert images["links"]["kept"] == scores["links"]["in"]
    assert scores["links"]["kept"] == dataset["links"]["in"]
    assert dataset["links"]["kept"] > 50
    assert not (own / "locations").exists()


def test_the_report_starts_with_the_pages(own: Path) -> None:
    shown = succeeded(mmc4("report", str(own / "dataset/own"))).stdout
    assert "locate" not in shown
    assert "no_end_mark" in shown
    assert (own / "dataset/own/report.html").is_file()


def test_another_recipe_may_cut_less_but_no_other_text(own: Path) -> None:
    core = own.parent / "core.yaml"
    core.write_text("extends: page-text\nfilters: {document: {min_images: 2}}")
    succeeded(mmc4("cut", "--output", str(own), "--recipe", str(core)))
    assert 0 < counts(own, "dataset/core")["documents"]["kept"] < counts(own, "dataset/own")["documents"]["kept"]
    refused = mmc4("cut", "--output", str(own), "--recipe", "mmc4")
    assert "text_source: c4 instead of page" in refusal(refused)
    changed = mmc4("cut", "--output", str(own), "--recipe", "page-text", "--set", "filters.sentences.min=5")
    assert "filters.sentences.min: 5 instead of 3; it can't be changed any more" in refusal(changed)


def pages_of(web: Web, output: Path, warcs: str, *more: str) -> list[str]:
    recipe = ["--recipe", "page-text", "--documents_per_shard", "1"]
    return ["pages", "--output", str(output), "--warcs", warcs or str(web.folder), *recipe, *more]


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(web: Web, tmp_path: Path) -> None:
    first = min((web.folder / "commoncrawl").glob("crawl-data/**/warc/*.gz"))
    (tmp_path / "a.warc.gz").write_bytes(first.read_bytes())
    padding = gzip.compress(bytes(range(256)) * 1200, 0)  # not a record: the file ends there for its reader
    (tmp_path / "b.warc.gz").write_bytes(padding)
    run = pages_of(web, tmp_path / "out", str(tmp_path / "*.warc.gz"))
    succeeded(mmc4(*run))
    shards = json.loads((tmp_path / "out/pages/plan.json").read_text())["shards"]
    assert shards > 1
    half = shutil.copytree(tmp_path / "out", tmp_path / "half")
    (half / "pages/manifest.json").unlink()
    for path in (half / "pages").glob("*-00001-of-*"):
        path.unlink()
    (half / "pages/done/00001.json").unlink()
    succeeded(mmc4(*pages_of(web, half, str(tmp_path / "*.warc.gz"), "--resume")))
    assert contents(half, "pages/**/*") == contents(tmp_path / "out", "pages/**/*")
    (broken,) = [row for row in rows(half, "pages/rejects-*") if not row["url"]]
    assert broken["reason"] == "page_unreadable"
    assert "b.warc.gz" in broken["source"]


def test_a_resume_with_other_files_is_refused(web: Web, tmp_path: Path) -> None:
    files = sorted((web.folder / "commoncrawl").glob("crawl-data/**/warc/*.gz"))
    succeeded(mmc4(*pages_of(web, tmp_path, str(files[0]))))
    changed = mmc4(*pages_of(web, tmp_path, str(files[1]), "--resume"))
    assert "input.warcs" in refusal(changed)


def test_the_same_file_twice_gives_its_documents_once(web: Web, tmp_path: Path) -> None:
    first = min((web.folder / "commoncrawl").glob("crawl-data/**/warc/*.gz"))
    for name in "ab":
        (tmp_path / f"{name}.warc.gz").write_bytes(first.read_bytes())
    succeeded(mmc4(*pages_of(web, tmp_path / "out", str(tmp_path / "*.warc.gz"))))
    found = counts(tmp_path / "out", "pages")["documents"]
    assert found["dropped"] == {"duplicate_document": found["kept"]}
    pages = rows(tmp_path / "out", "pages/pages-*")
    urls = [page["url"] for page in pages]
    assert all(page["could_have_url_duplicate"] == (urls.count(page["url"]) > 1) for page in pages)


@pytest.mark.parametrize("source", ["warc", "warc_scan"])
def test_located_documents_may_have_the_page_s_text_instead_of_c4_s(built: Path, tmp_path: Path, source: str) -> None:
    output = tmp_path / "out"
    shutil.copytree(built / "locations", output / "locations")
    succeeded(mmc4("pages", "--output", str(output), "--recipe", "page-text", "--page_source", source))
    theirs = {page["key"]: page["sentences"] for page in rows(built, "pages/pages-*")}
    ours = {page["key"]: page["sentences"] for page in rows(output, "pages/pages-*")}
    assert ours == theirs


def test_bad_words_and_their_list(web: Web, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("museum\n")
    first = str(min((web.folder / "commoncrawl").glob("crawl-data/**/warc/*.gz")))
    setting = ["--set", f"filters.bad_words.list={words}"]
    succeeded(mmc4(*pages_of(web, tmp_path / "out", first, *setting)))
    dropped = [row for row in rows(tmp_path / "out", "pages/rejects-*") if row["reason"] == "bad_words"]
    assert dropped
    assert dropped[0]["detail"] == f"filters.bad_words list: {words}"
    kept = [" ".join(page["sentences"]).lower() for page in rows(tmp_path / "out", "pages/pages-*")]
    assert kept
    assert not any("museum" in text for text in kept)
    words.write_text("bakery\n")
    changed = mmc4(*pages_of(web, tmp_path / "out", first, *setting, "--resume"))
    assert "input.lists" in refusal(changed)
    missing = mmc4(*pages_of(web, tmp_path / "other", first, "--set", "filters.bad_words.list=nowhere.txt"))
    assert "nowhere.txt: cannot be read" in refusal(missing)


def test_options_that_contradict_each_other_are_refused_at_once(web: Web, built: Path, tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        return refusal(mmc4("build", *arguments(web, tmp_path / "out"), *options))

    assert "--set text_source=page" in refused("--recipe", "mmc4")
    assert "leave out --c4" in refused("--c4", "x.json.gz")
    assert "leave out --page_source wat" in refused("--page_source", "wat")
    assert "nowhere.warc.gz: no such file" in refused("--warcs", str(tmp_path / "nowhere.warc.gz"))
    wat = mmc4("pages", "--output", str(built), "--recipe", "page-text", "--page_source", "wat")
    assert "--page_source wat" in refusal(wat)


@pytest.mark.skipif(not REALWEB.is_dir(), reason="../shared/realweb is not here")
def test_real_pages_give_the_sentences_of_c4(tmp_path: Path) -> None:
    files = str(REALWEB / "commoncrawl/crawl-data/*/segments/*/warc/*.warc.gz")
    succeeded(mmc4("pages", "--output", str(tmp_path), "--recipe", "page-text", "--warcs", files))
    documents = counts(tmp_path, "pages")["documents"]
    assert documents["in"] == 60
    assert documents["kept"] >= 55
    (shard,) = (REALWEB / "c4").glob("*.gz")
    theirs = {row["url"]: row["text"] for row in map(json.loads, gzip.decompress(shard.read_bytes()).splitlines())}
    shares = []
    for page in rows(tmp_path, "pages/pages-*"):
        ours = " ".join(page["sentences"])
        sentences = sentences_of(theirs[page["url"]])
        shares.append(sum(sentence in ours for sentence in sentences) / len(sentences))
    assert sum(shares) / len(shares) > 0.8


def test_a_page_that_is_taken_down_was_a_document_of_the_pages_stage(web: Web, own: Path, tmp_path: Path) -> None:
    output = shutil.copytree(own, tmp_path / "out")
    url = next(page["url"] for page in rows(own, "pages/pages-*.parquet") if page["could_have_url_duplicate"])
    captures = sum(page["url"] == url for page in rows(own, "pages/pages-*.parquet"))
    (tmp_path / "list.txt").write_text(url)
    succeeded(mmc4("takedown", str(output), "--list", str(tmp_path / "list.txt")))
    before, after, dataset = counts(own, "pages"), counts(output, "pages"), counts(output, "dataset/own")
    assert after["documents"]["in"] == before["documents"]["in"] == after["records"]["kept"]
    assert after["documents"]["kept"] == before["documents"]["kept"] - captures == dataset["documents"]["in"]
    assert after["documents"]["dropped"]["denied"] == captures
    assert json.loads((output / "dataset/own/manifest.json").read_text())["before"]["pages"] == after
    assert ": OK" in succeeded(mmc4("verify", str(output / "dataset/own"))).stdout
    left = contents(output, "**/*")
    succeeded(mmc4("build", *arguments(web, output), "--resume"))
    assert contents(output, "**/*") == left
