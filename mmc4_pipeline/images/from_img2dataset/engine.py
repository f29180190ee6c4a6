"""Fetches images by running img2dataset in a separate process; the images are then measured as usual.

img2dataset ignores robots.txt and has no limits per host. It writes the images unchanged into image shards, which are
then read like any others. Its pinned dependencies may conflict with this project's, so it may be installed in another
Python.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from filters.web_url import web_url
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import MAX_REDIRECTS, FetchSettings
from mmc4_pipeline.images.from_img2dataset.prefetched import to_result
from mmc4_pipeline.images.from_img2dataset.shards import read_bodies, read_shard
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.reasons import Reason

_PROGRAM = Path(__file__).with_name("guarded_img2dataset.py")
_ROBOT_NAME = "img2dataset"  # the name by which X-Robots-Tag may address it
_MAX_THREADS = 256  # img2dataset's own default
# img2dataset fetches one shard after another. At the time limit the current one is lost and fetched again.
_SAMPLES_PER_SHARD = 1000
_PASSES = 2  # the second one fetches the images that remained when the shard's time was over
_VERSION = "from importlib.metadata import version; print(version('img2dataset'))"


def version_of(python: str) -> str:
    """Return the version of img2dataset that a Python has; raises UserError if it has none."""
    try:
        done = subprocess.run(
            [python, "-c", _VERSION], env=_environment(python), capture_output=True, text=True, check=False, timeout=60
        )
    except OSError as error:
        raise UserError(f"--img2dataset_python {python}: cannot be run ({error.strerror})") from error
    if done.returncode:
        raise UserError(
            f"--fetch_engine img2dataset: img2dataset is not installed in {python}; run python -m venv i2d && "
            "i2d/bin/pip install img2dataset, then add --img2dataset_python i2d/bin/python"
        )
    return done.stdout.strip()


@dataclass(frozen=True)
class Img2dataset:
    """A Python that has img2dataset, the fetch settings, and the directives of X-Robots-Tag to obey."""

    python: str
    settings: FetchSettings
    directives: tuple[str, ...]

    def fetch(self, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        """Yield one result for each request. A route is tried for the images that the routes before it did not have.

        Raises UserError if img2dataset exits before it has finished.
        """
        remaining = {request.url: request for request in requests}
        first: dict[str, FetchResult] = {}
        for template in self.settings.routes:
            route = Route.of(template)
            for result in self._fetch_by(route, list(remaining.values())):
                if route.is_final(result.reason):
                    del remaining[result.url]
                    yield result
                else:
                    first.setdefault(result.url, result)
        yield from (first[url] for url in remaining)

    def _fetch_by(self, route: Route, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        """Fetch by one route; images that remain when the shard's time is over get a last pass."""
        remaining = requests
        for number in range(_PASSES):
            deferred = set()
            for result in self._run(remaining, route):
                if result.reason == Reason.DEFERRED and number + 1 < _PASSES:
                    deferred.add(result.url)
                else:
                    yield result
            remaining = [request for request in remaining if request.url in deferred]

    def _run(self, requests: Sequence[ImageRequest], route: Route) -> Iterator[FetchResult]:
        """Run img2dataset once."""
        urls_at: dict[str, list[str]] = {}  # the URLs of the requests, by the address to connect to
        for request in requests:
            address = _address(request, route)
            if address is None:
                yield FetchResult(request.url, route.template, error="no valid URL", reason=Reason.HTTP_ERROR)
            else:
                urls_at.setdefault(address, []).append(request.url)
        if not urls_at:
            return
        with tempfile.TemporaryDirectory() as folder:
            in_time = self._download(list(urls_at), Path(folder))
            for result in _downloaded(Path(folder) / "images"):
                for url in urls_at.pop(result.url, ()):
                    yield replace(result, url=url, route=route.template)
        reason = Reason.NOT_FETCHED if in_time else Reason.DEFERRED
        error = "img2dataset gave no result" if in_time else "the shard's time was over before its turn came"
        for url in (url for urls in urls_at.values() for url in urls):
            yield FetchResult(url, route.template, error=error, reason=reason)

    def _download(self, addresses: list[str], folder: Path) -> bool:
        """Run img2dataset on addresses into `images` below a folder; return whether it finished in time."""
        pq.write_table(pa.table({"url": addresses}), folder / "urls.parquet")
        (folder / "settings.json").write_text(json.dumps(self._program_settings(folder)))
        limit = None if self.settings.shard_seconds == inf else self.settings.shard_seconds
        with (folder / "log").open("wb") as log:
            code = _run_in_group([self.python, str(_PROGRAM), str(folder / "settings.json")], log.fileno(), limit)
        if code is None:
            return False
        shards = -(-len(addresses) // _SAMPLES_PER_SHARD)
        if code or len(list((folder / "images").glob("*_stats.json"))) < shards:
            lines = (folder / "log").read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
            raise UserError(f"img2dataset exited before it had finished ({last}); fix this and continue with --resume")
        return True

    def _program_settings(self, folder: Path) -> dict[str, object]:
        """Return the settings that guarded_img2dataset.py reads; `download` has the arguments of img2dataset itself."""
        settings = self.settings
        return {
            "allow_private_hosts": settings.allow_private_hosts,
            "max_bytes": settings.max_bytes,
            "redirects": MAX_REDIRECTS,
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
                "user_agent_token": _ROBOT_NAME,
                "disallowed_header_directives": list(self.directives),
                "enable_wandb": False,
            },
        }


def _address(request: ImageRequest, route: Route) -> str | None:
    """Return the address to connect to, as our own fetcher sends it; None if the URL is not valid."""
    at = route.at(request.timestamp)
    return web_url(at.address(at.start_url(request.url)))


def _downloaded(folder: Path) -> Iterator[FetchResult]:
    """Yield the results in the image shards that are complete; their URLs are addresses."""
    inputs = Inputs(HttpSettings())
    for stats in sorted(folder.glob("*_stats.json")):
        tar = str(folder / stats.name.replace("_stats.json", ".tar"))
        images = read_shard(inputs, tar)
        yield from (to_result(image, "", b"") for image in images if image.reason is not None)
        for image, body in read_bodies(inputs, tar, images):
            yield replace(to_result(image, "", body), status=HTTPStatus.OK)


def _run_in_group(command: Iterable[str], log: int, limit: float | None) -> int | None:
    """Run a program in its own process group; return its exit status, or None if the time limit came first."""
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
    """Return the environment for a Python: another one must not find the packages of this one."""
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}  # otherwise importing it queries the package index
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    return environment
