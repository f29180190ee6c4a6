"""mmc4 demo: generate a miniature web, build a dataset from it, and show the result."""

import shutil
import time
from pathlib import Path

from beam_jobs import build
from beam_jobs.command_line import parse
from mmc4_pipeline import miniweb
from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.report.funnel import print_dataset
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.terminal import Console
from schemas.reasons import Stage

DESCRIPTION = """\
Generate a miniature web and build a dataset from it. All five stages run for real, in a minute or two.

Writes the web to DEMO/web/ and the dataset to DEMO/out/, prints what was kept and dropped, and compares the dataset
with the truth about the generated pages. An earlier demo in the same folder is replaced.

Example:
  mmc4 demo --output demo
"""
TRUTH = "web/truth.json"  # a folder that has this file is an earlier demo's, and may be replaced


def main(argv: list[str]) -> None:
    """Run the demo."""
    parser = command_parser("demo", DESCRIPTION, "All other options are passed on to `mmc4 build`.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo"),
        metavar="DEMO",
        help="folder for the web and the dataset (default: demo)",
    )
    parser.add_argument(
        "--pages", type=int, default=200, metavar="N", help="number of pages in the miniature web (default: 200)"
    )
    arguments, rest = parser.parse_known_args(argv)
    require_score_extra("mmc4 demo")
    console = Console()
    started = time.monotonic()
    folder = arguments.output
    _remove_earlier(folder)
    dataset = _build(folder, arguments.pages, rest, console)
    print_dataset(dataset, console)
    _print_truth(folder, dataset, console)
    console.print(f"{time.monotonic() - started:.0f} seconds", highlight=False)


def _remove_earlier(folder: Path) -> None:
    """Remove an earlier demo. Raises UserError if the folder holds something else."""
    if not folder.exists():
        return
    if not (folder / TRUTH).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder}: not empty, and not an earlier demo; choose another --output")
    shutil.rmtree(folder)


def _build(folder: Path, pages: int, rest: list[str], console: Console) -> StageFolder:
    """Generate the web, serve its images on loopback, run all stages on it, and return the dataset."""
    from mmc4_pipeline.miniweb.generate import generate
    from mmc4_pipeline.miniweb.serve import serving

    home = Path(miniweb.__file__).parent
    console.print(f"generating a web of {pages} pages in {folder}/web", soft_wrap=True, highlight=False)
    generate(folder / "web", pages=pages)
    console.print("The demo's CLIP is a small one, trained on the miniature web's drawings; real runs use ViT-L-14.")
    with serving(folder / "web") as address:
        arguments = [
            *("--c4", str(folder / "web/c4/*.json.gz"), "--cc_root", str(folder / "web/commoncrawl")),
            *("--recipe", str(home / "miniweb.yaml"), "--output", str(folder / "out")),
            *("--image_routes", f"{address}/{{url}}", "--allow_private_hosts"),
            *("--fetch_timeout", "2", "--delay_per_host", "0"),
            *("--documents_per_shard", str(max(1, pages // 4))),
            *("--clip_model", str(home / "weights/clip.json"), "--clip_pretrained", str(home / "weights/clip.pt")),
            *("--nsfw_weights", str(home / "weights/nsfw.pt"), "--face_weights", str(home / "weights/faces.pt")),
            *rest,
        ]
        build.run(parse(arguments, "mmc4 demo", build.DESCRIPTION, build.OPTIONS))
    return stage_folder(str(folder / "out"), Stage.CUT, "miniweb")


def _print_truth(folder: Path, dataset: StageFolder, console: Console) -> None:
    """Print how the dataset compares with the truth of the miniature web."""
    from mmc4_pipeline.miniweb.check import compare

    if not list(Path(dataset.path).glob("shard-*.tar")):
        return  # the comparison reads these shards, and another format was chosen
    truth = compare(folder / TRUTH, Path(dataset.path))
    console.print(f"against the planted truth: {truth.summary()}", highlight=False)
