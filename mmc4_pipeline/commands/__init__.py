"""The commands that are no Beam jobs, one a file."""
