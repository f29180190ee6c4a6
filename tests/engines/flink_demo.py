"""`make flink-demo`: run the demo in one process and on a Flink cluster of its own, and compare the shards.

python -m tests.engines.flink_demo [options of `mmc4 demo`]
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engines import flink, install

DEMO = Path("flink-demo").absolute()


def main() -> None:
    """Run both demos and compare their shards; exit with 1 if one differs."""
    if not install.is_installed("flink"):
        sys.exit("flink-demo: run `python -m tests.engines.install flink` first")
    local = _shards(DEMO / "local")
    with tempfile.TemporaryDirectory() as folder, flink.cluster(Path(folder)) as cluster:
        sys.stdout.write(f"\na Flink cluster of two task managers: http://{cluster.address}\n")
        remote = _shards(DEMO / "flink", *cluster.arguments(), "--parallelism", "4")
    for name, digest in local.items():
        sys.stdout.write(f"{name}  local {digest[:16]}  Flink {remote.get(name, 'missing')[:16]}\n")
    if local != remote:
        sys.exit("flink-demo: the shards differ")
    sys.stdout.write(f"the same {len(local)} shards, byte for byte\n")


def _shards(output: Path, *engine: str) -> dict[str, str]:
    """Run `mmc4 demo`; return the sha256 of each shard."""
    command = (sys.executable, "-m", "mmc4_pipeline.cli", "demo", "--output", str(output), *sys.argv[1:])
    subprocess.run([*command, *engine], check=True)
    paths = sorted((output / "out/dataset/miniweb").glob("shard-*.tar"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


if __name__ == "__main__":
    main()
