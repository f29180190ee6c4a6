"""The real stage against hostile files and responses, in a process whose memory is measured."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mmc4_pipeline.tar import read_image
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.hostile import all_cases, fetched
from tests.mmc4_pipeline.images.fetching.hostile_server import serving

ROOT = Path(__file__).parents[4]
PACKAGE = "tests.mmc4_pipeline.images.fetching"


def test_each_ends_in_its_reason_within_limits_of_time_and_memory(tmp_path: Path) -> None:
    cases = all_cases()
    assert len({case.name for case in cases}) == len(cases) >= 40
    with serving(cases) as hostile:
        urls = [f"http://127.0.{1 + at // 250}.{1 + at % 250}:{hostile.port}/{at}" for at in range(len(cases))]
        result = fetched(urls, tmp_path / "images.tar", allow_private_hosts=True)
    rows = result["rows"]
    assert [row["url"] for row in rows] == urls
    ended = {case.name: row["reason"] for case, row in zip(cases, rows, strict=True)}
    assert {
        case.name: (ended[case.name], row["error"])
        for case, row in zip(cases, rows, strict=True)
        if ended[case.name] not in case.allowed
    } == {}
    assert all((row["offset"] is None) == (row["reason"] is not None) for row in rows)
    assert all(row["error"] for row in rows if row["reason"] is not None)
    with (tmp_path / "images.tar").open("rb") as tar:
        for row in rows:
            if row["reason"] is None:
                assert read_image(tar, row["offset"], row["length"]).startswith(b"\xff\xd8\xff")
    assert result["peak"] < 10**9


# Public addresses and names in a network of its own, so that the fetcher runs exactly as in use.
NETWORK = """
ip link set lo up && ip addr add 93.184.216.1/24 dev lo && mount --bind "$1" /etc/hosts && shift && exec "$@"
"""
HOSTS = """
127.0.0.1 localhost
::1 localhost
93.184.216.34 public.example
127.0.0.1 inside.example
169.254.169.254 metadata.example
10.0.0.1 router.example
"""
FORBIDDEN = (
    "127.0.0.1", "localhost", "inside.example", "[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0",
    "169.254.169.254", "metadata.example", "10.0.0.1", "router.example", "224.0.0.1",
)  # fmt: skip


def own_network(hosts: Path) -> list[str]:
    return ["unshare", "-rnm", "sh", "-c", NETWORK, "sh", str(hosts)]


def test_no_name_and_no_redirect_leads_to_a_forbidden_address(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    if (
        not all(map(shutil.which, ("unshare", "ip")))
        or subprocess.run([*own_network(hosts), "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no network namespaces here")
    done = subprocess.run(
        [*own_network(hosts), sys.executable, "-m", f"{PACKAGE}.hostile_network", str(tmp_path), *FORBIDDEN],
        check=False, capture_output=True, text=True, timeout=400, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    reasons = Counter(row["reason"] for row in result["rows"])
    # The picture itself by address, by name and by a redirect; then each host directly and by a redirect.
    assert [row["reason"] for row in result["rows"][:3]] == [None] * 3
    assert reasons == {None: 3, Reason.FORBIDDEN_ADDRESS: 2 * len(FORBIDDEN)}
    requested = {host.partition("/")[0] for host in result["requested"]}
    assert all(address.startswith("93.184.216.") for address in requested)
