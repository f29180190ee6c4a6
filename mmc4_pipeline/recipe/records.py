"""The records that a recipe consists of."""

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from filters.base import Filter
from mmc4_pipeline.assignment import Assignment
from schemas.reasons import Stage

Kind = TypeVar("Kind", bound=Filter)
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_:.-]*")


@dataclass(frozen=True)
class LinkSettings:
    """Which links of a page are images.

    `attributes` are attributes of `img`; the first one that is present holds the link. MMC4 used `src`, which is all
    that WAT files have. If its name ends in "srcset", the largest image on offer is taken, from the sources of a
    `picture` too. `main_content` has trafilatura decide for each link whether it is in the page's main content, which
    takes most of the stage's time.
    """

    attributes: tuple[str, ...] = ("src",)
    main_content: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if the list is empty or a name is not valid."""
        if not self.attributes:
            raise ValueError("attributes: must name at least one attribute, such as [src]")
        for name in self.attributes:
            if not _ATTRIBUTE.fullmatch(name):
                raise ValueError(
                    f"attributes: {name!r} is not a valid attribute name; an example in lower case: data-src"
                )


@dataclass(frozen=True)
class LocateSettings:
    """How far a capture may be from a document's timestamp, in seconds; 0 accepts only the same second."""

    max_seconds_apart: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True)
class ImageSettings:
    """How images are stored: the maximum length of the longest side in pixels, and the JPEG quality."""

    max_side: Annotated[int, Ge(1), Le(65500)] = 800
    jpeg_quality: Annotated[int, Ge(1), Le(100)] = 90


@dataclass(frozen=True)
class FaceDetectorSettings:
    """The face detector, and whether it runs on every image or only on those that train a face head.

    `auto` is YuNet if its weights are available, otherwise OpenCV's cascade. An image is scaled down to a longest side
    of `max_side` pixels before detection, and a face must have at least `min_share` of that. `min_confidence` is
    YuNet's score, `min_neighbors` the number of overlapping windows in which the cascade must find a face.
    """

    every_image: bool = False
    model: Literal["auto", "yunet", "cascade"] = "auto"
    max_side: Annotated[int, Ge(32), Le(2048)] = 320
    min_share: Annotated[float, Ge(0), Le(1)] = 0.08
    min_confidence: Annotated[float, Ge(0), Le(1)] = 0.8
    min_neighbors: Annotated[int, Ge(1)] = 4


@dataclass(frozen=True)
class FaceHeadSettings:
    """How `mmc4 train_faces` trains a face head: on how many images, and for which recall the threshold is chosen.

    `held_out` is the share of sites that the head is not trained on; the threshold is chosen on them.
    """

    sample: Annotated[int, Ge(1)] = 60_000
    recall: Annotated[float, Gt(0), Le(1)] = 0.95
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.2


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a dataset. `filters` is in the order in which they run, without those that are off.

    `scores` names the scores that it uses: folders such as "ViT-L-14_openai", or scorers. None means CLIP's.
    """

    name: str
    crawl: str
    text_source: Literal["c4", "page"]
    locate: LocateSettings
    links: LinkSettings
    images: ImageSettings
    face_detector: FaceDetectorSettings
    face_head: FaceHeadSettings
    filters: dict[str, Filter]
    assignment: Assignment
    scores: str | tuple[str, ...] | None = None

    @property
    def score_names(self) -> tuple[str, ...]:
        """Return the names of the scores that the recipe lists."""
        return (self.scores,) if isinstance(self.scores, str) else self.scores or ()

    def of_kind(self, kind: type[Kind]) -> dict[str, Kind]:
        """Return the recipe's filters of one kind, in order."""
        return {key: item for key, item in self.filters.items() if isinstance(item, kind)}

    def of_stage(self, stage: Stage) -> dict[str, Filter]:
        """Return the recipe's filters that decide in one stage, in order."""
        return {key: item for key, item in self.filters.items() if item.stage is stage}

    @property
    def needing_places(self) -> list[str]:
        """Return the keys of the recipe for which images need places in the text of their pages."""
        needing = [f"filters.{key}" for key, item in self.filters.items() if item.needs_places]
        return [*needing, *(["assignment"] if self.assignment.needs_places else [])]

    def to_json(self) -> dict[str, Any]:
        """Return the complete recipe, as manifests record it: it extends no other."""
        sources = {"crawl": self.crawl, "text_source": self.text_source, "locate": asdict(self.locate)}
        settings = {name: asdict(getattr(self, name)) for name in ("links", "images", "face_detector", "face_head")}
        scores = {"scores": self.scores} if self.scores else {}
        return {
            **sources,
            **settings,
            "filters": _filters_json(self.filters),
            "assignment": self.assignment.to_json(),
            **scores,
        }

    def part(self, stage: Stage) -> dict[str, Any]:
        """Return the part that a stage's output depends on. The stage is not affected by changes in the rest."""
        own = _filters_json(self.of_stage(stage))
        match stage:
            case Stage.LOCATE:
                return {"crawl": self.crawl, "locate": asdict(self.locate)}
            case Stage.PAGES:
                return {"text_source": self.text_source, "links": asdict(self.links), "filters": own}
            case Stage.IMAGES:
                return {"images": asdict(self.images), "filters": own}
            case Stage.SCORE:
                return {}
            case Stage.CUT:
                return self.to_json()


def _filters_json(filters: dict[str, Filter]) -> dict[str, Any]:
    return {key: _filter_json(key, item) for key, item in filters.items()}


def _filter_json(key: str, item: Filter) -> dict[str, Any]:
    """Return a filter's settings, with its name if that is not its key."""
    name = type(item).__module__.rpartition(".")[2]
    settings: dict[str, Any] = asdict(item)  # type: ignore[call-overload]
    return settings if name == key else {"filter": name, **settings}
