"""Measure scoring on a GPU: CLIP without and with torch.compile, BLIP's image-text matching, BLIP-2's captions.

    python benchmarks/gpu.py

It needs this project with its extras score and hf, and nothing else: weights are random, and the JPEGs are generated
and stored in a shard like that of the images stage. CLIP's rates are those of the model alone, of the engine from JPEG
bytes, and of the whole stage, all compared with a large matrix product. It is meant to take less than eight minutes:
a part for which not enough of --seconds is left is left out. A line is printed after each part; a part that fails
prints its error, and the others still run. The last line is JSON with all of them; rates are medians.
Without CUDA, tiny models and a few images only show that everything runs.
"""

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gpu_blip
import gpu_clip
import torch
from made_shard import IMAGES_IN_DOCUMENT, Shard

from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.model import find_device


class Part(NamedTuple):
    """A part of the measurements: by when it begins no other round, and how long it takes at least on a GPU.

    `until` is a share of --seconds. `seconds` are for loading, compiling and one round.
    """

    until: float
    seconds: float
    measure: Callable[[float], dict[str, object]]


def main() -> None:
    """Measure, and print the results."""
    started = time.monotonic()
    arguments = parsed()
    device = find_device(arguments.device)
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        shard = Shard(Path(folder), arguments.images // IMAGES_IN_DOCUMENT)
        result = {**described(device), "model": arguments.model, "images": shard.images, "sentences": shard.sentences}
        for name, part in parts(arguments, device, shard).items():
            if device != "cpu" and time.monotonic() + part.seconds > started + arguments.seconds:
                print(f"{name}: left out, because it takes about {part.seconds} s", flush=True)
                continue
            try:
                found = part.measure(started + part.until * arguments.seconds)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts still tell something
                traceback.print_exc()
                errors[name] = f"{type(error).__name__}: {error}"[:500]
                print(f"{name}: failed: {errors[name]}", flush=True)
            else:
                result |= found
                print(f"{name}: {json.dumps(found)}", flush=True)
            gc.collect()  # a model that is no longer used would leave less memory to the next one
            torch.cuda.empty_cache()
    result["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(result | ({"errors": errors} if errors else {})))
    if errors:
        raise SystemExit(1)


def parts(arguments: argparse.Namespace, device: str, shard: Shard) -> dict[str, Part]:
    """Return the parts by name, in the order in which they run."""
    clip = partial(gpu_clip.measured, arguments, device, shard)
    blip = {"shard": shard, "device": device, "repeats": arguments.repeats}
    found = {
        "clip": Part(0.35, 90, partial(clip, compiled=False)),
        "itm": Part(0.5, 30, lambda until: gpu_blip.matches(until=until, **blip)),
        "captions": Part(0.65, 60, lambda until: gpu_blip.captions(until=until, **blip)),
    }
    if arguments.compile:
        found["clip_compiled"] = Part(0.85, 180, partial(clip, compiled=True))
    return found


def parsed() -> argparse.Namespace:
    """Read the command line. The defaults are small on a CPU, and fill a GPU for a few seconds at a time."""
    on_cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-L-14" if on_cuda else "ViT-S-32-alt", help="the CLIP")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="number format of the CLIP")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=on_cuda, help="also measure a compiled CLIP"
    )
    parser.add_argument("--images", type=int, default=10_000 if on_cuda else 20, help="number of images in the shard")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=450, help="time in which all parts should be done")
    return parser.parse_args()


def described(device: str) -> dict[str, object]:
    """Return a description of the device and the software."""
    on_cuda = torch.device(device).type == "cuda"
    name = torch.cuda.get_device_name(device) if on_cuda else platform.processor() or platform.machine()
    return {"device": name, "cores": cores_for(1), "torch": torch.__version__, "python": sys.version.split()[0]}


if __name__ == "__main__":
    main()
