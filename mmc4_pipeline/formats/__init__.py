"""The published formats, one a file: a Format dataclass that writes shards, with its reader beside it."""
