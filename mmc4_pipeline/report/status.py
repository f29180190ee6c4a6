"""How far the stages below an output folder are: from their plans, notes and manifests, whoever runs them and where."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.stage_folder import StageFolder, add_up
from mmc4_pipeline.errors import UserError
from schemas.reasons import Stage

_PLANS = ("*/plan.json", "scores/*/plan.json", "dataset/*/plan.json")
_DONE = "done"
_FILES_AT_ONCE = 32  # on remote storage each look at a file takes a while


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far a stage is. `folder` is below the output folder, `counts` are its finished shards' as JSON has them.

    `steps` are those that come before a shard is done: for how many shards, or parts of the crawl, each is. `last` is
    when the newest note was written, None where there is none.
    """

    folder: str
    shards: int
    done: int
    is_finished: bool
    steps: dict[str, int]
    counts: dict[str, Any]
    last: datetime | None


def statuses(output: str) -> list[StageStatus]:
    """Give the stages that have begun below an output folder, in their order; raises UserError where none has."""
    found = [
        (StageFolder(path.removesuffix("/plan.json"), Stage(storage.read_json(path)["stage"])), pattern.count("/"))
        for pattern in _PLANS
        for path in storage.matches_below(output, pattern)
    ]
    if not found:
        message = f"{output}: no stage has begun here; give the folder that was a run's --output"
        raise UserError(message)
    found.sort(key=lambda item: (list(Stage).index(item[0].stage), item[0].path))
    return [_status(folder, "/".join(folder.path.split("/")[-depth:])) for folder, depth in found]


def _status(folder: StageFolder, name: str) -> StageStatus:
    is_finished = storage.exists(folder.file("manifest.json"))
    notes = storage.matches_below(folder.path, "*/[0-9]*.json")
    steps = Counter(path.split("/")[-2] for path in notes)
    done = steps.pop(_DONE, 0)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        last = max(pool.map(storage.modified, notes), default=None)
        of_shards = [path for path in notes if not is_finished and path.split("/")[-2] == _DONE]
        so_far = add_up(note["counts"] for note in pool.map(storage.read_json, of_shards))
    counts = folder.manifest()["counts"] if is_finished else {what: found.to_json() for what, found in so_far.items()}
    return StageStatus(name, folder.plan()["shards"], done, is_finished, dict(steps), counts, last)
