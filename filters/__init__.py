"""One filter a file. The file's name is the filter's key in a recipe; the dataclass in it holds its thresholds.

A filter never measures and never fetches: `decide` is a pure function of what a stage has measured. See `kinds.py` for
the kinds (by what they look at) and `registry.py` for how they are found.
"""
