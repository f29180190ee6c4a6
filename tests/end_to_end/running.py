"""Run the program as users do, and read what it writes."""

import hashlib
import io
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmc4_pipeline import cli
from schemas.reasons import Stage

MINIWEB = Path(__file__).parents[2] / "mmc4_pipeline" / "miniweb"
WEIGHTS = MINIWEB / "weights"
RECIPE = str(MINIWEB / "miniweb.yaml")
STAGES = tuple(f"{stage.value}: " for stage in Stage)  # how progress lines begin


# Two CLIPs in one run, which share the decoding of images; the dataset is cut by the first.
TWO_SCORERS = ("--scorer", "clip", "clip:pretrained=random", "--set", "scores=clip_clip")
STAGE_OPTIONS = {  # what each stage takes besides --recipe and --output
    "locate": ("c4", "cc_root"),
    "pages": ("documents_per_shard",),
    "images": ("image_routes", "fetch_timeout", "delay_per_host"),
    "score": ("clip_model", "clip_pretrained", "nsfw_weights", "face_weights"),
    "cut": (),
}


@dataclass(frozen=True)
class Web:
    """A generated web, whose images are served at `address`."""

    folder: Path
    address: str

    def options(self, output: Path, **changed: str | None) -> dict[str, str]:
        """Return the options of a build of this web. `changed` replaces, adds or (None) removes options."""
        options = {
            "c4": str(self.folder / "c4/*.json.gz"),
            "cc_root": str(self.folder / "commoncrawl"),
            "recipe": RECIPE,
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
        return {name: value for name, value in options.items() if value is not None}

    def build_arguments(self, output: Path, **changed: str | None) -> list[str]:
        """Return the arguments of `mmc4 build` for this web, with options changed as in `options`."""
        return [*_arguments(self.options(output, **changed)), "--allow_private_hosts"]

    def stage(self, name: str, output: Path, **changed: str) -> list[str]:
        """Return `mmc4`'s arguments for one stage of that build; every option in `changed` is among them."""
        options = self.options(output, **changed)
        names = dict.fromkeys(("recipe", "output", *STAGE_OPTIONS[name], *changed))
        private = ["--allow_private_hosts"] * (name == "images")
        return [name, *_arguments({name: options[name] for name in names}), *private]


def _arguments(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


@dataclass(frozen=True)
class Run:
    """The result of a run of the program."""

    returncode: int
    stdout: str
    stderr: str


def mmc4(*arguments: str) -> Run:
    """Run `mmc4 …` in this process: a new one would import Beam and PyTorch for longer than most runs take."""
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
    """Start `mmc4 …` in a process and process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mmc4_pipeline.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def succeeded(run: Run) -> Run:
    """Assert that a run succeeded; on failure its output is shown."""
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def refusal(run: Run) -> str:
    """Return the error line of a run that was refused; fail if it wrote more than that line and its progress."""
    assert run.returncode == 1, run.stdout + run.stderr
    lines = [line for line in run.stderr.splitlines() if not line.startswith(STAGES)]
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("mmc4: ")
    return lines[0]


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Return the sha256 of each file below a folder that matches a pattern, by path."""
    files = (path for path in sorted(folder.glob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def data_of(output: Path) -> dict[str, str]:
    """Return the sha256 of each file of a build, except files that describe the run itself."""
    patterns = ("**/*.tar", "**/*.parquet", "**/manifest.json")
    return {name: digest for pattern in patterns for name, digest in contents(output, pattern).items()}


def wait_for_server(url: str) -> None:
    """Wait until a server on this machine responds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{url} does not respond")
