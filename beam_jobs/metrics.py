"""Metrics of a run, under the same names on every runner: what was decided as counters, the work as distributions.

    mmc4/images  links/in, links/kept, links/dropped/too_small, …     counters
    mmc4/images  shard/links, shard/bytes, fetch/milliseconds, …      distributions: a value a shard, or a call

They are for watching a run, and are kept in OUTPUT/metrics/. What is trusted are the notes: a runner may
count work twice that it did twice, and none of what a run before a resume had done.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import WrittenFile
from schemas.reasons import Stage
from schemas.statistics import Counts

FOLDER = "metrics"


def finish_shard(
    folder: StageFolder,
    shard: int,
    files: Iterable[WrittenFile],
    counts: dict[str, Counts],
    **extra: Any,
) -> None:
    """Note that a shard is finished, as `StageFolder.finish_shard` does, and count it."""
    written = list(files)
    folder.finish_shard(shard, written, counts, **extra)
    space = _namespace(folder.stage)
    for name, number in _flat(counts).items():
        Metrics.counter(space, name).inc(number)
    for what, count in counts.items():
        Metrics.distribution(space, f"shard/{what}").update(count.seen)
    Metrics.distribution(space, "shard/bytes").update(sum(file.bytes for file in written))


@contextmanager
def timed(stage: Stage, step: str) -> Iterator[None]:
    """Measure how long the body, or each call of a function decorated with it, takes."""
    started = time.monotonic()
    yield
    Metrics.distribution(_namespace(stage), f"{step}/milliseconds").update(round(1000 * (time.monotonic() - started)))


def record(output: str, folder: StageFolder, runner: str, result: PipelineResult, shards: list[int]) -> None:
    """Add what a run that finished these shards has counted to the stage's file in OUTPUT/metrics/.

    Not in the stage's own folder: there the same input gives the same bytes, and times are never the same.

    `differ` are the counters that are not what the notes of the shards say, with what they say.
    """
    run: dict[str, Any] = {"runner": runner, "shards": len(shards)}
    try:
        found = _read(folder.stage, result)
    except Exception as error:  # noqa: BLE001 - each runner's client fails in its own way, and the stage is done
        run |= {"unavailable": f"{type(error).__name__}: {error}"}
    else:
        run |= found | {"differ": _differ(found["counters"], _flat(folder.counts(shards)))}
    file = storage.join(output, FOLDER, f"{folder.path.removeprefix(output).strip('/')}.json")
    storage.write_json(file, [*(storage.read_json(file) if storage.exists(file) else []), run])


def _differ(counted: Mapping[str, int], noted: Mapping[str, int]) -> dict[str, dict[str, int]]:
    return {
        name: {"runner": counted.get(name, 0), "notes": noted.get(name, 0)}
        for name in sorted(noted.keys() | counted.keys())
        if noted.get(name, 0) != counted.get(name, 0)
    }


def _read(stage: Stage, result: PipelineResult) -> dict[str, Any]:
    """Give the metrics of a stage by name, those of several steps added up."""
    found = result.metrics().query(MetricsFilter().with_namespace(_namespace(stage)))
    counters: dict[str, int] = {}
    for item in found["counters"]:
        counters[item.key.metric.name] = counters.get(item.key.metric.name, 0) + int(item.result)
    distributions: dict[str, dict[str, int]] = {}
    for item in found["distributions"]:
        new = {name: int(getattr(item.result, name)) for name in ("count", "sum", "min", "max")}
        old = distributions.get(item.key.metric.name, new | {"count": 0, "sum": 0})
        distributions[item.key.metric.name] = {
            "count": old["count"] + new["count"],
            "sum": old["sum"] + new["sum"],
            "min": min(old["min"], new["min"]),
            "max": max(old["max"], new["max"]),
        }
    return {"counters": dict(sorted(counters.items())), "distributions": dict(sorted(distributions.items()))}


def _namespace(stage: Stage) -> str:
    return f"mmc4/{stage.value}"


def _flat(counts: Mapping[str, Counts]) -> dict[str, int]:
    """Give counts by name; what was not counted is left out, as a runner does."""
    numbers: dict[str, int] = {}
    for what, count in counts.items():
        numbers |= {f"{what}/in": count.seen, f"{what}/kept": count.kept}
        numbers |= {f"{what}/dropped/{reason}": number for reason, number in count.dropped.items()}
    return {name: number for name, number in numbers.items() if number}
