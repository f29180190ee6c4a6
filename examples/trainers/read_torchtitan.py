"""Read a dataset with torchtitan's multimodal loader: packed batches of patches and tokens.

    python read_torchtitan.py 'out/dataset/mmc4/parquet/*.parquet' --tokenizer Qwen3-VL-8B/ --steps 10

Packages: torchtitan, torchdata, datasets, spmd_types. The dataset is made with `--formats parquet`. Its columns `texts`
and `images` are what torchtitan's OBELICS processor reads; only the place of the files must be registered.
"""

import argparse
import json
from itertools import islice

from datasets import load_dataset
from torchtitan.components.tokenizer import MultiModalTokenizer
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.multimodal.mm_datasets import MM_DATASETS, MMDataLoader

MM_DATASETS["mmc4"] = DatasetConfig(
    path="",
    loader=lambda files: load_dataset("parquet", data_files=files, split="train", streaming=True),
    sample_processor=MM_DATASETS["obelics"].sample_processor,
)


def main() -> None:
    """Print the shapes of some batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files")
    parser.add_argument("--tokenizer", required=True, help="folder of a Hugging Face tokenizer")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()

    tokenizer = MultiModalTokenizer(
        MultiModalTokenizer.Config(
            image_token="<|image_pad|>",
            video_token="<|video_pad|>",
            vision_start_token="<|vision_start|>",
            vision_end_token="<|vision_end|>",
            pad_token="<|endoftext|>",
        ),
        tokenizer_path=options.tokenizer,
    )
    config = MMDataLoader.Config(
        dataset="mmc4",
        dataset_path=options.files,
        infinite=False,
        packing_buffer_size=16,
        max_images_per_batch=64,
        patch_size=16,
        temporal_patch_size=1,
        spatial_merge_size=2,
        min_pixels=32 * 32,
        max_pixels=512 * 512,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
    )
    loader = MMDataLoader(config, dp_world_size=1, dp_rank=0, tokenizer=tokenizer, seq_len=4096, local_batch_size=2)
    for inputs, labels in islice(loader, options.steps):
        images = len(inputs["grid_thw"])
        marks = int((inputs["input"] == tokenizer.vision_start_id).sum())
        print(json.dumps({"shape": list(labels.shape), "images": images, "marks": marks}))


if __name__ == "__main__":
    main()
