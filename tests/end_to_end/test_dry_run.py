"""What each job would be on Dataflow: read from the pipelines that --dry_run writes, without an account."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import composites, primitives, resource_hints

from tests.end_to_end.running import Web, contents, mmc4, refusal, succeeded

FOLDERS = {"locate": "locations", "pages": "pages", "images": "images", "score": "scores", "cut": "dataset"}
OPTIONS = {
    "locate": ("c4", "cc_root"),
    "pages": ("documents_per_shard",),
    "images": ("image_routes",),
    "score": ("clip_model", "clip_pretrained", "nsfw_weights", "face_weights"),
    "cut": (),
}
IMAGE = "registry.example/mmc4:1"
DATAFLOW = ("--runner", "DataflowRunner", "--sdk_container_image", IMAGE)
GPU = ("--gpu_type", "nvidia-tesla-t4", "--gpu_count", "2", "--min_ram", "16GB")
HINTS = {
    resource_hints.ACCELERATOR.urn: b"type:nvidia-tesla-t4;count:2;install-nvidia-driver",
    resource_hints.MIN_RAM_BYTES.urn: b"16000000000",
}
REFERENCES = {"beam:coder:varint:v1", "beam:coder:string_utf8:v1"}

Pipeline = beam_runner_api_pb2.Pipeline


@pytest.fixture
def before(built: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return the output folder as it was before a stage ran."""
    output = shutil.copytree(built, tmp_path / "out")
    for stage in list(FOLDERS)[list(FOLDERS).index(request.param) :]:
        shutil.rmtree(output / FOLDERS[stage])
    return output


def dry_run(web: Web, output: Path, stage: str, *more: str) -> Pipeline:
    words = web.build_arguments(output)
    every = dict(zip(words[:-1:2], words[1:-1:2], strict=True))
    some = [word for name in ("recipe", "output", *OPTIONS[stage]) for word in (f"--{name}", every[f"--{name}"])]
    replay = ["--allow_private_hosts"] if stage == "images" else []
    run = succeeded(mmc4(stage, *some, *replay, "--dry_run", *more))
    assert run.stdout.rstrip().endswith(f"dry_run/{stage}.pb")
    return Pipeline.FromString((output / f"dry_run/{stage}.pb").read_bytes())


@pytest.mark.parametrize(("before", "stage"), [(stage, stage) for stage in FOLDERS], indirect=["before"])
def test_a_dry_run_of_every_job_writes_its_pipeline_and_nothing_else(web: Web, before: Path, stage: str) -> None:
    there = contents(before, "**/*")
    pipeline = dry_run(web, before, stage, *DATAFLOW)
    assert contents(before, "**/*").keys() - there.keys() == {f"dry_run/{stage}.pb"}
    images = {
        beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
        for environment in pipeline.components.environments.values()
    }
    assert images == {IMAGE}
    assert all(not environment.resource_hints for environment in pipeline.components.environments.values())


@pytest.mark.parametrize("before", ["score"], indirect=True)
def test_accelerator_and_memory_are_requested_only_for_the_step_with_the_model(web: Web, before: Path) -> None:
    components = dry_run(web, before, "score", *DATAFLOW, *GPU).components
    hinted = {
        transform.unique_name
        for transform in components.transforms.values()
        if transform.environment_id and components.environments[transform.environment_id].resource_hints
    }
    assert {name.partition("/")[0] for name in hinted} == {"Score"}
    assert [dict(item.resource_hints) for item in components.environments.values() if item.resource_hints] == [HINTS]


@pytest.mark.parametrize(
    ("before", "stage"), [(stage, stage) for stage in ("images", "score", "cut")], indirect=["before"]
)
def test_from_the_images_on_only_references_are_shuffled(web: Web, before: Path, stage: str) -> None:
    pipeline = dry_run(web, before, stage, *DATAFLOW)
    shuffled = dict(shuffled_elements(pipeline))
    if stage == "images":  # a filter that samples the corpus: hashes, 16 bytes an image
        sample = {name for name in shuffled if name.startswith("Learn corpus_duplicates/Smallest")}
        assert sample
        backlog = {name for name in shuffled if name.startswith("Backlog/")}  # URLs of images that remain, and counts
        assert backlog
        shuffled = {name: coders for name, coders in shuffled.items() if name not in sample | backlog}
    assert len(shuffled) == {"images": 2, "score": 1, "cut": 2}[stage]
    assert set().union(*shuffled.values()) <= REFERENCES


def shuffled_elements(pipeline: Pipeline) -> Iterator[tuple[str, set[str]]]:
    """Yield the name of each shuffle with the kinds of values in its elements: those of Beam's own lists apart."""
    components = pipeline.components
    grouped = {
        transform.unique_name: transform.inputs
        for transform in components.transforms.values()
        if transform.spec.urn == primitives.GROUP_BY_KEY.urn
    }
    reshuffles = {
        transform.unique_name: transform.inputs
        for transform in components.transforms.values()
        if transform.spec.urn == composites.RESHUFFLE.urn
    }
    apart = {name: inputs for name, inputs in grouped.items() if not any(name.startswith(f"{r}/") for r in reshuffles)}
    for name, inputs in (apart | reshuffles).items():
        if "MaybeReshuffle" in name:  # of a Create: numbers that this program wrote into the pipeline
            continue
        (collection,) = inputs.values()
        yield name, set(leaves(pipeline, components.pcollections[collection].coder_id))


def leaves(pipeline: Pipeline, coder: str) -> Iterator[str]:
    found = pipeline.components.coders[coder]
    if not found.component_coder_ids:
        yield found.spec.urn
    for part in found.component_coder_ids:
        yield from leaves(pipeline, part)


def test_a_dry_run_of_a_build_describes_its_first_stage(web: Web, tmp_path: Path) -> None:
    arguments = web.build_arguments(tmp_path / "out")
    assert succeeded(mmc4("build", *arguments, "--dry_run")).stdout.startswith("locate: 1 of 1 shards to do\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dry_run"]


@pytest.mark.parametrize("before", ["score"], indirect=True)
def test_a_dry_run_of_a_resumed_build_describes_the_first_unfinished_stage(web: Web, before: Path) -> None:
    arguments = web.build_arguments(before)
    assert succeeded(mmc4("build", *arguments, "--dry_run", "--resume")).stdout.startswith("score: 2 of 2 shards")
    assert "--resume" in refusal(mmc4("build", *arguments, "--dry_run"))


def test_dataflow_s_options_are_refused_on_other_runners(web: Web, tmp_path: Path) -> None:
    arguments = web.build_arguments(tmp_path / "out")
    assert re.search("--gpu_type: .*--runner DataflowRunner", refusal(mmc4("build", *arguments, *GPU)))
    for wrong, named in (
        (("--gpu_count", "2"), "--gpu_count: .*--gpu_type"),
        (("--gpu_type", "a", "--gpu_count", "0"), "--gpu_count: "),
        (("--min_ram", "16"), "--min_ram 16: .*16GB"),
    ):
        assert re.search(named, refusal(mmc4("build", *arguments, *DATAFLOW, *wrong)))
    assert not (tmp_path / "out").exists()
