"""Removes images and pages from everything that is finished; only the files that hold them are rewritten."""
