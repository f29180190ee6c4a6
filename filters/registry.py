"""Finds the filters: every module of this package that defines a Filter dataclass is a filter of that name."""

import importlib
import pkgutil
from dataclasses import is_dataclass
from functools import cache

import filters
from filters.base import Filter


@cache
def known_filters() -> dict[str, type[Filter]]:
    """Give every filter class by its key in a recipe, sorted by key."""
    found: dict[str, type[Filter]] = {}
    for module in sorted(pkgutil.iter_modules(filters.__path__), key=lambda module: module.name):
        contents = vars(importlib.import_module(f"filters.{module.name}"))
        for item in contents.values():
            if not isinstance(item, type) or item.__module__ != f"filters.{module.name}":
                continue
            if issubclass(item, Filter) and is_dataclass(item):
                found[module.name] = item
    return found
