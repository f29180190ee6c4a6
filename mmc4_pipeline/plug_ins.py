"""Finds filters, scorers and formats: the modules of a built-in package, and those of other installed packages.

A module provides the one dataclass of that kind that it defines, under the module's name. Another package declares its
modules as entry points in its pyproject.toml:

    [project.entry-points."mmc4.filters"]
    bytes_per_pixel = "mmc4_plugin_example.bytes_per_pixel"
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

import orjson
import yaml
from pydantic import TypeAdapter, ValidationError

import filters
from filters.base import Filter
from mmc4_pipeline.errors import UserError

Kind = TypeVar("Kind")


@cache
def known_filters() -> dict[str, type[Filter]]:
    """Return every filter by its key in a recipe, sorted by key. Raises UserError if a plug-in can't be used."""
    return find_plug_ins(filters, Filter, "mmc4.filters")


def find_plug_ins(package: ModuleType, kind: type[Kind], group: str) -> dict[str, type[Kind]]:
    """Return the classes of a kind by name, sorted: those of a built-in package and those of a group of entry points.

    Raises UserError, naming the package to update or uninstall, if a plug-in can't be used.
    """
    found: dict[str, type[Kind]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if provided := _defined_in(importlib.import_module(f"{package.__name__}.{module.name}"), kind):
            (found[module.name],) = provided
    provided_by = dict.fromkeys(found, "mmc4-pipeline")
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        owner = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        problem = f"{owner}: can't use its {group} entry point {point.name}"
        if point.name in found:
            raise UserError(f"{problem}: {provided_by[point.name]} has that name already. Rename or uninstall it")
        found[point.name] = _load(point, kind, problem)
        provided_by[point.name] = owner
    return dict(sorted(found.items()))


def setting_values(text: str, kind: type, what: str) -> dict[str, Any]:
    """Read settings such as "compression=zip,similarity_matrix=false" of a plug-in's class.

    Raises UserError, which begins with `what`, if the class does not have a setting.
    """
    allowed = [field.name for field in fields(kind)]
    values = {}
    for setting in filter(None, text.split(",")):
        key, equals, value = setting.partition("=")
        if key not in allowed or not equals:
            raise UserError(f"{what}: {setting}: unknown setting; known: {', '.join(allowed) or 'none'}")
        values[key] = yaml.safe_load(value)
    return values


def with_settings(kind: type[Kind], settings: Mapping[str, Any], what: str) -> Kind:
    """Return a plug-in with its settings; raises UserError, which begins with `what`, if a value is not allowed."""
    try:
        return TypeAdapter(kind).validate_json(orjson.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{what}: {place}: {first['msg']} (got {first['input']!r})") from error


def _load(point: EntryPoint, kind: type[Kind], problem: str) -> type[Kind]:
    remedy = "Update or uninstall it"
    try:
        module = point.load()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{problem}: {type(error).__name__}: {reason}. {remedy}") from error
    if not isinstance(module, ModuleType) or module.__name__.rpartition(".")[2] != point.name:
        raise UserError(f"{problem}: {point.value} is not a module of that name. {remedy}")
    provided = _defined_in(module, kind)
    if len(provided) != 1 or inspect.isabstract(provided[0]):
        expected = f"one dataclass derived from {kind.__module__}.{kind.__name__}, with all its methods"
        raise UserError(f"{problem}: {point.value} does not define {expected}. {remedy}")
    return provided[0]


def _defined_in(module: ModuleType, kind: type[Kind]) -> list[type[Kind]]:
    """Return the dataclasses of a kind that a module itself defines."""
    own = [item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__]
    return [item for item in own if is_dataclass(item) and issubclass(item, kind)]
