"""Measure scoring on a GPU: CLIP without and with torch.compile, BLIP's image-text matching, BLIP-2's captions.

    python benchmarks/gpu.py

It needs this project with its extras score and hf, and nothing else: weights are random, and the JPEGs are generated
and stored in a shard like that of the images stage. CLIP's rates are those of the model alone, of the engine from JPEG
bytes, and of the whole stage, all compared with a large matrix product. It is meant to take less than eight minutes:
when --seconds are nearly over, the remaining parts are left out. A line is printed after each part, and the last line
is JSON with all of them; rates are medians.
Without CUDA, tiny models and a few images only show that everything runs.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gpu_blip
import gpu_clip
import torch
from made_shard import IMAGES_IN_DOCUMENT, Shard

from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.model import find_device


def main() -> None:
    """Measure, and print the results."""
    started = time.monotonic()
    arguments = parsed()
    end = started + arguments.seconds
    device = find_device(arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        shard = Shard(Path(folder), arguments.images // IMAGES_IN_DOCUMENT)
        result = {**described(device), "model": arguments.model, "images": shard.images, "sentences": shard.sentences}
        clip = partial(gpu_clip.measured, arguments, device, shard)
        blip = {"shard": shard, "device": device, "repeats": arguments.repeats}
        # Each part with the share of the time by whose end it begins no other round.
        parts: dict[str, tuple[float, Callable[[float], dict[str, object]]]] = {
            "clip": (0.35, partial(clip, compiled=False)),
            "itm": (0.5, lambda until: gpu_blip.matches(until=until, **blip)),
            "captions": (0.65, lambda until: gpu_blip.captions(until=until, **blip)),
        }
        if arguments.compile:
            parts["clip_compiled"] = (0.9, partial(clip, compiled=True))
        for name, (share, measure) in parts.items():
            if time.monotonic() > end - (1 - share) * arguments.seconds:
                print(f"{name}: left out, because its time is over", flush=True)
                continue
            found = measure(started + share * arguments.seconds)
            result |= found
            print(f"{name}: {json.dumps(found)}", flush=True)
    result["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(result))


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
