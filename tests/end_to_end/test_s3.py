"""Input and output on an object store: moto's S3 server, with the package that users have for s3://."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from tests.end_to_end.running import MINIWEB, Web, contents, mmc4, succeeded

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
BUCKET = "runs"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Give the URL of an empty bucket."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
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
    succeeded(mmc4("cut", *common, "--resume"))
    storage.filesystem(output).get(f"{output}/", str(tmp_path / "got"), recursive=True)
    for pattern in ("pages/*.parquet", "dataset/**/*.tar", "dataset/**/*.parquet"):
        there = contents(tmp_path / "got", pattern)
        assert there
        assert there == contents(built, pattern)
