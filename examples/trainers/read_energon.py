"""Read a dataset with Megatron-Energon, and continue in the middle of an epoch.

    python read_energon.py out/dataset/mmc4/energon --steps 1000 --position position.pt

Packages: megatron-energon. The dataset is made with `--formats energon`. Run it again to continue after the last step.
"""

import argparse
import json
from pathlib import Path

import torch
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset


def main() -> None:
    """Take some steps, print each sample, and save the position."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--position", type=Path, required=True, help="the file for the position")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    dataset = get_train_dataset(
        options.dataset,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=options.workers),
        batch_size=1,
        shuffle_buffer_size=100,
        max_samples_per_sequence=100,
    )
    loader = get_savable_loader(dataset)
    if options.position.exists():
        # Energon's positions are Python objects: load only files that you wrote yourself.
        loader.restore_state_rank(torch.load(options.position, weights_only=False))
    for step, batch in enumerate(loader, start=1):
        sizes = [list(image.shape[:0:-1]) for image in batch.images[0]]  # of (3, height, width)
        texts, matched = batch.texts[0], batch.matched_text_indices[0]
        print(json.dumps({"key": batch.__key__[0], "sizes": sizes, "texts": texts, "matched": matched}))
        if step == options.steps:
            break
    torch.save(loader.save_state_rank(), options.position)


if __name__ == "__main__":
    main()
