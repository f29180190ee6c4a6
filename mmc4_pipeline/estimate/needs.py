"""What a stage needs: requests, bytes, hours and money, from its work and from what the run has."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_HOUR, _GB = 3600, 10**9


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of the whole run: worker processes with a core each, GPUs, bytes/s, and Common Crawl's requests/s."""

    workers: float
    bytes_per_second: float
    requests_per_second: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in US dollars: per core hour, GPU hour, GB and million requests from Common Crawl, GB stored for a month.

    A GPU's price includes the machine that it is in.
    """

    core_hour: float
    gpu_hour: float
    gigabyte: float
    million_requests: float
    stored_gigabyte_month: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A stage's work. `stored` and `temporary` are bytes of disk; `temporary` is free again after the stage.

    `waits` are further limits, by name, in seconds. `from_common_crawl`: its requests are limited and may cost money.
    """

    requests: float = 0
    read: float = 0
    stored: float = 0
    temporary: float = 0
    core_seconds: float = 0
    gpu_seconds: float = 0
    waits: Mapping[str, float] = field(default_factory=dict)
    from_common_crawl: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage takes. `hours` is its duration, and `limit` the resource that determines it.

    `way` is the page source, or the device that scores, or empty. `core_hours` and `gpu_hours` are the work. `dollars`
    includes idle cores or GPUs, because a machine is paid for while it waits, too; it does not include keeping files.
    """

    stage: str
    way: str
    requests: int
    read: int
    stored: int
    temporary: int
    core_hours: float
    gpu_hours: float
    hours: float
    limit: str
    dollars: float

    @classmethod
    def of(cls, stage: str, way: str, work: Work, resources: Resources, prices: Prices) -> "Needs":
        """Return the needs of some work with these resources and prices."""
        limits = {
            "network": max(work.read, work.stored) / resources.bytes_per_second,
            "cores": 0.0 if work.gpu_seconds else work.core_seconds / resources.workers,
            "GPUs": work.gpu_seconds / resources.gpus if work.gpu_seconds else 0.0,
            "requests": work.requests / resources.requests_per_second if work.from_common_crawl else 0.0,
            **work.waits,
        }
        limit = max(limits, key=lambda name: limits[name])
        hours = limits[limit] / _HOUR
        machines = (
            resources.gpus * prices.gpu_hour if work.gpu_seconds else resources.workers * prices.core_hour
        ) * hours
        charged = (
            work.read / _GB * prices.gigabyte + work.requests / 1e6 * prices.million_requests
            if work.from_common_crawl
            else 0.0
        )
        return cls(
            stage,
            way,
            round(work.requests),
            round(work.read),
            round(work.stored),
            round(work.temporary),
            work.core_seconds / _HOUR,
            work.gpu_seconds / _HOUR,
            hours,
            limit,
            machines + charged,
        )


def total(stages: list[Needs]) -> Needs:
    """Add up stages that run one after the other. The temporary disk is that of the stage that takes most."""
    longest = max(stages, key=lambda item: item.hours)
    return Needs(
        "total",
        "",
        sum(item.requests for item in stages),
        sum(item.read for item in stages),
        sum(item.stored for item in stages),
        max(item.temporary for item in stages),
        sum(item.core_hours for item in stages),
        sum(item.gpu_hours for item in stages),
        sum(item.hours for item in stages),
        longest.stage,
        sum(item.dollars for item in stages),
    )
