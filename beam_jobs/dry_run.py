"""Describes a pipeline without running it. Neither an account nor the runner's packages are needed for that."""

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import resource_hints
from apache_beam.transforms.environments import DockerEnvironment

from mmc4_pipeline import storage

_HINTS = {resource_hints.ACCELERATOR.urn: "accelerator", resource_hints.MIN_RAM_BYTES.urn: "min_ram_bytes"}


def describe(pipeline: beam.Pipeline, options: PipelineOptions, file: str) -> str:
    """Write the pipeline's proto (Beam's `Pipeline` message) to a file and return a summary of a few lines."""
    image = options.view_as(WorkerOptions).sdk_container_image
    environment = DockerEnvironment.from_container_image(image) if image else None
    proto = pipeline.to_runner_api(default_environment=environment)
    storage.write_bytes(file, proto.SerializeToString(deterministic=True))
    runner = options.view_as(StandardOptions).runner
    where = f"on {runner}, workers from {image}" if image else f"on {runner}"
    return "\n".join([f"{where}:", *_steps(proto), f"Nothing was run. The pipeline is in {file}"])


def _steps(proto: beam_runner_api_pb2.Pipeline) -> Iterator[str]:
    """Yield a line for each step, with its name in the pipeline and the resources it requests."""
    components = proto.components
    for root in proto.root_transform_ids:
        for name in components.transforms[root].subtransforms:
            step = components.transforms[name]
            hints = components.environments[step.environment_id].resource_hints if step.environment_id else {}
            requested = ", ".join(f"{_HINTS.get(urn, urn)} {hints[urn].decode()}" for urn in sorted(hints))
            yield f"  {step.unique_name}" + (f" ({requested})" if requested else "")
