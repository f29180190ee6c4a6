"""Fetches by img2dataset, in a process of its own: who wants its ways of asking gets them, with our measures after it.

It asks for no robots.txt and knows no limits for a host. What it writes is read as any image shards of its are; bytes
come as the web gave them. Its dependencies have pins that may be at odds with others: any Python that has it will do.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from yarl import URL

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.fetch import ALLOWED_REDIRECTS, Answer, FetchSettings, Request
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.img2dataset_shards import read_bodies, read_shard
from mmc4_pipeline.images.prefetched import ready_answer
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.reasons import Reason

_PROGRAM = Path(__file__).with_name("guarded_img2dataset.py")
_AGENT = "img2dataset"  # the name by which X-Robots-Tag may address it
_MAX_THREADS = 256  # img2dataset's own default
_SAMPLES_PER_SHARD = 1000  # worked on one after another: what is asked for again, at most, when the time is over
_PASSES = 2  # as with our own fetcher
_OK = 200
_VERSION = "from importlib.metadata import version; print(version('img2dataset'))"


def version_of(python: str) -> str:
    """Give the version of img2dataset that a Python has; raises UserError where it has none."""
    try:
        done = subprocess.run(
            [python, "-c", _VERSION], env=_environment(python), capture_output=True, text=True, check=False, timeout=60
        )
    except OSError as error:
        message = f"--img2dataset_python {python}: cannot be run ({error.strerror})"
        raise UserError(message) from error
    if done.returncode:
        message = (
            f"--fetch_engine img2dataset: {python} has no img2dataset; python -m venv i2d && i2d/bin/pip install "
            "img2dataset, then --img2dataset_python i2d/bin/python"
        )
        raise UserError(message)
    return done.stdout.strip()


@dataclass(frozen=True)
class Img2dataset:
    """A Python that has img2dataset, how to ask, and the directives of X-Robots-Tag that it heeds."""

    python: str
    settings: FetchSettings
    directives: tuple[str, ...]

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield an answer for each request: each route is asked for what those before it had no bytes for.

        Raises UserError where img2dataset ends before it is done.
        """
        left = {request.url: request for request in requests}
        first: dict[str, Answer] = {}
        for template in self.settings.routes:
            route = Route.of(template)
            for answer in self._ask(list(left.values()), route):
                if route.is_final(answer.reason):
                    del left[answer.url]
                    yield answer
                else:
                    first.setdefault(answer.url, answer)
        yield from (first[url] for url in left)

    def _ask(self, requests: Sequence[Request], route: Route) -> Iterator[Answer]:
        """Ask one route; what the shard's time leaves gets a last pass."""
        left = requests
        for turn in range(_PASSES):
            deferred = []
            for answer in self._run(left, route):
                if answer.reason is Reason.DEFERRED and turn + 1 < _PASSES:
                    deferred.append(answer.url)
                else:
                    yield answer
            wanted = set(deferred)
            left = [request for request in left if request.url in wanted]

    def _run(self, requests: Sequence[Request], route: Route) -> Iterator[Answer]:
        """Run img2dataset once."""
        named: dict[str, list[str]] = {}  # the URLs of the requests by the address to ask
        for request in requests:
            address = _address(request, route)
            if address is None:
                yield Answer(request.url, route.template, error="no valid URL", reason=Reason.HTTP_ERROR)
            else:
                named.setdefault(address, []).append(request.url)
        if not named:
            return
        with tempfile.TemporaryDirectory() as folder:
            in_time = self._download(list(named), Path(folder))
            for answer in _downloaded(Path(folder) / "images"):
                for url in named.pop(answer.url, ()):
                    yield replace(answer, url=url, route=route.template)
        reason = Reason.NOT_FETCHED if in_time else Reason.DEFERRED
        error = "img2dataset gave no answer" if in_time else "the shard's time was over before its turn came"
        yield from (Answer(url, route.template, error=error, reason=reason) for urls in named.values() for url in urls)

    def _download(self, addresses: list[str], folder: Path) -> bool:
        """Run img2dataset on addresses into `images` below a folder; tell whether it was done in time."""
        pq.write_table(pa.table({"url": addresses}), folder / "urls.parquet")
        (folder / "settings.json").write_text(json.dumps(self._program_settings(folder)))
        limit = None if self.settings.shard_seconds == inf else self.settings.shard_seconds
        with (folder / "log").open("wb") as log:
            code = _run_alone([self.python, str(_PROGRAM), str(folder / "settings.json")], log.fileno(), limit)
        if code is None:
            return False
        shards = -(-len(addresses) // _SAMPLES_PER_SHARD)
        if code or len(list((folder / "images").glob("*_stats.json"))) < shards:
            lines = (folder / "log").read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
            message = f"img2dataset ended before it was done ({last}); mend that and run again with --resume"
            raise UserError(message)
        return True

    def _program_settings(self, folder: Path) -> dict[str, object]:
        """Give what guarded_img2dataset.py reads; `download` are the arguments of img2dataset itself."""
        settings = self.settings
        return {
            "allow_private_hosts": settings.allow_private_hosts,
            "max_bytes": settings.max_bytes,
            "redirects": ALLOWED_REDIRECTS,
            "timeout": settings.timeout,
            "user_agent": settings.user_agent,
            "download": {
                "url_list": str(folder / "urls.parquet"),
                "input_format": "parquet",
                "output_folder": str(folder / "images"),
                "output_format": "webdataset",
                "resize_mode": "no",
                "disable_all_reencoding": True,
                "extract_exif": False,
                "compute_hash": None,
                "processes_count": 1,
                "thread_count": min(settings.max_open, _MAX_THREADS),
                "number_sample_per_shard": _SAMPLES_PER_SHARD,
                "timeout": settings.timeout,
                "retries": 0,
                "user_agent_token": _AGENT,
                "disallowed_header_directives": list(self.directives),
                "enable_wandb": False,
            },
        }


def _address(request: Request, route: Route) -> str | None:
    """Give the address to ask for a request, in ASCII as our own fetcher has it; None for what is no URL."""
    at = route.at(request.timestamp)
    try:
        url = URL(at.address(at.first(request.url))).with_fragment(None)
    except ValueError:
        return None
    return str(url) if url.scheme in ("http", "https") and url.host else None


def _downloaded(folder: Path) -> Iterator[Answer]:
    """Yield the answers in the image shards that are whole; their URLs are addresses."""
    inputs = Inputs(HttpSettings())
    for stats in sorted(folder.glob("*_stats.json")):
        tar = str(folder / stats.name.replace("_stats.json", ".tar"))
        images = read_shard(inputs, tar)
        yield from (ready_answer(image, "", b"") for image in images if image.reason is not None)
        for image, body in read_bodies(inputs, tar, images):
            yield replace(ready_answer(image, "", body), status=_OK)


def _run_alone(command: Iterable[str], log: int, limit: float | None) -> int | None:
    """Run a program, its processes in a group of their own; give its exit status, None where time was over first."""
    arguments = list(command)
    with subprocess.Popen(
        arguments,
        env=_environment(arguments[0]),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment(python: str) -> dict[str, str]:
    """Give the environment for a Python: another one must not find the packages of this one."""
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}  # else importing it asks the package index
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    return environment
