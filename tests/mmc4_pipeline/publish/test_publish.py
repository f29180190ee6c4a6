"""The card and the Croissant metadata: what Hugging Face's and MLCommons' own libraries make of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mmc4_pipeline.commands.card import main
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.publish.contents import DOCUMENT_FIELDS, LEDGER_FIELDS, file_groups
from mmc4_pipeline.stage_folder import StageFolder
from schemas.arrow import arrow_schema
from schemas.ledger import LedgerRow
from schemas.manifest import WrittenFile

MakeDataset = Callable[..., StageFolder]
URL = "https://huggingface.co/datasets/someone/mmc4-again"


@pytest.fixture
def published(make_dataset: MakeDataset) -> StageFolder:
    folder = make_dataset()
    main([folder.path, "--url", URL])
    return folder


def front_matter(folder: StageFolder) -> dict[str, Any]:
    return yaml.safe_load(Path(folder.file("README.md")).read_text().split("---\n")[1])


def test_the_card_says_what_there_is_to_load(published: StageFolder) -> None:
    front = front_matter(published)
    assert (front["pretty_name"], front["license"], front["size_categories"]) == ("mmc4", "odc-by", ["n<1K"])
    patterns = {config["config_name"]: config["data_files"][0]["path"] for config in front["configs"]}
    assert patterns == {"documents": "shard-*.tar"}
    for name, files in (("shard-*.tar", 2), ("ledger/ledger-*.parquet", 2)):
        assert len(list(Path(published.path).glob(name))) == files
    text = Path(published.file("README.md")).read_text()
    assert "12 documents with 36 images" in text
    assert "| cut | links | 48 | 36 | low_similarity 12 |" in text
    assert "max_probability: 0.1" in text
    assert 'documents = load_dataset("…/mmc4", "documents", split="train")' in text
    assert 'ledger = load_dataset("parquet", data_files="hf://datasets/…/mmc4/ledger/ledger-*.parquet"' in text
    assert "their own terms" in text


def test_every_field_is_explained() -> None:
    schema = json.loads((Path(__file__).parents[3] / "schemas/mmc4_document.schema.json").read_text())
    assert list(LEDGER_FIELDS) == arrow_schema(LedgerRow).names
    assert list(DOCUMENT_FIELDS) == list(schema["properties"])


def test_other_formats_that_the_manifest_lists_are_in_the_card_and_the_metadata_too(published: StageFolder) -> None:
    path = Path(published.file("obelics/obelics-00000-of-00001.parquet"))
    path.parent.mkdir()
    pq.write_table(pa.table({"texts": [["a", None]], "metadata": ["{}"]}), path)
    manifest = json.loads(Path(published.file("manifest.json")).read_text())
    manifest["files"] += [
        {"name": "obelics/obelics-00000-of-00001.parquet", "bytes": path.stat().st_size, "sha256": "0" * 64},
        {"name": "sizes.json", "bytes": 2, "sha256": "0" * 64},
    ]
    Path(published.file("manifest.json")).write_text(json.dumps(manifest))
    main([published.path, "--url", URL])
    config, other = front_matter(published)["configs"]
    assert (config["config_name"], config["data_files"][0]["path"]) == ("obelics", "obelics/obelics-*.parquet")
    assert (config["default"], other["config_name"]) == (True, "ledger")
    dataset = mlcroissant.Dataset(jsonld=published.file("croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    (record,) = dataset.records("obelics")
    assert list(record["obelics/texts"]) == [b"a", None]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["shard-00000-000.tar", "shard-00000-001.tar"], {"documents": "shard-*.tar"}),
        (["files/files-00001.tar"], {"files": "files/files-*.tar"}),
        (["docs_shard_0_v2.jsonl.gz", "docs_shard_1_v2.jsonl.gz"], {"docs_shard_": "docs_shard_*_v*.jsonl.gz"}),
        (["sizes.json", "report.html"], {}),
    ],
)
def test_files_are_grouped_by_what_differs_only_in_numbers(names: list[str], groups: dict[str, str]) -> None:
    found = file_groups(WrittenFile(name, 1, "0") for name in names)
    assert {group.name: group.pattern for group in found} == groups


def test_croissant_is_valid_and_its_records_are_the_ledger_s(published: StageFolder) -> None:
    dataset = mlcroissant.Dataset(jsonld=published.file("croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    rows = pq.read_table(published.file("ledger")).to_pylist()
    records = list(dataset.records("ledger"))
    texts = [name for name in LEDGER_FIELDS if isinstance(rows[0][name], str)]
    numbers = [name for name in LEDGER_FIELDS if isinstance(rows[0][name], int)]
    assert {"image_url", "sha256", "width"} < {*texts, *numbers}
    assert [[record[f"ledger/{name}"] for name in numbers] for record in records] == [
        [row[name] for name in numbers] for row in rows
    ]
    assert [[_text(record[f"ledger/{name}"]) for name in texts] for record in records] == [
        [row[name] for name in texts] for row in rows
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def test_croissant_has_each_file_with_its_hash(published: StageFolder) -> None:
    metadata = json.loads(Path(published.file("croissant.json")).read_text())
    listed = {item["contentUrl"]: item["sha256"] for item in metadata["distribution"] if "contentUrl" in item}
    assert listed == {file.name: file.sha256 for file in files_of(published.manifest())}
    assert metadata["url"] == URL


def test_the_same_dataset_gives_the_same_bytes(published: StageFolder) -> None:
    before = [Path(published.file(name)).read_bytes() for name in ("README.md", "croissant.json")]
    main([published.path, "--url", URL])
    assert [Path(published.file(name)).read_bytes() for name in ("README.md", "croissant.json")] == before


def test_a_ledger_that_cannot_be_read_is_named(published: StageFolder) -> None:
    Path(published.file("ledger/ledger-00000-of-00002.parquet")).write_bytes(b"no Parquet")
    with pytest.raises(UserError, match=r"ledger-00000-of-00002\.parquet: no readable Parquet file"):
        main([published.path, "--url", URL])
