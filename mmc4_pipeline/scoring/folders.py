"""Finds the folders of finished scores by the names that a recipe or `--scores` lists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.run_folders import names_of, stage_folder
from mmc4_pipeline.scoring.files import read_scores
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.columns import SIMILARITY, Column, ledger_columns
from schemas.manifest import ScorePlan
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts


@dataclass(frozen=True, slots=True)
class FoundScores:
    """Finished scores: the name of their folder, its plan, and what its files and counts were when it finished."""

    name: str
    folder: StageFolder
    plan: ScorePlan
    fingerprint: str
    counts: Mapping[str, Counts]

    def read(self, shard: int) -> Iterator[DocumentScores]:
        """Yield the scores of a shard."""
        path = self.folder.shard_file("scores", shard, self.plan.shards)
        return read_scores(path, self.plan.all_columns)


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
        found.append(FoundScores(folder, here, manifest.plan, fingerprint(manifest), manifest.counts))
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


def with_similarity_first(scores: Sequence[FoundScores]) -> list[FoundScores]:
    """Return the scores, first those of the CLIP whose similarity documents are published with.

    Raises UserError if none of them has it.
    """
    ordered = sorted(scores, key=lambda item: SIMILARITY not in {column.name for column in item.plan.all_columns})
    if SIMILARITY not in {column.name for column in ordered[0].plan.all_columns}:
        names = ", ".join(item.name for item in scores)
        raise UserError(f"scores {names}: none of them has the column {SIMILARITY}; list those of a CLIP too")
    return ordered


def joined_columns(scores: Sequence[FoundScores]) -> tuple[Column, ...]:
    """Return the columns of several scores. Raises UserError if two have a column of the same name."""
    owners: dict[str, str] = {}
    for item in scores:
        for column in ledger_columns(item.plan.all_columns):
            if owners.setdefault(column.name, item.name) != item.name:
                raise UserError(
                    f"scores {owners[column.name]} and {item.name}: both have the column {column.column.name}; a "
                    "recipe can use one of them"
                )
    return tuple(column for item in scores for column in item.plan.all_columns)


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
