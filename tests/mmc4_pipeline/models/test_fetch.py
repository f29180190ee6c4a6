"""Fetching weights from a loopback server: complete, interrupted, wrong, missing, by two processes at once."""

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.catalogue import PublishedFile
from mmc4_pipeline.models.fetch import fetch, needed_by
from mmc4_pipeline.recipe import load_recipe
from tests.mmc4_pipeline.file_server import INPUTS, FileServer, cut, stalled, status, well, without_range

Serve = Callable[[dict[str, bytes]], FileServer]
CONTENT = random.Random(5).randbytes(5_000_000)
HALF = 2_500_000
ENDLESS = 99


def weights(address: str, content: bytes = CONTENT) -> PublishedFile:
    return PublishedFile(
        "w.pt", "some weights", f"{address}/w.pt", hashlib.sha256(content).hexdigest(), "MIT, of nobody"
    )


def fetched(file: PublishedFile, folder: Path) -> list[str]:
    """Fetch and return the lines that were printed."""
    lines: list[str] = []
    fetch(file, folder, INPUTS, lines.append, lambda _done, _total: None)
    return lines


def refusal(file: PublishedFile, folder: Path) -> str:
    """Return the one line of the error with which fetching ended."""
    with pytest.raises(UserError) as refused:
        fetched(file, folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def cut_off(server: FileServer, folder: Path) -> Path:
    """Fetch only half of the file, and return the path of that part."""
    server.ways.extend([well, cut(HALF), *[status(503)] * ENDLESS])
    refusal(weights(server.address), folder)
    server.ways.clear()
    part = folder / "w.pt.part"
    assert CONTENT.startswith(part.read_bytes())
    assert HALF - (1 << 20) < part.stat().st_size <= HALF
    server.spans()  # waits until all answers have ended
    server.requests.clear()
    return part


def test_a_file_is_fetched_with_its_source_and_licence_printed(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    progress: list[tuple[int, int]] = []
    lines: list[str] = []
    fetch(weights(server.address), tmp_path / "a" / "b", INPUTS, lines.append, lambda *seen: progress.append(seen))
    path = tmp_path / "a" / "b" / "w.pt"
    assert path.read_bytes() == CONTENT
    assert not path.with_name("w.pt.part").exists()
    (line,) = lines
    assert line.startswith(f"{path}: 5.0 MB from {server.address}/w.pt, sha256 ")
    assert line.endswith(": some weights, licence MIT, of nobody")
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert progress == sorted(progress)


def test_a_fetched_file_is_not_requested_again(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt").write_bytes(CONTENT)
    (line,) = fetched(weights(server.address), tmp_path)
    assert line.startswith(f"{tmp_path}/w.pt: already ")
    assert line.endswith(": some weights, licence MIT, of nobody")
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]  # a folder that others own is not written to


def test_another_file_under_its_name_is_refused_and_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt").write_bytes(b"mine")
    message = refusal(weights(server.address), tmp_path)
    assert message.startswith(f"{tmp_path}/w.pt: ")
    assert hashlib.sha256(b"mine").hexdigest() in message
    assert "`mmc4 models fetch`" in message
    assert (tmp_path / "w.pt").read_bytes() == b"mine"


def test_a_broken_connection_is_resumed_in_the_same_run(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    server.ways.extend([well, cut(1_000_000), cut(1_000_000), stalled(1_000_000)])
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_the_next_run_resumes_an_interrupted_download(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    have = cut_off(server, tmp_path).stat().st_size
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert max(one.start for one in server.requests) == have
    assert not (tmp_path / "w.pt.part").exists()


def test_a_server_that_ignores_range_costs_time_but_every_byte_is_right(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    cut_off(server, tmp_path)
    server.usual = without_range
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b"other" * 1000])
def test_the_part_file_of_an_earlier_run_is_checked_by_its_sha256(serve: Serve, tmp_path: Path, left: bytes) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt.part").write_bytes(left)
    if left != CONTENT:
        assert hashlib.sha256(CONTENT).hexdigest() in refusal(weights(server.address), tmp_path)
        assert not (tmp_path / "w.pt.part").exists()
        assert not (tmp_path / "w.pt").exists()
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_a_file_with_another_sha256_is_not_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT[:-1] + b"!"})
    message = refusal(weights(server.address), tmp_path)
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert message.endswith(f"{tmp_path}/w.pt")
    assert not list(tmp_path.glob("w.pt")) + list(tmp_path.glob("w.pt.part"))


def test_a_file_that_cannot_be_fetched_is_named_with_its_place(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    missing = refusal(weights(server.address + "/elsewhere"), tmp_path)
    server.usual = status(403)
    forbidden = refusal(weights(server.address), tmp_path)
    offline = refusal(weights("http://127.0.0.1:1"), tmp_path)
    for message, why in ((missing, "HTTP 404"), (forbidden, "HTTP 403"), (offline, "Connection refused")):
        assert message.startswith("w.pt: ")
        assert why in message
        assert f"(sha256 {sha256})" in message
        assert message.endswith(f"{tmp_path}/w.pt")
        assert "--resume" not in message
        assert "--cc_requests" not in message
    assert not (tmp_path / "w.pt").exists()


def test_a_folder_that_cannot_be_made_is_named(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "file").touch()
    message = refusal(weights(server.address), tmp_path / "file" / "models")
    assert message.startswith(f"{tmp_path}/file/models: Not a directory; ")
    assert "--models_folder" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_reported(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt.part").symlink_to("/dev/full")
    message = refusal(weights(server.address), tmp_path)
    assert message.startswith(f"{tmp_path}/w.pt: No space left on device; ")
    assert "--models_folder" in message
    assert not (tmp_path / "w.pt").exists()


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from mmc4_pipeline.models.catalogue import PublishedFile
from mmc4_pipeline.models.fetch import fetch
from mmc4_pipeline.storage import HttpSettings, Inputs
file = PublishedFile("w.pt", "", sys.argv[1], sys.argv[2], "")
fetch(file, Path(sys.argv[3]), Inputs(HttpSettings()), print, lambda done, total: None)
"""


def test_of_two_processes_one_fetches_and_the_other_waits(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    started, goes_on = threading.Event(), threading.Event()

    def show(done: int, _total: int) -> None:
        if done > HALF:
            started.set()
            assert goes_on.wait(60)

    file, lines = weights(server.address), []
    first = threading.Thread(target=fetch, args=(file, tmp_path, INPUTS, lines.append, show))
    first.start()
    assert started.wait(60)
    arguments = [sys.executable, "-u", "-c", ANOTHER_PROCESS, file.url, file.sha256, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        assert "another process" in second.stdout.readline()
        goes_on.set()
        assert f"{tmp_path}/w.pt: already " in second.stdout.read()
    first.join()
    assert second.returncode == 0
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert len([one for one in server.requests if one.end is None]) == 1  # the others requested the size


def test_a_killed_process_leaves_its_part_and_no_lock(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    server.ways.extend([well, stalled(HALF)])
    file = weights(server.address)
    arguments = [sys.executable, "-c", ANOTHER_PROCESS, file.url, file.sha256, str(tmp_path)]
    with subprocess.Popen(arguments) as process:
        assert wait_for(lambda: (tmp_path / "w.pt.part").exists() and (tmp_path / "w.pt.part").stat().st_size > 0)
        process.kill()
    assert 0 < (tmp_path / "w.pt.part").stat().st_size < len(CONTENT)
    fetched(file, tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def wait_for(happened: Callable[[], bool]) -> bool:
    """Wait until something has happened, for at most a minute."""
    never = threading.Event()
    return any(happened() or never.wait(0.02) for _ in range(3000))


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("mmc4", ["ViT-L-14.pt", "nsfw_torch.pt"]),
        ("mmc4-small", ["ViT-B-32.pt"]),
        ("mmc4-datacomp", ["laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"]),
        ("mmc4-core-ff", ["ViT-L-14.pt", "nsfw_torch.pt", "face_detection_yunet_2023mar.onnx"]),
    ],
)
def test_a_recipe_determines_the_files(recipe: str, names: list[str]) -> None:
    assert [file.name for file in needed_by(load_recipe(recipe))] == names


def test_the_detector_is_needed_to_find_faces_unless_it_is_the_cascade() -> None:
    looking = load_recipe("mmc4", ("face_detector.every_image=true",))
    assert needed_by(looking)[-1].name == "face_detection_yunet_2023mar.onnx"
    cascade = load_recipe("mmc4-ff", ("face_detector.every_image=true", "face_detector.model=cascade"))
    assert [file.name for file in needed_by(cascade)] == ["ViT-L-14.pt", "nsfw_torch.pt"]


def test_the_head_of_a_filter_that_is_off_is_not_needed() -> None:
    assert [file.name for file in needed_by(load_recipe("mmc4", ("filters.nsfw=null",)))] == ["ViT-L-14.pt"]


@pytest.mark.parametrize(
    ("scores", "clips"), [("[clip, aesthetic]", ["ViT-L-14.pt"]), ("[RN50_openai, aesthetic]", [])]
)
def test_only_a_recipe_of_the_default_clip_needs_its_file(scores: str, clips: list[str]) -> None:
    recipe = load_recipe("mmc4", (f"scores={scores}", "filters.nsfw=null"))
    assert [file.name for file in needed_by(recipe)] == clips
