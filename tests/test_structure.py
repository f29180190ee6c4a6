"""The structure that CONTRIBUTING describes: imports run one way, Beam is only in beam_jobs, no file is too long."""

import ast
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("schemas", "filters", "mmc4_pipeline", "beam_jobs")  # each may import itself and those before it
MAX_LINES = 400


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of the modules that a file imports, at its top or within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_a_later_one(layer: str) -> None:
    later = LAYERS[LAYERS.index(layer) + 1 :]
    upward = [
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / layer).rglob("*.py")
        for name in imports(path)
        if name.partition(".")[0] in later
    ]
    assert upward == []


def test_the_packages_within_mmc4_pipeline_import_each_other_one_way() -> None:
    package = ROOT / "mmc4_pipeline"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    used: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        parts = (name.split(".") for name in imports(path) if name.startswith("mmc4_pipeline."))
        used.setdefault(room, set()).update(part[1] for part in parts if part[1] in rooms - {room})
    assert used["takedown"]
    list(TopologicalSorter(used).static_order())  # raises CycleError, with the cycle


def test_beam_is_imported_in_beam_jobs_only() -> None:
    paths = [path for layer in LAYERS[:-1] for path in (ROOT / layer).rglob("*.py")]
    assert [path for path in paths if any(name.startswith("apache_beam") for name in imports(path))] == []


def test_no_file_is_too_long() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in listed.splitlines()}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
