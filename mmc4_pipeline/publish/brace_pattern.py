"""Writes one pattern for all shards of a format, as webdataset and OpenFlamingo expand it (the library braceexpand)."""

import re
from collections.abc import Iterable
from itertools import groupby

from mmc4_pipeline.formats.base import Format

_STEM = re.compile("(.*?)([0-9]+)")  # "18/shard-" and "182499"


def brace_pattern(item: Format, names: Iterable[str]) -> str:
    """Return a pattern that names exactly a format's files of those names, below the dataset's folder.

    "webdataset/shard-{00000..00123}.tar"; "{0/shard-{00000..09999},1/shard-{10000..12344}}.tar" of several folders.
    """
    prefix, suffix = f"{item.folder}/".lstrip("/"), f".{item.extension}"
    numbers = [
        found.groups()
        for name in sorted(names)
        if (found := _STEM.fullmatch(name.removeprefix(prefix).removesuffix(suffix)))
    ]
    runs = groupby(enumerate(numbers), key=lambda pair: (pair[1][0], len(pair[1][1]), int(pair[1][1]) - pair[0]))
    parts = [f"{stem}{_range([digits for _, (_, digits) in run])}" for (stem, *_), run in runs]
    return f"{prefix}{parts[0] if len(parts) == 1 else '{' + ','.join(parts) + '}'}{suffix}"


def _range(digits: list[str]) -> str:
    return digits[0] if len(digits) == 1 else f"{{{digits[0]}..{digits[-1]}}}"
