"""Zstandard frames (RFC 8878): how long one is, and its content, without reading beyond a limit."""

import zstandard

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
SKIPPABLE_HEADER_BYTES = 8  # magic number and size
_MAX_HEADER_BYTES = 18
_BLOCK_HEADER_BYTES = 3
_RLE_BLOCK, _RESERVED_BLOCK = 1, 3
_CHECKSUM_BYTES = 4
_PIECE_BYTES = 1 << 20


def is_skippable(data: bytes, start: int = 0) -> bool:
    """Return whether a frame starts here that decoders skip."""
    return int.from_bytes(data[start : start + 4], "little") in _SKIPPABLE


def frame_size(data: bytes, start: int = 0) -> int | None:
    """Return the size in bytes of the frame that starts here; None if the data ends before it does.

    Only the headers of its blocks are looked at. They say how long each block is. Raises ValueError if no frame starts
    here, or if a header is damaged.
    """
    if is_skippable(data, start):
        size = SKIPPABLE_HEADER_BYTES + int.from_bytes(data[start + 4 : start + 8], "little")
        return size if start + size <= len(data) else None
    head = data[start : start + _MAX_HEADER_BYTES]
    if not head.startswith(ZSTD_MAGIC):
        raise ValueError("it is not a zstd frame")
    head = head.ljust(_MAX_HEADER_BYTES, b"\0")  # a short frame may end within the longest header
    try:
        at = start + zstandard.frame_header_size(head)
        checksum = _CHECKSUM_BYTES if zstandard.get_frame_parameters(head).has_checksum else 0
    except zstandard.ZstdError as error:
        raise ValueError(f"its zstd header is damaged ({error})") from error
    last = False
    while not last:
        block = int.from_bytes(data[at : at + _BLOCK_HEADER_BYTES], "little")
        last, kind = bool(block & 1), block >> 1 & 3
        if at + _BLOCK_HEADER_BYTES > len(data):
            return None
        if kind == _RESERVED_BLOCK:
            raise ValueError("a block of its zstd frame is damaged")
        at += _BLOCK_HEADER_BYTES + (1 if kind == _RLE_BLOCK else block >> 3)
    size = at + checksum - start
    return size if start + size <= len(data) else None


def decompress(frame: bytes, limit: int, dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes | None:
    """Return the content of a complete frame; None if it exceeds the limit. Raises ZstdError if it is damaged."""
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=limit)
    declared = zstandard.frame_content_size(frame)
    if declared > limit:
        return None
    if declared >= 0:
        return bytes(decompressor.decompress(frame))
    parts, size = [], 0
    with decompressor.stream_reader(frame) as reader:
        while part := reader.read(_PIECE_BYTES):
            parts.append(part)
            size += len(part)
            if size > limit:
                return None
    return b"".join(parts)
