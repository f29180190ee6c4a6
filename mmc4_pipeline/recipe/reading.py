"""Reads recipes from YAML.

A recipe may extend another one (`extends: mmc4`). Its keys replace those of the other recipe, level by level, and
`null` turns a filter off. Filters run in the order in which the recipe lists them, each in the stage of its kind.
"""

from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import orjson
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from filters.base import FileLinkFilter, LinkFilter
from mmc4_pipeline.assignment import as_mapping
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.plug_ins import known_filters
from mmc4_pipeline.recipe.records import Recipe

_RECIPES = files("mmc4_pipeline") / "recipes"


def load_recipe(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by name or path; `overrides` are like "filters.similarity.min=0.2". Raises UserError."""
    settings = _read(name, seen=())
    for override in overrides:
        _override(settings, override)
    return _parse(settings, Path(name).stem, where=f"recipe {name}")


def parse_recipe(settings: dict[str, Any], name: str) -> Recipe:
    """Read a recipe from what `Recipe.to_json` returned, as in a manifest. Raises UserError."""
    return _parse(settings, name, where=f"recipe {name} of the manifest")


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes."""
    return sorted(item.name.removesuffix(".yaml") for item in _RECIPES.iterdir() if item.name.endswith(".yaml"))


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Read one YAML file, with the recipe that it extends."""
    if name in seen:
        raise UserError(f"recipe {name}: extends itself ({' -> '.join((*seen, name))})")
    by_path = name.endswith((".yaml", ".yml"))
    source = Path(name) if by_path else _RECIPES / f"{name}.yaml"
    if not source.is_file():
        known = ", ".join(recipe_names())
        raise UserError(f"recipe {name}: not found; give the path of a .yaml file or one of: {known}")
    try:
        settings = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {name}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UserError(f"recipe {name}: must be a mapping of keys to values")
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if by_path and str(base).endswith((".yaml", ".yml")):
        base = str(Path(name).parent / base)
    return _merged(_read(str(base), (*seen, name)), settings)


def _merged(base: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in settings.items():
        old = _mapping(key, result.get(key)) if isinstance(value, dict) else None
        result[key] = _merged(old, value) if isinstance(old, dict) else value
    return result


def _mapping(key: str, value: Any) -> Any:
    """Return a recipe's value; an assignment that is a bare word becomes a mapping, so that keys can be added to it."""
    return as_mapping(value) if key == "assignment" and isinstance(value, str) else value


def _override(settings: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    *parents, last = path.split(".")
    if not equals or not last:
        raise UserError(f"--set {override}: must be KEY=VALUE, such as filters.similarity.min=0.2")
    for parent in parents:
        inner = _mapping(parent, settings.get(parent))
        settings[parent] = dict(inner) if isinstance(inner, dict) else {}
        settings = settings[parent]
    try:
        settings[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML") from error


def _parse(settings: dict[str, Any], name: str, where: str) -> Recipe:
    """Return the recipe with those settings; raises UserError, naming the key, if a key or value is not allowed."""
    chosen = settings.get("filters") or {}
    complete = {**settings, "filters": chosen}
    if isinstance(assignment := settings.get("assignment"), str | dict):
        complete["assignment"] = as_mapping(assignment)
    as_json = orjson.dumps(complete, default=str, option=orjson.OPT_NON_STR_KEYS)
    try:
        read: Any = TypeAdapter(_shape()).validate_json(as_json, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error)}") from error
    filters = {key: item for key in chosen if (item := getattr(read.filters, key)) is not None}
    for key, item in filters.items():
        if isinstance(item, LinkFilter | FileLinkFilter) and item.needs and not getattr(read.links, item.needs):
            raise UserError(f"{where}: filters.{key}: needs links.{item.needs}: true")
    plain = {item.name: getattr(read, item.name) for item in fields(read) if item.name != "filters"}
    return Recipe(name=name, filters=filters, **plain)


@cache
def _shape() -> Any:
    """Return the type of a recipe's YAML: the fields of `Recipe`, with a field for each known filter in `filters`."""
    off = [(key, item | None, field(default=None)) for key, item in known_filters().items()]
    hints = get_type_hints(Recipe, include_extras=True) | {"filters": make_dataclass("Filters", off)}
    del hints["name"]
    records: dict[str, Any] = {key: hint for key, hint in hints.items() if is_dataclass(hint)}
    optional: dict[str, Any] = {key: field(default_factory=record) for key, record in records.items()}
    optional["scores"] = field(default=None)
    columns = [(key, hint, optional.get(key, field())) for key, hint in hints.items()]
    strict = {"__pydantic_config__": ConfigDict(extra="forbid")}  # holds for the records in it too
    return make_dataclass("RecipeFile", columns, kw_only=True, namespace=strict)


def _problem(error: ValidationError) -> str:
    """Return the first problem in one line. An unknown key comes first: it may be the missing one, misspelled."""
    first = min(error.errors(), key=lambda item: item["type"] != "unexpected_keyword_argument")
    path = [str(part) for part in first["loc"]]
    match first["type"]:
        case "unexpected_keyword_argument":
            *parents, key = path
            place = f"{'.'.join(parents)}: " if parents else ""
            hint = ". If it is a plug-in's filter, install the plug-in" if parents == ["filters"] else ""
            return f"{place}unknown key {key!r}; allowed: {', '.join(_keys_at(parents)) or 'nothing'}{hint}"
        case "missing":
            return f"{'.'.join(path)}: is missing"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(path)}: {reason} (got {first['input']!r})"


def _keys_at(path: list[str]) -> list[str]:
    """Return the keys that a recipe may have at a place."""
    record = _shape()
    for key in path:
        hint = get_type_hints(record)[key]
        record = next(item for item in (hint, *get_args(hint)) if is_dataclass(item))
    return [item.name for item in fields(record)]
