"""The Beam jobs, one file for each stage: input, transforms, output. `mmc4_pipeline` processes the single documents."""
