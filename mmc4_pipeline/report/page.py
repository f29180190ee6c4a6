"""Writes the report page: one HTML file next to the shards, which loads nothing else and has no scripts.

Everything that it shows of documents comes from the web: the template escapes all of it, and the page's own
Content-Security-Policy blocks anything that is missed.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.report.comparison import comparison
from mmc4_pipeline.report.duplicates import pictures
from mmc4_pipeline.report.figures.funnel_bars import funnel_bars
from mmc4_pipeline.report.figures.histograms import histograms
from mmc4_pipeline.report.figures.site_bars import site_bars
from mmc4_pipeline.report.funnel import funnel
from mmc4_pipeline.report.orders import both_orders
from mmc4_pipeline.report.placement import placements
from mmc4_pipeline.report.published import published_name, rates
from mmc4_pipeline.report.samples import samples
from mmc4_pipeline.report.stored_documents import first_documents
from mmc4_pipeline.stage_folder import StageFolder
from schemas.columns import Column, Shape, ledger_columns
from schemas.manifest import CutPlan, Manifest, ShardNote
from schemas.statistics import COUNTED, Statistics

NAME = "report.html"
MAX_BYTES = 5_000_000  # of the page; sample documents are left out until it fits
_UNIT = 1000

Json = dict[str, Any]


def write_report(folder: StageFolder) -> str:
    """Write the page of a finished dataset into its folder and return its path. The same dataset gives the same bytes.

    Few of the shards' notes are in memory at a time. No shards and ledgers are read except the first ones, for sample
    documents, and one range for each picture of a duplicate.
    """
    manifest = folder.manifest(CutPlan)
    formats = list(DatasetSettings.of(manifest).formats.values())
    statistics, uncounted = statistics_of(folder.notes(), manifest.plan.input.all_columns)
    stored = first_documents(folder, formats, folder.notes())
    documents, scale = samples(stored)
    orders = both_orders(folder, folder.notes(), stored) if statistics.placement.images else []
    content = _content(folder, manifest, statistics, uncounted) | {
        "scale": scale,
        "samples": documents,
        "orders": orders,
    }
    page = _render(content)
    while len(page) > MAX_BYTES and (documents or orders):
        (documents or orders).pop()
        page = _render(content)
    path = folder.file(NAME)
    storage.write_bytes(path, page)
    return path


def statistics_of(notes: Iterable[ShardNote], columns: Sequence[Column]) -> tuple[Statistics, set[str]]:
    """Add up the statistics; return also the fields that some shards lack because an earlier version wrote them."""
    total, uncounted = Statistics(), set[str]()
    expected = [*COUNTED, *(item.name for item in ledger_columns(columns) if item.column.shape is not Shape.TEXT)]
    for note in notes:
        found = note.statistics or {}
        total += Statistics.from_json(found)
        uncounted |= {name for name in expected if name not in found}
    return total, uncounted


def _content(folder: StageFolder, manifest: Manifest[CutPlan], statistics: Statistics, uncounted: set[str]) -> Json:
    """Return the template's variables, except the sample documents."""
    rows, name = funnel(manifest), folder.path.rstrip("/").rpartition("/")[2]
    return {
        "name": name,
        "manifest": manifest,
        "recipe": _recipe_rows(manifest.plan.recipe),
        "size": sum(file.bytes for file in manifest.files if not file.name.startswith("ledger")),
        "funnels": [("Image links", funnel_bars(rows, "links")), ("Documents", funnel_bars(rows, "documents"))],
        "comparison": comparison(manifest, statistics),
        "published": published_name(name),
        "rates": rates(name, manifest, statistics, uncounted),
        "histograms": histograms(statistics, manifest.plan.recipe, manifest.plan.input.all_columns, uncounted),
        "uncounted": uncounted,
        "placements": placements(statistics, manifest.plan.recipe),
        "sites": statistics.sites.count,
        "site_figures": [
            ("Sites with the most kept images", site_bars(statistics.sites.by_kept())),
            ("Sites with the most dropped links", site_bars(statistics.sites.by_dropped())),
        ],
        "pictures": pictures(folder, statistics.duplicates.largest()),
    }


def _render(content: Json) -> bytes:
    return _template().render(**content).encode("utf-8", "replace")


def _recipe_rows(recipe: Json) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the recipe as sections of keys and values; values that are not set (null) are left out."""
    plain = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    plain["assignment"] = recipe["assignment"]
    sections = {"": plain, "links": recipe["links"], "images": recipe["images"], **recipe["filters"]}
    return [
        (key, [(name, _text(value)) for name, value in keys.items() if value is not None])
        for key, keys in sections.items()
    ]


def _text(value: Any) -> str:
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
