"""Finds the columns that a recipe's filters and assignment name among the scores of its dataset.

A recipe may name a column by its own name, or as `FOLDER.column`. If several scores declare the column, it must say
whose column it means. What a recipe does not choose means the scores that come first, with whose similarity documents
are published: the column of a filter such as `nsfw`, and the default of `assignment.by`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from filters.base import Filter, ScoreFilter
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.scoring.folders import FoundScores
from schemas.columns import Column, Shape


def with_columns(recipe: Recipe, columns: Sequence[Column]) -> Recipe:
    """Return a recipe without `column_problems`, with the names that columns have in the scores of its dataset."""
    filters = {
        key: replace(item, column=_name(item.column, columns)) if _chooses_column(item) else item  # type: ignore[attr-defined, type-var]
        for key, item in recipe.filters.items()
    }
    by = {_name(name, columns): weight for name, weight in recipe.assignment.by.items()}
    return replace(recipe, filters=filters, assignment=replace(recipe.assignment, by=by))


def column_problems(recipe: Recipe, scores: Sequence[FoundScores]) -> list[str]:
    """Return what is wrong with the columns that a recipe names; `scores` are those of its dataset, side by side."""
    empty = {column.name for item in scores for column in item.columns if _declared(column) in item.plan.empty_columns}
    problems = []
    for name in recipe.assignment.by:
        found = _meant(name, scores, chosen=recipe.assignment.by != Assignment().by)
        if len(found) > 1:
            problems.append(_ambiguous("assignment.by", found))
        elif not found or found[0].shape is not Shape.PAIR:
            problems.append(
                f"assignment.by: the scores have no matrix {name}; run its scorer, and list it in the recipe's `scores`"
            )
    for key, item in recipe.of_kind(ScoreFilter).items():
        found = _meant(item.column, scores, chosen=_chooses_column(item))
        problems += _problems_of_filter(f"filters.{key}", item.column, found, scores, empty)
    return problems


def _problems_of_filter(
    key: str, name: str, found: Sequence[Column], scores: Sequence[FoundScores], empty: set[str]
) -> Iterator[str]:
    if not found:
        known = ", ".join(column.qualified or column.name for item in scores for column in item.columns)
        yield (
            f"{key}: the scores have no column {name}, only {known}; run its scorer, and list it in the recipe's "
            "`scores`"
        )
    elif len(found) > 1:
        yield _ambiguous(key, found)
    elif found[0].name in empty:
        own = _declared(found[0])
        yield f"{key}: the scores have no {name} probabilities; run `mmc4 score` with --{own}_weights"
    elif found[0].shape is Shape.TEXT:
        yield f"{key}: {name} is a text"


def _meant(name: str, scores: Sequence[FoundScores], *, chosen: bool) -> list[Column]:
    """Return the columns that a name may mean; `chosen` is whether the recipe has chosen it."""
    if not chosen:
        return [column for item in scores for column in item.columns if column.name == name]
    folder, _, own = name.rpartition(".")  # a folder's name may have dots, a column's name has none
    return [
        column for item in scores if folder in ("", item.name) for column in item.columns if _declared(column) == own
    ]


def _declared(column: Column) -> str:
    """Return the name that a column's scorer declares."""
    return (column.qualified or column.name).rpartition(".")[2]


def _ambiguous(key: str, found: Sequence[Column]) -> str:
    names = " or ".join(column.qualified or column.name for column in found)
    return f"{key}: {len(found)} of the scores have a column {_declared(found[0])}; write {names}"


def _chooses_column(item: Filter) -> bool:
    """Return whether the column is a setting of the filter, so that the recipe says which one it is."""
    return isinstance(item, ScoreFilter) and "column" in {field.name for field in fields(item)}  # type: ignore[arg-type]


def _name(name: str, columns: Sequence[Column]) -> str:
    return next(column.name for column in columns if column.is_named(name))
