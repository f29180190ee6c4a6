"""Read files over HTTP: a polite client, and files that are streamed or read in parts."""
