"""Reads a dataset for training: interleaved sequences, as a torch IterableDataset or a webdataset pipeline."""

from mmc4_pipeline.training.sequence import END_OF_CHUNK, IMAGE, Interleaver, Sequence, SequenceOptions
from mmc4_pipeline.training.stream import InterleavedDataset, ShardedDocuments, interleaved_pipeline

__all__ = [
    "END_OF_CHUNK",
    "IMAGE",
    "InterleavedDataset",
    "Interleaver",
    "Sequence",
    "SequenceOptions",
    "ShardedDocuments",
    "interleaved_pipeline",
]
