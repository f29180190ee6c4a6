"""Write and read the features of scored images, in half precision: the files of `mmc4 score --save_features`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import HashingWriter
from schemas.manifest import WrittenFile


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """The features, of length 1, of the image at a position of a document."""

    key: str
    position: int
    values: npt.NDArray[np.floating]


def write_features(path: str, features: Sequence[ImageFeatures], width: int) -> WrittenFile:
    """Write a shard's features as Parquet: key, position, and `values`, float16 lists of that width."""
    values = np.concatenate([item.values for item in features]) if features else np.zeros(0)
    columns = {
        "key": pa.array([item.key for item in features], pa.string()),
        "position": pa.array([item.position for item in features], pa.int64()),
        "values": pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float16)), width),
    }
    with storage.write_atomically(path) as writer:
        _write(pa.table(columns), writer)
    return storage.written(path, writer)


def copy_features(old: BinaryIO, writer: HashingWriter, stays: Callable[[str, int], bool]) -> None:
    """Write a shard's features again, except those of images (key, position) for which `stays` is false."""
    table = pq.read_table(old)
    places = zip(table["key"].to_pylist(), table["position"].to_pylist(), strict=True)
    _write(table.filter(pa.array([stays(*place) for place in places], pa.bool_())), writer)


def _write(table: pa.Table, writer: HashingWriter) -> None:
    pq.write_table(table, pa.PythonFile(writer, mode="w"), compression="none")  # features do not compress


def read_features(path: str) -> Iterator[ImageFeatures]:
    """Yield the features in a file (`…/features-00000-of-00002.parquet`): float16, one row per scored image.

    Raises UserError if the file does not exist.
    """
    if not storage.exists(path):
        raise UserError(f"{path}: no features; run `mmc4 score` with --save_features")
    with storage.open_read(path) as stream:
        for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches():
            lists = batch.column("values")
            rows = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), lists.type.list_size)
            keys, positions = batch.column("key").to_pylist(), batch.column("position").to_pylist()
            yield from map(ImageFeatures, keys, positions, rows)
