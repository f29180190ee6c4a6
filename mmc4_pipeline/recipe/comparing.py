"""Compares the recipe of a new cut with the recipe that earlier stages ran with."""

from dataclasses import fields

from filters.base import Filter
from mmc4_pipeline.recipe.records import Recipe
from schemas.reasons import Stage


def loosened(scored: Recipe, wanted: Recipe) -> list[str]:
    """Return what keeps `wanted` from being a subset of `scored`, the recipe of the earlier stages.

    Each entry names a key for which `wanted` needs images that `scored` dropped or never had, and what is possible.
    """
    problems = [
        f"{key}: {new} instead of {old}"
        for key, old, new in (
            ("crawl", scored.crawl, wanted.crawl),
            ("text_source", scored.text_source, wanted.text_source),
            ("locate", scored.locate, wanted.locate),
            ("links", scored.links, wanted.links),
            ("images", scored.images, wanted.images),
        )
        if old != new
    ]
    for key, old in scored.filters.items():
        if old.stage is Stage.CUT:
            continue
        new = wanted.filters.get(key)
        if new is None:
            problems.append(f"filters.{key}: off, but it was on when the images were scored")
        else:
            problems += _loosened_thresholds(key, old, new)
    problems += [
        f"filters.{key}: on, but it was off when the images were fetched, and this filter can't be added later"
        for key, new in wanted.filters.items()
        if new.stage is not Stage.CUT and key not in scored.filters and not (new.stricter or new.needs_places)
    ]
    return problems


def _loosened_thresholds(key: str, old: Filter, new: Filter) -> list[str]:
    problems = []
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        direction = old.stricter.get(field.name)
        if before == after or (direction is not None and direction.allows(before, after)):
            continue
        possible = f"only {direction.value} is possible now" if direction else "it can't be changed any more"
        problems.append(f"filters.{key}.{field.name}: {after} instead of {before}; {possible}")
    return problems
