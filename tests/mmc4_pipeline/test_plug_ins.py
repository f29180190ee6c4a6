"""Filters and formats of other packages: found by their entry points, and refused by the name of the package."""

import subprocess
import sys
from pathlib import Path

import pytest

import filters
from filters.base import Filter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.plug_ins import find_plug_ins, known_filters

BRIGHTNESS = """
from dataclasses import dataclass
from filters.base import ImageFilter

@dataclass(frozen=True)
class Brightness(ImageFilter):
    min: int
"""
DECIDE = "    def decide(self, image):\n        return self.reason\n"


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], kind: str = "filters", **entry_points: str
) -> None:
    """Put a package into a folder of the path as an installer would, with entry points for filters or formats."""
    for name, content in files.items():
        (folder / name).write_text(content)
    metadata = folder / "a_plug_in-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plug-in\nVersion: 1.5\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[mmc4.{kind}]", *lines]))
    monkeypatch.syspath_prepend(str(folder))


def found() -> dict[str, type[Filter]]:
    return find_plug_ins(filters, Filter, "mmc4.filters")


@pytest.fixture(autouse=True)
def forget_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the package's modules again in each test."""
    for name in ("brightness", "resolution", "links"):
        monkeypatch.delitem(sys.modules, name, raising=False)


HELPERS = {"__init__", "base", "hosts", "short_cache", "web_url", "robots_directives", "usage_preferences"}


def test_every_built_in_filter_is_known_by_its_module() -> None:
    modules = {path.stem for path in Path(filters.__path__[0]).glob("*.py")}
    assert set(known_filters()) == modules - HELPERS
    assert all(item.__module__ == f"filters.{key}" for key, item in known_filters().items())


def test_another_package_s_filter_is_known_by_its_module_and_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = found()
    install(tmp_path, monkeypatch, {"brightness.py": BRIGHTNESS + DECIDE}, brightness="brightness")
    with_plug_in = found()
    assert with_plug_in.pop("brightness").reason == "brightness"
    assert with_plug_in == built_in


@pytest.mark.parametrize(
    ("content", "entry_point", "complaint"),
    [
        ("raise OSError('no driver\\nat all')", {"brightness": "brightness"}, "brightness.*OSError: no driver at all"),
        ("import nonsense_that_nobody_has", {"brightness": "brightness"}, "nonsense_that_nobody_has"),
        (BRIGHTNESS + DECIDE, {"resolution": "resolution"}, "resolution.*mmc4-pipeline"),
        (BRIGHTNESS + DECIDE, {"bright": "brightness"}, "bright.*brightness"),
        (BRIGHTNESS + DECIDE, {"brightness": "brightness:Brightness"}, "brightness:Brightness"),
        (BRIGHTNESS, {"brightness": "brightness"}, "filters.base.Filter"),
        ("", {"brightness": "brightness"}, "filters.base.Filter"),
    ],
)
def test_a_plug_in_that_can_t_be_used_is_refused_by_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, entry_point: dict[str, str], complaint: str
) -> None:
    install(tmp_path, monkeypatch, {"brightness.py": content, "resolution.py": content}, **entry_point)
    with pytest.raises(UserError, match=rf"^a-plug-in 1\.5: .*mmc4\.filters.*{complaint}") as refused:
        found()
    assert "\n" not in str(refused.value)


def test_two_formats_that_would_write_the_same_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
from dataclasses import dataclass
from mmc4_pipeline.formats.obelics import Obelics

@dataclass(frozen=True)
class Links(Obelics):
    pass
"""
    install(tmp_path, monkeypatch, {"links.py": code}, "formats", links="links")
    known_formats.cache_clear()
    try:
        assert list(parse_formats(["links", "openflamingo"])) == ["links", "openflamingo"]
        with pytest.raises(UserError, match=r"obelics.*links|links.*obelics"):
            parse_formats(["obelics", "links"])
    finally:
        known_formats.cache_clear()


def test_the_command_line_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, {"brightness.py": "1 / 0"}, brightness="brightness")
    path = ":".join([str(tmp_path), str(Path(filters.__path__[0]).parent)])
    command = [sys.executable, "-m", "mmc4_pipeline.cli", "plan", "--c4", str(tmp_path / "none.json.gz")]
    run = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "a-plug-in 1.5: " in run.stderr
