"""Read a dataset for training with a position that can be saved and restored in the middle of an epoch.

    python resume_training.py out/dataset/mmc4 --position position.json --steps 1000

Packages: mmc4-pipeline[score], torchdata. Run it again to continue after the last step.
"""

import argparse
import json
from pathlib import Path

from torchdata.stateful_dataloader import StatefulDataLoader

from mmc4_pipeline.training import InterleavedDataset, Interleaver, ShardedDocuments


def main() -> None:
    """Take some steps, print the documents of each, and save the position."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--position", type=Path, required=True, help="the file for the position")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    dataset = InterleavedDataset(ShardedDocuments(options.dataset, seed=42), Interleaver())
    loader = StatefulDataLoader(dataset, options.batch_size, num_workers=options.workers, collate_fn=list)
    if options.position.exists():
        loader.load_state_dict(json.loads(options.position.read_text()))
    for step, batch in enumerate(loader, start=1):
        print(" ".join(sequence.key for sequence in batch))  # a training step
        if step == options.steps:
            break
    options.position.write_text(json.dumps(loader.state_dict()))


if __name__ == "__main__":
    main()
