"""The Beam jobs, one a file: options, read, transforms, write. What happens to a document is in `mmc4_pipeline`."""
