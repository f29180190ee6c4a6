"""Published weights: which there are, where they lie on this machine, how they are fetched."""
