"""An output with published datasets, a list of removals, and what a takedown leaves of it."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.running import mmc4, succeeded
from tests.end_to_end.takedown.outputs import SMALL, Removals, cut, host, rows, sha256, takedown


@pytest.fixture(scope="session")
def before(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output with three datasets, one of them in all formats, in small shards, and published."""
    folder = tmp_path_factory.mktemp("takedown")
    output = shutil.copytree(built, folder / "out")
    (folder / "all.yaml").write_text("extends: mmc4\n")
    cut(output, folder / "all.yaml", *SMALL)
    cut(output, "mmc4-core")
    succeeded(mmc4("card", str(output / "dataset/all"), "--url", "https://example.org/all"))
    return output


@pytest.fixture(scope="session")
def removals(before: Path) -> Removals:
    """Return a list of a site, a host of images, two pages and two images, by URL and by hash."""
    kept = [row for row in rows(before / "dataset/all") if row["reason"] is None]
    site = host(kept[0]["page_url"]).removeprefix("www.")
    kept = [row for row in kept if site not in row["page_url"] + row["image_url"]]
    image_host = next(host(row["image_url"]) for row in kept if host(row["image_url"]).startswith("cdn."))
    kept = [row for row in kept if host(row["image_url"]) != image_host]
    pages = list(dict.fromkeys(row["page_url"] for row in kept))
    of_others = [row["image_url"] for row in kept if row["page_url"] in pages[4:]]
    core = [row for row in rows(before / "dataset/mmc4-core") if row["reason"] is None]
    in_core = [row for row in core if row["page_url"] in pages[4:]]
    fewest = Counter(row["page_url"] for row in in_core).most_common()[-1][0]  # mmc4-core drops it without this image
    last = next(row["image_url"] for row in in_core if row["page_url"] == fewest)
    named = Removals(before.parent / "removals.txt", site, image_host, {*pages[:2]}, {of_others[0], last})
    entries = [site, f"*.{image_host}", pages[0], sha256(pages[1]), of_others[0], sha256(last)]
    named.path.write_text("".join(f"{entry}  # by mail\n" for entry in entries))
    return named


@pytest.fixture(scope="session")
def after(before: Path, removals: Removals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output after a takedown of the list."""
    output = shutil.copytree(before, tmp_path_factory.mktemp("after") / "out")
    takedown(output, removals.path)
    return output


@pytest.fixture(scope="session")
def alone(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a published dataset, without the stages that it was made from."""
    return shutil.copytree(before / "dataset/all", tmp_path_factory.mktemp("published") / "all")
