"""Run the benchmarks that need no peer on tiny inputs, so that a broken one is noticed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.forks import run_program

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REALWEB = Path(__file__).parents[3] / "shared" / "realweb"


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("gpu", "--images 5 --repeats 1"),
        ("fetch_many_hosts", "--hosts 4 --images 2"),
        ("images_from", "--shards 2 --rows 50 --pages 4 --rounds 1"),
        ("locate", "--files 2 --documents 300 --workers 1"),
        ("run_inference", "--shards 1 --images 5 --repeats 1"),
        ("shard_writing", "--documents 5 --repeats 1"),
        ("warc_scan", "--megabytes 1 --repeats 1"),
    ],
)
def test_it_runs_and_ends_with_a_line_of_json(name: str, flags: str, tmp_path: Path) -> None:
    output = run_program(BENCHMARKS / f"{name}.py", flags.split(), tmp_path / "log")
    assert isinstance(json.loads(output.splitlines()[-1]), dict)


@pytest.mark.skipif(not REALWEB.is_dir(), reason="../shared/realweb is not here")
@pytest.mark.parametrize("recipe", ["mmc4", pytest.param("page-text", marks=pytest.mark.engines)])
def test_places_on_real_pages_are_those_of_another_parser(recipe: str) -> None:
    command = [sys.executable, BENCHMARKS / "places.py", REALWEB, "--recipe", recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    *differences, result = done.stdout.splitlines()
    assert differences == []
    found = json.loads(result)
    assert found["pages"] == 60
    assert found["images"] > 1000
    assert found["known"] > 0.9 * found["images"]
    assert found["share_found"] > 0.99
