"""Finds scorers by name, and reads their settings from the command line."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from mmc4_pipeline import scorers
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.plug_ins import find_plug_ins, setting_values, with_settings
from mmc4_pipeline.scoring.base import Scorer
from schemas.columns import Column, best, ledger_columns, matched
from schemas.ledger import LedgerRow
from schemas.manifest import CLIP
from schemas.statistics import COUNTED

_NAME = re.compile("[a-z][a-z0-9_]*")
_RESERVED = {*LedgerRow.__dataclass_fields__, *COUNTED, "images"}


@cache
def known_scorers() -> dict[str, type[Scorer]]:
    """Return every scorer by its name, sorted by name. Raises UserError if a plug-in can't be used."""
    found = find_plug_ins(scorers, Scorer, "mmc4.scorers")
    for name, item in found.items():
        if problem := _problem(item.columns):
            raise UserError(f"scorer {name}: can't be used: {problem}. Update or uninstall its package")
    return found


def parse_scorers(choices: Sequence[str], defaults: Mapping[str, Any]) -> tuple[Scorer, ...]:
    """Read scorers from the command line: "clip", or "clip:model=ViT-B-32,pretrained=datacomp_xl_s13b_b90k".

    `defaults` are settings of the scorer `clip` that other options have given. Raises UserError if a name, setting or
    value can't be used, or if two scorers would write to the same folder.
    """
    chosen: dict[str, Scorer] = {}
    for choice in choices:
        name, _, settings = choice.partition(":")
        values = setting_values(settings, _class_of(name), f"--scorer {name}")
        scorer = scorer_of(name, {**(defaults if name == CLIP else {}), **values})
        if scorer.folder in chosen:
            raise UserError(
                f"--scorer {choice}: another scorer also writes to scores/{scorer.folder}; choose one of them"
            )
        chosen[scorer.folder] = scorer
    return tuple(chosen.values())


def beside_clip(names: Sequence[str]) -> list[str]:
    """Return those of a recipe's names of scores that are scorers, without CLIP."""
    return [name for name in names if name in known_scorers() and name != CLIP]


def scorer_of(name: str, settings: Mapping[str, Any]) -> Scorer:
    """Return the scorer of that name with its settings. Raises UserError if it is unknown or a value is not allowed."""
    return with_settings(_class_of(name), settings, f"--scorer {name}")


def name_of(scorer: Scorer) -> str:
    """Return the name of a scorer."""
    return type(scorer).__module__.rpartition(".")[2]


def _class_of(name: str) -> type[Scorer]:
    known = known_scorers()
    if name not in known:
        raise UserError(
            f"--scorer {name}: unknown scorer; known: {', '.join(known)}. If it is a plug-in's, install the plug-in"
        )
    return known[name]


def _problem(columns: Sequence[Column]) -> str | None:
    """Return why columns can't be used, None if they can."""
    names = [item.name for item in ledger_columns(columns)]
    for name in (*names, *(item.name for item in columns)):
        if not _NAME.fullmatch(name) or name in _RESERVED:
            return f"column {name!r} is not in lower case, or has the name of another column of the ledger"
    for item in columns:
        if item.name.startswith((best(""), matched(""))):
            return f"column {item.name!r}: the ledger has such names for the columns of a matrix"
        low, high = item.range
        if not low < high:
            return f"column {item.name!r}: its range must go from a lower to a higher number"
    return "two of its columns have the same name in the ledger" if len(set(names)) < len(names) else None
