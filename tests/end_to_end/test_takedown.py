"""`mmc4 takedown`: what a list names is gone from everything, and everything else is as it was."""

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import webdataset

from mmc4_pipeline import storage
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.miniweb.serve import serving
from mmc4_pipeline.training import ShardedDocuments
from tests.end_to_end.running import Web, contents, mmc4, refusal, start, succeeded

PATIENCE = 240  # seconds until a run is given up
ALL = sorted(known_formats(), key=lambda name: name != "openflamingo")  # whose files the ledger then names


def rows(folder: Path, pattern: str = "ledger/*.parquet") -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def host(url: str) -> str:
    return urlsplit(url).hostname or ""


def sha256(url: str) -> str:
    return "sha256:" + hashlib.sha256(url.encode()).hexdigest()


@pytest.fixture(scope="module")
def before(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output with three datasets, one of them in all formats, in small shards, and published."""
    folder = tmp_path_factory.mktemp("takedown")
    output = shutil.copytree(built, folder / "out")
    (folder / "all.yaml").write_text("extends: mmc4\n")
    cut = ("cut", "--output", str(output))
    small = ("--formats", *ALL, "--shard_bytes", "300000")
    succeeded(mmc4(*cut, "--recipe", str(folder / "all.yaml"), *small))
    succeeded(mmc4(*cut, "--recipe", "mmc4-core"))
    succeeded(mmc4("card", str(output / "dataset/all"), "--url", "https://example.org/all"))
    return output


@dataclass(frozen=True)
class Removals:
    """A list of every kind of entry, and what it names."""

    path: Path
    site: str
    image_host: str
    pages: set[str]
    images: set[str]

    def page(self, url: str) -> bool:
        """Tell whether a page is named."""
        return f".{host(url)}".endswith(f".{self.site}") or url in self.pages

    def link(self, row: dict[str, Any]) -> bool:
        """Tell whether an image link is named, or its page."""
        url = row["image_url"]
        named = host(url) == self.image_host or f".{host(url)}".endswith(f".{self.site}") or url in self.images
        return named or self.page(row["page_url"])


@pytest.fixture(scope="module")
def removals(before: Path) -> Removals:
    """Name a site, a host of images, two pages and two images, by URL and by hash."""
    kept = [row for row in rows(before / "dataset/all") if row["reason"] is None]
    site = host(kept[0]["page_url"]).removeprefix("www.")
    kept = [row for row in kept if site not in row["page_url"] + row["image_url"]]
    image_host = next(host(row["image_url"]) for row in kept if host(row["image_url"]).startswith("cdn."))
    kept = [row for row in kept if host(row["image_url"]) != image_host]
    pages = list(dict.fromkeys(row["page_url"] for row in kept))
    of_others = [row["image_url"] for row in kept if row["page_url"] in pages[4:]]
    named = Removals(before.parent / "removals.txt", site, image_host, {*pages[:2]}, {of_others[0], of_others[-1]})
    entries = [site, f"*.{image_host}", pages[0], sha256(pages[1]), of_others[0], sha256(of_others[-1])]
    named.path.write_text("".join(f"{entry}  # by mail\n" for entry in entries))
    return named


def takedown(folder: Path, removals: Path, *more: str) -> list[str]:
    return succeeded(mmc4("takedown", str(folder), "--list", str(removals), *more)).stdout.splitlines()


@pytest.fixture(scope="module")
def after(before: Path, removals: Removals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the output from which the list was taken out."""
    output = shutil.copytree(before, tmp_path_factory.mktemp("after") / "out")
    said = takedown(output, removals.path)
    assert len([line for line in said if " were taken out; " in line]) == 7
    return output


def everything_in(folder: Path) -> Iterator[bytes]:
    """Yield all that is to be read below a folder: files, what is packed in them, and images out of their base64."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield data
        if path.suffix == ".gz":
            yield gzip.decompress(data)
        elif path.suffix == ".parquet":
            yield repr(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".tar":
            for member in (tar := tarfile.open(fileobj=io.BytesIO(data))):  # noqa: SIM115 - in memory
                content = tar.extractfile(member).read()
                if member.name.endswith(".json"):
                    infos = json.loads(content)["image_info"]
                    yield from (base64.b64decode(info["image_base64"]) for info in infos if "image_base64" in info)


def stored(output: Path) -> dict[str, bytes]:
    """Give the JPEG of each image that is stored, by its URL."""
    found = {}
    for path in sorted(output.glob("images/images-*.parquet")):
        tar = path.with_suffix(".tar").read_bytes()
        for row in pq.read_table(path).to_pylist():
            if row["offset"] is not None:
                found[row["url"]] = tar[row["offset"] : row["offset"] + row["length"]]
    return found


def words_of(page: dict[str, Any]) -> Iterator[str]:
    """Yield what a page says, and its URL."""
    yield from page["sentences"]
    yield from (link["alt"] for link in page["links"])
    yield page["url"]


def test_nothing_of_it_is_left(before: Path, after: Path, removals: Removals) -> None:
    ledger, images = rows(before / "dataset/all"), stored(before)
    pages = rows(before, "pages/pages-*.parquet")
    jpegs = {
        goes: {images.get(row["image_url"]) for row in ledger if removals.link(row) is goes} for goes in (True, False)
    }
    left = jpegs[False] - {None}
    words = {
        goes: {text for page in pages if removals.page(page["url"]) is goes for text in words_of(page)}
        for goes in (True, False)
    }
    words[True] |= {row["page_url"] for row in ledger if removals.page(row["page_url"])}
    words[True] |= {row["image_url"] for row in ledger if removals.link(row)}
    words[False] |= {row["image_url"] for row in ledger if not removals.link(row)}
    others = "\n".join(words[False])
    gone = {word.encode() for word in words[True] if word not in others} | {removals.site.encode()}
    bytes_gone = jpegs[True] - left - {None}
    needles = bytes_gone | gone | {removals.image_host.encode()}
    assert len(bytes_gone) > 10
    assert len(gone) > 50
    there, still_there = list(everything_in(before)), list(everything_in(after))
    for needle in needles:
        assert any(needle in data for data in there)
        assert not any(needle in data for data in still_there), needle[:100]
    assert set(stored(after).values()) == left


def test_the_datasets_are_whole_and_subsets_of_each_other_as_before(after: Path) -> None:
    full = str(after / "dataset/all")
    for name in ("all", "miniweb", "mmc4-core"):
        dataset = after / "dataset" / name
        assert "as its manifest says" in succeeded(mmc4("verify", str(dataset), "--subset_of", full)).stdout
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


def test_the_ledger_says_why_by_hash(before: Path, after: Path, removals: Removals) -> None:
    old, new = rows(before / "dataset/mmc4-core"), rows(after / "dataset/mmc4-core")
    assert len(old) == len(new)
    too_few = 0
    for was, row in zip(old, new, strict=True):
        if removals.link(was):
            named = {"image_url": sha256(was["image_url"]), "stage": "pages", "reason": "denied", "filter": "deny_list"}
            page = sha256(was["page_url"]) if removals.page(was["page_url"]) else was["page_url"]
            named |= {"page_url": page, "position": was["position"], "document": was["document"]}
            named |= {} if removals.page(was["page_url"]) else {"sentences": was["sentences"]}
            assert {key: value for key, value in row.items() if value is not None} == named
        elif row != was:
            assert (was["reason"], row["stage"], row["reason"], row["shard"]) == (None, "cut", "document", None)
            assert row["filter"] == "document"
            too_few += 1
    assert too_few, "no document was left with fewer images than mmc4-core wants"
    (entry,) = json.loads((after / "dataset/mmc4-core/manifest.json").read_text())["takedowns"]
    assert entry["list"] == hashlib.sha256(removals.path.read_bytes()).hexdigest()
    assert entry["links"] == sum(map(removals.link, old))
    assert entry["images"] == sum(row["reason"] is None for row in old) - sum(row["reason"] is None for row in new)


def documents(folder: Path, name: str) -> list[dict[str, Any]]:
    item = known_formats()[name]()
    found = []
    for path in sorted(folder.glob(item.file_name(0).replace("00000", "*"))):
        with path.open("rb") as stream:
            found += item.read_shard(stream, str(path))
    return found


def test_what_stays_of_a_document_is_as_it_was(before: Path, after: Path, removals: Removals) -> None:
    def expected(document: dict[str, Any]) -> dict[str, Any] | None:
        pairs = [
            (info, row)
            for info, row in zip(document["image_info"], document["similarity_matrix"], strict=True)
            if not removals.link({"image_url": info["raw_url"], "page_url": document["url"]})
        ]
        images = {"image_info": [info for info, _ in pairs], "similarity_matrix": [row for _, row in pairs]}
        return document | images if pairs else None

    for name in ("openflamingo", "mmc4_jsonl"):
        left = [made for document in documents(before / "dataset/all", name) if (made := expected(document))]
        assert documents(after / "dataset/all", name) == left
    samples = documents(after / "dataset/all", "webdataset")
    assert [sample["json"] for sample in samples] == left
    images = stored(after)
    for sample in samples:
        for number, info in enumerate(sample["json"]["image_info"]):
            assert sample[f"{number}.jpg"] == images[info["raw_url"]]


def test_another_cut_from_what_is_left_says_the_same(after: Path, tmp_path: Path) -> None:
    output = shutil.copytree(after, tmp_path / "out")
    (tmp_path / "again.yaml").write_text("extends: mmc4\n")
    small = ("--formats", *ALL, "--shard_bytes", "300000")
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(tmp_path / "again.yaml"), *small))
    assert "as its manifest says" in succeeded(mmc4("verify", str(output / "dataset/again"))).stdout
    taken, cut = output / "dataset/all", output / "dataset/again"
    what = ("page_url", "image_url", "document", "position", "stage", "reason", "nsfw", "phash", "best_similarity")
    assert [[row[key] for key in what] for row in rows(taken)] == [[row[key] for key in what] for row in rows(cut)]
    one, other = (json.loads((folder / "manifest.json").read_text()) for folder in (taken, cut))
    for key in ("counts", "before", "input"):
        assert one[key] == other[key]
    for note in sorted((cut / "done").iterdir()):
        new, old = (json.loads((folder / "done" / note.name).read_text()) for folder in (cut, taken))
        for name in new["statistics"].keys() - {"matched_similarity", "share_illustrated"}:  # assigned anew
            assert old["statistics"][name] == new["statistics"][name]
        assert old["counts"] == new["counts"]


def test_files_that_hold_nothing_of_it_keep_their_bytes(before: Path, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    kept = [row for row in rows(output / "dataset/all") if row["reason"] is None]
    page = kept[-1]["page_url"]
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
    } == {f"dataset/all/{item().file_name(int(kept[-1]['shard'][6:11]))}" for item in known_formats().values()} | {
        "dataset/all/ledger/ledger-00001-of-00002.parquet"
    }
    others = [name for name in changed if "00000-of-00002" in name or name.endswith("done/00000.json")]
    assert others == ["locations/done/00000.json"]


def test_a_second_run_changes_nothing_and_says_so(after: Path, removals: Removals) -> None:
    old = contents(after, "**/*")
    (said,) = takedown(after, removals.path)
    assert said == f"{after}: has nothing of what {removals.path} names; nothing was written"
    assert contents(after, "**/*") == old


def test_a_dry_run_says_the_same_and_writes_nothing(
    before: Path, after: Path, removals: Removals, tmp_path: Path
) -> None:
    old = contents(before, "**/*")
    said = takedown(before, removals.path, "--dry_run")
    assert contents(before, "**/*") == old
    output = shutil.copytree(before, tmp_path / "out")
    *lines, last = takedown(output, removals.path, "--workers", "2")
    assert said == [line.replace(" were ", " would be ") for line in lines]
    assert "filters.deny_list.list=" in last
    assert contents(output, "**/*") == contents(after, "**/*")


def test_a_list_without_a_hit(before: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere.example\nhttps://nowhere.example/\n# nothing\n")
    old = contents(before, "**/*")
    (said,) = takedown(before, tmp_path / "list.txt")
    assert "nothing was written" in said
    assert contents(before, "**/*") == old


def test_the_same_build_goes_on_and_asks_for_nothing(web: Web, built: Path, removals: Removals, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    takedown(output, removals.path)
    old = contents(output, "**/*")
    with serving(web.folder) as address:
        # The address is another one; routes are part of the plan.
        plan = output / "images/plan.json"
        plan.write_text(plan.read_text().replace(web.address, address))
        succeeded(mmc4("build", *web.build_arguments(output, image_routes=f"{address}/{{url}}"), "--resume"))
        with urllib.request.urlopen(f"{address}/__stats") as answer:
            assert not json.load(answer)["per_url"]
    new = contents(output, "**/*")
    assert {name for name in new if new[name] != old.get(name)} <= {"images/plan.json"}
    assert new.keys() == old.keys()


@pytest.fixture(scope="module")
def alone(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a published dataset, without what it was made from."""
    return shutil.copytree(before / "dataset/all", tmp_path_factory.mktemp("published") / "all")


def test_of_a_dataset_alone_the_same_is_left(alone: Path, after: Path, removals: Removals, tmp_path: Path) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    (said, _) = takedown(folder, removals.path)
    assert "files were written anew" in said
    assert "as its manifest says" in succeeded(mmc4("verify", str(folder))).stdout
    whole = after / "dataset/all"
    for pattern in ("**/*.tar", "**/*.parquet", "**/*.gz", "**/sizes.json"):
        assert contents(folder, pattern) == contents(whole, pattern)
    for note in sorted((whole / "done").iterdir()):
        new, old = (json.loads((place / "done" / note.name).read_text())["statistics"] for place in (folder, whole))
        examples = [(group.pop("url"), group.pop("offset"), group.pop("length")) for group in new["duplicates"]]
        assert all(url for url, _, _ in examples)
        for group in old["duplicates"]:  # whose places in the images stage have moved
            del group["url"], group["offset"], group["length"]
        assert new == old


@pytest.mark.parametrize("formats", [["obelics"], ["mmc4_jsonl"], ["webdataset"]])
def test_whatever_the_format(before: Path, removals: Removals, formats: list[str], tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    (tmp_path / "one.yaml").write_text("extends: mmc4\n")
    arguments = ("--recipe", str(tmp_path / "one.yaml"), "--formats", *formats)
    succeeded(mmc4("cut", "--output", str(output), *arguments))
    folder = shutil.move(output / "dataset/one", tmp_path / "one")
    shutil.rmtree(output)
    takedown(folder, removals.path)
    assert len(documents(folder, formats[0])) == json.loads((folder / "manifest.json").read_text())["counts"][
        "documents"]["kept"]  # fmt: skip
    assert not any(removals.site.encode() in data for data in everything_in(folder))
    succeeded(mmc4("report", str(folder)))


def test_documents_without_images_go_too(before: Path, removals: Removals, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    best = [row["best_similarity"] for row in rows(output / "dataset/all") if row["reason"] is None]
    least = f"{sorted(best)[len(best) * 3 // 4]:.4f}"  # so that some documents have images, and some none
    recipe = f"extends: mmc4\nfilters: {{document: {{min_images: 0}}, similarity: {{min: {least}}}}}\n"
    (tmp_path / "texts.yaml").write_text(recipe)
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(tmp_path / "texts.yaml")))
    folder = output / "dataset/texts"
    old = documents(folder, "openflamingo")
    assert any(not item["image_info"] and removals.page(item["url"]) for item in old)
    assert any(item["image_info"] for item in old)
    takedown(output, removals.path)
    left = documents(folder, "openflamingo")
    assert [item["url"] for item in left] == [item["url"] for item in old if not removals.page(item["url"])]
    assert "as its manifest says" in succeeded(mmc4("verify", str(folder))).stdout
    (tmp_path / "again.yaml").write_text(recipe)
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(tmp_path / "again.yaml")))
    assert [item["url"] for item in documents(output / "dataset/again", "openflamingo")] == [
        item["url"] for item in left
    ]
    for note in sorted((folder / "done").iterdir()):
        new, old = (statistics(place / "done" / note.name) for place in (output / "dataset/again", folder))
        for name in ("images", "sentences", "sites", "stored_bytes", "duplicates"):
            assert new[name] == old[name]


def statistics(note: Path) -> dict[str, Any]:
    return json.loads(note.read_text())["statistics"]


def test_an_emptied_shard_is_read_as_one_without_documents(alone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    first = {row["page_url"] for row in rows(folder) if row["shard"] == "shard-00000.tar"}
    left = [item["url"] for item in documents(folder, "openflamingo") if item["url"] not in first]
    (tmp_path / "list.txt").write_text("\n".join(first))
    takedown(folder, tmp_path / "list.txt")
    assert json.loads((folder / "sizes.json").read_text())["shard-00000.tar"] == 0
    assert "as its manifest says" in succeeded(mmc4("verify", str(folder))).stdout
    assert [sample["json"]["url"] for sample in ShardedDocuments(str(folder))] == left
    shards = [str(path) for path in sorted(folder.glob("shard-*.tar"))]
    plain = webdataset.WebDataset(shards, shardshuffle=False).decode()
    assert [sample["json"]["url"] for sample in plain] == left
    for name in ALL:
        assert len(documents(folder, name)) == len(left)


def test_a_ledger_of_an_earlier_version_is_refused_before_anything_is_written(
    alone: Path, removals: Removals, tmp_path: Path
) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    ledger = max(folder.glob("ledger/*.parquet"))
    pq.write_table(pq.read_table(ledger).drop_columns(["ad", "sentences"]), ledger)
    before = contents(folder, "**/*")
    said = refusal(mmc4("takedown", str(folder), "--list", str(removals.path)))
    assert f"{ledger}: " in said
    assert "ad, sentences" in said
    assert contents(folder, "**/*") == before


class Stopped(Exception):  # noqa: N818 - no error of the program's
    """Stands for a process that ends."""


def test_stopped_at_any_file_it_ends_with_the_same_bytes(
    alone: Path, removals: Removals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree(alone, tmp_path / "whole" / "all")  # the report has the folder's name
    takedown(whole, removals.path)
    expected = contents(whole, "**/*")
    replace, left = storage.rename, 0

    def stop(path: str, with_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        replace(path, with_name)

    monkeypatch.setattr(storage, "rename", stop)
    monkeypatch.setattr(storage.writing, "rename", stop)  # what writing atomically calls
    folder, stops = shutil.copytree(alone, tmp_path / "stopped" / "all"), 0
    while True:
        left = 2 * stops  # each run gets a bit further, and is stopped again
        try:
            takedown(folder, removals.path)
            break
        except Stopped:
            stops += 1
            assert stops < 200
    assert stops > 10
    assert contents(folder, "**/*") == expected


def test_killed_it_ends_with_the_same_bytes(before: Path, after: Path, removals: Removals, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    with start("takedown", str(output), "--list", str(removals.path)) as process:
        deadline = time.monotonic() + PATIENCE
        while not list(output.glob("takedown/new/images/images-*.tar")):
            assert process.poll() is None
            assert time.monotonic() < deadline
        os.killpg(process.pid, signal.SIGKILL)
    assert (output / "takedown").exists()
    takedown(output, removals.path)
    assert contents(output, "**/*") == contents(after, "**/*")


def test_what_can_t_be_is_refused(before: Path, alone: Path, removals: Removals, tmp_path: Path) -> None:
    def refused(folder: Path, removals: Path = removals.path) -> str:
        return refusal(mmc4("takedown", str(folder), "--list", str(removals)))

    assert f"give {before}" in refused(before / "dataset/all")
    assert "nothing to take anything out of" in refused(tmp_path)
    (tmp_path / "list.txt").write_text("fine.example\nno entry at all\n")
    assert "list.txt:2: 'no entry at all' is no entry" in refused(alone, tmp_path / "list.txt")
    folder = shutil.copytree(alone, tmp_path / "all")
    shard = next(row["shard"] for row in rows(folder) if row["reason"] is None and removals.link(row))
    data = bytearray((folder / shard).read_bytes())
    data[2000] ^= 1
    (folder / shard).write_bytes(data)
    assert f"{shard}: its sha256 is not the manifest's" in refused(folder)
    (folder / "manifest.json").unlink()
    assert "is not finished" in refused(folder)
