"""Install what `make test-engines` and `make flink-demo` need besides the project's own environment.

    python -m tests.engines.install [NAME ...]

Everything is installed once, into a folder of the user's cache or the folder that MMC4_ENGINES names. Go builds Prism,
Beam's boot program and fake-gcs-server; Maven downloads the libraries of the Flink job server. Flink is unpacked from
its Python packages, never installed, because they need another version of Beam. img2dataset gets a virtual environment
of its own, because its requirements contradict constraints.txt; so do the loaders of trainers, which share PyTorch with
the project. Chromium must come from the operating system.

This program needs only Python's standard library, so that it can run while the project's environment is being made.
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
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FLINK_VERSION = "1.19.3"
FAKE_GCS_SERVER_VERSION = "1.56.1"
ROOT = Path(__file__).parents[2]
POM = ROOT / "docker" / "flink" / "pom.xml"
IMG2DATASET_PACKAGES = Path(__file__).with_name("img2dataset.txt")
TRAINERS_PACKAGES = Path(__file__).with_name("trainers.txt")
CHROMIUM = "chromium or google-chrome"
PROGRAMS = {  # what the operating system must have
    "prism": ("go",),
    "flink": ("go", "java", "mvn"),
    "fake-gcs-server": ("go",),
    "img2dataset": (),
    "trainers": (),
    "chromium": (CHROMIUM,),
}
# Python runs this line of a .pth file when it starts. What the trainers' environment lacks comes from the folders that
# the variable names: those of the project's environment.
SHARED_PACKAGES = (
    "import os, sys; sys.path.extend(filter(None, os.environ.get('MMC4_PACKAGES', '').split(os.pathsep)))\n"
)


def cache() -> Path:
    """Return the folder that everything is installed into."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMC4_ENGINES") or caches / "mmc4-pipeline" / "engines")


def program(names: str) -> str | None:
    """Return the path of the first program that is in PATH out of some, joined by " or "."""
    return next(filter(None, map(shutil.which, names.split(" or "))), None)


@dataclass(frozen=True)
class Part:
    """A folder of the cache, the function that fills it, and the file of it that is used (the folder itself if "")."""

    folder: str
    fill: Callable[[Path], None]
    file: str = ""

    @property
    def path(self) -> Path:
        """Where the file is, or will be once it is installed."""
        return cache() / self.folder / self.file

    def install(self) -> Path:
        """Install the part unless it is there, and return its path. Processes that install the same part take turns."""
        folder = cache() / self.folder
        cache().mkdir(parents=True, exist_ok=True)
        with (cache() / f"{self.folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = cache() / f"{self.folder}.part"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                self.fill(unfinished)
                unfinished.rename(folder)
        return self.path


def _go_program(name: str, version: str, package: str) -> Part:
    def build(folder: Path) -> None:
        _run("go", "install", f"{package}@v{version}", GOBIN=str(folder))

    return Part(f"{name}-{version}", build, name)


def _beam_version() -> str:
    found = re.search(r"^apache-beam==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def _build_job_server(folder: Path) -> None:
    goals = ("dependency:copy-dependencies", "jar:jar")
    _run("mvn", "-B", "-q", "-f", str(POM), *goals, f"-Dmmc4.folder={folder}")


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
    for script in (folder / "bin").iterdir():
        script.chmod(0o755)


def _make_img2dataset(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    pip = (str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
    _run(*pip, "--requirement", str(IMG2DATASET_PACKAGES))


def _make_trainers(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    pip = (str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--requirement", str(TRAINERS_PACKAGES))
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "shared_packages.pth").write_text(SHARED_PACKAGES)


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env=os.environ | environment, stdout=sys.stderr)


PRISM = _go_program("prism", _beam_version(), "github.com/apache/beam/sdks/v2/go/cmd/prism")
BOOT = _go_program("container", _beam_version(), "github.com/apache/beam/sdks/v2/python/container")
JOB_SERVER = Part(f"job-server-{_digest(POM)}", _build_job_server, "job-server.jar")
FLINK = Part(f"flink-{FLINK_VERSION}", _unpack_flink)
FAKE_GCS_SERVER = _go_program("fake-gcs-server", FAKE_GCS_SERVER_VERSION, "github.com/fsouza/fake-gcs-server")
IMG2DATASET = Part(f"img2dataset-{_digest(IMG2DATASET_PACKAGES)}", _make_img2dataset, "bin/python")
TRAINERS = Part(f"trainers-{_digest(TRAINERS_PACKAGES)}", _make_trainers, "bin/python")
PARTS = {
    "prism": (PRISM,),
    "flink": (JOB_SERVER, FLINK, BOOT),
    "fake-gcs-server": (FAKE_GCS_SERVER,),
    "img2dataset": (IMG2DATASET,),
    "trainers": (TRAINERS,),
    "chromium": (),
}


def missing_programs(name: str) -> list[str]:
    """Return the programs that an engine needs from the operating system and that are not in PATH."""
    return [names for names in PROGRAMS[name] if program(names) is None]


def is_installed(name: str) -> bool:
    """Return whether an engine can be run."""
    return not missing_programs(name) and all(part.path.exists() for part in PARTS[name])


def main() -> None:
    """Install the engines named on the command line, or all of them; exit with 1 if programs are missing for one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *PARTS], help=f"one of {', '.join(PARTS)}")
    names = parser.parse_args().names or PARTS
    missing = {name: lacking for name in names if (lacking := missing_programs(name))}
    for name in (name for name in names if name not in missing):
        for part in PARTS[name]:
            sys.stdout.write(f"{part.install()}\n")
    if missing:
        sys.exit("\n".join(f"{name}: install {', '.join(lacking)}" for name, lacking in missing.items()))


if __name__ == "__main__":
    main()
