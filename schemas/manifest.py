"""A stage's plan, the notes of its finished shards, and its manifest: the JSON files of each stage's folder.

A `Plan` says what a stage's output depends on; there is one class for each stage. A `ShardNote` says that a shard is
finished, with its files and counts. The `Manifest` of a finished stage has the plan, the files and counts of all
shards, and the versions of the packages that made them.

Fields that a plan need not have are left out of its JSON. Recipes are plain JSON here: which filters there are, and
what their settings are, is known to `mmc4_pipeline.recipe`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from schemas.columns import CLIP_COLUMNS, Column
from schemas.reasons import Stage
from schemas.statistics import Counts

Json = dict[str, Any]
CLIP = "clip"  # the scorer that needs no name in a plan
_HEADS = ("nsfw", "face")
Record = TypeVar("Record")


class WrittenFile(msgspec.Struct, frozen=True):
    """A finished file. `bytes` is its size, `sha256` the hash of its content in hex."""

    name: str
    bytes: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True, tag_field="stage"):
    """The input, recipe and options that a stage's output depends on. A stage is resumed only with an equal plan."""

    stage: ClassVar[Stage]
    shards: int


class LocateInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The C4 files and the files of Common Crawl's index, each with its size in bytes.

    With a `limit`, only the files are listed that its documents are in; `c4_first` has the number of rows that are read
    of the last one. A `sample` is of all files.

    Of the CDXJ index, that is cluster.idx; only the columnar index has a number of rows.

    `c4_fields` maps `text`, `url` and `timestamp` to the names of these fields in the documents.
    """

    c4: dict[str, int]
    c4_fields: dict[str, str]
    c4_first: dict[str, int] = {}
    limit: int | None = None
    sample: int | None = None
    cc_root: str
    index: dict[str, int]
    index_rows: int | None = None


class LocatePlan(Plan, frozen=True, kw_only=True, tag=Stage.LOCATE.value):
    """The plan of the locate stage."""

    stage: ClassVar[Stage] = Stage.LOCATE
    recipe: Json
    input: LocateInput


class PagesInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either the fingerprint of the locations, or whole WARC files or files of a published dataset, with their sizes.

    `layout` is that of the published dataset, one of those in `mmc4_pipeline/published/`. With a `limit`, only the
    files are listed that its documents are in; `first` has the number of rows that are read of the last one. Sizes are
    in bytes.

    `lists` has the sha256 of each file that a filter reads, by path.
    """

    locations: str | None = None
    warcs: dict[str, int] | None = None
    published: dict[str, int] | None = None
    layout: str | None = None
    limit: int | None = None
    first: dict[str, int] = {}
    lists: dict[str, str] | None = None


class PagesPlan(Plan, frozen=True, kw_only=True, omit_defaults=True, tag=Stage.PAGES.value):
    """The plan of the pages stage. `options` are those of the command line that change the output.

    `split_sites` are the sites that are too large for a shard, by their hash in hex (`hash_of_site`): the first of
    their shards, and how many there are. `shards` is 0 until the documents of WARC files have been counted. `places` is
    whether the links have their places in the text: not with WAT files, nor in what an earlier version wrote.
    """

    stage: ClassVar[Stage] = Stage.PAGES
    recipe: Json
    options: Json
    input: PagesInput
    places: bool = False
    split_sites: dict[str, tuple[int, int]] = {}


class ImageShards(msgspec.Struct, frozen=True, kw_only=True):
    """Shards that img2dataset made: how many, and a hash of their paths and sizes."""

    shards: int
    files: str


class ImagesInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fingerprint of the pages, and where the images came from unless they were fetched by our own client.

    `lists` has the sha256 of each file that a filter reads, by path.
    """

    pages: str
    images_from: ImageShards | None = None
    fetch_engine: str | None = None
    lists: dict[str, str] | None = None


class ImagesPlan(Plan, frozen=True, kw_only=True, tag=Stage.IMAGES.value):
    """The plan of the images stage. `options` are those of the command line that change the output.

    `face_detector` is the detector with its settings, null if images were not searched for faces.
    """

    stage: ClassVar[Stage] = Stage.IMAGES
    recipe: Json
    options: Json
    face_detector: Json | None = None
    input: ImagesInput


class ScoreInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fingerprint of the images, and those of the other scores that the scorer reads, by name."""

    images: str
    scores: dict[str, str] = {}


class ScorePlan(Plan, frozen=True, kw_only=True, omit_defaults=True, tag=Stage.SCORE.value):
    """The plan of the score stage, that is, of the scores of one scorer.

    `settings` are those that scores depend on, and `columns` what the scorer declares. Of CLIP, `clip` is the model
    with its weights, by tag or by sha256; `heads` has the sha256 of each head's weights. Its columns are not listed.
    """

    stage: ClassVar[Stage] = Stage.SCORE
    scorer: str = CLIP
    settings: Json = {}
    columns: tuple[Column, ...] | None = None
    clip: dict[str, str] | None = None
    precision: str | None = None
    save_features: bool | None = None
    heads: dict[str, str] | None = None
    input: ScoreInput

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of its files."""
        return CLIP_COLUMNS if self.columns is None else self.columns

    @property
    def empty_columns(self) -> list[str]:
        """The columns that are null everywhere: those of CLIP's heads that had no weights."""
        return [] if self.heads is None else [name for name in _HEADS if name not in self.heads]


class CutInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The name of the scores, and the fingerprint of each earlier stage; `locate` only if the pages were located.

    `more_scores` has the fingerprints of the other scores, by name, and `columns` those of all scores if they are not
    CLIP's alone. `published` is the layout of the published dataset that the documents are from, if they are from one.
    `lists` has the sha256 of each file that a filter reads, by path.
    """

    scores: str | None = None
    locate: str | None = None
    pages: str | None = None
    images: str | None = None
    score: str | None = None
    more_scores: dict[str, str] = {}
    columns: tuple[Column, ...] | None = None
    published: str | None = None
    lists: dict[str, str] | None = None

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of the scores."""
        return CLIP_COLUMNS if self.columns is None else self.columns


class CutOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The formats of the dataset, each a `name` and its settings, the ledger's first; and the size of its shards.

    `filling` says which documents a shard has; an earlier version, which did not note it, filled shards otherwise.
    """

    formats: list[Json]
    shard_bytes: int
    filling: str | None = None


class CutPlan(Plan, frozen=True, kw_only=True, tag=Stage.CUT.value):
    """The plan of the cut stage, that is, of a dataset.

    `before` has the counts of the earlier stages. `face_detector` is that of the images stage.
    """

    stage: ClassVar[Stage] = Stage.CUT
    name: str
    recipe: Json
    options: CutOptions
    input: CutInput
    face_detector: Json | None = None
    before: dict[Stage, dict[str, Counts]]


StagePlan = LocatePlan | PagesPlan | ImagesPlan | ScorePlan | CutPlan
AnyPlan = TypeVar("AnyPlan", bound=Plan)
_OwnPlan = TypeVar("_OwnPlan", bound=Plan, covariant=True)  # noqa: PLC0105 - of Manifest, where it reads better


class ShardNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finished shard: its files, and counts by what was counted ("documents", "links", "records").

    `index_rows_shuffled` is noted by the locate stage only, `computed_in` (precision and device) by the score stage.
    The cut stage notes how many documents are in each of the dataset's shards, and `Statistics` as JSON. `urls` is a
    filter of the URLs in the files, of stages whose files have URLs that a takedown may name.
    """

    shard: int
    files: list[WrittenFile]
    counts: dict[str, Counts]
    index_rows_shuffled: int | None = None
    computed_in: str | None = None
    documents_in_shard: dict[int, int] | None = None
    statistics: Json | None = None
    urls: bytes | None = None


class Takedown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A takedown: the sha256 of its deny-list and of its list of content, and how much it removed."""

    list: str | None = None
    content_list: str | None = None
    documents: int
    images: int
    links: int


class _Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a manifest that its plan does not have."""

    versions: dict[str, str]
    counts: dict[str, Counts]
    files: list[WrittenFile]
    takedowns: list[Takedown] = msgspec.field(default_factory=list)
    exported: list[Json] = msgspec.field(default_factory=list)


class Manifest(msgspec.Struct, Generic[_OwnPlan], frozen=True, kw_only=True):
    """A finished stage. Its JSON has the plan's fields on the same level as its own.

    `exported` are the formats in which a dataset was written after it was cut, each a `name` and its settings. They are
    not in the plan, so that a run with the options of the cut still finds it finished.
    """

    plan: _OwnPlan
    versions: dict[str, str]
    counts: dict[str, Counts]
    files: list[WrittenFile]
    takedowns: list[Takedown] = msgspec.field(default_factory=list)
    exported: list[Json] = msgspec.field(default_factory=list)

    def to_json(self) -> Json:
        """Return the manifest as it is stored."""
        own = {name: getattr(self, name) for name in _Result.__struct_fields__}
        return as_json(self.plan) | as_json(_Result(**own))

    def names_of(self, stem: str) -> list[str]:
        """Return the files of that stem, one for each shard, such as "locations-00000-of-00010.parquet"."""
        return [file.name for file in self.files if file.name.rpartition("/")[2].startswith(f"{stem}-")]

    @classmethod
    def from_json(cls, data: bytes, plan: Any) -> "Manifest[Any]":
        """Read a stored manifest; raises msgspec.MsgspecError if it is not one with a plan of this type."""
        result = decode(data, _Result)
        own = {name: getattr(result, name) for name in _Result.__struct_fields__}
        return cls(plan=decode(data, plan), **own)


def as_json(record: msgspec.Struct) -> Json:
    """Return a record as a JSON object."""
    return msgspec.to_builtins(record, str_keys=True)  # type: ignore[no-any-return]


def decode(data: bytes, record: Any) -> Any:
    """Read a record from JSON; raises msgspec.MsgspecError, which names the field, if it is not one."""
    return msgspec.json.decode(data, type=record, dec_hook=_counter)


def _counter(kind: Any, value: Mapping[str, int]) -> Counter[str]:
    """Return a Counter of reasons: msgspec knows dictionaries only."""
    if kind != Counter[str]:
        raise NotImplementedError(kind)
    return Counter(msgspec.convert(value, dict[str, int]))
