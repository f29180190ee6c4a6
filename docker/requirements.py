"""Print the packages that an image installs before this program: `worker` has no PyTorch, which only scoring needs."""

import sys
import tomllib
from pathlib import Path

EXTRAS = {"worker": ("dataflow", "s3"), "worker-gpu": ("dataflow", "s3", "score")}

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
packages = list(project["dependencies"])
for extra in EXTRAS[sys.argv[1]]:
    packages += project["optional-dependencies"][extra]
sys.stdout.write("\n".join(packages) + "\n")
