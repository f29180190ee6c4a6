"""Input and output on object stores, with the packages that users have: moto's S3 server, and fake-gcs-server.

The latter runs if it and gcsfs are installed: `pip install gcsfs`, and
`go install github.com/fsouza/fake-gcs-server@v1.56.1` with its folder in PATH.
"""

import json
import logging
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from tests.end_to_end.running import MINIWEB, Web, contents, mmc4, succeeded, wait_for_server
from tests.engines.flink import free_ports

BUCKET = "runs"


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
    command = ["fake-gcs-server", *f"-scheme http -host 127.0.0.1 -port {port} -public-host {place}".split()]
    server = subprocess.Popen([*command, "-backend", "memory"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(f"http://{place}/storage/v1/b?project=p")
        asked = urllib.request.Request(
            f"http://{place}/storage/v1/b?project=p",
            json.dumps({"name": BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(asked).close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", f"http://{place}")
            yield f"gs://{BUCKET}"
    finally:
        server.terminate()
        server.wait()


NO_GS = pytest.mark.skipif(
    not (find_spec("gcsfs") and shutil.which("fake-gcs-server")), reason="needs gcsfs and fake-gcs-server"
)


@pytest.fixture(scope="module", params=[s3, pytest.param(gs, marks=NO_GS)])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty bucket."""
    with request.param() as url:
        yield url


def upload(folder: Path, url: str) -> None:
    storage.filesystem(url).put(str(folder), url, recursive=True)


@pytest.mark.parametrize("size", [0, 3, 60 << 20])
def test_an_object_is_there_whole_or_not_at_all(
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


def test_stages_read_and_write_there_and_give_the_same_bytes(
    bucket: str, web: Web, built: Path, tmp_path: Path
) -> None:
    output = f"{bucket}/out"
    upload(web.folder / "c4", f"{bucket}/c4")
    upload(web.folder / "commoncrawl", f"{bucket}/commoncrawl")
    common = ("--output", output, "--recipe", str(MINIWEB / "miniweb.yaml"))
    succeeded(mmc4("locate", *common, "--c4", f"{bucket}/c4/*.json.gz", "--cc_root", f"{bucket}/commoncrawl"))
    succeeded(mmc4("pages", *common, "--documents_per_shard", "30"))
    for name in ("images", "scores"):
        upload(built / name, f"{output}/{name}")
    succeeded(mmc4("cut", *common))
    storage.filesystem(output).rm(f"{output}/dataset/miniweb/manifest.json")
    storage.filesystem(output).rm(f"{output}/dataset/miniweb/done/00000.json")
    assert "dataset/miniweb is not finished" in succeeded(mmc4("status", output)).stdout
    succeeded(mmc4("cut", *common, "--resume"))
    storage.filesystem(output).get(f"{output}/", str(tmp_path / "got"), recursive=True)
    for pattern in ("pages/*.parquet", "dataset/**/*.tar", "dataset/**/*.parquet"):
        there = contents(tmp_path / "got", pattern)
        assert there
        assert there == contents(built, pattern)
