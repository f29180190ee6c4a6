"""mmc4 train_faces: train a face head for a CLIP on the images of a run, as MMC4 did."""

import argparse
from pathlib import Path
from typing import Any

from mmc4_pipeline import storage
from mmc4_pipeline.arguments import add_clip, add_recipe, add_set, command_parser
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import fingerprint
from mmc4_pipeline.terminal import Console
from schemas.manifest import ImagesPlan
from schemas.reasons import Stage

DESCRIPTION = """\
Train a face head for a CLIP model on the images of a run, as MMC4 did; the labels come from a face detector.

Reads OUTPUT/pages/ and OUTPUT/images/. Writes the head, and its recall and precision on sites that it was not trained
on to a .json file next to it. Recipes that drop images with faces need such a head: no face head is published.

Example:
  mmc4 train_faces --output out --head face_head.pt
"""


def main(argv: list[str]) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    require_score_extra("mmc4 train_faces")
    recipe = load_recipe(arguments.recipe, tuple(arguments.set))
    clip = ClipChoice(arguments.clip_model, arguments.clip_pretrained)
    if Path(arguments.head).suffix == ".json":
        raise UserError(f"--head {arguments.head}: must end in .pt; the figures are written to a .json file next to it")
    figures = _train(arguments, recipe, clip)
    figures_file = str(Path(arguments.head).with_suffix(".json"))
    storage.write_json(figures_file, figures)
    Console(soft_wrap=True, highlight=False, markup=False).print(_summary(arguments.head, figures_file, figures))


def _train(arguments: argparse.Namespace, recipe: Recipe, clip: ClipChoice) -> dict[str, Any]:
    """Train and save the head. Return its figures, and its inputs."""
    from mmc4_pipeline.clip.face_sample import FaceSample
    from mmc4_pipeline.clip.heads import save_head
    from mmc4_pipeline.clip.model import ClipModel, find_device
    from mmc4_pipeline.clip.train_faces import train_face_head
    from mmc4_pipeline.clip.weights import require_weights
    from mmc4_pipeline.images.faces import find_detector

    pages = stage_folder(arguments.output, Stage.PAGES)
    images = stage_folder(arguments.output, Stage.IMAGES)
    manifest = images.manifest(ImagesPlan)
    sample = FaceSample(pages, images, recipe.face_head.sample, arguments.seed)
    detector = None if sample.has_detections else find_detector(recipe.face_detector, arguments.face_detector_weights)
    require_weights(clip)
    with counting_files("train_faces", len(sample.shards)) as advance:
        examples = sample.examples(ClipModel(clip, find_device(arguments.device)), detector, advance)
    trained = train_face_head(examples, recipe.face_head, arguments.seed)
    save_head(trained.head, arguments.head, clip)
    return {
        "head": {"name": Path(arguments.head).name, "sha256": file_sha256(arguments.head)},
        **trained.figures,
        "sample": recipe.face_head.sample,
        "detector": detector.fingerprint_fields() if detector else manifest.plan.face_detector,
        "clip": clip.identity(),
        "input": {"images": fingerprint(manifest)},
    }


def _summary(head: str, figures_file: str, figures: dict[str, Any]) -> str:
    held = figures["held_out"]
    return (
        f"{head}: trained on {figures['trained_on']['images']:,} images\n"
        f"held out: {held['images']:,} images from {held['sites']:,} other sites, {held['faces']:,} of them with a "
        f"face ({figures['detector']['detector']}). Recall {figures['recall']:.1%}, "
        f"precision {figures['precision']:.1%}, flagged {figures['flagged']:.1%}\n"
        f"figures: {figures_file}\n"
        f"Score with --face_weights {head}. Recipes that drop faces are mmc4-ff and mmc4-core-ff."
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("train_faces", DESCRIPTION)
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="folder of a run with a finished images stage (required)"
    )
    parser.add_argument(
        "--head", required=True, metavar="FILE", help="head to write (required), for example face_head.pt"
    )
    add_recipe(parser)
    add_set(parser, "face_head.sample=20000")
    add_clip(parser)
    parser.add_argument(
        "--face_detector_weights",
        metavar="FILE",
        help="weights of YuNet, used if the images stage has not looked for faces (default: the file that `mmc4 models "
        "fetch` stored; without it, OpenCV's Haar cascade is used)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed for the sample and the split (default: 0)"
    )
    return parser
