"""Undo the codings of an HTTP body as archives store it: still coded, or already decoded with the header kept.

Whether a body is coded is therefore decided by its bytes. A body that its coding cannot explain is taken as it is if it
looks like text, and is unreadable otherwise. A body that ends too early, as crawlers truncate them, is decoded up to
there.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import brotli
import webencodings
import zstandard

from mmc4_pipeline.commoncrawl.zstd_frames import ZSTD_MAGIC, frame_size

MAX_BODY_BYTES = 64 << 20  # after each coding
MAX_CODINGS = 8  # real bodies have two at most
_PIECE_BYTES = 16 << 10
_GZIP_MAGIC = b"\x1f\x8b\x08"
_MAGICS = (_GZIP_MAGIC, ZSTD_MAGIC)
_ZSTD_WINDOW_BYTES = 8 << 20  # RFC 9659: a body must not need a larger one
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_GZIP_TRAILER_BYTES = 8

_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")  # RFC 9112, section 7.1
_ENDS_IN_SIZE = re.compile(rb"[ \t]*[0-9A-Fa-f]{0,16}(?:[ \t]*;[^\r\n]*)?\r?")  # a body that ends within a chunk's size
_LINE_END = re.compile(rb"\r?(?:\n|\Z)")
# A byte order mark or a tag, as one-byte characters or in UTF-16.
_MARKUP = re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff|\s*<[a-zA-Z!?/]|<\0|\0<")
_BINARY = re.compile(rb"[\0-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # WHATWG MIME Sniffing, "binary data byte"
_SNIFFED_BYTES = 1445  # what browsers look at
_NO_CODING = ("identity", "none", "binary", "8bit", "7bit")


class _Decoded(NamedTuple):
    """A decoder's result, and whether the coded data is exactly the body: it ends, and nothing follows."""

    data: bytes
    exact: bool


def decoded_body(body: bytes, codings: tuple[str, ...]) -> bytes:
    """Return a body without its codings, which are given in the order in which they were applied.

    Raises ValueError if a coding cannot be undone, or if the result is larger than MAX_BODY_BYTES.
    """
    if len(codings) > MAX_CODINGS:
        raise ValueError(f"it has {len(codings)} codings")
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    for coding in reversed(codings):
        body = _without(coding, body)
    for _ in range(MAX_CODINGS):
        if not body.startswith(_MAGICS):
            return body
        body = _without("", body)  # coded, but no field says so
    raise ValueError(f"it is compressed more than {MAX_CODINGS} times")


def _without(coding: str, body: bytes) -> bytes:
    if coding == "chunked":
        return _without_chunks(body)
    decoder = _decoder(coding, body)
    if not body or (decoder is None and (coding in _NO_CODING or webencodings.lookup(coding))):
        return body  # some servers name a charset instead of a coding
    found, why = _tried(decoder, body) if decoder else (None, "unknown coding")
    if found and found.exact:
        return found.data
    if _looks_like_text(body):
        return body
    for other in _WITHOUT_MAGIC:  # of another name than the field has
        with suppress(ValueError):  # too large
            if other is not decoder and (guess := _tried(other, body)[0]) and guess.exact:
                return guess.data
    if found and found.data:
        return found.data
    raise ValueError(f"its content coding {coding[:30]!r} cannot be undone ({why})")


def _tried(decoder: "_Decoder", body: bytes) -> tuple["_Decoded | None", str]:
    """Return what a decoder makes of a body, or why it can't."""
    try:
        return decoder(body), "it breaks off"
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        return None, str(error)


def _decoder(coding: str, body: bytes) -> "_Decoder | None":
    """Return the decoder by the body's first bytes, if they say, or else by the name of its coding."""
    if body.startswith(_GZIP_MAGIC):
        return _without_gzip
    if body.startswith(ZSTD_MAGIC):
        return _without_zstd
    return _DECODERS.get(coding.partition(";")[0].strip(' "'))


def _looks_like_text(body: bytes) -> bool:
    return bool(_MARKUP.match(body) or not _BINARY.search(body, 0, _SNIFFED_BYTES))


def _without_chunks(body: bytes) -> bytes:
    """Return the content of the chunks; a body that does not begin with a chunk is taken as it is."""
    parts: list[bytes] = []
    at = 0
    while found := _CHUNK.match(body, at):
        size, start = int(found[1], 16), found.end()
        if size == 0:
            return b"".join(parts) if parts or not body[start:].strip() else body
        parts.append(body[start : start + size])
        end = _LINE_END.match(body, start + size)
        if not end:
            break
        at = end.end()
    if at == 0:
        return body
    if at < len(body) and not _ENDS_IN_SIZE.fullmatch(body, at):
        raise ValueError("the chunks of its body are damaged")
    return b"".join(parts)


def _pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES))


def _without_gzip(body: bytes) -> _Decoded:
    """Inflate one or more gzip members; whatever follows them is ignored, as browsers do.

    Browsers do not check the checksum and size at the end either.
    """
    try:
        return _gunzipped(body)
    except zlib.error:
        return _gunzipped(body[:-_GZIP_TRAILER_BYTES])


def _gunzipped(body: bytes) -> _Decoded:
    output = _Output()
    inflater = zlib.decompressobj(_GZIP)
    for piece in _pieces(body):
        rest = piece
        while rest:
            if inflater.eof:
                if not rest.startswith(_GZIP_MAGIC[: len(rest)]):
                    return _Decoded(output.joined(), exact=False)
                inflater = zlib.decompressobj(_GZIP)
            rest = _inflate_piece(inflater, rest, output)
    return _Decoded(output.joined(), inflater.eof)


def _without_deflate(body: bytes) -> _Decoded:
    """Inflate with or without zlib's header: servers send both under this name."""
    try:
        return _inflated(body, _ZLIB)
    except zlib.error:
        return _inflated(body, _RAW)


def _inflated(body: bytes, bits: int) -> _Decoded:
    inflater, output = zlib.decompressobj(bits), _Output()
    rest = b""
    for piece in _pieces(body):
        rest = _inflate_piece(inflater, piece, output)
        if inflater.eof:
            break
    return _Decoded(output.joined(), inflater.eof and not rest)


def _inflate_piece(inflater: "zlib._Decompress", piece: bytes, output: "_Output") -> bytes:
    """Inflate a piece and return what follows the compressed data in it."""
    while piece and not inflater.eof:
        output.add(inflater.decompress(piece, output.room()))
        piece = inflater.unconsumed_tail
    return inflater.unused_data


def _without_brotli(body: bytes, carefully: int | None = None) -> _Decoded:
    """Decode brotli data; the piece of that number byte by byte, to find an end within it.

    The decoder reports bytes after the end as an error, and does not return what it decoded in the same call.
    """
    decoder, output = brotli.Decompressor(), _Output()
    number = 0
    try:
        for number, piece in enumerate(_pieces(body)):
            for part in (bytes([byte]) for byte in piece) if number == carefully else (piece,):
                if decoder.is_finished():
                    return _Decoded(output.joined(), exact=False)
                _feed(decoder, part, output)
    except brotli.error:
        if carefully is not None:
            raise
        return _without_brotli(body, number)
    return _Decoded(output.joined(), decoder.is_finished())


def _feed(decoder: brotli.Decompressor, part: bytes, output: "_Output") -> None:
    output.add(decoder.process(part, output_buffer_limit=output.room()))
    while not decoder.can_accept_more_data() and not decoder.is_finished():
        output.add(decoder.process(b"", output_buffer_limit=output.room()))


def _without_zstd(body: bytes) -> _Decoded:
    end = _end_of_frames(body)
    frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
        body[:end] if end else body, read_across_frames=True
    )
    output = _Output()
    while piece := frames.read(_PIECE_BYTES * 16):
        output.add(piece)
    return _Decoded(output.joined(), end >= len(body))


def _end_of_frames(body: bytes) -> int:
    end = 0
    try:
        while end < len(body) and (size := frame_size(body, end)):
            end += size
    except ValueError:  # what follows is not a frame
        pass
    return end


_Decoder = Callable[[bytes], _Decoded]
_WITHOUT_MAGIC: tuple[_Decoder, ...] = (_without_deflate, _without_brotli)
_DECODERS: dict[str, _Decoder] = {
    **dict.fromkeys(("deflate", "x-deflate", "zlib"), _without_deflate),
    **dict.fromkeys(("br", "x-br", "brotli"), _without_brotli),
    **dict.fromkeys(("zstd", "x-zstd", "zstandard"), _without_zstd),  # may begin with a frame to skip
}


class _Output:
    """Decoded data, up to the limit."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def room(self) -> int:
        """Return how many bytes a decoder may return at once: one more than may be added."""
        return MAX_BODY_BYTES - self.size + 1

    def add(self, part: bytes) -> None:
        """Keep a part; raises ValueError beyond the limit."""
        self.size += len(part)
        if self.size > MAX_BODY_BYTES:
            raise _too_large()
        self._parts.append(part)

    def joined(self) -> bytes:
        """Return all parts."""
        return b"".join(self._parts)


def _too_large() -> ValueError:
    return ValueError(f"its body is larger than {MAX_BODY_BYTES >> 20} MiB")
