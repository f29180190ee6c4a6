"""How images are requested."""

from dataclasses import dataclass
from math import inf

from mmc4_pipeline.images.fetching.routes import LIVE
from mmc4_pipeline.storage.http.client import USER_AGENT

MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Limits and routes of the fetcher. Times are in seconds, sizes in bytes.

    `routes` are URL templates, tried in order. `delay_per_host` is the minimum time between the starts of two requests
    to the same host. A host that serves images to the pages of several sites may get up to `max_open_per_shared_host`
    requests at a time (see rate_limits.py). No request begins after `shard_seconds`; the images that remain then go to
    the backlog, which has `backlog_seconds`. With `last_chance`, as in the backlog, a host that responds with nothing
    but 503 is unavailable; otherwise it is only busy. `host_files` are the paths of the files, besides robots.txt, that
    are requested from each host because of what they declare.
    """

    routes: tuple[str, ...] = (LIVE,)
    user_agent: str = USER_AGENT
    timeout: float = 30.0
    max_bytes: int = 20 << 20
    max_open: int = 1024
    max_open_per_host: int = 4
    max_open_per_shared_host: int = 32
    delay_per_host: float = 0.25
    shard_seconds: float = inf
    backlog_seconds: float = inf
    last_chance: bool = False
    robots_txt: bool = True
    host_files: tuple[str, ...] = ()
    allow_private_hosts: bool = False
