"""Compute the features of a shard's images and sentences: threads decode and tokenise while the device computes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from mmc4_pipeline.clip.model import ClipModel, Features
from mmc4_pipeline.scoring.picture import Picture

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCHES_AHEAD = 2  # decoded while the device computes; the same number may be in the device's queue


class ShardFeatures(NamedTuple):
    """The features of a shard, each row of length 1. A file that cannot be decoded has no row in `images`."""

    decoded: list[bool]
    images: Features
    sentences: Features


class Engine:
    """Feeds a model. Its queues between reading, decoding and computing are bounded, whatever the shard's size."""

    def __init__(self, model: ClipModel, cores: int) -> None:
        """Decode on that many cores if the device is a GPU, else on a quarter of them."""
        self.model = model
        self._threads = cores if model.device.type == "cuda" else max(1, cores // 4)
        # Otherwise PyTorch would split the copying of each image among all cores, which takes longer than copying it.
        self._pool = ThreadPoolExecutor(self._threads, "decode", torch.set_num_threads, (1,))

    def features(self, files: Iterable[bytes | Picture], sentences: Sequence[str]) -> ShardFeatures:
        """Return the features of encoded images and of sentences, in their order.

        `files` is read in this thread, and its errors are raised. Raises UserError if not even one image fits the
        device's memory.
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

    def _image_features(self, files: Iterable[bytes | Picture], decoded: list[bool]) -> Iterator[Features]:
        computing: deque[_Fetched] = deque()
        for batch in self._batches(files, decoded):
            computing.append(_Fetched(self.model.encode(batch)))
            if len(computing) > _BATCHES_AHEAD:
                yield self.model.to_numpy(computing.popleft().wait())
        yield from (self.model.to_numpy(fetched.wait()) for fetched in computing)

    def _batches(self, files: Iterable[bytes | Picture], decoded: list[bool]) -> Iterator[torch.Tensor]:
        """Yield the pixels of full batches and of the rest; append to `decoded` whether each file could be decoded."""
        full: list[torch.Tensor] = []
        ahead = _BATCHES_AHEAD * self.model.batch_size + self._threads
        with closing(in_order(self._pool, self.model.pixels.of_file, files, ahead)) as decoding:
            for pixels in decoding:
                decoded.append(pixels is not None)
                if pixels is not None:
                    full.append(pixels)
                if len(full) >= self.model.batch_size:
                    yield self._stacked(full)
                    full = []
        if full:
            yield self._stacked(full)

    def _stacked(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Stack images into a batch: for CUDA in pinned memory, so that copying it does not block this thread."""
        on_cuda = self.model.device.type == "cuda"
        batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=on_cuda)
        return torch.stack(images, out=batch)


class _Fetched:
    """Features that are being copied from the device. A copy begun later would wait for the batches queued after it."""

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


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """Yield the results in the items' order, with at most `ahead` of them under way; an error cancels the rest."""
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
