"""The published formats, one per module: a Format dataclass that writes shards, reads them back and copies them."""
