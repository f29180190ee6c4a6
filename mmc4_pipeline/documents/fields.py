"""The names of a document's fields in the files: of published corpora, and as users give them."""

from dataclasses import dataclass, fields, replace

from mmc4_pipeline.errors import UserError


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """The names of a document's fields in the files. A dot leads into a nested field. The defaults are allenai/c4's.

    `crawl` is a text that has the name of the document's crawl, `warc` the path of the WARC file with its page; None if
    the files do not say.
    """

    text: str = "text"
    url: str = "url"
    timestamp: str = "timestamp"
    crawl: str | None = None
    warc: str | None = None

    def named(self) -> dict[str, str]:
        """Return the names of the fields that the files have."""
        pairs = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: column for name, column in pairs if column is not None}


C4_FIELDS = DocumentFields()
# As the dataset cards at huggingface.co/datasets describe them: allenai/c4, HuggingFaceFW/fineweb and fineweb-2,
# mlfoundations/dclm-baseline-1.0 (the crawl is in `isPartOf` of the warcinfo record) and tiiuae/falcon-refinedweb.
FORMATS = {
    "c4": C4_FIELDS,
    "fineweb": DocumentFields(timestamp="date", crawl="dump", warc="file_path"),
    "fineweb2": DocumentFields(timestamp="date", crawl="dump", warc="file_path"),
    "dclm": DocumentFields(timestamp="metadata.WARC-Date", crawl="warcinfo"),
    "refinedweb": DocumentFields(text="content", crawl="dump"),
}


def parse_fields(pairs: list[str], known: DocumentFields = C4_FIELDS) -> DocumentFields:
    """Return known names of fields with changes such as "text=content".

    Raises UserError for a name that is not a field of a document.
    """
    names = [item.name for item in fields(DocumentFields)]
    chosen = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if name not in names or not column:
            raise UserError(f"--c4_fields {pair}: must be NAME=COLUMN, where NAME is one of {', '.join(names)}")
        chosen[name] = column
    return replace(known, **chosen)
