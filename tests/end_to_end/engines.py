"""Beam's other engines, as the options that choose them."""

from tests.engines import flink, install

QUIET = "--experiments=disable_logging_submission_environment"  # `pip freeze` for the log takes seconds per job


def options(engine: str) -> list[str]:
    """Return the options that choose an engine of this machine: two processes, Prism, or Flink in its job server."""
    if engine == "prism":
        return ["--runner", "PrismRunner", "--prism_location", str(install.PRISM.path), QUIET]
    if engine == "flink":
        jar = str(install.JOB_SERVER.path)
        java = [f"--job_server_jvm_properties={option}" for option in flink.SHORT_LIVED]
        return ["--runner", "FlinkRunner", "--flink_master=[local]", "--flink_job_server_jar", jar, *java, QUIET]
    return ["--direct_num_workers", "2"]
