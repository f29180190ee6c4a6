"""Checks that one dataset is a subset of another: each document and image that it keeps the other one keeps too."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of, is_ledger
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.errors import UserError


def missing_from(whole: StageFolder, part: StageFolder) -> Iterator[tuple[str, list[str]]]:
    """Yield each document of `part` of which `whole` lacks images, with the URLs of these images.

    Datasets of the same scores have the same links in ledger files of the same name, so one file of each is in memory
    at a time; those of others are compared all at once. Raises UserError for a ledger that can't be read.
    """
    wholes, parts = _ledger_files(whole), _ledger_files(part)
    pairs = [([name], [name]) for name in parts] if wholes == parts else [(wholes, parts)]
    for these, those in pairs:
        missing = _kept(part, those).join(
            _kept(whole, these).drop_columns("image_url"), ["document", "position"], join_type="left anti"
        )
        by_document: dict[str, list[str]] = {}
        for row in missing.sort_by([("document", "ascending"), ("position", "ascending")]).to_pylist():
            by_document.setdefault(row["document"], []).append(row["image_url"])
        yield from by_document.items()


def _ledger_files(folder: StageFolder) -> list[str]:
    return [file.name for file in files_of(folder.manifest()) if is_ledger(file.name)]


def _kept(folder: StageFolder, names: list[str]) -> pa.Table:
    """Give document, position and URL of the images that some of a dataset's ledger files say are kept."""
    schema = pa.schema([("document", pa.string()), ("position", pa.int64()), ("image_url", pa.string())])
    tables = [schema.empty_table()]
    for name in names:
        path = folder.file(name)
        try:
            with storage.open_read(path) as stream:
                table = pq.read_table(stream, columns=[*schema.names, "reason"], filters=pc.field("reason").is_null())
        except (pa.ArrowException, OSError) as error:
            message = f"{path}: no readable ledger ({str(error).splitlines()[0]}); run `mmc4 verify` on its dataset"
            raise UserError(message) from error
        tables.append(table.drop_columns("reason").cast(schema))
    return pa.concat_tables(tables)
