"""The commands that are not Beam jobs, one in each file."""
