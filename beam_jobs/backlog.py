"""The backlog of the images stage: images that remained when the time of their shards was over.

One worker fetches all that remain of a host, so that the host's limits hold for them. Then the shards are completed.
What remains again is left to the user, who may give it more time or accept that it is dropped.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms import combiners

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder

BACKLOG = "backlog"  # the folder with the file of what remains
_EXAMPLES = 3  # hosts that an error names


class Remaining(NamedTuple):
    """An image of a shard that remains to be fetched: its URL, when its page was crawled, and the site of the page."""

    shard: int
    url: str
    timestamp: datetime
    site: str


class Backlog(beam.PTransform):
    """From (shard, whether it is finished) to the shards, all of them finished, and a 0 once no image remains.

    If images remain, the pipeline fails with a UserError. `remaining` yields the images of an unfinished shard by
    worker, `work_through` fetches those of one worker, and `complete` finishes a shard or returns how many images of
    each host remain.
    """

    def __init__(
        self,
        folder: StageFolder,
        remaining: Callable[[int], Iterator[tuple[int, Remaining]]],
        work_through: Callable[[Sequence[Remaining]], None],
        complete: Callable[[int], dict[str, int]],
    ) -> None:
        super().__init__()
        self._folder, self._remaining, self._work_through, self._complete = folder, remaining, work_through, complete

    def expand(self, fetched: PCollection[tuple[int, bool]]) -> tuple[PCollection[int], PCollection[int]]:
        finished = _shards(fetched, "Finished", bool)
        unfinished = _shards(fetched, "Unfinished", operator.not_)
        remaining = unfinished | "Remaining" >> beam.FlatMap(self._remaining).with_output_types(tuple[int, Remaining])
        worked = (
            remaining
            | beam.GroupByKey()
            | "Work through" >> beam.ParDo(_WorkThrough(self._work_through)).with_output_types(int)
        )
        after = beam.pvalue.AsSingleton(worked | "Worked through all" >> combiners.Count.Globally())
        completed = (
            unfinished
            | "Spread unfinished" >> beam.Reshuffle()
            | "Complete" >> beam.Map(lambda shard, _: (shard, self._complete(shard)), after)
        )
        complete = _shards(completed, "Completed", operator.not_)
        left = (
            completed
            | "Left" >> beam.FlatMapTuple(lambda _, left: left.items()).with_output_types(tuple[str, int])
            | "By host" >> beam.CombinePerKey(sum)
            | combiners.ToList()
            | "Write what remains" >> beam.Map(self._write)
        )
        fetched_now: PCollection[int] = (finished, complete) | "Fetched" >> beam.Flatten()
        return fetched_now, left

    def _write(self, left: Iterable[tuple[str, int]]) -> int:
        """Write how many images of each host remain. Raises UserError if any does."""
        hosts = dict(sorted(left, key=lambda item: (-item[1], item[0])))
        path = self._folder.file(f"{BACKLOG}/remaining.json")
        storage.write_json(path, hosts)
        if hosts:
            examples = ", ".join(f"{host} ({images})" for host, images in list(hosts.items())[:_EXAMPLES])
            raise UserError(
                f"{sum(hosts.values())} images of {len(hosts)} hosts remain after the time limit: {examples}; {path} "
                "lists all hosts. Continue with --resume, with a larger --backlog_seconds if they need it; or add "
                "--accept_deferred to finish and drop them as deferred"
            )
        return 0


def _shards(pairs: PCollection[tuple[int, Any]], name: str, is_wanted: Callable[[Any], bool]) -> PCollection[int]:
    """Return the shards of the pairs whose second half is wanted."""
    shards: PCollection[int] = pairs | name >> beam.FlatMapTuple(
        lambda shard, second: [shard] if is_wanted(second) else []
    ).with_output_types(int)
    return shards


class _WorkThrough(beam.DoFn):
    """Fetches together what a worker gets in one bundle, so that its hosts do not wait for each other."""

    def __init__(self, work_through: Callable[[Sequence[Remaining]], None]) -> None:
        self._work_through = work_through

    def start_bundle(self) -> None:
        self._images: list[Remaining] = []

    def process(self, element: tuple[int, Iterable[Remaining]]) -> None:
        self._images.extend(element[1])

    def finish_bundle(self) -> None:
        if self._images:
            self._work_through(self._images)
