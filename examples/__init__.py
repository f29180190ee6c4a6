"""Things to try the pipeline on."""
