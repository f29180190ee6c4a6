"""Compare the score stage's DoFn over shards with Beam's RunInference over images and sentences.

    python benchmarks/run_inference.py

Both read the same generated shards, compute the same features with the same ClipModel, and return each image's best
similarity. They run in turns; the last line is JSON with medians.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import torch
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from made_shard import Shard

from mmc4_pipeline import storage
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.model import ClipModel, Features
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page

WEIGHTS = Path(__file__).parents[1] / "mmc4_pipeline" / "miniweb" / "weights"
BATCH = 32


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(WEIGHTS / "clip.json"))
    parser.add_argument("--pretrained", default=str(WEIGHTS / "clip.pt"))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--images", type=int, default=200, help="number of images per shard")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    choice = ClipChoice(arguments.model, arguments.pretrained)
    with tempfile.TemporaryDirectory() as folder:
        made = [Shard(Path(folder) / str(number), arguments.images // 5) for number in range(arguments.shards)]
        shards = [(shard.output, shard.images) for shard in made]
        ways: dict[str, Callable[[PCollection[Any]], PCollection[Any]]] = {
            "dofn": lambda folders: folders | "DoFn" >> beam.ParDo(OverShards(choice)),
            "run_inference": lambda folders: folders | "RunInference" >> ByRunInference(choice),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        of_cpu: dict[str, list[float]] = {name: [] for name in ways}
        best: dict[str, dict[str, float]] = {}
        for _ in range(arguments.repeats + 1):
            for name, way in ways.items():
                started, before = time.perf_counter(), time.process_time()
                best[name] = run(way, [output for output, _ in shards], Path(folder) / name)
                seconds[name].append(time.perf_counter() - started)
                of_cpu[name].append(time.process_time() - before)
    assert best["dofn"].keys() == best["run_inference"].keys()
    apart = max(abs(best["dofn"][key] - best["run_inference"][key]) for key in best["dofn"])
    count = sum(images for _, images in shards)
    medians = {name: statistics.median(count / item for item in items[1:]) for name, items in seconds.items()}
    ratios = {
        name: ratio(items["dofn"][1:], items["run_inference"][1:]) for name, items in (("", seconds), ("cpu_", of_cpu))
    }
    result = {f"{name}_images_per_s": round(value, 2) for name, value in medians.items()}
    model = {"model": choice.model_name, "images": count, "cores": cores_for(1)}
    result |= {f"dofn_{name}ratio": value for name, value in ratios.items()}
    print(json.dumps({**model, **result, "largest_difference": apart}))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of their time divided by ours."""
    return round(statistics.median(other / own for own, other in zip(ours, theirs, strict=True)), 2)


def run(way: Callable[[Any], Any], folders: Sequence[str], out: Path) -> dict[str, float]:
    """Run a pipeline in this process and return each image's best similarity by its key."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = way(pipeline | beam.Create(folders) | beam.Reshuffle())
        lines = found | beam.MapTuple(lambda key, value: json.dumps([key, value]))
        _ = lines | beam.io.WriteToText(str(out), num_shards=1)
    (path,) = out.parent.glob(f"{out.name}-0*")
    return {key: value for line in path.read_text().splitlines() for key, value in [json.loads(line)]}


@lru_cache(maxsize=1)
def model_of(choice: ClipChoice) -> ClipModel:
    """Load the model once per process, for both."""
    return ClipModel(choice, "cpu")


def read(folder: str) -> Iterator[tuple[str, bytes, list[str]]]:
    """Yield the key, the file and the document's sentences of each image of a shard."""
    pages = {page.key: page for page in storage.read_records(f"{folder}/p/pages-00000-of-00001.parquet", Page)}
    with storage.open_read(f"{folder}/i/images-00000-of-00001.tar") as tar:
        for image in storage.read_records(f"{folder}/i/images-00000-of-00001.parquet", Image):
            data = read_image(tar, image.offset or 0, image.length or 0)
            yield f"{folder}/{image.key}/{image.position}", data, pages[image.key].sentences


class OverShards(beam.DoFn):
    """Scores shards: each is one element."""

    def __init__(self, choice: ClipChoice) -> None:
        self.choice = choice

    def process(self, folder: str) -> Iterator[tuple[str, float]]:
        """Score a shard."""
        rows = list(read(folder))
        sentences = sorted({text for _, _, texts in rows for text in texts})
        numbers = {text: number for number, text in enumerate(sentences)}
        found = Engine(model_of(self.choice), cores_for(1)).features((data for _, data, _ in rows), sentences)
        for (key, _, texts), features in zip(rows, found.images, strict=True):
            yield key, float((found.sentences[[numbers[text] for text in texts]] @ features).max())


class ImagesAndSentences(ModelHandler[Any, Features, ClipModel]):
    """Encodes images and sentences: each is one element, and Beam makes the batches."""

    def __init__(self, choice: ClipChoice) -> None:
        self.choice = choice

    def load_model(self) -> ClipModel:
        """Load the model."""
        return model_of(self.choice)

    def batch_elements_kwargs(self) -> dict[str, int]:
        """Return the size of Beam's batches."""
        return {"min_batch_size": BATCH, "max_batch_size": BATCH}

    def run_inference(
        self, batch: Sequence[bytes | str], model: ClipModel, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Features]:
        """Encode a batch of files or of sentences."""
        del inference_args
        if isinstance(batch[0], str):
            yield from model.text_features([str(text) for text in batch])
        else:
            pixels = [model.pixels.of_file(bytes(data)) for data in batch]  # type: ignore[arg-type]
            yield from model.to_numpy(model.encode(torch.stack([item for item in pixels if item is not None])))


class ByRunInference(beam.PTransform):
    """Encodes images and sentences by two RunInferences, and joins them by document."""

    def __init__(self, choice: ClipChoice) -> None:
        super().__init__()
        self.choice = choice

    def expand(self, folders: PCollection[str]) -> PCollection[tuple[str, float]]:
        """Wire the pipeline."""
        rows = folders | "Read" >> beam.FlatMap(read)
        images = rows | "Images" >> beam.Map(lambda row: (row[0], row[1]))
        texts = (
            rows
            | "First of document" >> beam.Filter(lambda row: row[0].endswith("/0"))
            | "Sentences" >> beam.FlatMap(lambda row: [(row[0].rpartition("/")[0], text) for text in row[2]])
        )
        handler: KeyedModelHandler[Any, Any, Any, Any] = KeyedModelHandler(ImagesAndSentences(self.choice))
        scored = {
            "images": images
            | "Encode images" >> RunInference(handler)
            | "By document" >> beam.MapTuple(lambda key, value: (key.rpartition("/")[0], (key, value))),
            "texts": texts | "Encode sentences" >> RunInference(handler),
        }
        best: PCollection[tuple[str, float]] = scored | beam.CoGroupByKey() | beam.FlatMapTuple(best_of)
        return best


def best_of(_document: str, found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the best similarity of each image of a document."""
    texts = np.stack(list(found["texts"]))
    for key, features in found["images"]:
        yield key, float((texts @ features).max())


if __name__ == "__main__":
    main()
