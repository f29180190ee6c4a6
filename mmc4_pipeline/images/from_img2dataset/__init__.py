"""Images by img2dataset: run it to fetch them, or read the image shards that it has written."""
