"""The wheel, installed into a fresh virtual environment: what it contains, and `mmc4 demo` from another folder."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from mmc4_pipeline.miniweb.check import compare
from tests.end_to_end.sources import ROOT, copy_sources

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
METADATA = f"mmc4_pipeline-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a source distribution, and from it a wheel, as `python -m build` does; return the wheel."""
    source = copy_sources(tmp_path_factory.mktemp("source"))
    # Without isolation the build uses the installed setuptools, so that the test needs no network.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (sdist,), (path,) = (source / "dist").glob("*.tar.gz"), (source / "dist").glob("*.whl")
    assert sdist.name == f"mmc4_pipeline-{VERSION}.tar.gz"
    return path


def test_it_contains_four_packages_and_the_license(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"{METADATA}/METADATA").decode().splitlines()
    assert {name.partition("/")[0] for name in names} == {"mmc4_pipeline", "beam_jobs", "filters", "schemas", METADATA}
    assert f"{METADATA}/licenses/LICENSE" in names
    assert {f"Version: {VERSION}", "License-Expression: Apache-2.0"} <= set(metadata)


def test_the_demo_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python, mmc4 = tmp_path / "venv/bin/python", tmp_path / "venv/bin/mmc4"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    # Its requirements, 6 GB, are those of the environment of this test. Its .pth files, and with them the editable
    # installation of this project, have no effect on the new environment.
    (packages / "requirements.pth").write_text("\n".join({sysconfig.get_path(name) for name in ("purelib", "platlib")}))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    assert Path(run(str(python), "-c", "import mmc4_pipeline; print(mmc4_pipeline.__file__)")).is_relative_to(packages)
    run(str(mmc4), "demo", "--pages", "60")
    truth = compare(folder / "demo/web/truth.json", folder / "demo/out/dataset/miniweb")
    assert truth.kept > 50
    assert truth.right_reason == 1
    assert (folder / "demo/out/dataset/miniweb/report.html").is_file()
