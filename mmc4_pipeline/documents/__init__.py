"""Read documents: C4, and other corpora of texts with URLs."""
