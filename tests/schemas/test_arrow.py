"""Records survive Parquet, whatever is in them."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from schemas.arrow import arrow_schema, from_table, to_table
from schemas.capture import Location
from schemas.columns import CLIP_COLUMNS
from schemas.document import RejectedDocument
from schemas.image import Image
from schemas.ledger import LedgerRow, ledger_record
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage

text = st.text(st.characters(exclude_categories=["Cs"]))
sizes = st.none() | st.integers(0, 1 << 40)
links = st.builds(ImageLink, st.integers(0, 1000), text, text, sizes, sizes, reason=st.none() | st.sampled_from(Reason))
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
pages = st.builds(Page, text, text, text, moments, st.booleans(), st.lists(text), st.lists(links))


@given(st.lists(pages, max_size=5))
def test_pages_come_back_as_they_went(records: list[Page]) -> None:
    assert list(from_table(to_table(records, Page), Page)) == records


@pytest.mark.parametrize("record", [Location, RejectedDocument, Image, LedgerRow, ledger_record(CLIP_COLUMNS), Page])
def test_an_empty_table_has_the_full_schema(record: type) -> None:
    assert to_table([], record).schema == arrow_schema(record)
    assert list(from_table(to_table([], record), record)) == []


def test_links_of_an_earlier_version_have_no_place_and_nothing_published() -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    page = Page("k", "u", "s", moment, False, ["One."], [ImageLink(0, "i", "", None, None, reason="denied")])
    table = to_table([page], Page)
    earlier = ["position", "url", "alt", "declared_width", "declared_height", "attribute", "reason"]
    (links,) = table.column("links").chunks
    fields = pa.StructArray.from_arrays([links.values.field(name) for name in earlier], earlier)
    old = table.set_column(table.column_names.index("links"), "links", pa.ListArray.from_arrays(links.offsets, fields))
    assert list(from_table(old, Page)) == [page]
    with pytest.raises(KeyError, match="sentences"):
        list(from_table(old.drop_columns("sentences"), Page))


def test_types_in_parquet_are_those_that_the_ledger_promises() -> None:
    schema = arrow_schema(ledger_record(CLIP_COLUMNS))
    assert schema.field("phash").type == pa.uint64()
    assert schema.field("best_similarity").type == pa.float32()
    assert schema.field("reason").type == pa.string()
    assert schema.field("reason").nullable
    assert not schema.field("page_url").nullable


def test_enums_come_back_as_enums() -> None:
    row = LedgerRow("p", "i", 0, "k", phash=(1 << 64) - 1, stage=Stage.CUT, reason=Reason.NSFW)
    (back,) = from_table(to_table([row], LedgerRow), LedgerRow)
    assert back == row
    assert back.stage is Stage.CUT


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    storage.write_records(path, [], RejectedDocument)
    with pytest.raises(UserError, match=r"x\.parquet.*Page records"):
        list(storage.read_records(path, Page))
    (tmp_path / "y.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"y\.parquet"):
        list(storage.read_records(str(tmp_path / "y.parquet"), Page))
