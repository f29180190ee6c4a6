"""Input and output on object stores, through the packages that users have: moto's S3 server, and fake-gcs-server."""

import json
import logging
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from tests.end_to_end.running import RECIPE, Web, contents, mmc4, succeeded, wait_for_server
from tests.engines import install
from tests.engines.flink import free_ports

BUCKET = "runs"
pytestmark = pytest.mark.engines


@contextmanager
def s3() -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ):
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
    server.stop()


@contextmanager
def gs() -> Iterator[str]:
    (port,) = free_ports(1)
    place = f"127.0.0.1:{port}"
    command = [
        str(install.FAKE_GCS_SERVER.path),
        *f"-scheme http -host 127.0.0.1 -port {port} -public-host {place}".split(),
    ]
    server = subprocess.Popen([*command, "-backend", "memory"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(f"http://{place}/storage/v1/b?project=p")
        request = urllib.request.Request(
            f"http://{place}/storage/v1/b?project=p",
            json.dumps({"name": BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", f"http://{place}")
            yield f"gs://{BUCKET}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module", params=[s3, pytest.param(gs, marks=pytest.mark.engines("fake-gcs-server"))])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run an object store; yield the URL of an empty bucket."""
    with request.param() as url:
        yield url


def upload(folder: Path, url: str) -> None:
    storage.filesystem(url).put(str(folder), url, recursive=True)


@pytest.mark.parametrize("size", [0, 3, 60 << 20])
def test_an_object_appears_whole_or_not_at_all(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path, data = f"{bucket}/whole/{size}.bin", bytes(size)
    with storage.write_atomically(path) as writer:
        writer.write(data)
        assert not storage.exists(path)
    assert storage.read_bytes(path) == data
    with pytest.raises(TypeError), storage.write_atomically(path) as writer:
        writer.writelines([b"another", "no bytes"])
    assert storage.read_bytes(path) == data
    assert storage.matches_below(f"{bucket}/whole", f"{size}.*") == [path]
    assert list(tmp_path.iterdir()) == []
    storage.write_bytes(path, b"other")
    assert (storage.read_bytes(path), storage.read_range(path, 3, 9), storage.read_range(path, 5, 9)) == (
        b"other",
        b"er",
        b"",
    )


def test_stages_read_and_write_there_with_the_same_bytes(bucket: str, web: Web, built: Path, tmp_path: Path) -> None:
    output = f"{bucket}/out"
    upload(web.folder / "c4", f"{bucket}/c4")
    upload(web.folder / "commoncrawl", f"{bucket}/commoncrawl")
    common = ("--output", output, "--recipe", RECIPE)
    succeeded(mmc4("locate", *common, "--c4", f"{bucket}/c4/*.json.gz", "--cc_root", f"{bucket}/commoncrawl"))
    succeeded(mmc4("pages", *common, "--documents_per_shard", "30"))
    for name in ("images", "scores"):
        upload(built / name, f"{output}/{name}")
    succeeded(mmc4("cut", *common))
    storage.filesystem(output).rm(f"{output}/dataset/miniweb/manifest.json")
    storage.filesystem(output).rm(f"{output}/dataset/miniweb/done/00000.json")
    assert re.search(r"dataset/miniweb\b.*\b1 of 2\b", succeeded(mmc4("status", output)).stdout)
    succeeded(mmc4("cut", *common, "--resume"))
    storage.filesystem(output).get(f"{output}/", str(tmp_path / "got"), recursive=True)
    for pattern in ("pages/*.parquet", "dataset/**/*.tar", "dataset/**/*.parquet"):
        there = contents(tmp_path / "got", pattern)
        assert there
        assert there == contents(built, pattern)
