"""`mmc4 verify` finds what was planted, names it, and finds nothing in a clean dataset."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.commands.verify import main
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import read_shard
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, open_tar
from mmc4_pipeline.verify.dataset import verify

MakeDataset = Callable[..., StageFolder]


@pytest.fixture
def folder(make_dataset: MakeDataset) -> StageFolder:
    return make_dataset()


def path(folder: StageFolder, name: str = "shard-00001.tar") -> Path:
    return Path(folder.file(name))


def documents(folder: StageFolder, name: str = "shard-00001.tar") -> dict[str, dict[str, Any]]:
    with path(folder, name).open("rb") as stream:
        return dict(read_shard(stream, name))  # type: ignore[arg-type]


def edit_manifest(folder: StageFolder, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads(path(folder, "manifest.json").read_text())
    edit(manifest)
    path(folder, "manifest.json").write_text(json.dumps(manifest))


def rewrite(folder: StageFolder, changed: dict[str, dict[str, Any]], name: str = "shard-00001.tar") -> None:
    """Write a shard again with other documents, and the manifest so that the file itself is as it says."""
    with path(folder, name).open("wb") as stream:
        writer = HashingWriter(stream)
        with open_tar(writer) as tar:
            for key, document in changed.items():
                add_file(tar, f"{key}.json", orjson.dumps(document))

    def edit(manifest: dict[str, Any]) -> None:
        file = next(file for file in manifest["files"] if file["name"] == name)
        file |= {"bytes": writer.position, "sha256": writer.hexdigest()}

    edit_manifest(folder, edit)


def problems(folder: StageFolder, whole: StageFolder | None = None) -> list[str]:
    found = verify(folder, whole).problems
    assert all("\n" not in problem and "; " in problem for problem in found)
    return found


def test_a_clean_dataset_passes_with_one_line_of_what_was_checked(
    make_dataset: MakeDataset, folder: StageFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    core = make_dataset("core", recipe="mmc4-core")
    main([core.path, "--subset_of", folder.path])
    main([folder.path + "/"])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"{core.path}: OK, ")
    assert f"{folder.path} (4 files, " in said[0]
    assert said[1].endswith("12 documents, 36 images, 48 links in the ledger)")


def test_many_workers_find_the_same(folder: StageFolder) -> None:
    path(folder).unlink()
    one, two = verify(folder), verify(folder, workers=2)
    assert one == two
    assert one.problems


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_flipped_byte_in_an_image_is_found_and_the_image_named(folder: StageFolder) -> None:
    key, document = list(documents(folder).items())[2]
    image = document["image_info"][1]
    assert len(base64.b64decode(image["image_base64"])) > 500
    at = path(folder).read_bytes().index(image["image_base64"].encode())
    flip(path(folder), at + 400)
    found = problems(folder)
    assert re.match(f"{path(folder)}: .*sha256", found[0])
    assert any(f"{image['raw_url']} of {key}" in problem for problem in found[1:])
    assert all("shard-00001.tar" in problem for problem in found)


def test_a_flipped_byte_anywhere_in_the_ledger_is_found(folder: StageFolder) -> None:
    name = "ledger/ledger-00000-of-00002.parquet"
    size = path(folder, name).stat().st_size
    for at in range(3, size, size // 40):
        flip(path(folder, name), at)
        found = problems(folder)
        assert found
        assert all(name in problem for problem in found)
        flip(path(folder, name), at)


def test_a_missing_file_is_found(folder: StageFolder) -> None:
    path(folder).unlink()
    path(folder, "ledger/ledger-00000-of-00002.parquet").unlink()
    found = problems(folder)
    assert len(found) == 2
    assert re.search(r"ledger-00000-of-00002\.parquet: ", found[0])
    assert re.search(r"shard-00001\.tar: ", found[1])


def test_a_shard_that_the_manifest_forgot_too_is_missed_by_the_ledger(folder: StageFolder) -> None:
    path(folder).unlink()
    edit_manifest(folder, lambda manifest: manifest["files"].pop(2))
    found = problems(folder)
    assert any(re.search(r"shard-00001\.tar: .*ledger.*manifest", problem) for problem in found)


def test_a_shard_cut_short_is_found_wherever_it_is_cut(folder: StageFolder) -> None:
    whole = path(folder).read_bytes()
    for length in (0, 100, 512, 5000, len(whole) // 2, len(whole) - 10240, len(whole) - 512, len(whole) - 1):
        path(folder).write_bytes(whole[:length])
        found = problems(folder)
        assert any(re.search(rf"\b{length} bytes.*\b{len(whole)}\b", problem) for problem in found)
        assert all("shard-00001.tar" in problem for problem in found)


COUNTS = [("documents", "in"), ("documents", "kept"), ("links", "in"), ("links", "kept")]


@pytest.mark.parametrize(("what", "which"), COUNTS)
def test_a_changed_count_is_found(folder: StageFolder, what: str, which: str) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["counts"][what][which] += 1

    edit_manifest(folder, edit)
    found = problems(folder)
    assert found
    assert all("manifest.json" in problem and what in problem for problem in found)


def test_counts_that_were_changed_so_that_they_add_up_are_found(folder: StageFolder) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["counts"]["links"]["dropped"] = {"nsfw": 12}

    edit_manifest(folder, edit)
    similarity, nsfw = problems(folder)
    assert re.search(r": 0 links .*\blow_similarity, but 12\b", similarity)
    assert re.search(r": 12 links .*\bnsfw, but 0\b", nsfw)


def test_a_document_in_core_that_full_lacks_is_found(make_dataset: MakeDataset, folder: StageFolder) -> None:
    core = make_dataset("core", recipe="mmc4-core", documents=14)
    found = problems(core, folder)
    assert len(found) == 2
    assert all(re.search(rf"{folder.path}\b.*https://site1", problem) for problem in found)
    assert problems(folder, folder) == []


def test_an_image_in_core_that_full_lacks_is_found(make_dataset: MakeDataset, folder: StageFolder) -> None:
    core = make_dataset("core", recipe="mmc4-core")
    assert problems(core, folder) == []
    ledger = path(folder, "ledger/ledger-00000-of-00002.parquet")
    rows = pq.read_table(ledger).to_pylist()
    rows[0] |= {"reason": "nsfw", "stage": "cut", "shard": None, "key": None}
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(ledger)), ledger)
    (found,) = problems(core, folder)
    assert all(part in found for part in (rows[0]["document"], folder.path, rows[0]["image_url"]))


def test_datasets_of_other_shards_are_not_compared(make_dataset: MakeDataset, folder: StageFolder) -> None:
    (found,) = problems(make_dataset("core", recipe="mmc4-core", shards=3), folder)
    assert re.search(rf"core.*{folder.path}: ", found)


def test_documents_and_images_that_the_ledger_does_not_have_are_found(folder: StageFolder) -> None:
    content = documents(folder)
    keys = list(content)
    content["f" * 32] = content.pop(keys[0])
    gone = content[keys[1]]["image_info"].pop()
    content[keys[1]]["similarity_matrix"].pop()
    rewrite(folder, content)
    found = "\n".join(problems(folder))
    assert re.search(f"ledger has kept.*: {keys[0]}", found)
    assert re.search(rf"ledger has no.*: https://site1\.example/0\.jpg at sentence 1 of {'f' * 32}", found)
    lost = f"{gone['raw_url']} at sentence {gone['matched_text_index']} of {keys[1]}"
    assert re.search(rf"ledger has.*: {re.escape(lost)}", found)
    assert re.search("36 links.* 35 images", found)


def test_an_image_that_cannot_be_decoded_is_found(folder: StageFolder) -> None:
    content = documents(folder)
    (key, document), *_ = content.items()
    document["image_info"][0]["image_base64"] = base64.b64encode(b"GIF89a").decode()
    rewrite(folder, content)
    (found,) = problems(folder)
    assert "decoded" in found
    assert f"{document['image_info'][0]['raw_url']} of {key}" in found


def test_a_shard_that_is_left_over_from_another_run_is_found(folder: StageFolder) -> None:
    shutil.copy(path(folder), path(folder, "shard-00007.tar"))
    (found,) = problems(folder)
    assert re.search(r"shard-00007\.tar: .*manifest; remove", found)


def test_the_command_lists_all_problems_and_fails(folder: StageFolder, capsys: pytest.CaptureFixture[str]) -> None:
    path(folder).unlink()
    shutil.copy(path(folder, "shard-00000.tar"), path(folder, "shard-00007.tar"))
    with pytest.raises(UserError, match=r"mmc4: 2 problems"):
        main([folder.path])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert path(folder).name in said[0]
    assert "shard-00007.tar" in said[1]
