"""Fetching weights from a loopback server: whole, cut off, wrong, missing, twice at once."""

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
    """Fetch and give what was said."""
    said: list[str] = []
    fetch(file, folder, INPUTS, said.append, lambda _done, _total: None)
    return said


def refusal(file: PublishedFile, folder: Path) -> str:
    """Give the one line with which fetching ended."""
    with pytest.raises(UserError) as refused:
        fetched(file, folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def cut_off(server: FileServer, folder: Path) -> Path:
    """Fetch the half of the file and no more; give what there is of it."""
    server.ways.extend([well, cut(HALF), *[status(503)] * ENDLESS])
    refusal(weights(server.address), folder)
    server.ways.clear()
    part = folder / "w.pt.part"
    assert CONTENT.startswith(part.read_bytes())
    assert HALF - (1 << 20) < part.stat().st_size <= HALF
    server.spans()  # waits until all answers have ended
    server.asked.clear()
    return part


def test_a_file_comes_whole_and_says_from_where_and_under_which_licence(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    progress: list[tuple[int, int]] = []
    said: list[str] = []
    fetch(weights(server.address), tmp_path / "a" / "b", INPUTS, said.append, lambda *seen: progress.append(seen))
    path = tmp_path / "a" / "b" / "w.pt"
    assert path.read_bytes() == CONTENT
    assert not path.with_name("w.pt.part").exists()
    assert said == [
        f"{path}: 5.0 MB from {server.address}/w.pt, sha256 as published: some weights, licence MIT, of nobody"
    ]
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert progress == sorted(progress)


def test_a_file_that_is_there_is_not_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt").write_bytes(CONTENT)
    assert fetched(weights(server.address), tmp_path) == [
        f"{tmp_path}/w.pt: is there, sha256 as published: some weights, licence MIT, of nobody"
    ]
    assert server.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]  # a folder that others own is not written to


def test_another_file_under_its_name_is_refused_and_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt").write_bytes(b"mine")
    message = refusal(weights(server.address), tmp_path)
    assert message.startswith(f"{tmp_path}/w.pt: its sha256 is {hashlib.sha256(b'mine').hexdigest()}")
    assert "remove it and run `mmc4 models fetch`" in message
    assert (tmp_path / "w.pt").read_bytes() == b"mine"


def test_a_connection_that_breaks_is_taken_up_in_the_same_run(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    server.ways.extend([well, cut(1_000_000), cut(1_000_000), stalled(1_000_000)])
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_the_next_run_goes_on_where_the_last_was_cut_off(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    have = cut_off(server, tmp_path).stat().st_size
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert max(one.start for one in server.asked) == have
    assert not (tmp_path / "w.pt.part").exists()


def test_a_server_that_ignores_range_costs_time_but_no_byte_is_wrong(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    cut_off(server, tmp_path)
    server.usual = without_range
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b"other" * 1000])
def test_what_an_earlier_run_left_is_believed_only_by_its_hash(serve: Serve, tmp_path: Path, left: bytes) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt.part").write_bytes(left)
    if left != CONTENT:
        assert "was removed. Run this again" in refusal(weights(server.address), tmp_path)
        assert not (tmp_path / "w.pt").exists()
    fetched(weights(server.address), tmp_path)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_other_bytes_than_were_published_are_not_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT[:-1] + b"!"})
    message = refusal(weights(server.address), tmp_path)
    assert f"not {hashlib.sha256(CONTENT).hexdigest()}, and was removed" in message
    assert message.endswith(f"get the file elsewhere and put it at {tmp_path}/w.pt")
    assert not list(tmp_path.glob("w.pt")) + list(tmp_path.glob("w.pt.part"))


def test_a_file_that_cannot_be_had_is_named_with_where_to_put_it(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    by_hand = f"(sha256 {hashlib.sha256(CONTENT).hexdigest()}) on another machine and put it at {tmp_path}/w.pt"
    gone = refusal(weights(server.address + "/elsewhere"), tmp_path)
    server.usual = status(403)
    forbidden = refusal(weights(server.address), tmp_path)
    offline = refusal(weights("http://127.0.0.1:1"), tmp_path)
    for message, why in ((gone, "HTTP 404"), (forbidden, "HTTP 403"), (offline, "Connection refused")):
        assert message.startswith("w.pt: cannot be fetched (")
        assert why in message
        assert message.endswith(by_hand)
        assert "--resume" not in message
        assert "--cc_requests" not in message
    assert not (tmp_path / "w.pt").exists()


def test_a_folder_that_takes_no_files_is_named(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "file").touch()
    assert refusal(weights(server.address), tmp_path / "file" / "models") == (
        f"{tmp_path}/file/models: Not a directory; see to it, or choose another --models_folder"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    (tmp_path / "w.pt.part").symlink_to("/dev/full")
    assert refusal(weights(server.address), tmp_path) == (
        f"{tmp_path}/w.pt: No space left on device; see to it, or choose another --models_folder"
    )
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


def test_of_two_at_once_one_fetches_and_both_have_the_file(serve: Serve, tmp_path: Path) -> None:
    server = serve({"/w.pt": CONTENT})
    started, goes_on = threading.Event(), threading.Event()

    def show(done: int, _total: int) -> None:
        if done > HALF:
            started.set()
            assert goes_on.wait(60)

    file, said = weights(server.address), []
    first = threading.Thread(target=fetch, args=(file, tmp_path, INPUTS, said.append, show))
    first.start()
    assert started.wait(60)
    arguments = [sys.executable, "-u", "-c", ANOTHER_PROCESS, file.url, file.sha256, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        assert "waiting for another process" in second.stdout.readline()
        goes_on.set()
        assert "is there, sha256 as published" in second.stdout.read()
    first.join()
    assert second.returncode == 0
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert len([one for one in server.asked if one.end is None]) == 1  # the others asked for the size


def test_one_that_was_killed_leaves_what_it_had_and_no_lock(serve: Serve, tmp_path: Path) -> None:
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
    """Wait until something has happened, a minute at most."""
    never = threading.Event()
    return any(happened() or never.wait(0.02) for _ in range(3000))


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("mmc4", ["ViT-L-14.pt", "nsfw_torch.pt"]),
        ("mmc4-core-ff", ["ViT-L-14.pt", "nsfw_torch.pt", "face_detection_yunet_2023mar.onnx"]),
    ],
)
def test_a_recipe_says_what_is_needed(recipe: str, names: list[str]) -> None:
    assert [file.name for file in needed_by(load_recipe(recipe))] == names


def test_the_detector_is_needed_where_faces_are_looked_for_unless_it_is_the_cascade() -> None:
    looking = load_recipe("mmc4", ("face_detector.every_image=true",))
    assert needed_by(looking)[-1].name == "face_detection_yunet_2023mar.onnx"
    cascade = load_recipe("mmc4-ff", ("face_detector.every_image=true", "face_detector.model=cascade"))
    assert [file.name for file in needed_by(cascade)] == ["ViT-L-14.pt", "nsfw_torch.pt"]


def test_what_a_recipe_turned_off_is_not_needed() -> None:
    assert [file.name for file in needed_by(load_recipe("mmc4", ("filters.nsfw=null",)))] == ["ViT-L-14.pt"]
