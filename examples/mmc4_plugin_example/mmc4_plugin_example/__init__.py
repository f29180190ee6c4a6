"""A filter, a scorer and a format for mmc4-pipeline. The entry points in pyproject.toml make them known to it."""
