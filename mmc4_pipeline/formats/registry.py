"""Finds the formats, and reads their settings from the command line and from a dataset's plan."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from mmc4_pipeline import formats
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.plug_ins import find_plug_ins, setting_values, with_settings


@cache
def known_formats() -> dict[str, type[Format]]:
    """Return every format by its name, sorted by name. Raises UserError if a plug-in can't be used."""
    return find_plug_ins(formats, Format, "mmc4.formats")


def parse_formats(choices: Sequence[str]) -> dict[str, Format]:
    """Read formats from the command line: "openflamingo", or "mmc4_jsonl:compression=zip,similarity_matrix=false".

    Raises UserError if a name, setting or value is unknown, if none is given, if two would write the same files, or if
    one needs a package that is not installed.
    """
    chosen: dict[str, Format] = {}
    for choice in choices:
        name, _, settings = choice.partition(":")
        if name in chosen:
            raise UserError(f"--formats: {name} is named twice; a dataset has one folder for it")
        chosen[name] = format_of(name, setting_values(settings, _class_of(name), f"--formats {name}"))
    if not chosen:
        raise UserError(f"--formats: name at least one of {', '.join(known_formats())}")
    owners: dict[str, str] = {}
    for name, item in chosen.items():
        if owners.setdefault(item.file_name(0, 1), name) != name:
            raise UserError(f"--formats: {name} and {owners[item.file_name(0, 1)]} write the same files; choose one")
        item.require()
    return chosen


def format_of(name: str, settings: Mapping[str, Any]) -> Format:
    """Return the format of that name with its settings. Raises UserError if it is unknown or a value is not allowed."""
    return with_settings(_class_of(name), settings, f"--formats {name}")


def _class_of(name: str) -> type[Format]:
    known = known_formats()
    if name not in known:
        raise UserError(
            f"--formats {name}: unknown format; known: {', '.join(known)}. If it is a plug-in's, install the plug-in"
        )
    return known[name]
