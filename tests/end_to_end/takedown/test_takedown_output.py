"""`mmc4 takedown` of an output: what the list names is removed from every stage, and the rest is as it was."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmc4_pipeline.formats.registry import known_formats
from tests.end_to_end.running import contents, mmc4, succeeded
from tests.end_to_end.takedown.outputs import (
    SMALL,
    Removals,
    cut,
    documents,
    everything_in,
    in_mmc4_form,
    manifest,
    notes,
    rows,
    sha256,
    takedown,
    verified,
)


def test_nothing_of_the_list_remains(before: Path, after: Path, removals: Removals) -> None:
    ledger, images = rows(before / "dataset/all"), stored(before)
    pages = rows(before, "pages/pages-*.parquet")
    jpegs = {
        named: {images.get(row["image_url"]) for row in ledger if removals.link(row) is named}
        for named in (True, False)
    }
    remaining = jpegs[False] - {None}
    words = {
        named: {text for page in pages if removals.page(page["url"]) is named for text in words_of(page)}
        for named in (True, False)
    }
    words[True] |= {row["page_url"] for row in ledger if removals.page(row["page_url"])}
    words[True] |= {row["image_url"] for row in ledger if removals.link(row)}
    words[False] |= {row["image_url"] for row in ledger if not removals.link(row)}
    others = "\n".join(words[False])
    removed_words = {word.encode() for word in words[True] if word not in others} | {removals.site.encode()}
    removed_images = jpegs[True] - remaining - {None}
    assert len(removed_images) > 10
    assert len(removed_words) > 50
    data_before, data_after = list(everything_in(before)), list(everything_in(after))
    for needle in removed_images | removed_words | {removals.image_host.encode()}:
        assert any(needle in data for data in data_before)
        assert not any(needle in data for data in data_after), needle[:100]
    assert set(stored(after).values()) == remaining


def stored(output: Path) -> dict[str, bytes]:
    """Return the JPEG of each stored image, by its URL."""
    found = {}
    for path in sorted(output.glob("images/images-*.parquet")):
        tar = path.with_suffix(".tar").read_bytes()
        for row in pq.read_table(path).to_pylist():
            if row["offset"] is not None:
                found[row["url"]] = tar[row["offset"] : row["offset"] + row["length"]]
    return found


def words_of(page: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of a page and its URL."""
    yield from page["sentences"]
    yield from (link["alt"] for link in page["links"])
    yield page["url"]


def test_the_datasets_are_intact_and_still_subsets_of_each_other(after: Path) -> None:
    full = str(after / "dataset/all")
    for name in ("all", "miniweb", "mmc4-core"):
        dataset = after / "dataset" / name
        verified(dataset, "--subset_of", full)
        written = (dataset / "report.html").read_bytes()
        succeeded(mmc4("report", str(dataset)))
        assert (dataset / "report.html").read_bytes() == written
    written = contents(after, "dataset/all/[Rc]*")
    assert len(written) == 2
    succeeded(mmc4("card", full, "--url", "https://example.org/all"))
    assert contents(after, "dataset/all/[Rc]*") == written


def test_the_files_of_the_stages_are_as_their_manifests_say(after: Path) -> None:
    manifests = [path for path in after.rglob("manifest.json") if "dataset" not in path.parts]
    assert len(manifests) == 4
    for path in manifests:
        for file in json.loads(path.read_text())["files"]:
            data = (path.parent / file["name"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert not list(after.rglob("*.tmp-*"))
    assert not (after / "takedown").exists()


def test_the_ledger_has_reason_and_hash_of_each_removed_link(before: Path, after: Path, removals: Removals) -> None:
    old, new = rows(before / "dataset/mmc4-core"), rows(after / "dataset/mmc4-core")
    assert len(old) == len(new)
    too_few = 0
    for was, row in zip(old, new, strict=True):
        if removals.link(was):
            named = {"image_url": sha256(was["image_url"]), "stage": "pages", "reason": "denied", "filter": "deny_list"}
            page = sha256(was["page_url"]) if removals.page(was["page_url"]) else was["page_url"]
            named |= {"page_url": page, "position": was["position"], "document": was["document"]}
            named |= {} if removals.page(was["page_url"]) else {name: was[name] for name in ("sentences", "words")}
            assert {key: value for key, value in row.items() if value is not None} == named
        elif row != was:
            assert (was["reason"], row["stage"], row["reason"], row["shard"]) == (None, "cut", "document", None)
            assert row["filter"] == "document"
            too_few += 1
    assert too_few, "no document lost so many images that mmc4-core drops it"
    (entry,) = manifest(after / "dataset/mmc4-core")["takedowns"]
    assert entry["list"] == hashlib.sha256(removals.path.read_bytes()).hexdigest()
    assert entry["links"] == sum(map(removals.link, old))
    assert entry["images"] == sum(row["reason"] is None for row in old) - sum(row["reason"] is None for row in new)


def test_the_rest_of_a_document_is_as_it_was(before: Path, after: Path, removals: Removals) -> None:
    def expected(document: dict[str, Any]) -> dict[str, Any] | None:
        pairs = [
            (info, row)
            for info, row in zip(document["image_info"], document["similarity_matrix"], strict=True)
            if not removals.link({"image_url": info["raw_url"], "page_url": document["url"]})
        ]
        images = {"image_info": [info for info, _ in pairs], "similarity_matrix": [row for _, row in pairs]}
        return document | images if pairs else None

    for name in ("openflamingo", "mmc4_jsonl"):
        remaining = [made for document in in_mmc4_form(before / "dataset/all", name) if (made := expected(document))]
        assert in_mmc4_form(after / "dataset/all", name) == remaining
    samples = documents(after / "dataset/all", "webdataset")
    sequence = ("texts", "images")
    in_form = [{name: sample["json"][name] for name in sample["json"] if name not in sequence} for sample in samples]
    assert in_form == remaining
    images = stored(after)
    for sample in samples:
        for number, info in enumerate(sample["json"]["image_info"]):
            assert sample[f"{number}.jpg"] == images[info["raw_url"]]


def test_a_new_cut_gives_the_same_ledger_and_counts(after: Path, tmp_path: Path) -> None:
    output = shutil.copytree(after, tmp_path / "out")
    (tmp_path / "again.yaml").write_text("extends: mmc4\n")
    cut(output, tmp_path / "again.yaml", *SMALL)
    edited, again = output / "dataset/all", output / "dataset/again"
    verified(again)
    assigned = ("matched_similarity", "sentence", "shard")  # the new cut assigns the remaining images again
    ledgers = [[{**row, **dict.fromkeys(assigned)} for row in rows(folder)] for folder in (edited, again)]
    assert ledgers[0] == ledgers[1]
    for key in ("counts", "before", "input"):
        assert manifest(edited)[key] == manifest(again)[key]
    for here, there in zip(notes(edited), notes(again), strict=True):
        for name in there["statistics"].keys() - {"matched_similarity", "share_illustrated"}:
            assert here["statistics"][name] == there["statistics"][name]
        assert here["counts"] == there["counts"]


def test_files_without_removed_content_keep_their_bytes(before: Path, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    kept = [row for row in rows(output / "dataset/all") if row["reason"] is None]
    page, number = kept[-1]["page_url"], int(kept[-1]["shard"][6:11])
    (tmp_path / "list.txt").write_text(page)
    old = contents(output, "**/*")
    times = {name: (output / name).stat().st_mtime_ns for name in old}
    takedown(output, tmp_path / "list.txt")
    new = contents(output, "**/*")
    assert new.keys() == old.keys()
    changed = {name for name in old if (output / name).stat().st_mtime_ns != times[name]}
    assert {name for name in old if old[name] != new[name]} <= changed
    assert {
        name for name in changed if name.startswith("dataset/all/") and not name.endswith(("json", "html", "md"))
    } == {f"dataset/all/{item().file_name(number, 1)}" for item in known_formats().values()} | {
        f"dataset/all/energon/shard-{number:05d}.tar.idx",
        f"dataset/all/energon/shard-{number:05d}.tar.samples",
        "dataset/all/energon/.nv-meta/index.sqlite",
        "dataset/all/energon/.nv-meta/index.uuid",
        "dataset/all/ledger/ledger-00001-of-00002.parquet",
        "dataset/all/notes.parquet",
    }
    others = {name for name in changed if "00000-of-00002" in name or name.endswith("done/00000.json")}
    one_shard = {f"dataset/{name}/done/00000.json" for name in ("miniweb", "mmc4-core")}  # it begins in image shard 0
    assert others == {"locations/done/00000.json", *one_shard}


def test_images_are_removed_by_their_content_from_all_stages(before: Path, tmp_path: Path) -> None:
    """The same picture under other URLs goes too, as if a list had named all of them."""
    links = rows(before, "images/images-*.parquet")
    shown = {row["image_url"] for row in rows(before / "dataset/all") if row["reason"] is None}
    same = Counter(row["sha256"] for row in {row["url"]: row for row in links}.values() if row["sha256"])
    chosen = [row for row in links if row["url"] in shown]
    first = max(chosen, key=lambda row: same[row["sha256"]])
    second = next(row for row in chosen if row["phash"] != first["phash"])
    third = next(row for row in chosen if row["phash"] not in (first["phash"], second["phash"]))
    images = stored(before)
    md5 = hashlib.md5(images[third["url"]]).hexdigest()
    (tmp_path / "content.txt").write_text(f"{first['sha256']}\nphash:{second['phash'] ^ 0b101:016x}\n{md5}\n")
    urls = {
        row["url"]
        for row in links
        if row["sha256"] == first["sha256"]
        or (row["phash"] is not None and (row["phash"] ^ second["phash"] ^ 0b101).bit_count() <= 4)
        or (row["url"] in images and hashlib.md5(images[row["url"]]).hexdigest() == md5)
    }
    assert same[first["sha256"]] > 1
    assert len(urls) >= 4
    (tmp_path / "urls.txt").write_text("\n".join(map(sha256, urls)))
    by_content, by_url = (shutil.copytree(before, tmp_path / name / "out") for name in ("content", "url"))
    arguments = ("--content_list", str(tmp_path / "content.txt"), "--workers", "2")
    printed = succeeded(mmc4("takedown", str(by_content), *arguments)).stdout.splitlines()
    assert printed[:-1] == takedown(by_url, tmp_path / "urls.txt")[:-1]
    found, expected = contents(by_content, "**/*"), contents(by_url, "**/*")
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name] and not name.endswith("manifest.json")} == set()
    assert not urls & stored(by_content).keys()
    verified(by_content / "dataset/all")
