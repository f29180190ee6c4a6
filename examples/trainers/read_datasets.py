"""Stream a dataset with Hugging Face `datasets`, with its images decoded, and print each document.

    python read_datasets.py 'out/dataset/mmc4/parquet/*.parquet'

Packages: datasets, pillow. The dataset is made with `--formats parquet`.
"""

import json
import sys

from datasets import load_dataset

for row in load_dataset("parquet", data_files=sys.argv[1], split="train", streaming=True):
    parts = [text if image is None else image.size for text, image in zip(row["texts"], row["images"], strict=True)]
    print(json.dumps({"key": row["key"], "parts": parts}))
