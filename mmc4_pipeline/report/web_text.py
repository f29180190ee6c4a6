"""Prepares texts and URLs from the web for the page."""

from urllib.parse import urlsplit

MAX_URL = 2000  # characters; longer ones are shortened and not linked


def safe_link(url: str) -> str:
    """Return a URL if it may be the target of a link, else "": a page may contain any URL, `javascript:` too."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname and len(url) <= MAX_URL else ""


def host_of(url: str) -> str:
    """Return the host of a URL that may be linked, else ""."""
    link = safe_link(url)
    return (urlsplit(link).hostname or "") if link else ""


def shortened(text: str, characters: int) -> str:
    """Return a text with at most that many characters and an ellipsis."""
    return text if len(text) <= characters else text[:characters].rstrip() + " …"
