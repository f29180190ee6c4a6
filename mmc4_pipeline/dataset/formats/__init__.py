"""The published formats, one a file: a writer with its reader beside it."""
