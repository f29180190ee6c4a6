"""What a pipeline would be on its runner, without running it: no account is needed, nor any package of the runner's."""

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import resource_hints
from apache_beam.transforms.environments import DockerEnvironment

from mmc4_pipeline import storage

_HINTS = {resource_hints.ACCELERATOR.urn: "accelerator", resource_hints.MIN_RAM_BYTES.urn: "min_ram_bytes"}


def describe(pipeline: beam.Pipeline, options: PipelineOptions, file: str) -> str:
    """Write the pipeline's proto (`beam.RunnerApi`'s Pipeline) to a file, and give a few lines on what it would do."""
    image = options.view_as(WorkerOptions).sdk_container_image
    environment = DockerEnvironment.from_container_image(image) if image else None
    proto = pipeline.to_runner_api(default_environment=environment)
    storage.write_bytes(file, proto.SerializeToString(deterministic=True))
    runner = options.view_as(StandardOptions).runner
    where = f"on {runner}, workers of {image}" if image else f"on {runner}"
    return "\n".join([f"{where}:", *_steps(proto), f"{file}: the pipeline; nothing was run"])


def _steps(proto: beam_runner_api_pb2.Pipeline) -> Iterator[str]:
    """Yield a line for each step, as the pipeline names them, with what it asks of its machines."""
    components = proto.components
    for root in proto.root_transform_ids:
        for name in components.transforms[root].subtransforms:
            step = components.transforms[name]
            hints = components.environments[step.environment_id].resource_hints if step.environment_id else {}
            asked = ", ".join(f"{_HINTS.get(urn, urn)} {hints[urn].decode()}" for urn in sorted(hints))
            yield f"  {step.unique_name}" + (f" ({asked})" if asked else "")
