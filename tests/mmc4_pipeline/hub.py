"""A stand-in for the Hugging Face Hub on loopback: the few requests that `hf://` needs to find and read files."""

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


def sent(server: FileServer, name: str) -> int:
    """Return how many bytes of a file's content were sent."""
    server.spans()  # waits until all is counted
    return sum(request.sent for request in server.finished() if request.path == resolved(name))
