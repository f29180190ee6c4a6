"""CLIP's part of `gpu.py`: the rates of the bare model, of the engine from JPEG bytes, and of the stage on one shard.

Each rate is compared with that of a large matrix product, measured in turns with them in the same run.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import torch
from made_shard import Shard, jpeg

from beam_jobs.score import ScorerWork, ScoreWork, loaded_scorers
from mmc4_pipeline import storage
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.scorers.clip import Clip
from mmc4_pipeline.scoring.base import Machine
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import read_image
from schemas.reasons import Stage


def measured(
    arguments: argparse.Namespace, device: str, shard: Shard, until: float, *, compiled: bool
) -> dict[str, object]:
    """Return the rates of a model, with or without torch.compile, and how far its similarities are from float32."""
    suffix = "_compiled" if compiled else ""
    started = time.perf_counter()
    scorer = Clip(arguments.model, "random", precision=arguments.precision, torch_compile=compiled)
    bench = Bench(scorer, Machine(device), shard, arguments)
    bench.product()
    bench.warm_up()
    result: dict[str, object] = {
        "precision": bench.model.precision,
        "tokens_in_sentence": bench.tokens_in_sentence,
        "bytes_in_image": shard.bytes,
        f"batch{suffix}": bench.model.batch_size,
        f"seconds_to_load{suffix}": round(time.perf_counter() - started, 1),
    }
    result |= {f"{name}{suffix}": value for name, value in bench.rates(arguments.repeats, until).items()}
    if bench.on_cuda:
        reference = ClipModel(ClipChoice(arguments.model, "random"), "cpu")
        result[f"largest_deviation{suffix}"] = deviation(reference, bench.model, shard)
    return result


class Bench:
    """The measured works. Each returns how many items it has computed, and its floating-point operations."""

    def __init__(self, scorer: Clip, machine: Machine, shard: Shard, arguments: argparse.Namespace) -> None:
        self.shard = shard
        # The stage keeps its loaded scorer, and the engine is measured with the same one.
        self.folder = StageFolder(storage.join(shard.output, "scores"), Stage.SCORE)
        self.work = ScoreWork(
            pages=shard.pages,
            images=shard.stored,
            scorers=(ScorerWork(scorer, self.folder, ()),),
            shards=1,
            machine=machine,
            hints={},
        )
        self.work.score(0)
        self.engine: Engine = loaded_scorers([scorer], machine)[scorer].engine  # type: ignore[attr-defined]
        self.model = self.engine.model
        config = open_clip.get_model_config(arguments.model)
        self.image_flops, self.token_flops = image_flops(config), token_flops(config)
        self.context = int(config["text_cfg"]["context_length"])
        device = self.model.device
        self.on_cuda = device.type == "cuda"
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.model.precision]
        side = 8192 if self.on_cuda else 1024
        self.factors = [torch.randn(side, side, device=device, dtype=dtype) for _ in range(2)]
        size = self.model.pixels.of_file(jpeg(0)).shape
        generator = torch.Generator().manual_seed(0)
        self.batch = torch.randint(0, 256, (self.model.batch_size, *size), dtype=torch.uint8, generator=generator)
        self.batch = (self.batch if self.on_cuda else self.batch[:16]).to(device)
        count = 1 << 13 if self.on_cuda else 32
        self.full = torch.randint(1, 49_000, (count, self.context), generator=generator)
        self.full[:, -1] = 49_407  # each sentence has the full length, for which 13 GFLOP are counted
        lengths = (self.model.tokenize(shard.texts).argmax(dim=1) + 1).tolist()
        self.texts_flops = sum(length * self.token_flops(length) for length in lengths)
        self.tokens_in_sentence = round(statistics.mean(lengths), 1)

    def warm_up(self) -> None:
        """Run each work once, so that loading, compiling and autotuning are not part of the rates."""
        for work in self.works().values():
            work()

    def works(self) -> dict[str, Callable[[], tuple[int, float]]]:
        """Return the works by name. Each returns its number of items and of operations."""
        return {
            "product": self.product,
            "model_images": self.model_images,
            "engine_images": self.engine_images,
            "model_sentences": self.model_sentences,
            "engine_sentences": self.engine_sentences,
            "tokenizer": self.tokenizer,
            "decoder": self.decoder,
            "stage": self.stage,
        }

    def rates(self, repeats: int, until: float) -> dict[str, float]:
        """Return medians: items per second, and the share of the matrix product's rate in the same round.

        After the first round, none begins that would end after `until`, a time of `time.monotonic`.
        """
        seconds: dict[str, list[float]] = {}
        done: dict[str, tuple[int, float]] = {}
        started_all = time.monotonic()
        for number in range(repeats):
            now = time.monotonic()
            if number and now + (now - started_all) / number > until:
                break
            for name, work in self.works().items():
                self.wait()
                started = time.perf_counter()
                done[name] = work()
                self.wait()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
        rounds = {name: [done[name][1] / item for item in items] for name, items in seconds.items()}
        result = {"product_tflops": round(statistics.median(rounds.pop("product")) / 1e12, 3)}
        ceilings = [done["product"][1] / item for item in seconds["product"]]
        for name, items in rounds.items():
            result[f"{name}_per_s"] = round(statistics.median(done[name][0] / item for item in seconds[name]), 2)
            if done[name][1]:
                shares = (item / ceiling for item, ceiling in zip(items, ceilings, strict=True))
                result[f"{name}_of_product"] = round(statistics.median(shares), 3)
        # Compared with the engine's time for the same images and sentences, one after the other.
        engine = zip(seconds["engine_images"], seconds["engine_sentences"], seconds["stage"], strict=True)
        result["stage_of_engine"] = round(statistics.median((one + two) / stage for one, two, stage in engine), 3)
        return result

    def wait(self) -> None:
        """Wait for the device."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def product(self) -> tuple[int, float]:
        """Multiply two large matrices several times."""
        times, side = (50, len(self.factors[0])) if self.on_cuda else (3, len(self.factors[0]))
        torch.set_num_threads(cores_for(1))  # a ClipModel on the CPU has set it to one per thread
        for _ in range(times):
            torch.mm(*self.factors)
        torch.set_num_threads(1)
        return times, times * 2.0 * side**3

    def model_images(self) -> tuple[int, float]:
        """Encode pixels that are already on the device."""
        times = 16 if self.on_cuda else 1
        for _ in range(times):
            self.model.encode(self.batch)
        count = times * len(self.batch)
        return count, count * self.image_flops

    def model_sentences(self) -> tuple[int, float]:
        """Encode tokenised sentences of full length."""
        self.model.token_features(self.full)
        return len(self.full), len(self.full) * self.context * self.token_flops(self.context)

    def engine_images(self) -> tuple[int, float]:
        """Encode the shard's JPEGs, read from its tar."""
        with storage.open_read(self.shard.tar) as tar:
            self.engine.features((read_image(tar, *place) for place in self.shard.places), [])
        return self.shard.images, self.shard.images * self.image_flops

    def engine_sentences(self) -> tuple[int, float]:
        """Encode the shard's sentences. Only their own tokens count as operations, not the padding."""
        self.engine.features([], self.shard.texts)
        return self.shard.sentences, self.texts_flops

    def tokenizer(self) -> tuple[int, float]:
        """Tokenise the shard's sentences."""
        self.model.tokenize(self.shard.texts)
        return self.shard.sentences, 0.0

    def decoder(self) -> tuple[int, float]:
        """Decode and resize the shard's images on all cores, while the device is idle."""
        with storage.open_read(self.shard.tar) as tar:
            files = [read_image(tar, *place) for place in self.shard.places]
        with ThreadPoolExecutor(cores_for(1), "decode", torch.set_num_threads, (1,)) as pool:
            return sum(pixels is not None for pixels in pool.map(self.model.pixels.of_file, files)), 0.0

    def stage(self) -> tuple[int, float]:
        """Score the shard with the stage's own code, from file to file."""
        storage.remove(self.folder.note_file(0))
        self.work.score(0)
        return self.shard.images, 0.0


def image_flops(config: dict[str, dict[str, int]]) -> float:
    """Return the operations for one image: those of all products in a vision transformer, two per multiplication."""
    vision = config["vision_cfg"]
    width, patches = vision["width"], (vision["image_size"] // vision["patch_size"]) ** 2
    length = patches + 1
    layer = length * 24.0 * width**2 + 4.0 * length**2 * width
    return int(vision["layers"]) * layer + patches * 2.0 * 3 * vision["patch_size"] ** 2 * width


def token_flops(config: dict[str, dict[str, int]]) -> Callable[[int], float]:
    """Return a function from a sentence's length in tokens to the operations per token."""
    width, layers = config["text_cfg"]["width"], config["text_cfg"]["layers"]
    return lambda length: layers * (24.0 * width**2 + 4.0 * length * width)


def deviation(reference: ClipModel, model: ClipModel, shard: Shard) -> float:
    """Return the largest difference from similarities in float32 on the CPU, for some of the shard."""
    with storage.open_read(shard.tar) as tar:
        files = [read_image(tar, *place) for place in shard.places[:24]]
    similarity = []
    for item in (reference, model):
        found = Engine(item, cores_for(1)).features(files, shard.texts[:40])
        similarity.append(found.images @ found.sentences.T)
    return float(f"{np.abs(similarity[0] - similarity[1]).max():.2e}")
