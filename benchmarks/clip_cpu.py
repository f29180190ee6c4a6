"""Measure scoring on a CPU: this project's ClipModel against open_clip's own transforms and padded batches.

    python benchmarks/clip_cpu.py --sample ../shared/realweb

The sample is a folder with `c4/*.json.gz` and `images.warc.gz`. Both run in turns; the last line is JSON with medians.
"""

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import open_clip
import torch
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.pages.sentences import sentences_of

BATCH = 128


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=Path, default=Path("../shared/realweb"))
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--sentences", type=int, default=1024)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    sentences = sample_sentences(arguments.sample, arguments.sentences)
    images = sample_images(arguments.sample, arguments.images)
    ours, peer = ClipModel(ClipChoice(arguments.model, "random"), "cpu"), Peer(arguments.model)
    pairs = {
        "sentences": (len(sentences), lambda: ours.text_features(sentences), lambda: peer.texts(sentences)),
        "images": (len(images), lambda: ours.image_features(images), lambda: peer.images(images)),
    }
    result: dict[str, object] = {"model": arguments.model, "cores": cores_for(1)}
    for name, (count, mine, theirs) in pairs.items():
        times = [(seconds(mine, 1), seconds(theirs, cores_for(1))) for _ in range(arguments.repeats)]
        result[f"{name}_per_s"] = round(statistics.median(count / own for own, _ in times), 2)
        result[f"{name}_per_s_open_clip"] = round(statistics.median(count / other for _, other in times), 2)
        result[f"{name}_ratio"] = round(statistics.median(other / own for own, other in times), 2)
    print(json.dumps(result))


class Peer:
    """A typical use of open_clip: its transforms, padding to the full context, batches in the given order."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.model, _, self.transform = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenize = open_clip.get_tokenizer(name)

    @torch.inference_mode()
    def texts(self, sentences: list[str]) -> None:
        """Encode sentences."""
        for start in range(0, len(sentences), BATCH):
            self.model.encode_text(self.tokenize(sentences[start : start + BATCH]), normalize=True)

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> None:
        """Encode images."""
        self.model.encode_image(torch.stack([self.transform(image) for image in images]), normalize=True)


def seconds(work: Callable[[], object], threads: int) -> float:
    """Return the seconds of some work with that many threads per product. Ours uses one thread per core."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sample_sentences(folder: Path, count: int) -> list[str]:
    """Return distinct sentences, spread evenly over the sample's documents."""
    lines = [
        line for path in sorted(folder.glob("c4/*.gz")) for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    distinct = list(dict.fromkeys(text for line in lines for text in sentences_of(json.loads(line)["text"])))
    return distinct[:: max(1, len(distinct) // count)][:count]


def sample_images(folder: Path, count: int) -> list[Image.Image]:
    """Return the first JPEGs of the sample that can be decoded."""
    images: list[Image.Image] = []
    with (folder / "images.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream):
            body = record.content_stream().read() if record.rec_type == "response" else b""
            if body.startswith(b"\xff\xd8") and len(images) < count:
                try:
                    images.append(Image.open(BytesIO(body)).convert("RGB"))
                except OSError:  # the sample has truncated files
                    continue
    return images


if __name__ == "__main__":
    main()
