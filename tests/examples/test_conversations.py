"""The commands of examples/trainers/conversations.md make files that the loaders of Qwen-VL and LLaVA-NeXT open."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mmc4_pipeline.planted_dataset import write_dataset

GUIDE = (Path(__file__).parents[2] / "examples/trainers/conversations.md").read_text()


def run_commands(section: str, folder: Path) -> None:
    text = GUIDE.partition(f"\n## {section}")[2].partition("\n## ")[0] if section else GUIDE.partition("\n## ")[0]
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    subprocess.run(["bash", "-euc", commands], cwd=folder, check=True)


@pytest.fixture(params=["qwen_vl", "llava"])
def unpacked(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder in which the shards of a dataset of two shards are unpacked into `data`."""
    write_dataset(tmp_path / "out/dataset/mmc4", documents=5, formats=[f"chat_jsonl:template={request.param}"])
    run_commands("", tmp_path)
    return tmp_path


def assert_all_are_there(lines: list[dict[str, Any]], images: Path) -> None:
    assert len({line["id"] for line in lines}) == len(lines) == 5
    paths = [path for line in lines for path in line["image"]]
    assert len(set(paths)) == len(paths) == 15
    assert all((images / path).read_bytes().startswith(b"\xff\xd8") for path in paths)


def test_qwen_vl_opens_the_lines_and_images(unpacked: Path) -> None:
    """The rule is that of LazySupervisedDataset in QwenLM/Qwen3-VL, qwen-vl-finetune/qwenvl/data/data_processor.py.

    `annotation_path` ends with "jsonl" and has one JSON object per line; images are below `data_path`.
    """
    run_commands("Qwen-VL", unpacked)
    names: dict[str, Any] = {"data_dict": {}}
    exec(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[0], names)
    config = names["data_dict"]["mmc4"]
    assert config["annotation_path"].split(".")[-1] == "jsonl"
    with (unpacked / config["annotation_path"]).open() as file:
        lines = [json.loads(line) for line in file]
    assert_all_are_there(lines, unpacked / config["data_path"])


def test_llava_next_opens_the_lines_and_images(unpacked: Path) -> None:
    """The rule is that of LazySupervisedDataset in LLaVA-VL/LLaVA-NeXT, llava/train/train.py.

    A --data_path that ends with .yaml lists `datasets`; each `json_path` that ends with .jsonl has one JSON object per
    line. Images are below --image_folder.
    """
    run_commands("LLaVA-NeXT", unpacked)
    lines = []
    for dataset in yaml.safe_load((unpacked / "data/mmc4.yaml").read_text()).get("datasets"):
        assert dataset.get("json_path").endswith(".jsonl")
        with Path(dataset["json_path"]).open() as file:
            lines += [json.loads(line.strip()) for line in file]
    assert_all_are_there(lines, unpacked / "data")
