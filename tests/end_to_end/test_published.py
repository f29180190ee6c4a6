"""A dataset that was published without images, as input: the images are fetched again, the assignments kept."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.chromium import browsing, look
from tests.end_to_end.running import RECIPE, Web, contents, mmc4, refusal, succeeded
from tests.mmc4_pipeline.report.measuring import MEASURE, SIZES, assert_reads_well

DEAD = "http://dead.example/gone.jpg"
IMAGE = {"image_name": "a.jpg", "matched_text_index": 1, "matched_sim": 0.5, "face_detections": None}
PLANTED = [  # lines that follow the documents of the build
    json.dumps(
        {
            "url": "http://dead.example/page",
            "text_list": ["One.", "Two."],
            "image_info": [IMAGE | {"raw_url": DEAD}, IMAGE | {"raw_url": "data:image/png;base64,AAAA"}],
            "similarity_matrix": [[0.1, 0.5]] * 2,
            "could_have_url_duplicate": 0,
        }
    ),
    json.dumps({"url": "http://bare.example/page", "text_list": ["One."], "image_info": [], "similarity_matrix": []}),
    '{"url": "http://cut.example/page", "text_list": ["On',
]


def counts(output: Path, stage: str) -> dict[str, Any]:
    return json.loads((output / stage / "manifest.json").read_text())["counts"]


def rows(output: Path, pattern: str) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def lines_of(dataset: Path) -> list[bytes]:
    found = []
    for path in sorted((dataset / "mmc4_jsonl").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            found += archive.read(archive.namelist()[0]).splitlines()
    return found


@pytest.fixture(scope="module")
def exported(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut the dataset in the published formats; return its folder."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("locations", "pages", "images", "scores"):
        shutil.copytree(built / name, folder / "out" / name)
    formats = ["--formats", "mmc4_jsonl:compression=zip", "obelics"]
    succeeded(mmc4("cut", "--output", str(folder / "out"), "--recipe", RECIPE, *formats))
    return folder / "out/dataset/miniweb"


@pytest.fixture(scope="module")
def published(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of MMC4's with the documents of that dataset, and some that nobody can use.

    Its publisher assigned the first image to another sentence than CLIP does.
    """
    path = tmp_path_factory.mktemp("published") / "docs_no_face_shard_0_v3.jsonl.zip"
    lines = lines_of(exported)
    first = json.loads(lines[0])
    info = first["image_info"][0]
    info["matched_text_index"] = (info["matched_text_index"] + 1) % len(first["text_list"])
    lines[0] = json.dumps(first).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.stem, b"\n".join([*lines, *(line.encode() for line in PLANTED), b""]))
    return path


def arguments(web: Web, output: Path, published: str, **changed: str | None) -> list[str]:
    return web.build_arguments(output, c4=None, cc_root=None, published=published, **changed)


@pytest.fixture(scope="module")
def again(web: Web, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset from that file, with the publisher's assignments."""
    output = tmp_path_factory.mktemp("again") / "out"
    options = {"formats": "mmc4_jsonl:compression=zip", "assignment": "published"}
    succeeded(mmc4("build", *arguments(web, output, str(published), **options)))
    return output


def test_every_document_is_counted(exported: Path, again: Path) -> None:
    before = rows(exported, "ledger/*.parquet")
    documents = len({row["document"] for row in before if row["reason"] is None})
    pages = counts(again, "pages")
    assert pages["records"]["in"] == pages["documents"]["in"] == documents + 3
    assert pages["documents"]["dropped"] == {"invalid_document": 1}
    assert pages["links"]["in"] == sum(row["reason"] is None for row in before) + 2
    assert pages["links"]["dropped"] == {"invalid_url": 1}
    assert counts(again, "images")["links"]["dropped"] == {"http_error": 1}
    assert counts(again, "dataset/miniweb")["documents"]["dropped"] == {"document": 2}
    assert not (again / "locations").exists()
    (malformed,) = rows(again, "pages/rejects-*.parquet")
    assert malformed["source"].endswith(f".zip:{documents + 3}")


def assigned(lines: list[bytes]) -> dict[tuple[str, str], tuple[int, list[str]]]:
    """Return the sentence of each image of MMC4's documents."""
    return {
        (document["url"], info["raw_url"]): (info["matched_text_index"], document["text_list"])
        for document in map(json.loads, lines)
        for info in document["image_info"]
    }


def test_the_publisher_s_assignments_are_kept(published: Path, again: Path) -> None:
    with zipfile.ZipFile(published) as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()[: -len(PLANTED)]
    assert assigned(lines_of(again / "dataset/miniweb")) == assigned(lines)


def test_the_report_compares_with_what_was_published(again: Path) -> None:
    dataset, links = again / "dataset/miniweb", counts(again, "pages")["links"]
    kept = counts(again, "dataset/miniweb")["links"]["kept"]
    shown = succeeded(mmc4("report", str(dataset))).stdout
    assert f"{kept:,} of {links['kept']:,}" in shown  # still there, of those requested
    assert f"{kept:,} of {links['in']:,}" in shown
    assert f"{kept:,} of {kept:,} (100.0%); 0 at" in shown
    assert "median +0.00" in shown
    own = dataset.parent / "own.yaml"
    own.write_text(f"extends: {RECIPE}")
    succeeded(mmc4("cut", "--output", str(again), "--recipe", str(own), "--formats", "mmc4_jsonl"))
    changed = succeeded(mmc4("report", str(dataset.parent / "own"))).stdout
    others = [
        row
        for row in rows(dataset.parent, "own/ledger/*.parquet")
        if row["reason"] is None and row["sentence"] != row["published_sentence"]
    ]
    assert 1 <= len(others) <= 3  # an image that takes its sentence may move too
    assert f"; {len(others)} at" in changed


@pytest.mark.engines("chromium")
def test_the_comparison_reads_well_on_a_laptop_and_a_phone(again: Path) -> None:
    page = again / "dataset/miniweb/report.html"
    with browsing() as address:
        for size in SIZES:
            seen = look(address, page, size, MEASURE)
            assert_reads_well(seen, size, page)
            assert seen.result["rates"] == []  # of MMC4, which is not what these documents are from


def kept(ledger: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["page_url"], row["image_url"], row["sha256"]) for row in ledger if row["reason"] is None)


def test_the_same_images_are_kept_and_the_ledger_is_complete(exported: Path, again: Path) -> None:
    ledger = rows(again, "dataset/miniweb/ledger/*.parquet")
    assert kept(ledger) == kept(rows(exported, "ledger/*.parquet"))
    assert len(ledger) == counts(again, "pages")["links"]["in"]
    succeeded(mmc4("verify", str(again / "dataset/miniweb")))


def test_a_page_is_taken_down_with_what_was_published_of_it(again: Path, tmp_path: Path) -> None:
    output = shutil.copytree(again, tmp_path / "out")
    page = next(row["page_url"] for row in rows(again, "dataset/miniweb/ledger/*.parquet") if row["reason"] is None)
    (tmp_path / "list.txt").write_text(page)
    succeeded(mmc4("takedown", str(output), "--list", str(tmp_path / "list.txt")))
    succeeded(mmc4("verify", str(output / "dataset/miniweb")))
    assert "denied" in {row["reason"] for row in rows(output, "pages/rejects-*.parquet")}
    for row in rows(output, "dataset/miniweb/ledger/*.parquet"):
        assert row["page_url"] != page
        assert row["reason"] != "denied" or row["published_sentence"] is row["published_similarity"] is None
    links = [link for row in rows(output, "pages/pages-*.parquet") for link in row["links"]]
    assert all(link["reason"] != "denied" or link["published_sentence"] is None for link in links)


def test_an_interrupted_run_goes_on_to_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    for number, line in enumerate(lines_of(exported)):
        with (tmp_path / f"{number % 3}.jsonl").open("ab") as file:
            file.write(line + b"\n")
    run = ["--published", str(tmp_path / "*.jsonl"), "--recipe", RECIPE, "--documents_per_shard", "20"]
    succeeded(mmc4("pages", "--output", str(tmp_path / "out"), *run))
    half = shutil.copytree(tmp_path / "out", tmp_path / "half")
    (half / "pages/manifest.json").unlink()
    (half / "pages/done/00001.json").unlink()
    for path in (half / "pages").glob("*-00001-of-*"):
        path.unlink()
    succeeded(mmc4("pages", "--output", str(half), *run, "--resume"))
    assert contents(half, "pages/**/*") == contents(tmp_path / "out", "pages/**/*")
    limited = mmc4("pages", "--output", str(half), *run, "--resume", "--limit", "5")
    assert "input.limit" in refusal(limited)
    (tmp_path / "3.jsonl").write_bytes(lines_of(exported)[0])
    assert "input.published" in refusal(mmc4("pages", "--output", str(half), *run, "--resume"))


def test_obelics_keeps_each_image_before_its_sentence(exported: Path, tmp_path: Path) -> None:
    files = ["--published", str(exported / "obelics/*.parquet")]
    succeeded(mmc4("pages", "--output", str(tmp_path / "all"), *files, "--recipe", RECIPE))
    found = sentences_of_images(tmp_path / "all")
    assert found == {place: texts[index] for place, (index, texts) in assigned(lines_of(exported)).items()}
    succeeded(mmc4("pages", "--output", str(tmp_path / "first"), *files, "--recipe", RECIPE, "--limit", "7"))
    assert counts(tmp_path / "first", "pages")["documents"]["in"] == 7
    assert sentences_of_images(tmp_path / "first").items() <= found.items()


@pytest.mark.engines
def test_obelics_gives_the_same_images_and_assignments(exported: Path, web: Web, tmp_path: Path) -> None:
    files, output = str(exported / "obelics/*.parquet"), tmp_path / "out"
    options = {"formats": "mmc4_jsonl:compression=zip", "assignment": "published"}
    succeeded(mmc4("build", *arguments(web, output, files, **options)))
    dataset = output / "dataset/miniweb"
    assert kept(rows(dataset, "ledger/*.parquet")) == kept(rows(exported, "ledger/*.parquet"))
    ours, theirs = (
        {place: texts[index] for place, (index, texts) in assigned(lines_of(folder)).items()}
        for folder in (dataset, exported)
    )
    assert ours == theirs
    succeeded(mmc4("verify", str(dataset)))


def sentences_of_images(output: Path) -> dict[tuple[str, str], str]:
    """Return the sentence to which the publisher assigned each image."""
    return {
        (page["url"], link["url"]): page["sentences"][link["published_sentence"]]
        for page in rows(output, "pages/pages-*.parquet")
        for link in page["links"]
    }


def test_only_documents_with_assignments_can_keep_them(web: Web, built: Path, published: Path, tmp_path: Path) -> None:
    for stage in ("pages", "cut"):
        command = [stage, "--output", str(built), "--recipe", RECIPE, "--set", "assignment=published", "--resume"]
        assert "published" in refusal(mmc4(*command))
    assert "--c4" in refusal(mmc4("build", *web.build_arguments(tmp_path, published=str(published))))
    assert "--limit" in refusal(mmc4("pages", "--output", str(built), "--recipe", RECIPE, "--limit", "5", "--resume"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--warcs", "a.warc.gz"], "--warcs"),
        (["--sample", "5"], "--limit"),
        (["--limit", "0"], "--limit"),
        (["--page_source", "wat"], "--page_source"),
        (["--set", "links.main_content=true"], "links.main_content=false"),
        (["--recipe", "mmc4-consent"], "--set filters.page_robots=null"),
        (["--set", "filters.inside_text={}"], "filters.inside_text"),
        (["--published", "gone.jsonl"], "gone.jsonl"),
        (["--published", RECIPE], "text_list"),
    ],
)
def test_what_such_a_dataset_cannot_give_is_refused(
    published: Path, tmp_path: Path, words: list[str], named: str
) -> None:
    run = mmc4("pages", "--output", str(tmp_path), "--published", str(published), "--recipe", RECIPE, *words)
    assert named in refusal(run)
    assert not (tmp_path / "pages").exists()
