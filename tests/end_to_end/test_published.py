"""A dataset that was published without images, as input: the images are fetched again, the assignments kept."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.running import RECIPE, Web, mmc4, refusal, succeeded

CLIP = "clip_clip"
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
    """Return a file of MMC4's with the documents of that dataset, and some that nobody can use."""
    path = tmp_path_factory.mktemp("published") / "docs_no_face_shard_0_v3.jsonl.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.stem, b"\n".join([*lines_of(exported), *(line.encode() for line in PLANTED), b""]))
    return path


def arguments(web: Web, output: Path, published: str, **changed: str | None) -> list[str]:
    return web.build_arguments(output, c4=None, cc_root=None, published=published, **changed)


@pytest.fixture(scope="module")
def again(web: Web, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset from that file."""
    output = tmp_path_factory.mktemp("again") / "out"
    succeeded(mmc4("build", *arguments(web, output, str(published), formats="mmc4_jsonl")))
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


def kept(ledger: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["page_url"], row["image_url"], row["sha256"]) for row in ledger if row["reason"] is None)


def test_the_same_images_are_kept_and_the_ledger_is_complete(exported: Path, again: Path) -> None:
    ledger = rows(again, "dataset/miniweb/ledger/*.parquet")
    assert kept(ledger) == kept(rows(exported, "ledger/*.parquet"))
    assert len(ledger) == counts(again, "pages")["links"]["in"]
    succeeded(mmc4("verify", str(again / "dataset/miniweb")))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--c4", "a.json"], "--c4"),
        (["--warcs", "a.warc.gz"], "--warcs"),
        (["--limit", "5"], "--limit"),
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
