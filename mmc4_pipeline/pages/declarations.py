"""Collects what a page declares about the use of its content, from its HTML, its HTTP header or its WAT record.

Only declarations that some filter can decide by are collected, so that nearly all pages have none.
"""

import re
from collections.abc import Iterable
from typing import Any

from filters.page_robots import DIRECTIVES
from mmc4_pipeline.pages.tree import parse_html
from schemas.declarations import META, bounded

_TDM, _USAGE, _ROBOTS_TAG = "tdm-reservation", "content-usage", "x-robots-tag"
# In lower case: a page without any of these words declares nothing. A pattern finds the directives in a quarter of the
# time, because they begin alike.
_ANY_DIRECTIVE = re.compile("|".join(DIRECTIVES).encode())
_WORDS = (_TDM.encode(), _USAGE.encode())
_DIRECTIVE = re.compile("|".join(DIRECTIVES), re.IGNORECASE)
# Crawlers' own robots meta tags are named after them, such as googlebot.
_ROBOTS = re.compile(r"robots|mmc4-pipeline|img2dataset|[\w-]{0,40}bot", re.IGNORECASE)


def declarations_of_html(body: bytes, html: str) -> list[str]:
    """Return the declarations in the meta tags of a page, given as bytes and decoded."""
    lowered = body.lower()
    if b"\0" not in body and not _has_word(lowered):  # UTF-16 has a zero in each letter
        return []
    found = ((node.attributes.get("name"), node.attributes.get("content")) for node in parse_html(html).css("meta"))
    return bounded(_of_metas(found))


def declarations_of_header(fields: Iterable[tuple[str, str]]) -> list[str]:
    """Return the declarations in the fields of an HTTP header."""
    return bounded(_of_fields(fields))


def may_declare(data: bytes) -> bool:
    """Return whether a part of a WAT record may have declarations."""
    return _has_word(data.lower())


def _has_word(lowered: bytes) -> bool:
    return any(word in lowered for word in _WORDS) or _ANY_DIRECTIVE.search(lowered) is not None


def declarations_of_wat(response: Any) -> list[str]:
    """Return the declarations in HTTP-Response-Metadata of a WAT record, which may have any form."""
    fields = _below(response, "Headers")
    metas = _below(response, "HTML-Metadata", "Head", "Metas")
    pairs = [
        (name, value)
        for name, values in (fields if isinstance(fields, dict) else {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]
    found = [
        (each.get("name"), each.get("content"))
        for each in (metas if isinstance(metas, list) else [])
        if isinstance(each, dict)
    ]
    return bounded([*_of_fields((name, str(value)) for name, value in pairs), *_of_metas(found)])


def _below(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _of_metas(metas: Iterable[tuple[Any, Any]]) -> Iterable[str]:
    for raw_name, raw_content in metas:
        name, content = str(raw_name or "").strip().lower(), str(raw_content or "").strip()
        if name == _TDM or (_ROBOTS.fullmatch(name) and _DIRECTIVE.search(content)):
            yield f"{META}{name}: {content}"


def _of_fields(fields: Iterable[tuple[str, str]]) -> Iterable[str]:
    usage: list[str] = []
    for raw_name, value in fields:
        name = raw_name.strip().lower()
        if name == _TDM or (name == _ROBOTS_TAG and _DIRECTIVE.search(value)):
            yield f"header {name}: {value.strip()}"
        elif name == _USAGE:
            usage.append(value.strip())
    if usage:  # several fields are one dictionary (RFC 9110, section 5.3)
        yield f"header {_USAGE}: {', '.join(usage)}"
