"""A stand-in for the Hugging Face Hub on loopback: the few requests that `hf://` needs to find and read files."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.mmc4_pipeline.file_server import FileServer, serving

FOLDER = "hf://datasets/allenai/c4/en"
_REPOSITORY = "datasets/allenai/c4"


def resolved(name: str) -> str:
    """Return the path at which the server has a file's content."""
    return f"/{_REPOSITORY}/resolve/main/en/{name}"


@contextmanager
def serving_hub(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serve files in the folder `en` of the dataset allenai/c4."""
    listed = [{"type": "file", "path": f"en/{name}", "size": len(data), "oid": "0"} for name, data in files.items()]
    folder = [{"type": "directory", "path": "en", "oid": "0"}]
    api, how = f"/api/{_REPOSITORY}", "?recursive=false&expand=false"
    answers = {
        api: {"id": "allenai/c4", "sha": "0" * 40, "siblings": []},
        f"{api}/tree/main{how}": folder,
        f"{api}/tree/main/en{how}": listed,
    }
    content = {resolved(name): data for name, data in files.items()}
    with serving(content | {path: json.dumps(answer).encode() for path, answer in answers.items()}) as server:
        yield server


def hub_model(model: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what the Hub has at its paths for a model of some files; it states the sha256 of those with weights."""
    siblings = [
        {"rfilename": name}
        if name.endswith((".json", ".txt"))
        else {"rfilename": name, "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}
        for name, data in files.items()
    ]
    listing = json.dumps({"sha": "c0ffee", "siblings": siblings}).encode()
    content = {f"/{model}/resolve/c0ffee/{name}": data for name, data in files.items()}
    return content | {f"/api/models/{model}?blobs=true": listing}


def sent(server: FileServer, name: str) -> int:
    """Return how many bytes of a file's content were sent."""
    server.spans()  # waits until all is counted
    return sum(request.sent for request in server.finished() if request.path == resolved(name))
