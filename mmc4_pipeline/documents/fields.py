"""The names of a document's fields in the files."""

from dataclasses import dataclass, fields

from mmc4_pipeline.errors import UserError


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """The names of a document's fields in the files. The defaults are those of allenai/c4 and mC4."""

    text: str = "text"
    url: str = "url"
    timestamp: str = "timestamp"


C4_FIELDS = DocumentFields()


def parse_fields(pairs: list[str]) -> DocumentFields:
    """Read pairs such as "text=content"; raises UserError for a name that is not a field of a document."""
    names = [item.name for item in fields(DocumentFields)]
    chosen = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if name not in names or not column:
            raise UserError(f"--c4_fields {pair}: must be NAME=COLUMN, where NAME is one of {', '.join(names)}")
        chosen[name] = column
    return DocumentFields(**chosen)
