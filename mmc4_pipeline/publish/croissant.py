"""Writes a dataset's Croissant metadata (MLCommons, https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

Every file is there with its sha256; Parquet files are record sets of their columns. Shards are no record set: their
JSON would be one column of text, and mlcroissant 1.1 takes the unpacked tars of another dataset for those of this one
where both have a path such as shard-00000.tar.
"""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of, is_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.publish.contents import LEDGER_FIELDS, PAPER, SOURCE_LICENSE, FileGroup, file_groups
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import WrittenFile

_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_FORMATS = {
    ".tar": "application/x-tar",
    ".parquet": "application/x-parquet",
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".zip": "application/zip",
}
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
    """Write the metadata of a finished dataset and give its path. `url` is where it is, or will be, published.

    Paths are relative to it: it belongs beside the dataset's manifest. The same dataset gives the same bytes.
    Raises UserError where a Parquet file can't be read.
    """
    path = folder.file("croissant.json")
    storage.write_json(path, croissant(folder, name, url))
    return path


def croissant(folder: StageFolder, name: str, url: str) -> dict[str, Any]:
    """Give the metadata as JSON-LD."""
    manifest = folder.manifest()
    files = files_of(manifest)
    documents, links = manifest.counts["documents"].kept, manifest.counts["links"].kept
    groups = file_groups(files)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": name,
        "description": f"{documents} documents of C4 with {links} images of their pages, assigned to sentences as MMC4 "
        "does it; and a ledger of every image link with the reason why it was kept or dropped.",
        "url": url,
        "license": SOURCE_LICENSE,
        "version": manifest.versions["mmc4-pipeline"],
        "citeAs": f"Zhu et al., Multimodal C4 ({PAPER})",
        "distribution": [_file_object(file) for file in files] + [_file_set(group) for group in groups],
        "recordSet": [made for group in groups if (made := _record_set(folder, group))],
    }


def _file_object(file: WrittenFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _FORMATS.get("." + file.name.rpartition(".")[2], "application/octet-stream"),
        "sha256": file.sha256,
    }


def _file_set(group: FileGroup) -> dict[str, Any]:
    """Give a group as a set: Parquet files by their pattern, a tar's files by what they are contained in."""
    described = {"@type": "cr:FileSet", "@id": f"{group.name}-files", "name": f"{group.name}-files"}
    if is_shard(group.files[0].name):
        tars = [{"@id": file.name} for file in group.files]
        return {**described, "containedIn": tars, "encodingFormat": _FORMATS[".json"], "includes": "*.json"}
    encoding = _file_object(group.files[0])["encodingFormat"]
    return {**described, "encodingFormat": encoding, "includes": group.pattern}


def _record_set(folder: StageFolder, group: FileGroup) -> dict[str, Any] | None:
    if not group.pattern.endswith(".parquet"):
        return None
    fields = []
    for column in _columns(folder.file(group.files[0].name)):
        described = {"@type": "cr:Field", "@id": f"{group.name}/{column.name}", "name": column.name}
        source = {"fileSet": {"@id": f"{group.name}-files"}, "extract": {"column": column.name}}
        field = {**described, "dataType": _data_type(column.type), "source": source}
        field |= {"repeated": True} if pa.types.is_list(column.type) else {}
        field |= {"description": LEDGER_FIELDS[column.name]} if group.name == "ledger" else {}
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": group.name, "name": group.name, "field": fields}


def _columns(path: str) -> pa.Schema:
    try:
        with storage.open_read(path) as stream:
            return pq.read_schema(stream)
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: no readable Parquet file ({str(error).splitlines()[0]}); see what `mmc4 verify` says of it"
        raise UserError(message) from error


def _data_type(kind: pa.DataType) -> str:
    kind = kind.value_type if pa.types.is_list(kind) else kind
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Boolean" if pa.types.is_boolean(kind) else "sc:Text"
