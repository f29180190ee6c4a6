"""Read a shard with NeMo Curator's interleaved reader, and print each document.

    python read_nemo_curator.py out/dataset/mmc4/webdataset/shard-00000.tar

Packages: nemo-curator. The dataset is made with `--formats webdataset`. In a pipeline, pass the folder of the shards to
InterleavedWebdatasetReader.
"""

import io
import json
import sys
from itertools import groupby

from nemo_curator.stages.interleaved.io.readers.webdataset import InterleavedWebdatasetReaderStage
from nemo_curator.tasks import FileGroupTask
from PIL import Image

reader = InterleavedWebdatasetReaderStage(materialize_on_read=True)
batch = reader.process(FileGroupTask(dataset_name="mmc4", data=[sys.argv[1]]))
rows = [row for row in batch.to_pyarrow().to_pylist() if row["modality"] != "metadata"]
for key, group in groupby(rows, key=lambda row: row["sample_id"]):
    parts = [row["text_content"] or Image.open(io.BytesIO(row["binary_content"])).size for row in group]
    print(json.dumps({"key": key, "parts": parts}))
