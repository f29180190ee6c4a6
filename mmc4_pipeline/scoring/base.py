"""Defines what a scorer must provide: the columns of its scores, and the scores of one shard.

To write a scorer, put a frozen dataclass of its settings into a module of its own and derive it from `Scorer`. The name
of the module is the scorer's name on the command line and in recipes. Give each setting a default, so that users
need no more than the name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from mmc4_pipeline.models.catalogue import Weights
from mmc4_pipeline.scoring.shard import Shard
from schemas.columns import Column
from schemas.manifest import WrittenFile
from schemas.score import DocumentScores

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a scorer runs on: a device of PyTorch ("auto", "cpu", "cuda:1"), and the share of the machine's cores.

    `processes` is the number of worker processes that share the cores.
    """

    device: str = "auto"
    processes: int = 1


@dataclass(frozen=True, slots=True)
class ShardScores:
    """The scores of a shard, for documents with kept images, in the pages' order.

    `computed_in` is the number format and the device, for example "fp16 on cuda"; None if scores don't depend on them.
    `summary` is for the log.
    """

    documents: Sequence[DocumentScores]
    computed_in: str | None = None
    summary: str = ""
    files: Sequence[WrittenFile] = field(default=())


class LoadedScorer(Protocol):
    """A scorer that is ready to compute, once per worker process."""

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores of a shard. The same shard gives the same scores on every machine with such a device.

        An image that can't be decoded again has a score without values. Other files of the shard, if the scorer writes
        any, are written by `shard.file` and returned.
        """


class Scorer(ABC):
    """A frozen dataclass of settings, known by its module's name.

    `columns` declares what `score_shard` may return. `reads` has the names of other scores, or of their scorers, that
    it reads by `Shard.scores` and `Shard.features`; these must be finished, or are computed before in the same run.
    """

    columns: ClassVar[tuple[Column, ...]]

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the names of the scores that it reads."""
        return ()

    @property
    def folder(self) -> str:
        """Return the name of its folder in OUTPUT/scores. Settings that give other scores should give another name."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def published(self) -> tuple[Weights, ...]:
        """Return the published weights that it needs, which `mmc4 models fetch` stores."""
        return ()

    def check_packages(self) -> None:
        """Raise UserError, before anything else is checked, if a package is missing."""
        return

    def check(self) -> None:
        """Raise UserError, before any page is read, if a model is missing or does not fit."""
        return

    def unscored(self) -> Mapping[str, str]:
        """Return the columns that these settings leave null, each with what to do about it."""
        return {}

    def plan(self) -> Json:
        """Return what the scores depend on, by fields of `ScorePlan`. By default, that is every setting."""
        return {"settings": asdict(self), "columns": self.columns}  # type: ignore[call-overload]

    @abstractmethod
    def load(self, machine: Machine, /) -> LoadedScorer:
        """Return what computes. Import PyTorch and the like here: `--help` must not need them."""


class SimpleScorer(Scorer):
    """A scorer that needs no model, and nothing that would have to be loaded once."""

    def load(self, _machine: Machine, /) -> LoadedScorer:
        """Return itself."""
        return self

    @abstractmethod
    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores of a shard, see `LoadedScorer`."""
