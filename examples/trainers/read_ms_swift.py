"""Read a shard with ms-swift, and print the text and the sizes of the images of each row.

    tar xf out/dataset/mmc4/chat_jsonl/shard-00000.tar -C data/
    cd data && python read_ms_swift.py shard-00000.jsonl

Packages: ms-swift. The dataset is made with `--formats chat_jsonl:template=ms_swift`. Paths of images are relative to
the current folder, or to ROOT_IMAGE_DIR.
"""

import json
import os
import sys
from pathlib import Path

from PIL import Image
from swift.dataset import load_dataset

folder = Path(os.environ.get("ROOT_IMAGE_DIR", ""))
rows, _ = load_dataset(sys.argv[1])
for row in rows:
    paths = [folder / image["path"] for image in row["images"]]
    text = "".join(message["content"] for message in row["messages"])
    print(json.dumps({"text": text, "sizes": [Image.open(path).size for path in paths]}))
