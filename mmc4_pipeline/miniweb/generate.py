"""Write the miniature web to disk.

    python -m mmc4_pipeline.miniweb.generate FOLDER [--pages 200] [--seed 0]

The same number of pages and seed give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmc4_pipeline.miniweb import crawl, sites
from mmc4_pipeline.miniweb.layout import before, caption
from mmc4_pipeline.miniweb.planting import DUPLICATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmc4_pipeline.miniweb.page import Link, Page
    from mmc4_pipeline.miniweb.planting import Response
    from mmc4_pipeline.miniweb.sites import Web


def _write_c4(path: Path, pages: Iterable[Page]) -> None:
    lines = []
    for page in pages:
        text = "\n".join(" ".join(sentences) for sentences in page.paragraphs)
        lines.append(json.dumps({"text": text, "timestamp": crawl.timestamp(page.time), "url": page.url}) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def _write_responses(folder: Path, responses: Mapping[str, Response]) -> None:
    """Write bodies.tar with each distinct body under its SHA-256, and answers.json with the response of each URL."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies: dict[str, bytes] = {}
    table = {}
    for url, response in sorted(responses.items()):
        name = hashlib.sha256(response.body).hexdigest()
        bodies[name] = response.body
        table[url] = {
            "status": response.status,
            "headers": response.headers,
            "body": name,
            "behaviour": response.behaviour,
        }
    (folder / "answers.json").write_text(json.dumps(table, indent=1) + "\n")
    with tarfile.open(folder / "bodies.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in sorted(bodies.items()):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))


def _link_truth(page: Page, position: int, link: Link, before: int) -> dict[str, Any]:
    return {
        "page_url": page.url,
        "image_url": link.image_url,
        "position": position,
        "kind": link.plant.kind,
        "variant": link.plant.variant,
        "reason": link.plant.reason,
        "sentence": link.sentence,
        "duplicate_of": link.duplicate_of,
        "duplicate": DUPLICATES.get(link.plant.variant),
        "layout": page.layout,
        "after_sentence": before - 1,
        "inside_text": 0 < before < sum(map(len, page.paragraphs)),
        "caption": caption(page, link, before),
    }


def truth(web: Web) -> dict[str, Any]:
    """Return what a pipeline should find: the pages with their sentences, and every image link in page order."""
    pages = {
        page.url: {"sentences": [sentence for part in page.paragraphs for sentence in part], "located": located}
        for group, located in ((web.pages, True), (web.missing, False))
        for page in group
    }
    links = [
        _link_truth(page, position, link, place)
        for page in web.pages
        for position, (link, place) in enumerate(zip(page.links, before(page), strict=True))
    ]
    return {"pages": pages, "links": links}


def generate(folder: Path, pages: int = 200, seed: int = 0, *, stalled: bool = False) -> None:
    """Write `c4/`, `commoncrawl/`, `images/` and `truth.json` under `folder`.

    With `stalled`, two image links per hundred pages never get a response: every shard that has one waits for several
    timeouts. Without it, their responses are 404, and nothing else differs.
    """
    web = sites.build(pages, seed)
    if not stalled:
        sites.remove_stalled(web)
    _write_c4(folder / "c4" / "c4-train.00000-of-00001.json.gz", [*web.pages, *web.missing])
    crawl.write_crawl(folder / "commoncrawl", [*web.pages, *web.others])
    _write_responses(folder / "images", web.responses)
    (folder / "truth.json").write_text(json.dumps(truth(web), indent=1) + "\n")


def main() -> None:
    """Read the command line and generate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generate(args.folder, args.pages, args.seed)


if __name__ == "__main__":
    main()
