"""Gets Beam's other engines, each once, into a folder of the user's cache (or the one that MMC4_ENGINES names).

    python -m tests.engines.install [prism] [flink]

Prism and Beam's boot program are built by Go, the Flink job server's libraries come by Maven, and Flink itself from its
Python packages: unpacked, never installed, because they want another Beam than this project. This program needs nothing
but Python, so that it can run while the environment is made.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

FLINK_VERSION = "1.19.3"
HOME = Path(__file__).parents[2]
POM = HOME / "docker" / "flink" / "pom.xml"
NEEDED = {"prism": ("go",), "flink": ("go", "java", "mvn")}


def missing(engine: str) -> list[str]:
    """Give the programs that an engine needs and this machine lacks."""
    return [program for program in NEEDED[engine] if shutil.which(program) is None]


def cache() -> Path:
    """Give the folder that everything is put into."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMC4_ENGINES") or caches / "mmc4-pipeline" / "engines")


def prism() -> Path:
    """Give Prism's binary, of the same version as Beam."""
    return _go_program("prism", "sdks/v2/go/cmd/prism")


def boot() -> Path:
    """Give the program that starts a Python worker on a Flink task manager, of the same version as Beam."""
    return _go_program("container", "sdks/v2/python/container")


def job_server() -> Path:
    """Give the job server's jar; its libraries lie beside it."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]

    def build(folder: Path) -> None:
        goals = ("dependency:copy-dependencies", "jar:jar")
        _run("mvn", "-B", "-q", "-f", str(POM), *goals, f"-Dmmc4.folder={folder}")

    return _once(f"job-server-{digest}", build) / "job-server.jar"


def flink() -> Path:
    """Give the folder of a Flink distribution: bin, conf, lib, plugins."""
    return _once(f"flink-{FLINK_VERSION}", _unpack_flink)


def _go_program(name: str, package: str) -> Path:
    found = re.search(r"^apache-beam==(\S+)$", (HOME / "constraints.txt").read_text(), re.MULTILINE)
    beam = found[1] if found else ""

    def build(folder: Path) -> None:
        _run("go", "install", f"github.com/apache/beam/{package}@v{beam}", GOBIN=str(folder))

    return _once(f"{name}-{beam}", build) / name


def _unpack_flink(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as downloads:
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloads)
        _run(*download, "--no-binary", ":all:", f"apache-flink-libraries=={FLINK_VERSION}")
        _run(*download, "--only-binary", ":all:", "--python-version", "3.11", f"apache-flink=={FLINK_VERSION}")
        (libraries,), (scripts,) = Path(downloads).glob("*.tar.gz"), Path(downloads).glob("*.whl")
        with tarfile.open(libraries) as archive:
            parts = ("deps/bin/", "deps/lib/", "deps/plugins/")
            wanted = [item for item in archive if item.name.partition("/")[2].startswith(parts)]
            archive.extractall(downloads, wanted, filter="data")
        (deps,) = Path(downloads).glob("*/deps")
        for part in deps.iterdir():
            part.rename(folder / part.name)
        with zipfile.ZipFile(scripts) as wheel:
            for name in wheel.namelist():
                if name.startswith(("pyflink/bin/", "pyflink/conf/")):
                    wheel.extract(name, downloads)
        for name in ("bin", "conf"):
            shutil.copytree(Path(downloads) / "pyflink" / name, folder / name, dirs_exist_ok=True)
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it is there; whoever else wants it waits, and never sees half of it."""
    folder = cache() / name
    if not folder.exists():
        cache().mkdir(parents=True, exist_ok=True)
        with (cache() / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = cache() / f"{name}.part"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
    return folder


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env=os.environ | environment, stdout=sys.stderr)


def main() -> None:
    """Get the engines that are named, or all; what can't be had here is said and left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", choices=[[], *NEEDED])
    for engine in parser.parse_args().engines or NEEDED:
        lacking = missing(engine)
        if lacking:
            sys.stderr.write(f"{engine}: needs {', '.join(lacking)}, not found here\n")
            continue
        for get in (prism,) if engine == "prism" else (job_server, flink, boot):
            sys.stdout.write(f"{get()}\n")


if __name__ == "__main__":
    main()
