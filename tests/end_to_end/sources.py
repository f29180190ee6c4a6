"""A copy of this project's sources, in which a build leaves its files."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_sources(folder: Path) -> Path:
    """Copy the files from which the package is built into a folder, and return it."""
    for name in ("mmc4_pipeline", "beam_jobs", "filters", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(path, folder)
    return folder
