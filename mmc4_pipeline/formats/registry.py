"""Finds the formats: every module of this package that defines a Format dataclass is a format of that name."""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache

import orjson
import yaml
from pydantic import TypeAdapter, ValidationError

from mmc4_pipeline import formats
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import Format


@cache
def known_formats() -> dict[str, type[Format]]:
    """Give every format class by its name, sorted by name."""
    found: dict[str, type[Format]] = {}
    for module in sorted(pkgutil.iter_modules(formats.__path__), key=lambda module: module.name):
        name = f"{formats.__name__}.{module.name}"
        for item in vars(importlib.import_module(name)).values():
            if isinstance(item, type) and item.__module__ == name and issubclass(item, Format) and is_dataclass(item):
                found[module.name] = item
    return found


def parse_formats(choices: Sequence[str]) -> dict[str, Format]:
    """Read formats from the command line: "openflamingo", or "mmc4_jsonl:compression=zip,similarity_matrix=false".

    Raises UserError for an unknown name, setting or value, and where one is named twice or none at all.
    """
    chosen: dict[str, Format] = {}
    for choice in choices:
        name, _, settings = choice.partition(":")
        if name in chosen:
            message = f"--formats: {name} is named twice; a dataset has one folder for it"
            raise UserError(message)
        chosen[name] = _parse(name, settings)
    if not chosen:
        message = f"--formats: name at least one of {', '.join(known_formats())}"
        raise UserError(message)
    return chosen


def _parse(name: str, settings: str) -> Format:
    known = known_formats()
    if name not in known:
        message = f"--formats {name}: no such format; there are {', '.join(known)}"
        raise UserError(message)
    values = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        allowed = [field.name for field in fields(known[name])]  # type: ignore[arg-type]
        if key not in allowed or not equals:
            message = f"--formats {name}: {setting} is no setting; there are: {', '.join(allowed) or 'none'}"
            raise UserError(message)
        values[key] = yaml.safe_load(value)
    try:
        return TypeAdapter(known[name]).validate_json(orjson.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"--formats {name}: {first['loc'][0]}: {first['msg']} (got {first['input']!r})"
        raise UserError(message) from error
