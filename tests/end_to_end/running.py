"""The program as users start it, and what it left."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MINIWEB = Path(__file__).parents[2] / "examples" / "miniweb"
WEIGHTS = MINIWEB / "weights"


@dataclass(frozen=True)
class Web:
    """A generated web, its images served at `address`."""

    folder: Path
    address: str

    def build_arguments(self, output: Path, **changed: str) -> list[str]:
        """Give the arguments of a build of this web; `changed` replaces or adds options by name."""
        options = {
            "c4": str(self.folder / "c4/*.json.gz"),
            "cc_root": str(self.folder / "commoncrawl"),
            "recipe": str(MINIWEB / "recipe.yaml"),
            "image_routes": f"{self.address}/{{url}}",
            "fetch_timeout": "2",
            "max_open_per_host": "32",
            "documents_per_shard": "20",
            "clip_model": str(WEIGHTS / "clip.json"),
            "clip_pretrained": str(WEIGHTS / "clip.pt"),
            "nsfw_weights": str(WEIGHTS / "nsfw.pt"),
            "face_weights": str(WEIGHTS / "faces.pt"),
            "output": str(output),
        } | changed
        return [word for name, value in options.items() for word in (f"--{name}", value)] + ["--allow_private_hosts"]


def command(*arguments: str) -> list[str]:
    """Give the command line of `mmc4 …` in this environment."""
    return [sys.executable, "-m", "mmc4_pipeline.cli", *arguments]


def mmc4(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `mmc4 …` to its end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=environment)


def succeeded(run: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Assert that a run succeeded, showing what it said if not."""
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    """Give the one line with which a run refused; fails if it did anything else."""
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("mmc4: ")]
    assert len(lines) == 1, run.stderr
    return lines[0]


def contents(folder: Path, pattern: str = "**/*") -> dict[str, bytes]:
    """Give the files below a folder with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern)) if path.is_file()}
