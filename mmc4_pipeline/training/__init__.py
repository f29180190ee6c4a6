"""Read a dataset for training: interleaved sequences, as a torch IterableDataset or a webdataset pipeline."""

from mmc4_pipeline.training.sequence import END_OF_CHUNK, IMAGE, Interleaver, Sequence, SequenceOptions

try:
    from mmc4_pipeline.training.documents import ShardedDocuments
    from mmc4_pipeline.training.mixture import MixedDataset
    from mmc4_pipeline.training.packing import Pack, PackedDataset
    from mmc4_pipeline.training.stream import InterleavedDataset, interleaved_pipeline
except ModuleNotFoundError as error:
    raise ImportError(f"mmc4_pipeline.training needs {error.name}: pip install 'mmc4-pipeline[score]'") from error

__all__ = [
    "END_OF_CHUNK",
    "IMAGE",
    "InterleavedDataset",
    "Interleaver",
    "MixedDataset",
    "Pack",
    "PackedDataset",
    "Sequence",
    "SequenceOptions",
    "ShardedDocuments",
    "interleaved_pipeline",
]
