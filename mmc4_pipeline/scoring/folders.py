"""Finds the folders of finished scores by the names that a recipe or `--scores` lists."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec.structs import replace as replace_column

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.run_folders import names_of, stage_folder
from mmc4_pipeline.scoring.files import read_scores
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.columns import SIMILARITY, Column, ledger_columns
from schemas.ledger import LedgerRow
from schemas.manifest import ScorePlan
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts

_NOT_OF_NAMES = re.compile("[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class FoundScores:
    """Finished scores: the name of their folder, its plan, and what its files and counts were when it finished.

    `columns` are those of the plan, in its order, with the names that they have beside other scores.
    """

    name: str
    folder: StageFolder
    plan: ScorePlan
    fingerprint: str
    counts: Mapping[str, Counts]
    columns: tuple[Column, ...]

    def read(self, shard: int) -> Iterator[DocumentScores]:
        """Yield the scores of a shard, by the names of `columns`."""
        path = self.folder.shard_file("scores", shard, self.plan.shards)
        documents = read_scores(path, self.plan.all_columns)
        new = {old.name: item.name for old, item in zip(self.plan.all_columns, self.columns, strict=True)}
        return (
            documents if all(old == name for old, name in new.items()) else (_renamed(item, new) for item in documents)
        )


def find_scores(output: str, names: Sequence[str]) -> list[FoundScores]:
    """Return finished scores by the names of their folders, or of their scorers if these have one folder only.

    Raises UserError if there is no such folder, or if a scorer has several.
    """
    finished = names_of(output, Stage.SCORE, "manifest.json") if names else []
    manifests = {name: stage_folder(output, Stage.SCORE, name).manifest(ScorePlan) for name in finished}
    found = []
    for name in names:
        folder = _folder_of(output, name, {name: manifest.plan.scorer for name, manifest in manifests.items()})
        manifest = manifests[folder]
        here = stage_folder(output, Stage.SCORE, folder)
        plan = manifest.plan
        found.append(FoundScores(folder, here, plan, fingerprint(manifest), manifest.counts, plan.all_columns))
    return found


def _folder_of(output: str, name: str, scorers: Mapping[str, str]) -> str:
    """Return the name of the folder that a name means; `scorers` has the scorer of each folder."""
    if name in scorers:
        return name
    made = [folder for folder, scorer in scorers.items() if scorer == name]
    if len(made) == 1:
        return made[0]
    if made:
        raise UserError(f"--scores: choose one of {', '.join(made)}, all of which {name} made")
    known = f" (there are {', '.join(scorers)})" if scorers else ""
    raise UserError(f"{output}: has no finished scores {name!r}{known}; run `mmc4 score` first")


def side_by_side(scores: Sequence[FoundScores]) -> list[FoundScores]:
    """Return the scores of one dataset, first those of the CLIP whose similarity documents are published with.

    No two columns of the ledger have the same name: of scores that declare the same column, the first ones keep its
    name, and the others have the name of their folder added to it. Raises UserError if none of them has similarities,
    or if even those names are equal.
    """
    ordered = sorted(scores, key=lambda item: not _has_similarity(item))
    if not _has_similarity(ordered[0]):
        names = ", ".join(item.name for item in scores)
        raise UserError(f"scores {names}: none of them has the column {SIMILARITY}; list those of a CLIP too")
    declared = Counter(column.name for item in scores for column in item.plan.all_columns)
    owners: dict[str, str] = dict.fromkeys(LedgerRow.__dataclass_fields__, "the ledger")
    return [replace(item, columns=tuple(_named(item, owners, declared))) for item in ordered]


def _has_similarity(scores: FoundScores) -> bool:
    return SIMILARITY in {column.name for column in scores.plan.all_columns}


def _named(scores: FoundScores, owners: dict[str, str], declared: Mapping[str, int]) -> Iterator[Column]:
    """Yield the columns of scores; `owners` has the names of the ledger that are taken, and by which scores."""
    for column in scores.plan.all_columns:
        found = column
        if declared[column.name] > 1:
            described = f"{column.description} ({scores.name})"
            found = replace_column(column, description=described, qualified=f"{scores.name}.{column.name}")
        if any(item.name in owners for item in ledger_columns([found])):
            found = replace_column(found, name=f"{column.name}_{_NOT_OF_NAMES.sub('_', scores.name.lower())}")
        for item in ledger_columns([found]):
            if item.name in owners:
                raise UserError(
                    f"scores {owners[item.name]} and {scores.name}: both have a column {item.name} in the ledger; a "
                    "recipe can use one of them"
                )
            owners[item.name] = scores.name
        yield found


def joined(scores: Sequence[FoundScores], shard: int) -> list[DocumentScores]:
    """Return the scores of a shard, in the documents and images of the first ones, with the values of all.

    A document's own values are those of each of its images too.
    """
    first, *others = scores
    more = [{document.key: document for document in item.read(shard)} for item in others]
    return [
        _joined(document, [found[document.key] for found in more if document.key in found])
        for document in first.read(shard)
    ]


def _joined(document: DocumentScores, others: Sequence[DocumentScores]) -> DocumentScores:
    if not others and not document.values:
        return document
    every = [document, *others]
    of_document = {name: value for item in every for name, value in item.values.items()}
    by_position = [{image.position: image.values for image in item.images} for item in every]
    images = [
        ImageScore(
            image.position,
            of_document
            | {name: value for found in by_position for name, value in found.get(image.position, {}).items()},
            reason=image.reason,
        )
        for image in document.images
    ]
    return DocumentScores(document.key, images, of_document)


def _renamed(document: DocumentScores, new: Mapping[str, str]) -> DocumentScores:
    images = [
        ImageScore(image.position, {new[name]: value for name, value in image.values.items()}, reason=image.reason)
        for image in document.images
    ]
    return DocumentScores(document.key, images, {new[name]: value for name, value in document.values.items()})
