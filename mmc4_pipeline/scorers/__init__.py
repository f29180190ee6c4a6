"""One scorer per file. The file's name is the scorer's name; the dataclass in it holds its settings.

`mmc4_pipeline/scoring/base.py` says how to write one. Other packages can add scorers too, see
`mmc4_pipeline/plug_ins.py`.
"""
