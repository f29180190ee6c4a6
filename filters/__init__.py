"""One filter per file. The file's name is the filter's key in a recipe; the dataclass in it holds its thresholds.

`base.py` has the kinds of filters and says how to write one. Other packages can add filters too, see
`mmc4_pipeline/plug_ins.py`.
"""
