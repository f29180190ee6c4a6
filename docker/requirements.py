"""Prints what an image installs before this program: `worker` without PyTorch, which only the score stage needs."""

import sys
import tomllib
from pathlib import Path

SCORE = ("torch", "torchvision", "open_clip_torch")
EXTRAS = ("dataflow", "s3")

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
packages = [name for name in project["dependencies"] if sys.argv[1] == "worker-gpu" or name.split(">")[0] not in SCORE]
for extra in EXTRAS:
    packages += project["optional-dependencies"][extra]
sys.stdout.write("\n".join(packages) + "\n")
