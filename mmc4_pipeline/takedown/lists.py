"""The lists of a takedown: a deny-list of hosts, pages and URLs, and a list of hashes of content."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

from filters.denied_content import DeniedContent, LoadedDeniedContent
from filters.deny_list import DenyList, LoadedDenyList
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import HttpSettings, Inputs


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list: its path, and the sha256 that it had when the takedown began."""

    path: str
    sha256: str

    @classmethod
    def at(cls, path: str) -> Self:
        """Return the list at a path."""
        return cls(path, hashlib.sha256(Inputs(HttpSettings()).read_bytes(path)).hexdigest())

    def read(self) -> bytes:
        """Return its content; raises UserError if it has changed."""
        content = Inputs(HttpSettings()).read_bytes(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self.path}: changed while the takedown was running; run it again")
        return content


@dataclass(frozen=True, slots=True)
class Lists:
    """What a takedown removes: what a deny-list names, and the images whose content is on another list.

    `images` are the URLs of these images as entries of a deny-list: their hashes. They are known once the images have
    been looked up.
    """

    names: ListFile | None = None
    content: ListFile | None = None
    images: tuple[str, ...] = ()

    @classmethod
    def at(cls, names: str | None, content: str | None) -> Self:
        """Return the lists at these paths; raises UserError if one is not a list of its kind."""
        found = cls(names=ListFile.at(names) if names else None, content=ListFile.at(content) if content else None)
        found.denied()
        found.denied_content()
        return found

    def with_images(self, urls: Iterable[str]) -> Self:
        """Return the lists with the URLs of the images whose content is listed, in the form of a deny-list."""
        return replace(self, images=tuple(sorted(set(urls))))

    @property
    def sha256(self) -> dict[str, str]:
        """Return the sha256 of each list, by its option."""
        files = {"list": self.names, "content_list": self.content}
        return {option: file.sha256 for option, file in files.items() if file}

    def denied(self) -> LoadedDenyList:
        """Return the hosts, pages and URLs to remove, which each process reads once; raises UserError if invalid."""
        return _denied(self)

    def denied_content(self) -> LoadedDeniedContent | None:
        """Return the content to remove, which each process reads once; None if no list has any."""
        return _denied_content(self.content) if self.content else None


@cache
def _denied(lists: Lists) -> LoadedDenyList:
    content = lists.names.read() if lists.names else b""
    entries = "".join(f"\n{entry}" for entry in lists.images).encode()
    try:
        return DenyList(lists.names.path if lists.names else "").load(lambda _: content + entries)
    except ValueError as error:
        raise UserError(str(error)) from error


@cache
def _denied_content(file: ListFile) -> LoadedDeniedContent:
    content = file.read()
    try:
        return DeniedContent(file.path).load(lambda _: content)
    except ValueError as error:
        raise UserError(str(error)) from error
