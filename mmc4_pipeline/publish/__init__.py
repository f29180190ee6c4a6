"""Writes what accompanies a published dataset: its card and its Croissant metadata."""
