"""mmc4 card: writes what goes beside a published dataset: README.md (dataset card) and croissant.json (metadata)."""

import argparse

from rich.console import Console

from mmc4_pipeline.dataset.files import finished_dataset
from mmc4_pipeline.publish.card import write_card
from mmc4_pipeline.publish.croissant import write_croissant


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="mmc4 card", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, such as out/dataset/mmc4")
    parser.add_argument("--url", required=True, help="where the dataset is, or will be, published")
    parser.add_argument("--name", help="its name (default: the folder's)")
    arguments = parser.parse_args(argv)
    folder = finished_dataset(arguments.dataset)
    name = arguments.name or folder.path.rpartition("/")[2]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(write_card(folder, name))
    console.print(write_croissant(folder, name, arguments.url))
