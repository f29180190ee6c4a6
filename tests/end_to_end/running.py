"""The program as users start it, and what it left."""

import hashlib
import io
import subprocess
import sys
import time
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmc4_pipeline import cli
from schemas.reasons import Stage

MINIWEB = Path(__file__).parents[2] / "mmc4_pipeline" / "miniweb"
WEIGHTS = MINIWEB / "weights"
STAGES = tuple(f"{stage.value}: " for stage in Stage)  # how progress lines begin


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
            "recipe": str(MINIWEB / "miniweb.yaml"),
            "image_routes": f"{self.address}/{{url}}",
            "fetch_timeout": "2",
            "delay_per_host": "0",
            "documents_per_shard": "30",
            "clip_model": str(WEIGHTS / "clip.json"),
            "clip_pretrained": str(WEIGHTS / "clip.pt"),
            "nsfw_weights": str(WEIGHTS / "nsfw.pt"),
            "face_weights": str(WEIGHTS / "faces.pt"),
            "output": str(output),
        } | changed
        return [word for name, value in options.items() for word in (f"--{name}", value)] + ["--allow_private_hosts"]


@dataclass(frozen=True)
class Run:
    """How a run of the program ended."""

    returncode: int
    stdout: str
    stderr: str


def mmc4(*arguments: str) -> Run:
    """Run `mmc4 …` to its end, in this process: importing Beam and PyTorch for each run would take longer than it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["mmc4", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        err.write("" if isinstance(end.code, int) else f"{end.code}\n")
    finally:
        sys.argv = before
    return Run(code, out.getvalue(), err.getvalue())


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `mmc4 …` in a process, and a process group, of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mmc4_pipeline.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def succeeded(run: Run) -> Run:
    """Assert that a run succeeded, showing what it said if not."""
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def refusal(run: Run) -> str:
    """Give the one line with which a run refused; fails if it said anything but that and its progress."""
    assert run.returncode == 1, run.stdout + run.stderr
    lines = [line for line in run.stderr.splitlines() if not line.startswith(STAGES)]
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("mmc4: ")
    return lines[0]


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Give the files below a folder with the sha256 of each."""
    files = (path for path in sorted(folder.glob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def data_of(output: Path) -> dict[str, str]:
    """Give the digests of all that a build has made but for what tells of the run itself."""
    patterns = ("**/*.tar", "**/*.parquet", "**/manifest.json")
    return {name: digest for pattern in patterns for name, digest in contents(output, pattern).items()}


def wait_for_server(url: str) -> None:
    """Wait until a server on this machine answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{url} does not answer")
