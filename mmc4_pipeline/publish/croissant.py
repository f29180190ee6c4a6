"""Writes a dataset's Croissant metadata (MLCommons, https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

It lists every file with its sha256, and describes the columns of Parquet files as record sets. Tars are not record
sets: their JSON would be one column of text, and mlcroissant 1.1 confuses the unpacked tars of two datasets if both
have a path such as shard-00000.tar.
"""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.publish.contents import (
    CRAWL_TERMS,
    PAPER,
    PARQUET,
    SOURCE_LICENSE,
    FileGroup,
    file_groups,
    has_c4_texts,
    ledger_fields,
)
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import CutPlan, WrittenFile

_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TAR = "application/x-tar"
# The specification's own context, name by name.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
} | {
    name: f"cr:{name}"
    for name in (
        *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
        *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
        *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
    )
}


def write_croissant(folder: StageFolder, name: str, url: str) -> str:
    """Write the metadata of a finished dataset and return its path. `url` is where the dataset is published.

    Paths in it are relative to the dataset's folder. The same dataset gives the same bytes.
    Raises UserError if a Parquet file can't be read.
    """
    path = folder.file("croissant.json")
    storage.write_json(path, croissant(folder, name, url))
    return path


def croissant(folder: StageFolder, name: str, url: str) -> dict[str, Any]:
    """Return the metadata as JSON-LD."""
    manifest = folder.manifest(CutPlan)
    files = files_of(manifest)
    documents, links = manifest.counts["documents"].kept, manifest.counts["links"].kept
    groups = file_groups(manifest)
    media_types = {file.name: group.media_type for group in groups for file in group.files}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": name,
        "description": f"{documents} documents with {links} images of the same web pages, assigned to sentences as in "
        "MMC4, and a ledger that says for each image link why it was kept or dropped.",
        "url": url,
        "license": SOURCE_LICENSE if has_c4_texts(manifest) else CRAWL_TERMS,
        "version": manifest.versions["mmc4-pipeline"],
        "citeAs": f"Zhu et al., Multimodal C4 ({PAPER})",
        "distribution": [_file_object(file, media_types.get(file.name, "application/octet-stream")) for file in files]
        + [_file_set(group) for group in groups],
        "recordSet": [made for group in groups if (made := _record_set(folder, group, ledger_fields(manifest)))],
    }


def _file_object(file: WrittenFile, media_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": media_type,
        "sha256": file.sha256,
    }


def _file_set(group: FileGroup) -> dict[str, Any]:
    """Return a group as a set of files: tars by the JSON files in them, others by their pattern."""
    described = {"@type": "cr:FileSet", "@id": f"{group.name}-files", "name": f"{group.name}-files"}
    if group.media_type == _TAR:
        tars = [{"@id": file.name} for file in group.files]
        return {**described, "containedIn": tars, "encodingFormat": "application/json", "includes": "*.json"}
    return {**described, "encodingFormat": group.media_type, "includes": group.pattern}


def _record_set(folder: StageFolder, group: FileGroup, ledger: dict[str, str]) -> dict[str, Any] | None:
    if group.media_type != PARQUET:
        return None
    fields = []
    for column in filter(_has_simple_values, _columns(folder.file(group.files[0].name))):
        described = {"@type": "cr:Field", "@id": f"{group.name}/{column.name}", "name": column.name}
        source = {"fileSet": {"@id": f"{group.name}-files"}, "extract": {"column": column.name}}
        field = {**described, "dataType": _data_type(column.type), "source": source}
        field |= {"repeated": True} if pa.types.is_list(column.type) else {}
        field |= {"description": ledger[column.name]} if group.is_ledger else {}
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": group.name, "name": group.name, "field": fields}


def _has_simple_values(column: pa.Field) -> bool:
    """Return whether a column can be a field: images, which are structs, cannot."""
    kind = column.type
    return not pa.types.is_struct(kind.value_type if pa.types.is_list(kind) else kind)


def _columns(path: str) -> pa.Schema:
    try:
        with storage.open_read(path) as stream:
            return pq.read_schema(stream)
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); run `mmc4 verify` for details"
        raise UserError(message) from error


def _data_type(kind: pa.DataType) -> str:
    kind = kind.value_type if pa.types.is_list(kind) else kind
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Boolean" if pa.types.is_boolean(kind) else "sc:Text"
