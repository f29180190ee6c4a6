"""`mmc4 try` as the README has it, with stand-ins for the Hub, Common Crawl, the hosts of weights and the web."""

import gzip
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec
import open_clip
import pytest

from beam_jobs import try_preview
from mmc4_pipeline.estimate import whole_run
from mmc4_pipeline.estimate.estimate import ScoreSpeeds, Speeds
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.storage import paths
from tests.end_to_end.running import RECIPE, WEIGHTS, Run, Web, data_of, mmc4, refusal, start, succeeded
from tests.end_to_end.sources import ROOT
from tests.mmc4_pipeline.clip.openai_archive import archive
from tests.mmc4_pipeline.file_server import FileServer, Handler, cut, serving
from tests.mmc4_pipeline.hub import hub_model, serving_hub

C4 = "c4-train.00000-of-01024.json.gz"
DOCUMENTS = "12"
PAUSE = 6  # seconds: longer than the timeout of an image, and than what a busy process may take for a step
PATIENCE = 240  # seconds within which a run must reach a stage


@dataclass(frozen=True)
class StandIns:
    """Servers on loopback, and the folder of weights, which is empty."""

    web: Web
    hub: FileServer
    weights: FileServer
    models: Path

    def arguments(self, folder: Path) -> list[str]:
        """Return the README's command with other hosts, models that fit the generated web, and a folder."""
        other = {
            "cc_root": str(self.web.folder / "commoncrawl"),
            "image_routes": f"{self.web.address}/{{url}}",
            "delay_per_host": "0",
            "fetch_timeout": "5",
            "recipe": RECIPE,
            "clip_model": str(WEIGHTS / "clip.json"),
            "face_weights": str(WEIGHTS / "faces.pt"),
            "limit": DOCUMENTS,
            "output": str(folder),
        }
        options = [word for name, value in other.items() for word in (f"--{name}", value)]
        return [*readme_command(), *options, "--allow_private_hosts"]

    def run(self, folder: Path, *more: str) -> Run:
        """Run that command in this process."""
        return mmc4(*self.arguments(folder), *more)


def readme_command() -> list[str]:
    """Return the arguments of the first `mmc4 try` in the README."""
    line = re.search(r"^mmc4 (try .*?)\s*(#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert line
    return shlex.split(line[1])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return small models of the generated web in the form of the published ones."""
    open_clip.add_model_config(WEIGHTS / "clip.json")
    path = tmp_path_factory.mktemp("published") / "clip.pt"
    archive(open_clip.create_model("clip", str(WEIGHTS / "clip.pt")), path)
    return {"/ViT-L-14.pt": path.read_bytes(), "/nsfw_torch.pt": (WEIGHTS / "nsfw.pt").read_bytes()}


@pytest.fixture
def stand_ins(
    web: Web, published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIns]:
    content = b"".join(gzip.decompress(path.read_bytes()) for path in sorted((web.folder / "c4").glob("*.gz")))
    with ExitStack() as stack:
        hub = stack.enter_context(serving_hub({C4: gzip.compress(content)}))
        weights = stack.enter_context(serving(dict(published)))
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.address})
        monkeypatch.setenv("MMC4_MODELS", str(tmp_path / "models"))
        monkeypatch.setattr(catalogue, "CLIP_IDENTITY", {"model": "clip", "weights": "openai"})
        for name, path in zip(("CLIP", "NSFW"), published, strict=True):
            (tmp_path / "file").write_bytes(published[path])
            file = replace(
                getattr(catalogue, name), url=weights.address + path, sha256=file_sha256(str(tmp_path / "file"))
            )
            monkeypatch.setattr(catalogue, name, file)
        # Other tests measure this machine.
        monkeypatch.setattr(whole_run, "measure_speeds", lambda *_: Speeds(1e-3, 1e8, 1e8, 1e6, 200.0))
        monkeypatch.setattr(try_preview, "measure_clip", lambda _: (ScoreSpeeds(1.0, 20.0), ""))
        paths._filesystem.cache_clear()  # noqa: SLF001
        yield StandIns(web, hub, weights, tmp_path / "models")
    paths._filesystem.cache_clear()  # noqa: SLF001


def test_one_command_fetches_everything_and_shows_the_result(stand_ins: StandIns, tmp_path: Path) -> None:
    folder, weights = tmp_path / "try", stand_ins.weights
    weights.ways.append(stopping(after=0))  # while sizes are requested
    assert "repeat" in refusal(stand_ins.run(folder))
    assert not folder.exists()
    weights.ways.extend([*[whole] * 3, stopping(after=3000)])  # in the middle of the CLIP
    assert "repeat" in refusal(stand_ins.run(folder))
    part = (stand_ins.models / "ViT-L-14.pt.part").stat().st_size
    weights.requests.clear()

    out = succeeded(stand_ins.run(folder)).stdout
    assert out.index("Downloads") < out.index("ViT-L-14.pt: ") < out.index("\nlocate ")
    assert part in [request.start for request in weights.finished()]
    assert readme_command()[-1] in weights.requests[-1].user_agent
    assert {path.name for path in stand_ins.models.glob("*.pt")} == {"ViT-L-14.pt", "nsfw_torch.pt"}
    (report,) = re.findall(r"^report +(.*\.html)$", out, re.MULTILINE)
    assert Path(report).is_file()
    assert list((folder / "dataset/miniweb").glob("shard-*.tar"))

    before, requests = data_of(folder), len(weights.requests)
    again = succeeded(stand_ins.run(folder)).stdout
    assert report in again
    assert "Downloads" not in again
    assert data_of(folder) == before
    assert len(weights.requests) == requests


def test_scorers_of_a_recipe_have_their_weights_counted_and_fetched(
    stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "matched.yaml"
    recipe.write_text(f"extends: {RECIPE}\nscores: [clip, blip_itm]\n")
    name, own = catalogue.BLIP_ITM.name, {"config.json": b"{}", "model.safetensors": bytes(3_000_000)}
    files = stand_ins.weights.files
    files |= hub_model(name, own)
    files[f"/{name}/resolve/c0ffee/model.safetensors"] = b"\1" * 3_000_000  # not what the Hub states
    monkeypatch.setattr("mmc4_pipeline.models.hub.HUB", stand_ins.weights.address)

    run = stand_ins.run(tmp_path / "try", "--recipe", str(recipe))
    assert "model.safetensors" in refusal(run)
    assert re.search(rf"3(\.0)? MB +{re.escape(catalogue.BLIP_ITM.what)}", run.stdout)
    assert re.search("Takes about .*blip_itm .*Stores about", run.stdout, re.DOTALL)
    fetched = {path.name for path in stand_ins.models.rglob("*") if path.suffix in (".pt", ".json", ".safetensors")}
    assert fetched == {"ViT-L-14.pt", "nsfw_torch.pt", "config.json"}
    assert not (tmp_path / "try").exists()


def whole(handler: Handler, body: bytes) -> None:
    """Respond correctly."""
    handler.answer(*handler.part(body))


def stopping(after: int) -> Callable[[Handler, bytes], None]:
    """Return a response that breaks off after some bytes, while the user presses Ctrl-C."""

    def way(handler: Handler, body: bytes) -> None:
        cut(after)(handler, body)
        os.kill(os.getpid(), signal.SIGINT)

    return way


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--contact", "me"], "--contact"),
        (["--contact", "me@example.org", "--limit", "0"], "--limit"),
        (["--contact", "me@example.org", "--recipe", "nowhere"], "nowhere"),
        (["--contact", "me@example.org", "--delay_per_host", "-1"], "--delay_per_host"),
        (["--contact", "me@example.org", "--small", "--recipe", "mmc4-small", "--clip_model", "ViT-L-14"], "scores"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_requested(options: list[str], complaint: str) -> None:
    assert complaint in refusal(mmc4("try", *options))


def test_without_a_contact_nothing_begins() -> None:
    run = mmc4("try")
    assert run.returncode == 2
    assert "--contact" in run.stderr


@pytest.mark.engines
def test_a_laptop_that_is_closed_and_then_loses_power(
    stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed: the process is stopped for longer than the timeout of an image."""
    monkeypatch.setenv("HF_ENDPOINT", stand_ins.hub.address)
    own = ("--clip_pretrained", str(WEIGHTS / "clip.pt"), "--nsfw_weights", str(WEIGHTS / "nsfw.pt"))
    slowly = (*own, "--fetch_timeout", "2", "--delay_per_host", "0.2")
    succeeded(stand_ins.run(tmp_path / "expected", *own))
    folder = tmp_path / "try"
    with start(*stand_ins.arguments(folder), *slowly) as process:
        for stage in ("locations", "pages", "images"):
            wait_for(folder / stage / "plan.json", process)
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(PAUSE)
            os.killpg(process.pid, signal.SIGCONT)
        wait_for(folder / "scores/clip_clip/plan.json", process)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "dataset/miniweb/manifest.json").exists()
    succeeded(stand_ins.run(folder, *slowly))
    assert data_of(folder) == data_of(tmp_path / "expected")


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, f"the run ended without {path}"
        assert time.monotonic() < deadline, f"the run did not write {path}"
        time.sleep(0.002)
