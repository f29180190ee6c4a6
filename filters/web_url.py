r"""The form in which a URL is resolved, compared with rules and lists, and requested: that of WHATWG's URL standard.

See https://url.spec.whatwg.org. Browsers request a URL in this form, whatever form a page, a redirect or a list has it
in: `HTTP:\\A.example/b/../ü` is `http://a.example/%C3%BC`. What is percent-encoded already stays as it is.
"""

import re
from urllib.parse import SplitResult, urlsplit

import ada_url

from filters.short_cache import URL_LENGTH, short_cache

# A URL in this form already, as most are: parsing it would take ten times as long. No quantifier backtracks: that would
# take minutes for a URL of a megabyte.
HOST = r"(?:(?!xn--)[a-z0-9_]++(?:-++[a-z0-9_]++)*+\.)++(?!xn--)[a-z][a-z0-9-]*+"
SEGMENT = r"!$%&()*+,.0-9:;=@A-Z_a-z~-"  # characters that stay as they are in a folder's or file's name
SAFE = rf"/{SEGMENT}"  # and in a query, which may have "?" too
QUERY = rf"(?:\?[?{SAFE}]++)?"
NO_DOTS = r"(?!\.|%2[Ee])"  # such a name may be one of dots
PATH = rf"(?:/{NO_DOTS}[{SEGMENT}]*+)++{QUERY}"
_SURROGATES = re.compile("[\ud800-\udfff]")  # they can't be encoded; WHATWG's standard replaces them
is_plain = re.compile(rf"https?://{HOST}{PATH}").fullmatch


def web_url(text: str, base: str | None = None) -> str | None:
    """Return a URL in normal form, resolved against a base; None if it is not a valid http or https URL.

    The fragment, after "#", stays.
    """
    if base is None:
        return text if is_plain(text) else _normal(text)
    try:
        return _of_web(ada_url.join_url(base, text))
    except ValueError:
        encodable = _SURROGATES.sub("\ufffd", text)
        return web_url(encodable, base) if encodable != text else None


def without_fragment(url: str) -> str:
    """Return a URL as it is requested."""
    return url.partition("#")[0]


def parts_of(url: str) -> tuple[str, str, str]:
    """Return scheme, authority, and path with query of a URL in normal form. It takes a tenth of urlsplit's time."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    return scheme, authority, "/" + without_fragment(path)


def split(url: str) -> SplitResult | None:
    """Return the parts of a URL in normal form, None if it is not a valid http or https URL."""
    normal = web_url(url)
    return urlsplit(normal) if normal is not None else None


@short_cache(4096, URL_LENGTH)
def _normal(text: str) -> str | None:
    try:
        return _of_web(ada_url.normalize_url(text))
    except ValueError:
        encodable = _SURROGATES.sub("\ufffd", text)
        return _normal(encodable) if encodable != text else None


def _of_web(url: str) -> str | None:
    return url if url.startswith(("http://", "https://")) else None
