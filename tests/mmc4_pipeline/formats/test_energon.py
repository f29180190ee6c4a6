"""The index of `energon` is that of Energon's own preparation, and its own loader reads the documents."""

import io
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmc4_pipeline.dataset.write_shards import write_indexes
from mmc4_pipeline.formats.energon import Energon
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import add_file, members_of, open_tar
from mmc4_pipeline.tar_samples import decoded, encoded, samples_of, written_samples
from mmc4_pipeline.verify.dataset import verify
from schemas.reasons import Stage
from tests.end_to_end.running import contents

NAMES = ["shard-00000.tar", "shard-00001.tar"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    from tests.mmc4_pipeline.planted_dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("energon") / "mmc4", formats=["energon"], documents=7)


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as database:
        return database.execute(f"select * from {table} order by 1, 2, 3, 4, 5").fetchall()


@pytest.mark.engines
def test_the_index_is_the_one_that_energon_makes(dataset: StageFolder, tmp_path: Path) -> None:
    from megatron.energon.flavors.webdataset import BaseWebdatasetFactory

    ours = Path(dataset.file("energon"))
    for name in NAMES:
        shutil.copy(ours / name, tmp_path)
    BaseWebdatasetFactory.prepare_dataset(tmp_path, NAMES, split_parts_ratio=[("train", 1.0)], workers=1)
    for name in NAMES:
        assert (ours / f"{name}.idx").read_bytes() == (tmp_path / f"{name}.idx").read_bytes()
    meta, expected = ours / ".nv-meta", tmp_path / ".nv-meta"
    assert (meta / ".info.json").read_bytes() == (expected / ".info.json").read_bytes()
    for table in ("samples", "sample_parts"):
        assert rows(meta / "index.sqlite", table) == rows(expected / "index.sqlite", table)
    splits = yaml.safe_load((expected / "split.yaml").read_text())
    assert sorted(splits["split_parts"]["train"]) == NAMES  # it shuffles them
    assert yaml.safe_load((meta / "split.yaml").read_text())["split_parts"]["train"] == NAMES


@pytest.mark.engines
def test_energon_loads_similarity_interleaved_and_crude_samples(dataset: StageFolder) -> None:
    from megatron.energon import WorkerConfig, get_loader
    from megatron.energon.dataset_config import get_dataset_from_config

    worker = WorkerConfig(rank=0, world_size=1, num_workers=0)
    path = dataset.file("energon")
    stored = {}
    for name in NAMES:
        with Path(dataset.file(f"energon/{name}")).open("rb") as stream:
            stored.update({sample["__key__"]: sample for sample in Energon().read_shard(stream, name)})
    for config in ("dataset.yaml", "crude.yaml"):
        factory = get_dataset_from_config(path, dataset_config=config, training=False, worker_config=worker)
        samples = list(get_loader(factory.build()))
        assert len(samples) == len(stored) == 7
        for sample in samples:
            crude = config == "crude.yaml"
            expected = stored[(sample["__key__"] if crude else sample.__key__).rpartition("/")[2]]
            infos = expected["json"]["image_info"]
            images = [sample[f"{number}.jpg"] for number in range(len(infos))] if crude else sample.images
            for at, image in enumerate(images):
                assert np.array_equal(pixels(image), pictured(expected[f"{at}.jpg"]))
            assert len(images) == len(infos)
            if not crude:
                assert sample.texts == expected["json"]["text_list"]
                assert sample.matched_text_indices == [info["matched_text_index"] for info in infos]
                assert np.allclose(sample.similarity_matrix.numpy(), expected["json"]["similarity_matrix"])


@pytest.mark.engines
@pytest.mark.parametrize("lost", ["shards", "samples", "everything but the shards"])
def test_the_index_follows_from_what_was_written_with_the_shards_or_else_from_the_shards(
    dataset: StageFolder, tmp_path: Path, lost: str
) -> None:
    folder = StageFolder(str(tmp_path / "mmc4"), Stage.CUT)
    shutil.copytree(dataset.path, folder.path)
    energon = Path(folder.file("energon"))
    before = contents(energon, "**/*")
    assert {f"{name}{end}" for name in NAMES for end in ("", ".idx", ".samples")} < before.keys()
    for name in NAMES:
        if lost == "shards":
            energon.joinpath(name).write_bytes(b"")
        else:
            (energon / f"{name}.samples").unlink()
    if lost != "samples":
        shutil.rmtree(energon / ".nv-meta")
        (energon / f"{NAMES[0]}.idx").unlink()
    write_indexes(folder, [Energon()])
    after = contents(energon, "**/*")
    assert {name: after[name] for name in before if lost != "shards" or name not in NAMES} == {
        name: digest for name, digest in before.items() if lost != "shards" or name not in NAMES
    }


@pytest.mark.engines
def test_a_file_of_samples_of_other_bytes_is_replaced(dataset: StageFolder, tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path / "mmc4"), Stage.CUT)
    shutil.copytree(dataset.path, folder.path)
    energon = Path(folder.file("energon"))
    before = contents(energon, "**/*")
    samples = energon / f"{NAMES[0]}.samples"
    head, line = samples.read_bytes().split(b"\n")
    for content in (
        (energon / f"{NAMES[1]}.samples").read_bytes(),
        head + b"\n" + line.replace(b"[", b" ", 1),
        head,
        b"",
    ):
        samples.write_bytes(content)
        assert [problem.partition(": ")[0] for problem in verify(folder).problems] == [str(samples)]
        write_indexes(folder, [Energon()])
        assert contents(energon, "**/*") == before


@given(st.lists(st.lists(st.integers(0, 2000), min_size=1, max_size=4), max_size=4))
def test_where_samples_are_is_known_without_the_tar(sizes: list[list[int]]) -> None:
    stream = io.BytesIO()
    with open_tar(stream) as tar:
        for key, of_key in enumerate(sizes):
            for at, size in enumerate(of_key):
                add_file(tar, f"{key:032x}.{at - 1}.jpg" if at else f"{key:032x}.json", bytes(size))
        written = written_samples(tar)
    stream.seek(0)
    assert written == samples_of(members_of(stream, "")) if sizes else written == []
    assert decoded(encoded(written, "ab"), "ab") == written
    with pytest.raises(ValueError, match=r".+"):
        decoded(encoded(written, "ab"), "cd")


def pixels(image: Any) -> Any:
    """Return the values of a tensor of shape (3, height, width), from 0 to 255."""
    return (image.permute(1, 2, 0) * 255).round().int().numpy()


def pictured(jpeg: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(jpeg)))
