"""Recipes: every threshold of a dataset, read from YAML into frozen dataclasses.

A recipe may start from another (`extends: mmc4`); what it says is laid over that, key by key, and `null` turns a
filter off. Filters run in the order in which the recipe lists them, each in the stage of its kind.
"""

import re
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import orjson
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from filters.base import FileLinkFilter, Filter, LinkFilter
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.plug_ins import known_filters
from schemas.reasons import Stage

Kind = TypeVar("Kind", bound=Filter)
RECIPES = files("mmc4_pipeline") / "recipes"
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_:.-]*")


@dataclass(frozen=True)
class LinkSettings:
    """Which attributes of `img` hold its link, the first that does; MMC4 took `src`, as the WAT files have it.

    Of those that end in "srcset" the largest image counts, a `picture`'s sources included. `main_content` has
    trafilatura say of each link whether it is in the page's main content, which takes most of the stage's time.
    """

    attributes: tuple[str, ...] = ("src",)
    main_content: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no attribute's name, and an empty list."""
        if not self.attributes:
            message = "attributes: must name at least one attribute, as in [src]"
            raise ValueError(message)
        for name in self.attributes:
            if not _ATTRIBUTE.fullmatch(name):
                message = f"attributes: {name!r} is no attribute's name; write it in lower case, as in data-src"
                raise ValueError(message)


@dataclass(frozen=True)
class LocateSettings:
    """How far a capture may be from a document's time, in seconds; 0 asks for the very capture."""

    max_seconds_apart: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True)
class ImageSettings:
    """How images are stored: the longest side in pixels, and JPEG quality."""

    max_side: Annotated[int, Ge(1), Le(65500)] = 800
    jpeg_quality: Annotated[int, Ge(1), Le(100)] = 90


@dataclass(frozen=True)
class FaceDetectorSettings:
    """What looks for faces, and where: in every image of the images stage, or only in those a head is trained on.

    `auto` is YuNet where its weights are there, else OpenCV's cascade. Images are looked at with a longest side of
    at most `max_side` pixels; a face has at least `min_share` of that. `min_confidence` is YuNet's score,
    `min_neighbors` how many overlapping windows the cascade must find a face in.
    """

    every_image: bool = False
    model: Literal["auto", "yunet", "cascade"] = "auto"
    max_side: Annotated[int, Ge(32), Le(2048)] = 320
    min_share: Annotated[float, Ge(0), Le(1)] = 0.08
    min_confidence: Annotated[float, Ge(0), Le(1)] = 0.8
    min_neighbors: Annotated[int, Ge(1)] = 4


@dataclass(frozen=True)
class FaceHeadSettings:
    """How `mmc4 train_faces` makes a face head: from how many images, and which recall the cutoff has.

    `held_out` is the share of sites that the cutoff is taken from and that the head does not learn from.
    """

    sample: Annotated[int, Ge(1)] = 60_000
    recall: Annotated[float, Gt(0), Le(1)] = 0.95
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.2


@dataclass(frozen=True)
class Recipe:
    """What a dataset is made by. `filters` keeps the recipe's order; a filter that is off is not in it.

    `scores` names the scores that the thresholds are meant for ("ViT-L-14_openai"), None any.
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
    scores: str | None = None

    def of_kind(self, kind: type[Kind]) -> dict[str, Kind]:
        """Give the recipe's filters of one kind, in order."""
        return {key: item for key, item in self.filters.items() if isinstance(item, kind)}

    def of_stage(self, stage: Stage) -> dict[str, Filter]:
        """Give the recipe's filters that decide in one stage, in order."""
        return {key: item for key, item in self.filters.items() if item.stage is stage}

    def to_json(self) -> dict[str, Any]:
        """Give the recipe with nothing left to look up, as manifests record it."""
        sources = {"crawl": self.crawl, "text_source": self.text_source, "locate": asdict(self.locate)}
        settings = {name: asdict(getattr(self, name)) for name in ("links", "images", "face_detector", "face_head")}
        scores = {"scores": self.scores} if self.scores else {}
        return {**sources, **settings, "filters": _filters_json(self.filters), "assignment": self.assignment, **scores}

    def part(self, stage: Stage) -> dict[str, Any]:
        """Give the part that a stage's output depends on, so that a change elsewhere does not concern it."""
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
    return {key: asdict(item) for key, item in filters.items()}  # type: ignore[call-overload]


def load_recipe(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by name or path; `overrides` are "filters.similarity.min=0.2". Raises UserError."""
    settings = _read(name, seen=())
    for override in overrides:
        _override(settings, override)
    return _parse(settings, Path(name).stem, where=f"recipe {name}")


def parse_recipe(settings: dict[str, Any], name: str) -> Recipe:
    """Read a recipe from what `Recipe.to_json` gave (a manifest's). Raises UserError."""
    return _parse(settings, name, where=f"recipe {name} of the manifest")


def recipe_names() -> list[str]:
    """Give the names of the recipes that come with the package."""
    return sorted(item.name.removesuffix(".yaml") for item in RECIPES.iterdir() if item.name.endswith(".yaml"))


def loosened(scored: Recipe, wanted: Recipe) -> list[str]:
    """Say where `wanted` asks for images that `scored`, the recipe of the earlier stages, had dropped or never had.

    Each entry names the key and what is possible; none means that `wanted` cuts a subset.
    """
    problems = [
        f"{key}: {new} instead of {old}"
        for key, old, new in (
            ("crawl", scored.crawl, wanted.crawl),
            ("text_source", scored.text_source, wanted.text_source),
            ("locate", scored.locate, wanted.locate),
            ("links", scored.links, wanted.links),
            ("images", scored.images, wanted.images),
        )
        if old != new
    ]
    for key, old in scored.filters.items():
        if old.stage is Stage.CUT:
            continue
        new = wanted.filters.get(key)
        if new is None:
            problems.append(f"filters.{key}: off, but it was on when the images were scored")
        else:
            problems += _loosened_thresholds(key, old, new)
    problems += [
        f"filters.{key}: on, but it was off when the images were fetched, and this filter can't be added later"
        for key, new in wanted.filters.items()
        if new.stage is not Stage.CUT and key not in scored.filters and not new.stricter
    ]
    return problems


def _loosened_thresholds(key: str, old: Filter, new: Filter) -> list[str]:
    problems = []
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        direction = old.stricter.get(field.name)
        if before == after or (direction is not None and direction.allows(before, after)):
            continue
        possible = f"only {direction.value} is possible now" if direction else "it can't be changed any more"
        problems.append(f"filters.{key}.{field.name}: {after} instead of {before}; {possible}")
    return problems


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Read one YAML file laid over the one it extends."""
    if name in seen:
        message = f"recipe {name}: extends itself ({' -> '.join((*seen, name))})"
        raise UserError(message)
    by_path = name.endswith((".yaml", ".yml"))
    source = Path(name) if by_path else RECIPES / f"{name}.yaml"
    if not source.is_file():
        known = ", ".join(recipe_names())
        message = f"recipe {name}: no such recipe; give the path of a .yaml file or one of: {known}"
        raise UserError(message)
    try:
        settings = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"recipe {name}: no YAML: {' '.join(str(error).split())}"
        raise UserError(message) from error
    if not isinstance(settings, dict):
        message = f"recipe {name}: must be a mapping of keys to values"
        raise UserError(message)
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if by_path and str(base).endswith((".yaml", ".yml")):
        base = str(Path(name).parent / base)
    return _laid_over(_read(str(base), (*seen, name)), settings)


def _laid_over(base: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in settings.items():
        old = result.get(key)
        result[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _override(settings: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    *parents, last = path.split(".")
    if not equals or not last:
        message = f"--set {override}: must be KEY=VALUE, as in filters.similarity.min=0.2"
        raise UserError(message)
    for parent in parents:
        inner = settings.get(parent)
        settings[parent] = dict(inner) if isinstance(inner, dict) else {}
        settings = settings[parent]
    try:
        settings[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        message = f"--set {override}: the value is no YAML"
        raise UserError(message) from error


def _parse(settings: dict[str, Any], name: str, where: str) -> Recipe:
    known = {field.name: None for field in fields(Recipe) if field.name != "name"}
    _refuse_unknown(settings, known, where)
    chosen = settings.get("filters") or {}
    if not isinstance(chosen, dict):
        message = f"{where}: filters: must be a mapping of filters to their thresholds"
        raise UserError(message)
    _refuse_unknown(chosen, known_filters(), f"{where}: filters")
    hints = get_type_hints(Recipe, include_extras=True)
    plain = {
        key: _validate(hints[key], settings.get(key, {} if is_dataclass(hints[key]) else None), f"{where}: {key}")
        for key in known
        if key != "filters"
    }
    filters = {
        key: _validate(known_filters()[key], thresholds, f"{where}: filters.{key}")
        for key, thresholds in chosen.items()
        if thresholds is not None
    }
    for key, item in filters.items():
        if isinstance(item, LinkFilter | FileLinkFilter) and item.needs and not getattr(plain["links"], item.needs):
            message = f"{where}: filters.{key}: needs links.{item.needs}: true"
            raise UserError(message)
    return Recipe(name=name, filters=filters, **plain)


def _validate(hint: Any, value: Any, where: str) -> Any:
    """Check a value against its type hint and make the dataclass; raises UserError with the key's name."""
    _refuse_unknown_below(hint, value, where)
    try:
        return TypeAdapter(hint).validate_json(orjson.dumps(value, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *(str(part) for part in first["loc"])])
        message = f"{path}: {first['msg']} (got {first['input']!r})"
        raise UserError(message) from error


def _refuse_unknown_below(hint: Any, value: Any, where: str) -> None:
    """Refuse keys that a dataclass, or a dataclass in its optional fields, does not have."""
    record = next((item for item in (hint, *get_args(hint)) if is_dataclass(item)), None)
    if record is None or not isinstance(value, dict):
        return
    hints = get_type_hints(record)
    _refuse_unknown(value, {field.name: None for field in fields(record)}, where)
    for key, inner in value.items():
        _refuse_unknown_below(hints[key], inner, f"{where}.{key}")


def _refuse_unknown(settings: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for key in settings:
        if key not in known:
            allowed = ", ".join(known) or "nothing"
            message = f"{where}: unknown key {key!r}; allowed: {allowed}"
            raise UserError(message)
