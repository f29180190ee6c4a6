"""The report page: one HTML file beside the shards, with nothing to load and no scripts.

Everything that it shows of documents comes from the web: the template escapes all of it, and the page's own
Content-Security-Policy forbids whatever might slip through.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.report.figures import funnel_bars, histograms
from mmc4_pipeline.report.funnel import funnel
from mmc4_pipeline.report.samples import samples
from schemas.statistics import Statistics

NAME = "report.html"
_UNIT = 1000

Json = dict[str, Any]


def write_report(folder: StageFolder) -> str:
    """Write the page of a finished dataset into its folder and give its path. The same dataset gives the same bytes."""
    manifest = folder.manifest()
    notes = [storage.read_json(path) for path in storage.matches_below(folder.path, "done/*.json")]
    rows = funnel(manifest)
    documents, scale = samples(folder, notes)
    page = _template().render(
        name=folder.path.rstrip("/").rpartition("/")[2],
        manifest=manifest,
        recipe=_recipe_rows(manifest["recipe"]),
        size=sum(file["bytes"] for file in manifest["files"] if not file["name"].startswith("ledger")),
        funnels=[("Image links", funnel_bars(rows, "links")), ("Documents", funnel_bars(rows, "documents"))],
        histograms=histograms(_statistics(notes), manifest["recipe"]),
        samples=documents,
        scale=scale,
    )
    path = folder.file(NAME)
    storage.write_bytes(path, page.encode("utf-8", "replace"))
    return path


def _statistics(notes: Sequence[Json]) -> Statistics:
    total = Statistics()
    for note in notes:
        total += Statistics.from_json(note.get("statistics", {}))
    return total


def _recipe_rows(recipe: Json) -> list[tuple[str, list[tuple[str, str]]]]:
    """Give the recipe as sections of keys and values; what is not set (null) is left out."""
    plain = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    sections = {"": plain, "links": recipe["links"], "images": recipe["images"], **recipe["filters"]}
    return [
        (key, [(name, _text(value)) for name, value in keys.items() if value is not None])
        for key, keys in sections.items()
    ]


def _text(value: Any) -> str:  # noqa: ANN401 - any value of a recipe
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: (
        f"{value:.3g}"
    )  # a place in a figure: short numbers keep the page small
    environment.filters["bytes"] = _bytes
    return environment.from_string((files("mmc4_pipeline.report") / "page.html").read_text(encoding="utf-8"))


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < _UNIT:
            return f"{size:.3g} {unit}"
        size /= _UNIT
    return f"{size:,.3g} TB"
