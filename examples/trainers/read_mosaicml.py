"""Read a dataset with MosaicML Streaming, and continue in the middle of an epoch.

    python read_mosaicml.py out/dataset/mmc4/mds --position position.json --steps 1000

Packages: mosaicml-streaming. The dataset is made with `--formats mds`. Run it again to continue after the last step.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from streaming import StreamingDataLoader, StreamingDataset


def collate(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return each column as a list with one entry per sample, by which the loader counts the samples."""
    return {name: [sample[name] for sample in samples] for name in samples[0]}


def main() -> None:
    """Take some steps, print each document, and save the position."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--position", type=Path, required=True, help="the file for the position")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()

    dataset = StreamingDataset(local=options.dataset, shuffle=True, batch_size=1)
    loader = StreamingDataLoader(dataset, batch_size=1, num_workers=1, collate_fn=collate)
    if options.position.exists():
        loader.load_state_dict(json.loads(options.position.read_text()))
    for step, batch in enumerate(loader, start=1):
        images = iter(batch["images"][0])
        parts = [next(images).size if text is None else text for text in batch["texts"][0]]
        print(json.dumps({"key": batch["key"][0], "parts": parts}))  # a training step
        if step == options.steps:
            break
    options.position.write_text(json.dumps(loader.state_dict()))


if __name__ == "__main__":
    main()
