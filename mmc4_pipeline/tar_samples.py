"""Where the files of each document are in a tar of image files, kept in a small file so that the tar is not read.

The file has the sha256 of the tar and of its own second line. That line is JSON: for each document its key, and the
sizes of `<key>.json`, `<key>.0.jpg`, `<key>.1.jpg`, …, from which their places follow.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby

import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.tar import Member, members_of

Samples = list[tuple[str, list[Member]]]  # the files of each document, by its key


def samples_of(members: Iterable[Member]) -> Samples:
    """Return the files of a tar, in order, by document."""
    return [(key, list(group)) for key, group in groupby(members, key=lambda member: member.name.partition(".")[0])]


def written_samples(tar: tarfile.TarFile) -> Samples:
    """Return the files that were added to a new tar, which is still open."""
    return samples_of(_placed((member.name, member.size) for member in tar.getmembers()))


def read_samples(path: str, sha256: str) -> Samples:
    """Return the files of a tar with these bytes, from the file next to it, or else from the tar's headers.

    Raises UserError if neither can be read.
    """
    try:
        return decoded(storage.read_bytes(samples_name(path)), sha256)
    except (UserError, ValueError, TypeError):
        with storage.open_read(path) as stream:
            return samples_of(members_of(stream, path))


def samples_name(name: str) -> str:
    """Return the name of the file that is stored next to a tar."""
    return f"{name}.samples"


def encoded(samples: Samples, sha256: str) -> bytes:
    """Return the content of the file for a tar with these bytes."""
    line = orjson.dumps([[key, *(member.size for member in members)] for key, members in samples])
    return _head(line, sha256) + line


def decoded(data: bytes, sha256: str) -> Samples:
    """Return the files that `encoded` described; raises ValueError if the content is damaged or that of another tar."""
    head, end, line = data.partition(b"\n")
    if head + end != _head(line, sha256):
        raise ValueError("other bytes")
    documents = orjson.loads(line)
    names = ((f"{key}.{_part(at)}", size) for key, *sizes in documents for at, size in enumerate(sizes))
    return samples_of(_placed(names))


def _head(line: bytes, sha256: str) -> bytes:
    return f"{sha256} {hashlib.sha256(line).hexdigest()}\n".encode()


def _part(at: int) -> str:
    return f"{at - 1}.jpg" if at else "json"


def _placed(files: Iterable[tuple[str, int]]) -> Iterator[Member]:
    """Yield where files of these names and sizes are in a tar."""
    start = 0
    for name, size in files:
        member = Member(name, start, start + tarfile.BLOCKSIZE, size)
        yield member
        start = member.end
