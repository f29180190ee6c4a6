"""Features of a shard's images and sentences: threads read pixels and tokens while the device computes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from mmc4_pipeline.clip.model import ClipModel, Features

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCHES_AHEAD = 2  # decoded while the device computes, and as many on their way through it


class ShardFeatures(NamedTuple):
    """What a model says of a shard, each row of length 1. A file that can't be decoded has no row in `images`."""

    decoded: list[bool]
    images: Features
    sentences: Features


class Engine:
    """Feeds a model. What waits between reading, decoding and computing is bounded, whatever the shard's size."""

    def __init__(self, model: ClipModel, cores: int) -> None:
        """Use so many cores to decode where the device is none of them, else a quarter."""
        self.model = model
        self._threads = cores if model.device.type == "cuda" else max(1, cores // 4)
        # PyTorch would share out each image's copies among all cores, which takes longer than to make them.
        self._pool = ThreadPoolExecutor(self._threads, "decode", torch.set_num_threads, (1,))

    def features(self, files: Iterable[bytes], sentences: Sequence[str]) -> ShardFeatures:
        """Give the features of encoded images and of sentences, in their order.

        `files` is read in this thread. Raises what reading raises, and UserError where not even one image fits.
        """
        tokens = self._pool.submit(self.model.tokenize, sentences)
        decoded: list[bool] = []
        try:
            batches = list(self._image_features(files, decoded))
            texts = self.model.token_features(tokens.result())
        finally:
            tokens.cancel()
        images = np.concatenate(batches) if batches else np.zeros((0, self.model.width), np.float32)
        return ShardFeatures(decoded, images, texts)

    def _image_features(self, files: Iterable[bytes], decoded: list[bool]) -> Iterator[Features]:
        computing: deque[_Fetched] = deque()
        for batch in self._batches(files, decoded):
            computing.append(_Fetched(self.model.encode(batch)))
            if len(computing) > _BATCHES_AHEAD:
                yield self.model.to_numpy(computing.popleft().wait())
        yield from (self.model.to_numpy(fetched.wait()) for fetched in computing)

    def _batches(self, files: Iterable[bytes], decoded: list[bool]) -> Iterator[torch.Tensor]:
        """Yield the pixels of full batches, and of what is left; `decoded` gets a verdict for each file."""
        full: list[torch.Tensor] = []
        ahead = _BATCHES_AHEAD * self.model.images_at_once + self._threads
        with closing(_in_order(self._pool, self.model.pixels.of_file, files, ahead)) as decoding:
            for pixels in decoding:
                decoded.append(pixels is not None)
                if pixels is not None:
                    full.append(pixels)
                if len(full) >= self.model.images_at_once:
                    yield self._stacked(full)
                    full = []
        if full:
            yield self._stacked(full)

    def _stacked(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Put images side by side: for CUDA in memory from which it copies while this thread goes on."""
        on_cuda = self.model.device.type == "cuda"
        batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=on_cuda)
        return torch.stack(images, out=batch)


class _Fetched:
    """Features on their way from the device, asked for at once: a later copy would wait for the batches behind them."""

    def __init__(self, features: torch.Tensor) -> None:
        self._features, self._there = features, None
        if features.device.type == "cuda":
            self._features = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
            self._features.copy_(features, non_blocking=True)
            self._there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._there.record(torch.cuda.current_stream(features.device))

    def wait(self) -> torch.Tensor:
        if self._there:
            self._there.synchronize()
        return self._features


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """Yield the results in the items' order, at most `ahead` of them under way; an error stops the rest."""
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()
