"""Work with paths on any file system that fsspec supports (local, s3://, gs://, hdfs://), without opening files.

gs:// needs the package gcsfs, s3:// needs s3fs, hf:// (the Hugging Face Hub) needs huggingface_hub, and hdfs:// needs
Hadoop's libhdfs; webhdfs:// needs nothing.
"""

import os
import re
from functools import cache
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.errors import UserError

_LEADS_OUT = re.compile(
    r"^/|\\|://|::|[\x00-\x1f]"
)  # an absolute path, a URL, or what another system or fsspec takes for one
# Stores that cannot rename an object, but in which an object exists only once it has been uploaded completely.
_S3 = {"s3", "s3a"}
_EXTRAS = {"hf": "hf", "s3": "s3", "s3a": "s3", "gs": "dataflow", "gcs": "dataflow"}
_HUB = {"hf"}
_OBJECT_STORES = {*_S3, "gs", "gcs", "az", "abfs", "abfss"}

CONCURRENT_FILES = 32  # that are read concurrently: on remote storage each request takes a while


@cache
def _filesystem(protocol: str) -> fsspec.AbstractFileSystem:
    try:
        # Without a cache of listings: this process waits for files that other processes write.
        return fsspec.filesystem(protocol, use_listings_cache=False, **_connections(protocol))
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"; pip install 'mmc4-pipeline[{extra}]'" if extra else ""
        raise UserError(f"{protocol}:// is not available here: {error}{remedy}") from error


def _connections(protocol: str) -> dict[str, Any]:
    """Return the settings for as many connections to a store as there are concurrent requests: s3fs opens only ten."""
    if protocol not in _S3:
        return {}
    chosen = fsspec.config.conf.get(protocol, {}).get("config_kwargs", {})
    return {"config_kwargs": {"max_pool_connections": CONCURRENT_FILES, **chosen}}


def in_one_request(path: str) -> dict[str, int]:
    """Return the arguments of `cat_file` with which it does not ask for the size first, as s3fs does."""
    return {"max_concurrency": 1} if fsspec.utils.get_protocol(path) in _S3 else {}


def filesystem(path: str) -> fsspec.AbstractFileSystem:
    """Return the file system of a path or URL.

    Raises UserError for HTTP, which is not one, and if the package that the file system needs is missing.
    """
    if is_over_http(path):
        raise UserError(f"{path}: only input files can be read over HTTP; give a local folder, s3:// or gs://")
    return _filesystem(fsspec.utils.get_protocol(path))


def is_over_http(path: str) -> bool:
    """Return whether a path is the URL of a file on a web server."""
    return fsspec.utils.get_protocol(path) in ("http", "https")


def is_on_hub(path: str) -> bool:
    """Return whether a path is on the Hugging Face Hub."""
    return fsspec.utils.get_protocol(path) in _HUB


def is_local(path: str) -> bool:
    """Return whether a path is on this machine's own file system."""
    return not is_over_http(path) and isinstance(filesystem(path), LocalFileSystem)


def is_in_object_store(path: str) -> bool:
    """Return whether a path is in a store that cannot rename files."""
    return fsspec.utils.get_protocol(path) in _OBJECT_STORES


def join(folder: str, *names: str) -> str:
    """Join a folder, local or a URL, with the names below it."""
    return "/".join([folder.rstrip("/"), *names])


def inside(folder: str, name: str) -> str:
    """Return the path of a file below a folder, by a name that may come from somebody else's file.

    Raises UserError if the name leads out of the folder, by itself or through a symbolic link.
    """
    path = join(folder, name)
    is_below = not (_LEADS_OUT.search(name) or ".." in name.split("/"))
    if is_below and is_local(folder):
        top = os.path.realpath(fsspec.core.strip_protocol(folder))
        is_below = os.path.realpath(fsspec.core.strip_protocol(path)).startswith(f"{top.rstrip('/')}/")
    if not is_below:
        raise UserError(f"{folder}: the file name {name!r} leads out of this folder; do not use a folder that names it")
    return path


def above(folder: str, levels: int) -> str:
    """Return the folder that many levels above."""
    # abspath, unlike Path.resolve, does not follow links.
    folder = os.path.abspath(fsspec.core.strip_protocol(folder)) if is_local(folder) else folder.rstrip("/")  # noqa: PTH100
    return folder.rsplit("/", levels)[0] or "/"
