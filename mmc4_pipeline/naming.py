"""Derive names from the input: document keys, sites, shard numbers. They are the same on every machine and run."""

import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tldextract import TLDExtract

from filters.short_cache import NAME_LENGTH, short_cache

# The public suffix list that the package contains: no download, and the same sites for everybody. Its private domains
# (blogspot.com, github.io) are suffixes too: below them, everybody has a site of their own.
_SUFFIXES = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)

PER_FOLDER = 10_000  # numbers per folder: with no more, there are no subfolders
_STAGE_FILES = 1000  # numbers per folder of a stage, in which a shard has up to three files
_NUMBERED = re.compile("-([0-9]{5,12})-of-([0-9]{5,12})[.]")


def stable_hash(text: str) -> int:
    """Return a 64-bit hash that does not change between processes, machines or Python versions."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def document_key(url: str, timestamp: datetime) -> str:
    """Return a document's key: 32 hex digits. C4 has a URL several times if it was crawled several times."""
    name = f"{url}\n{timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def image_name(url: str) -> str:
    """Return the file name of an image: hex digits and .jpg, as in the published MMC4."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:20] + ".jpg"


@short_cache(65536, NAME_LENGTH)
def _site(host: str) -> str:
    return _SUFFIXES(host).top_domain_under_public_suffix or host


@short_cache(65536, NAME_LENGTH)
def _registered_domain(host: str) -> str:
    return _SUFFIXES(host).top_domain_under_registry_suffix or host


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # not a URL: such documents share one site
        return ""


def site_of(url: str) -> str:
    """Return the domain of whoever made the page: the one below a public suffix, or the URL's host if it has none.

    "news.example.co.uk" -> "example.co.uk", "www.somebody.blogspot.com" -> "somebody.blogspot.com".
    """
    return _site(_host(url))


def registered_domain(url: str) -> str:
    """Return the domain of whoever runs the host, even if others have sites below it.

    "somebody.blogspot.com" -> "blogspot.com".
    """
    return _registered_domain(_host(url))


def shard_of(name: str, shards: int) -> int:
    """Return the shard, 0 to shards - 1, of something with that name."""
    return stable_hash(name) % shards


def number_name(number: int, numbers: int) -> str:
    """Return a number from 0 to numbers - 1 with as many digits as the last one has, at least five: "00003".

    Names with such numbers sort as the numbers do, and a brace pattern like {000000..182499} names all of them.
    """
    return f"{number:0{max(5, len(str(numbers - 1)))}d}"


def number_folder(number: int, numbers: int, size: int = PER_FOLDER) -> str:
    """Return the folder of a number from 0 to numbers - 1, with the slash: "18/". Empty if one folder has all numbers.

    A folder has `size` numbers. The names of folders sort as the numbers do.
    """
    if numbers <= PER_FOLDER:
        return ""
    return f"{number // size:0{len(str((numbers - 1) // size))}d}/"


def numbered(folder: str, number: int) -> str:
    """Return the path of something whose highest number is not known: "done/00003", "done/18/182499"."""
    inner = f"{number // PER_FOLDER}/" if number >= PER_FOLDER else ""
    return f"{folder}/{inner}{number:05d}"


def shard_name(stem: str, shard: int, shards: int) -> str:
    """Return the file name stem of a shard: "pages-00003-of-00012"."""
    return f"{stem}-{number_name(shard, shards)}-of-{shards:05d}"


def in_stage_folder(name: str) -> str:
    """Return the path of a file below its stage's folder, by its name: "018/pages-018249-of-182500.parquet".

    The path is the name itself if the stage has at most 10,000 shards, or if the name has no number of a shard.
    """
    found = _NUMBERED.search(name)
    return number_folder(int(found[1]), int(found[2]), _STAGE_FILES) + name if found else name
