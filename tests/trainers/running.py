"""Run a program with the packages of the trainers' environment."""

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.engines import install

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "trainers"


def run(script: Path, *arguments: str | Path) -> str:
    """Run a script with the trainers' packages, and return what it printed. Fails with its errors if it fails."""
    packages = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    environment = os.environ | {"MMC4_PACKAGES": packages, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(install.TRAINERS.path), str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
