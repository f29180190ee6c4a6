"""Runs in a separate network namespace: fetches from a public server that redirects to private hosts.

Prints the rows, and which addresses got requests.
"""

import json
import sys
from pathlib import Path

from tests.mmc4_pipeline.images.fetching.hostile import fetched
from tests.mmc4_pipeline.images.fetching.hostile_files import picture, saved
from tests.mmc4_pipeline.images.fetching.hostile_server import Case, ok, redirect, serving


def main() -> None:
    folder, *forbidden = sys.argv[1:]
    cases = [Case("picture", ok(saved(picture(), "JPEG")), (None,)) for _ in range(3)]
    with serving(cases) as hostile:
        port = hostile.port
        cases[2] = Case("redirect", redirect(f"http://public.example:{port}/1?again"), (None,))
        hostile.cases += [Case(host, redirect(f"http://{host}:{port}/0"), ()) for host in forbidden]
        urls = [
            f"http://93.184.216.34:{port}/0",
            f"http://public.example:{port}/1",
            f"http://93.184.216.35:{port}/2",
            *(f"http://{host}:{port}/0" for host in forbidden),
            *(f"http://93.184.216.{36 + at}:{port}/{3 + at}" for at in range(len(forbidden))),
        ]
        result = fetched(urls, Path(folder) / "images.tar", allow_private_hosts=False)
    print(json.dumps({"rows": result["rows"], "requested": dict(hostile.requested)}))  # noqa: T201


if __name__ == "__main__":
    main()
