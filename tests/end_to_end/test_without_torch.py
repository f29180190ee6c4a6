"""Without the extra `score` everything except scoring runs, here in an environment with only the core's packages."""

import os
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import orjson
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import Run, Web, mmc4, refusal, succeeded

ROOT = Path(__file__).parents[2]
# Commands one after the other in one process: each would import Beam for longer than it runs.
COMMANDS = """
import sys
from mmc4_pipeline import cli
for command in {!r}:
    sys.argv = ["mmc4", *command]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
"""
EXTRA = {"torch", "torchvision", "open-clip-torch", "timm", "scikit-learn", "webdataset"}


def core_packages() -> dict[str, Distribution]:
    """Return the installed distributions that the core's dependencies lead to, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    waiting = [Requirement(text) for text in project["dependencies"]]
    while waiting:
        needed = waiting.pop()
        extras = needed.extras or {""}
        key = canonicalize_name(needed.name), frozenset(extras)
        if key in found:
            continue
        found[key] = distribution(needed.name)
        others = map(Requirement, found[key].requires or [])
        waiting += [
            other
            for other in others
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return {name: package for (name, _), package in found.items()}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with links to the core's packages, and no others."""
    packages = core_packages()
    assert len(packages) > 50
    assert not packages.keys() & EXTRA
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in packages.values():
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(package.locate_file(name))))
    # A checkout may have an egg-info folder too, which is found first, but has no METADATA.
    own = Distribution.discover(name="mmc4-pipeline")
    information = next(file for found in own for file in found.files or [] if file.name == "METADATA")
    (site / information.parts[0]).symlink_to(Path(str(information.locate())).parent)
    (site / "mmc4.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def small_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("small")
    generate(folder, pages=12)
    with serving(folder) as address:
        yield Web(folder, address)


def run(python: Path, *arguments: str, folder: Path | None = None) -> Run:
    """Run a Python to its end, in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=folder)
    return Run(done.returncode, done.stdout, done.stderr)


def test_everything_except_scoring_runs(python: Path, small_web: Web, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = small_web.build_arguments(output)[:-1]
    given = dict(zip(words[::2], words[1::2], strict=True))

    def some(*names: str) -> list[str]:
        return [word for name in ("--recipe", "--output", *names) for word in (name, given[name])]

    def core(*commands: list[str]) -> str:
        return succeeded(run(python, "-c", COMMANDS.format(commands))).stdout

    def manifest(name: str) -> dict[str, Any]:
        return orjson.loads((output / name / "manifest.json").read_bytes())  # type: ignore[no-any-return]

    assert "images" in core(["--help"])
    core(
        ["plan", "--documents", "1000"],
        ["locate", *some("--c4", "--cc_root")],
        ["pages", *some("--documents_per_shard")],
        ["images", *some("--image_routes", "--delay_per_host"), "--allow_private_hosts"],
    )
    succeeded(mmc4("score", *some("--clip_model", "--clip_pretrained", "--nsfw_weights", "--face_weights")))
    core(["cut", *some()])
    scores, dataset = "scores/clip_clip", "dataset/miniweb"
    assert "torch" in manifest(scores)["versions"]
    assert not {"torch", "open_clip_torch"} & manifest(dataset)["versions"].keys()
    assert "numpy" in manifest(dataset)["versions"]
    assert "score" in core(["status", str(output)])

    folder, before = str(output / dataset), manifest(dataset)["counts"]["documents"]["kept"]
    links = orjson.loads((small_web.folder / "truth.json").read_bytes())["links"]
    page = next(link["page_url"] for link in links if link["reason"] is None)
    (tmp_path / "list.txt").write_text(f"{page}\n")
    core(
        ["takedown", str(output), "--list", str(tmp_path / "list.txt")],
        ["report", folder],
        ["card", folder, "--url", "https://example.org/miniweb"],
        ["verify", folder],
    )
    assert manifest(dataset)["counts"]["documents"]["kept"] == before - 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "--output", "out"),
        ("build", "--output", "out", "--c4", "nowhere", "--cc_root", "nowhere"),
        ("train_faces", "--output", "out", "--head", "head.pt"),
        ("demo", "--output", "out"),
        ("try", "--contact", "you@example.org", "--output", "out"),
    ],
)
def test_what_scores_is_refused_in_a_line_that_names_the_extra(
    python: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    line = refusal(run(python, "-m", "mmc4_pipeline.cli", *arguments, folder=tmp_path))
    assert f"mmc4 {arguments[0]} " in line
    assert "pip install 'mmc4-pipeline[score]'" in line
    assert list(tmp_path.iterdir()) == []


def test_the_readers_for_training_name_the_extra(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "mmc4_pipeline.training", folder=tmp_path)
    assert "ImportError: mmc4_pipeline.training" in done.stderr
    assert "pip install 'mmc4-pipeline[score]'" in done.stderr
