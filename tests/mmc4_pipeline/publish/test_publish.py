"""The card and the Croissant metadata: what Hugging Face's and MLCommons' own libraries make of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcroissant
import msgspec
import pyarrow.parquet as pq
import pytest
import yaml

from mmc4_pipeline.commands.card import main
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.publish.card import card
from mmc4_pipeline.publish.contents import DOCUMENT_FIELDS, file_groups, ledger_fields
from mmc4_pipeline.scorers.image_sequence import ImageSequence
from mmc4_pipeline.stage_folder import StageFolder
from schemas.arrow import arrow_schema
from schemas.columns import CLIP_COLUMNS
from schemas.ledger import ledger_record
from schemas.manifest import CutPlan, Takedown

MakeDataset = Callable[..., StageFolder]
URL = "https://huggingface.co/datasets/someone/mmc4-again"
HEEDED = r"filters (`\w+`(?:, `\w+`)*)[^.]*`declaration`"  # the card's sentence on filters of declarations


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
    assert re.search("`noai`, `noimageai`[^.]*X-Robots-Tag[^.]*`opted_out`", text)
    assert "commoncrawl.org/terms-of-use" in text


def test_a_recipe_without_consent_does_not_claim_it(make_dataset: MakeDataset) -> None:
    folder = make_dataset(recipe="mmc4")
    manifest = folder.manifest(CutPlan)
    plan = msgspec.structs.replace(manifest.plan, recipe={**manifest.plan.recipe, "filters": {}, "text_source": "page"})
    text = card(msgspec.structs.replace(manifest, plan=plan), "mmc4")
    assert "X-Robots-Tag" not in text
    assert not re.search(HEEDED, text)
    assert "odc-by" not in text.lower()
    filters = {"page_robots": {}, "url": {}, "ai_txt": {}}
    plan = msgspec.structs.replace(plan, recipe={**plan.recipe, "filters": filters})
    text = card(msgspec.structs.replace(manifest, plan=plan), "mmc4")
    assert [heeded[1] for heeded in re.finditer(HEEDED, text)] == ["`page_robots`, `ai_txt`"]


def test_the_card_claims_similarity_only_if_images_were_assigned_by_it(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(recipe="mmc4").manifest(CutPlan)
    by_clip = {}
    for assignment in ("hungarian", "max", {"method": "max", "window": 7}, "page", "published"):
        plan = msgspec.structs.replace(manifest.plan, recipe={**manifest.plan.recipe, "assignment": assignment})
        text = card(msgspec.structs.replace(manifest, plan=plan), "mmc4")
        by_clip[str(assignment)] = len(re.findall(r"assigned\s+to\s+sentences by\s+CLIP's similarity", text))
        assert (" 7 sentences away" in text) == isinstance(assignment, dict)
    assert list(by_clip.values()) == [2, 2, 2, 0, 0]
    by = {"method": "max", "by": {"similarity": 0.5, "itm": 0.5}}
    plan = msgspec.structs.replace(manifest.plan, recipe={**manifest.plan.recipe, "assignment": by})
    assert card(msgspec.structs.replace(manifest, plan=plan), "mmc4").count("`similarity` and `itm`") == 2


def test_the_card_names_scores_of_documents_that_a_takedown_has_left(make_dataset: MakeDataset) -> None:
    manifest = make_dataset().manifest(CutPlan)
    columns = (*CLIP_COLUMNS, *ImageSequence.columns)
    given = msgspec.structs.replace(manifest.plan.input, columns=columns)
    with_scores = msgspec.structs.replace(manifest, plan=msgspec.structs.replace(manifest.plan, input=given))
    cards = [
        card(msgspec.structs.replace(item, takedowns=[Takedown(documents=0, images=images, links=1)]), "mmc4")
        for item, images in ((with_scores, 1), (with_scores, 0), (manifest, 1))
    ]
    named = re.compile("^- .*`in_sample_similarity` and `image_sequence`", re.MULTILINE)
    assert [bool(named.search(text)) for text in cards] == [True, False, False]


def test_every_field_is_explained(make_dataset: MakeDataset) -> None:
    schema = json.loads((Path(__file__).parents[3] / "schemas/mmc4_document.schema.json").read_text())
    manifest = make_dataset(recipe="mmc4").manifest(CutPlan)
    assert list(ledger_fields(manifest)) == arrow_schema(ledger_record(CLIP_COLUMNS)).names
    image = schema["properties"]["image_info"]["items"]["properties"]
    assert list(DOCUMENT_FIELDS) == [*schema["properties"], *(f"image_info[].{name}" for name in image)]
    assert all(DOCUMENT_FIELDS.values())


def test_every_format_of_the_dataset_is_in_the_card_and_the_metadata(make_dataset: MakeDataset) -> None:
    folder = make_dataset("all", formats=list(known_formats()))
    main([folder.path, "--url", URL])
    config, *others = front_matter(folder)["configs"]
    assert (config["config_name"], config["data_files"][0]["path"]) == ("obelics", "obelics/shard-*.parquet")
    assert (config["default"], [other["config_name"] for other in others]) == (True, ["parquet", "ledger"])
    text = Path(folder.file("README.md")).read_text()
    assert 'mmc4_jsonl = load_dataset("json", data_files="hf://datasets/…/all/mmc4_jsonl/shard-*.jsonl.gz"' in text
    dataset = mlcroissant.Dataset(jsonld=folder.file("croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    rows = pq.read_table(sorted(Path(folder.file("obelics")).glob("*.parquet")), columns=["texts"]).to_pylist()
    records = list(dataset.records("obelics"))
    assert [list(map(_text, record["obelics/texts"])) for record in records] == [row["texts"] for row in rows]
    records = list(dataset.records("parquet"))
    assert [list(map(_text, record["parquet/texts"])) for record in records] == [row["texts"] for row in rows]
    media_types = {
        item["contentUrl"]: item["encodingFormat"]
        for item in json.loads(Path(folder.file("croissant.json")).read_text())["distribution"]
        if "contentUrl" in item
    }
    for item in (item() for item in known_formats().values()):
        assert media_types[item.file_name(0, 1)] == item.media_type


@pytest.mark.parametrize(
    ("choices", "groups"),
    [
        (["openflamingo"], {"documents": "shard-*.tar"}),
        (["webdataset"], {"webdataset": "webdataset/shard-*.tar"}),
        (["mmc4_jsonl"], {"mmc4_jsonl": "mmc4_jsonl/shard-*.jsonl.gz"}),
    ],
)
def test_files_are_grouped_by_format(make_dataset: MakeDataset, choices: list[str], groups: dict[str, str]) -> None:
    found = file_groups(make_dataset(formats=choices).manifest(CutPlan))
    assert {group.name: group.pattern for group in found} == groups | {"ledger": "ledger/ledger-*.parquet"}
    assert all(len(group.files) == 2 for group in found)


def test_a_card_without_documents_in_mmc4_s_form_does_not_explain_them(make_dataset: MakeDataset) -> None:
    folder = make_dataset(formats=["obelics"])
    main([folder.path, "--url", URL])
    text = Path(folder.file("README.md")).read_text()
    assert "`similarity_matrix`" not in text
    assert "`best_similarity`" in text


def test_croissant_is_valid_and_its_records_are_the_ledger_s(published: StageFolder) -> None:
    dataset = mlcroissant.Dataset(jsonld=published.file("croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    rows = pq.read_table(published.file("ledger")).to_pylist()
    records = list(dataset.records("ledger"))
    texts = [name for name in rows[0] if isinstance(rows[0][name], str)]
    numbers = [name for name in rows[0] if isinstance(rows[0][name], int)]
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
    with pytest.raises(UserError, match=r"ledger-00000-of-00002\.parquet: .*Parquet.*mmc4 verify"):
        main([published.path, "--url", URL])
