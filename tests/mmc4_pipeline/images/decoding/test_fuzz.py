"""2,000 mutated images: none ends or blocks the program, or takes much memory. Seeded, so every run has the same."""

import subprocess
import sys

import cv2
import numpy as np

from tests.mmc4_pipeline.images.decoding.files import after_start, chunk, jpeg, png, segment, tiff, webp
from tests.mmc4_pipeline.images.decoding.pictures import MAKERS, Photo, pillow

EACH = 250

_DECODE = """
import sys
from mmc4_pipeline.images.decoding.decode import decode, Decoded
from mmc4_pipeline.recipe import ImageSettings
read, kept, count = sys.stdin.buffer.read, 0, 0
while length := int.from_bytes(read(4), "big"):
    count += 1
    kept += isinstance(decode(read(length), ImageSettings(800, 90)), Decoded)
# Unlike the peak that getrusage returns, this one does not begin with that of the parent process.
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(count, kept, peak >> 10)
"""


def mutated(body: bytes, random: np.random.Generator) -> bytes:
    """Change bytes, above all of the first few hundred, and sometimes remove, repeat or truncate a part."""
    data = bytearray(body)
    for _ in range(int(random.integers(1, 6))):
        end = min(len(data), 300) if random.random() < 0.7 else len(data)
        data[int(random.integers(0, end))] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, random.integers(0, 256)]))
    start, length = int(random.integers(0, len(data))), int(random.integers(1, 200))
    match int(random.integers(0, 6)):
        case 0:
            del data[start : start + length]
        case 1:
            data[start:start] = data[start : start + length] * int(random.integers(1, 50))
        case 2:
            del data[max(20, start) :]
    return bytes(data)


def originals(photo: Photo) -> dict[str, bytes]:
    pixels = photo(1, 120, 90)
    animation = pillow(pixels)
    return {
        "jpeg": after_start(jpeg(pixels), segment(0xE1, b"Exif\0\0" + tiff(400, 5))),
        "progressive": MAKERS["progressive"](animation),
        "png": png(pixels, chunk(b"eXIf", tiff(400, 5)), chunk(b"iCCP", b"icc\0\0x")),
        "palette png": MAKERS["palette png"](animation),
        "webp": webp(pixels, (b"EXIF", tiff(400, 5))),
        "lossless webp": bytes(cv2.imencode(".webp", pixels)[1]),
        "gif": MAKERS["gif"](animation),
        "mpo": MAKERS["mpo"](animation),
    }


def test_no_mutated_file_ends_or_blocks_the_program(photo: Photo) -> None:
    random = np.random.default_rng(17)
    files = [mutated(body, random) for body in originals(photo).values() for _ in range(EACH)]
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in files) + bytes(4)
    done = subprocess.run([sys.executable, "-c", _DECODE], input=stream, capture_output=True, check=True, timeout=250)
    count, kept, megabytes = map(int, done.stdout.split())
    assert count == len(files) == 2_000
    assert 200 < kept < 1_900  # the mutations reach the decoders, and matter
    assert megabytes < 1_000
