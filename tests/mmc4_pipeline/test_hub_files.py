"""Files on the Hugging Face Hub, from a stand-in: what is requested, and connections that break."""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.errors import UserError
from tests.mmc4_pipeline.file_server import INPUTS, FileServer, cut, status
from tests.mmc4_pipeline.hub import FOLDER, sent

CONTENT = bytes(range(251)) * 4000  # about 1 MB


def test_files_are_found_by_name_and_by_pattern(hub: Callable[[dict[str, bytes]], FileServer]) -> None:
    hub({"a.json.gz": b"1", "b.json.gz": b"22", "c.txt": b""})
    assert INPUTS.matches(f"{FOLDER}/b.json.gz") == [f"{FOLDER}/b.json.gz"]
    assert INPUTS.matches(f"{FOLDER}/*.gz") == [f"{FOLDER}/a.json.gz", f"{FOLDER}/b.json.gz"]
    assert INPUTS.matches(f"{FOLDER}/d.json.gz") == INPUTS.matches(f"{FOLDER}/d*.gz") == []
    assert INPUTS.size(f"{FOLDER}/b.json.gz") == 2


def test_a_stream_goes_on_where_the_connection_broke(hub: Callable[[dict[str, bytes]], FileServer]) -> None:
    server = hub({"a": CONTENT})
    path = f"{FOLDER}/a"
    with INPUTS.open_stream(path) as stream:
        assert stream.read(100_000) == CONTENT[:100_000]
        # More failures than the package takes: it gives up after six tries of a range.
        server.ways.extend([cut(1000)] * 9 + [status(503)] * 5)
        assert stream.read() == CONTENT[100_000:]
    spans = [span for span in server.spans() if span[1] - span[0] > 1000]
    assert spans == sorted(spans)
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_hub_that_stays_away_is_an_error_in_the_end(hub: Callable[[dict[str, bytes]], FileServer]) -> None:
    server = hub({"a": CONTENT})
    with INPUTS.open_stream(f"{FOLDER}/a") as stream:
        server.usual = status(503)
        with pytest.raises(UserError, match=r"en/a: .*--resume"):
            stream.read(1)


@pytest.mark.parametrize("ask", [INPUTS.matches, INPUTS.size])
def test_a_hub_that_is_away_is_asked_again_for_names_and_sizes(
    hub: Callable[[dict[str, bytes]], FileServer], caplog: pytest.LogCaptureFixture, ask: Callable[[str], object]
) -> None:
    server = hub({"a": CONTENT})
    server.usual = status(403)
    with pytest.raises(UserError, match=r"en/a: .*--resume"):
        ask(f"{FOLDER}/a")
    assert len(caplog.records) >= 2


def test_only_what_is_wanted_is_requested(hub: Callable[[dict[str, bytes]], FileServer]) -> None:
    server = hub({"a": CONTENT})
    assert INPUTS.read_range(f"{FOLDER}/a", 500, 20) == CONTENT[500:520]
    assert sent(server, "a") == 20
    with INPUTS.open_beginning(f"{FOLDER}/a") as stream:
        assert stream.read(10) == CONTENT[:10]
    assert sent(server, "a") <= 20 + (64 << 10)
    assert INPUTS.read_range(f"{FOLDER}/a", len(CONTENT) - 5, 20) == CONTENT[-5:]


def test_columns_of_a_parquet_file_are_read_alone(hub: Callable[[dict[str, bytes]], FileServer]) -> None:
    out = pa.BufferOutputStream()
    table = pa.table({"url": [str(n) for n in range(3000)], "text": [f"{n}" * 300 for n in range(3000)]})
    pq.write_table(table, out, compression="none", use_dictionary=False)
    data = out.getvalue().to_pybytes()
    server = hub({"a.parquet": data})
    with INPUTS.open_read(f"{FOLDER}/a.parquet") as stream:
        assert pq.ParquetFile(stream).read(columns=["url"])["url"].to_pylist() == table["url"].to_pylist()
    assert sent(server, "a.parquet") < len(data) / 5


def test_the_error_without_the_package_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from mmc4_pipeline.errors import UserError\n"
        "from mmc4_pipeline.storage import HttpSettings, Inputs\n"
        "try: Inputs(HttpSettings()).matches('hf://datasets/a/b/c.json')\n"
        "except UserError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert len(found.splitlines()) == 1
    assert "pip install 'mmc4-pipeline[hf]'" in found
