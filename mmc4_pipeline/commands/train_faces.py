"""mmc4 train_faces: trains a face head for a CLIP on the images of a run, as MMC4 did."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from mmc4_pipeline import storage
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.recipe import Recipe, load_recipe, recipe_names
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.reasons import Stage


def main(argv: list[str]) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    require_score_extra("mmc4 train_faces")
    recipe = load_recipe(arguments.recipe, tuple(arguments.set))
    clip = ClipChoice(arguments.clip_model, arguments.clip_pretrained)
    if Path(arguments.head).suffix == ".json":
        message = f"--head {arguments.head}: give a name that ends in .pt; the figures go into the .json beside it"
        raise UserError(message)
    figures = _train(arguments, recipe, clip)
    beside = str(Path(arguments.head).with_suffix(".json"))
    storage.write_json(beside, figures)
    Console(soft_wrap=True, highlight=False, markup=False).print(_summary(arguments.head, beside, figures))


def _train(arguments: argparse.Namespace, recipe: Recipe, clip: ClipChoice) -> dict[str, Any]:
    """Train and save the head; give its figures with what it was made from."""
    from mmc4_pipeline.clip.face_sample import FaceSample
    from mmc4_pipeline.clip.heads import save_head
    from mmc4_pipeline.clip.model import ClipModel, find_device, require_weights
    from mmc4_pipeline.clip.train_faces import train_face_head
    from mmc4_pipeline.images.faces import find_detector

    pages = StageFolder(storage.join(arguments.output, "pages"), Stage.PAGES)
    images = StageFolder(storage.join(arguments.output, "images"), Stage.IMAGES)
    manifest = images.manifest()
    sample = FaceSample(pages, images, recipe.face_head.sample, arguments.seed)
    detector = None if sample.looked_at else find_detector(recipe.face_detector, arguments.face_detector_weights)
    require_weights(clip)
    with counting_files("train_faces", len(sample.shards)) as advance:
        examples = sample.examples(ClipModel(clip, find_device(arguments.device)), detector, advance)
    trained = train_face_head(examples, recipe.face_head, arguments.seed)
    save_head(trained.head, arguments.head, clip)
    return {
        "head": {"name": Path(arguments.head).name, "sha256": file_sha256(arguments.head)},
        **trained.figures,
        "sample": recipe.face_head.sample,
        "detector": detector.fingerprint_fields() if detector else manifest["face_detector"],
        "clip": clip.identity(),
        "input": {"images": fingerprint(manifest)},
    }


def _summary(head: str, beside: str, figures: dict[str, Any]) -> str:
    held = figures["held_out"]
    return (
        f"{head}: trained on {figures['trained_on']['images']:,} images. Of {held['images']:,} others, from "
        f"{held['sites']:,} other sites, {held['faces']:,} have a face that {figures['detector']['detector']} saw: it "
        f"finds {figures['recall']:.1%} of those, {figures['precision']:.1%} of what it flags is one of them, and it "
        f"flags {figures['flagged']:.1%} of all. Figures: {beside}\n"
        f"Score with --face_weights {head}; recipes that drop faces are mmc4-ff and mmc4-core-ff."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmc4 train_faces", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder of a run whose images are fetched")
    parser.add_argument("--head", required=True, metavar="FILE", help="the head to write, as in face_head.pt")
    parser.add_argument(
        "--recipe", default="mmc4", metavar="NAME", help=f"one of {', '.join(recipe_names())}, or a YAML file"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one value of the recipe, as in face_head.sample=20000",
    )
    parser.add_argument("--clip_model", default="ViT-L-14", metavar="NAME", help="as in `mmc4 score`")
    parser.add_argument("--clip_pretrained", default="openai", metavar="TAG", help="as in `mmc4 score`")
    parser.add_argument(
        "--face_detector_weights",
        metavar="FILE",
        help="YuNet's weights, where the images stage has not looked for faces (default: as `mmc4 models fetch` got "
        "them; without them OpenCV's cascade looks)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another one takes another sample (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    return parser
