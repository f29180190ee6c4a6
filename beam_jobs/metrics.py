"""Metrics of a run, under the same names on every runner: decisions as counters, work as distributions.

    mmc4/images  links/in, links/kept, links/dropped/too_small, …     counters
    mmc4/images  shard/links, shard/bytes, fetch/milliseconds, …      distributions: one value per shard or call

They are for watching a run and are kept in OUTPUT/metrics/. The shards' notes are authoritative: a runner may count
repeated work twice, and it does not count what was done before a resume.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import ShardNote
from schemas.reasons import Stage
from schemas.statistics import Counts

FOLDER = "metrics"
_log = logging.getLogger(__name__)


def begin_shard(folder: StageFolder, shard: int) -> None:
    """Log that work on a shard begins; `finish_shard` logs its end."""
    _log.info("%s: shard %d begins", folder.stage, shard)


def finish_shard(folder: StageFolder, note: ShardNote) -> None:
    """Write the note of a finished shard, and add its counts to the runner's metrics."""
    folder.finish_shard(note)
    space = _namespace(folder.stage)
    for name, number in _flat(note.counts).items():
        Metrics.counter(space, name).inc(number)
    for what, count in note.counts.items():
        Metrics.distribution(space, f"shard/{what}").update(count.seen)
    Metrics.distribution(space, "shard/bytes").update(sum(file.bytes for file in note.files))
    decided = ", ".join(f"{count.kept:,} of {count.seen:,} {what} kept" for what, count in note.counts.items())
    _log.info("%s: shard %d finished: %s", folder.stage, note.shard, decided)


@contextmanager
def timed(stage: Stage, step: str) -> Iterator[None]:
    """Measure the duration of the body, or of each call of a decorated function."""
    started = time.monotonic()
    yield
    record_duration(stage, step, time.monotonic() - started)


def record_duration(stage: Stage, step: str, seconds: float) -> None:
    """Record how long a step took; must be called in the thread in which Beam calls the step."""
    Metrics.distribution(_namespace(stage), f"{step}/milliseconds").update(round(1000 * seconds))


def record(output: str, folder: StageFolder, runner: str, result: PipelineResult, shards: list[int]) -> None:
    """Append the metrics of a run that finished these shards to the stage's file in OUTPUT/metrics/.

    They are not in the stage's own folder, where the same input gives the same bytes: times always differ.

    `differ` has the counters that disagree with the notes of the shards, with both numbers.
    """
    run: dict[str, Any] = {"runner": runner, "shards": len(shards)}
    try:
        found = _read(folder.stage, result)
    except Exception as error:  # noqa: BLE001 - each runner's client fails in its own way, and the stage is done
        run |= {"unavailable": f"{type(error).__name__}: {error}"}
    else:
        counts = folder.manifest().counts if len(shards) == folder.plan().shards > 0 else folder.counts(shards)
        run |= found | {"differ": _differ(found["counters"], _flat(counts))}
    file = storage.join(output, FOLDER, f"{folder.path.removeprefix(output).strip('/')}.json")
    storage.write_json(file, [*(storage.read_json(file) if storage.exists(file) else []), run])


def _differ(counted: Mapping[str, int], noted: Mapping[str, int]) -> dict[str, dict[str, int]]:
    return {
        name: {"runner": counted.get(name, 0), "notes": noted.get(name, 0)}
        for name in sorted(noted.keys() | counted.keys())
        if noted.get(name, 0) != counted.get(name, 0)
    }


def _read(stage: Stage, result: PipelineResult) -> dict[str, Any]:
    """Return the metrics of a stage by name, added up over its steps."""
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
    """Return the counts by name, without zeros: a runner does not report those either."""
    numbers: dict[str, int] = {}
    for what, count in counts.items():
        numbers |= {f"{what}/in": count.seen, f"{what}/kept": count.kept}
        numbers |= {f"{what}/dropped/{reason}": number for reason, number in count.dropped.items()}
    return {name: number for name, number in numbers.items() if number}
