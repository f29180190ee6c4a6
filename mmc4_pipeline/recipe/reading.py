"""Reads recipes from YAML.

A recipe may extend another one (`extends: mmc4`). Its keys replace those of the other recipe, level by level, and
`null` turns a filter off. Filters run in the order in which the recipe lists them, each in the stage of its kind.
A filter's key is its name, or any other key with `filter: NAME`: so a recipe may have a filter several times.
"""

from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from typing import Any, get_args, get_type_hints

import orjson
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from filters.base import FileLinkFilter, Filter, LinkFilter
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
        old = _mapping(key, result.get(key)) if isinstance(value, dict) else result.get(key)
        if value is None and _names_filter(old):
            del result[key]
        else:
            result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _names_filter(setting: Any) -> bool:
    """Return whether a filter's settings name it, so that its key is not its name."""
    return isinstance(setting, dict) and "filter" in setting


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
        new = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML") from error
    if new is None and _names_filter(settings.get(last)):
        del settings[last]
    else:
        settings[last] = new


def _parse(settings: dict[str, Any], name: str, where: str) -> Recipe:
    """Return the recipe with those settings; raises UserError, naming the key, if a key or value is not allowed."""
    chosen, named = settings.get("filters") or {}, {}
    if isinstance(chosen, dict):
        named = {key: _filter_named(key, item["filter"], where) for key, item in chosen.items() if _names_filter(item)}
        chosen = {key: _without_name(item) for key, item in chosen.items()}
    complete = {**settings, "filters": chosen}
    if isinstance(assignment := settings.get("assignment"), str | dict):
        complete["assignment"] = as_mapping(assignment)
    try:
        as_json = orjson.dumps(complete, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:  # a number of more than 64 bits, or a mapping that contains itself
        raise UserError(f"{where}: has a value that no setting can have ({error})") from error
    shape = _shape(tuple(named.items()))
    try:
        read: Any = TypeAdapter(shape).validate_json(as_json, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error, shape)}") from error
    filters = {key: item for key in chosen if (item := getattr(read.filters, key)) is not None}
    for key, item in filters.items():
        if isinstance(item, LinkFilter | FileLinkFilter) and item.needs and not getattr(read.links, item.needs):
            raise UserError(f"{where}: filters.{key}: needs links.{item.needs}: true")
    plain = {item.name: getattr(read, item.name) for item in fields(read) if item.name != "filters"}
    return Recipe(name=name, filters=filters, **plain)


def _without_name(setting: Any) -> Any:
    return {key: value for key, value in setting.items() if key != "filter"} if _names_filter(setting) else setting


def _filter_named(key: str, name: Any, where: str) -> type[Filter]:
    """Return the filter that a key names by `filter: NAME`; raises UserError if it can't."""
    known = known_filters()
    if key in known:
        raise UserError(
            f"{where}: filters.{key}: is itself a filter's name; choose another key for a filter with `filter:`"
        )
    if not str(key).isidentifier() or iskeyword(key):
        raise UserError(f"{where}: filters.{key}: a key must have letters, digits and underscores only")
    if name not in known:
        raise UserError(f"{where}: filters.{key}.filter: unknown filter {name!r}; known: {', '.join(known)}")
    return known[name]


@cache
def _shape(named: tuple[tuple[str, type[Filter]], ...] = ()) -> Any:
    """Return the type of a recipe's YAML: the fields of `Recipe`, with a field for each filter in `filters`.

    `named` has the filters whose keys are not their names.
    """
    items = {**known_filters(), **dict(named)}
    off = [(key, item | None, field(default=None)) for key, item in items.items()]
    hints = get_type_hints(Recipe, include_extras=True) | {"filters": make_dataclass("Filters", off)}
    del hints["name"]
    records: dict[str, Any] = {key: hint for key, hint in hints.items() if is_dataclass(hint)}
    optional: dict[str, Any] = {key: field(default_factory=record) for key, record in records.items()}
    optional["scores"] = field(default=None)
    columns = [(key, hint, optional.get(key, field())) for key, hint in hints.items()]
    strict = {"__pydantic_config__": ConfigDict(extra="forbid")}  # holds for the records in it too
    return make_dataclass("RecipeFile", columns, kw_only=True, namespace=strict)


def _problem(error: ValidationError, shape: Any) -> str:
    """Return the first problem in one line. An unknown key comes first: it may be the missing one, misspelled."""
    first = min(error.errors(), key=lambda item: item["type"] != "unexpected_keyword_argument")
    path = [str(part) for part in first["loc"]]
    match first["type"]:
        case "unexpected_keyword_argument":
            *parents, key = path
            place = f"{'.'.join(parents)}: " if parents else ""
            hint = ". If it is a plug-in's filter, install the plug-in" if parents == ["filters"] else ""
            return f"{place}unknown key {key!r}; allowed: {', '.join(_keys_at(parents, shape)) or 'nothing'}{hint}"
        case "missing":
            return f"{'.'.join(path)}: is missing"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(path)}: {reason} (got {first['input']!r})"


def _keys_at(path: list[str], record: Any) -> list[str]:
    """Return the keys that a recipe, whose type is `record`, may have at a place."""
    for key in path:
        hint = get_type_hints(record)[key]
        record = next(item for item in (hint, *get_args(hint)) if is_dataclass(item))
    return [item.name for item in fields(record)]
