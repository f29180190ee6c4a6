"""mmc4 card: writes a dataset card and Croissant metadata."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.dataset.files import finished_dataset
from mmc4_pipeline.publish.card import write_card
from mmc4_pipeline.publish.croissant import write_croissant
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Write the two files that a published dataset needs: a dataset card and Croissant metadata.

Reads a finished dataset. Writes README.md (the card) and croissant.json to the dataset's folder. Edit the card as you
like: `mmc4 takedown` does not overwrite a card that was edited.

Example:
  mmc4 card out/dataset/mmc4 --url https://example.org/my-dataset
"""


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = command_parser("card", DESCRIPTION)
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, for example out/dataset/mmc4")
    parser.add_argument("--url", required=True, help="address at which the dataset is or will be published (required)")
    parser.add_argument("--name", help="name of the dataset (default: the folder's name)")
    arguments = parser.parse_args(argv)
    folder = finished_dataset(arguments.dataset)
    name = arguments.name or folder.path.rpartition("/")[2]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(write_card(folder, name))
    console.print(write_croissant(folder, name, arguments.url))
